"""Imports go down only."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "attrfunc"

# From the ground up; a package imports from itself and from lower floors. Packages of one row do not know each other.
FLOORS = [
    ["core"],
    ["gradient", "perturbation", "propagation", "viz"],
    ["combined"],
    ["concepts", "data", "gates", "metrics", "robust", "text"],
    ["influence"],
    ["diagnosis", "insights"],
    ["testing", "captum"],
    ["cli"],
]
HEIGHT = {name: floor for floor, names in enumerate(FLOORS) for name in names}


def packages_imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            names = [node.module] + [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            parts = name.split(".")
            if parts[0] == "attrfunc" and len(parts) > 1 and parts[1] in HEIGHT:
                yield parts[1]


def test_every_package_has_a_floor():
    assert {path.parent.name for path in SOURCE.glob("*/__init__.py")} == set(HEIGHT)


def test_imports_go_down():
    wrong = []
    for path in sorted(SOURCE.glob("*/**/*.py")):
        own = path.relative_to(SOURCE).parts[0]
        packages = packages_imported(path)
        wrong += [f"{path} imports {name}" for name in packages if name != own and HEIGHT[name] >= HEIGHT[own]]
    assert not wrong, "\n".join(wrong)


# What hands values over to a peer's own plots imports it, while it does.
HANDED_OVER = {"viz/explanation.py": {"shap"}, "viz/interaction_values.py": {"shapiq"}}
PEERS = {"captum", "zennit", "shap", "shapiq", "tangermeme", "dattri", "quantus"}


def imported(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").split(".")[0]


def test_peers_are_never_imported():
    found = {}
    for path in SOURCE.rglob("*.py"):
        tree = ast.parse(path.read_text())
        if peers := PEERS & set(imported(tree)):
            found[path.relative_to(SOURCE).as_posix()] = peers
    assert found == HANDED_OVER


@pytest.mark.parametrize("package", ["attrfunc", "attrfunc.captum.attr"])
def test_extras_are_not_imported_before_they_are_used(package):
    extras = [
        "matplotlib",
        "shap",
        "shapiq",
        "sklearn",
        "skimage",
        "hypothesis",
        "IPython",
        "pyarrow",
        "ray",
        "zarr",
        "typer",
    ]
    code = f"import sys, {package}; print([name for name in {extras} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "[]\n"
