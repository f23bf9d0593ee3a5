"""Captum's classes on attrfunc: change the import from `captum.attr` to `attrfunc.captum.attr`.

The modules carry the names of Captum's modules, the private ones that its users import from too; see
`attrfunc.captum.private`. Nothing here imports Captum.
"""

from attrfunc.captum import attr, concept, influence, insights, metrics, models, module, private, robust

private.install()

__version__ = "0.9.0"
"""The version of Captum whose names and signatures these are; that of attrfunc is `attrfunc.__version__`."""

__all__ = ["attr", "concept", "influence", "insights", "metrics", "models", "module", "robust"]
