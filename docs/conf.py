"""How Sphinx builds the site: `nox -s docs`."""

import sys
from pathlib import Path

import attrfunc

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "_extensions"), str(HERE.parent / "examples")]

project = "attrfunc"
author = project_copyright = "the attrfunc developers"
release = version = attrfunc.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "myst_nb",
    "docstrings",
    "formulas",
]
templates_path = ["_templates"]
exclude_patterns = ["_build", "_extensions", "_templates"]

html_theme = "furo"
html_title = "attrfunc"
html_favicon = "_static/favicon.svg"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
# Formulas stand in the pages themselves: no script, and nothing that a reader without a network misses.
html_math_renderer = "mathml"

# All code on the pages runs, and an error in it ends the build.
nb_execution_mode = "cache"
nb_execution_cache_path = str(HERE.parent / "docs-output" / "cache")
nb_execution_raise_on_error = True
nb_execution_timeout = 600
nb_execution_in_temp = True
nb_execution_show_tb = True
nb_merge_streams = True
myst_enable_extensions = ["dollarmath", "colon_fence", "deflist"]
myst_heading_anchors = 3

autosummary_generate = True
autodoc_typehints = "none"
autodoc_member_order = "bysource"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_custom_sections = ["Reference"]
default_role = "code"
copybutton_exclude = ".linenos, .gp, .go"
