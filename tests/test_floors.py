"""Imports go down only."""

import ast
from pathlib import Path

SOURCE = Path(__file__).parent.parent / "src" / "attrfunc"

# From the ground up; a package imports from itself and from lower floors. Packages of one row do not know each other.
FLOORS = [["core"], ["gradient", "perturbation", "propagation"], ["combined"], ["text"], ["testing", "captum"]]
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


def test_peers_are_never_imported():
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not any(
                name.split(".")[0] in ("captum", "zennit", "shap", "shapiq", "tangermeme") for name in names
            ), path
