"""Libraries that extras of attrfunc bring, imported where they are used."""

from __future__ import annotations

import importlib
from typing import Any

from attrfunc.core.errors import ArgumentError, AttributionError

__all__ = ["extra", "require"]


def require(package: str, extra: str) -> Any:
    """Import what an extra brings.

    Args:
        package: The name to import.
        extra: The extra of attrfunc that installs it.

    Raises:
        AttributionError: If it is not installed.
    """
    try:
        return importlib.import_module(package)
    except ImportError:
        raise AttributionError(f"{_top(package)} is not installed, which this needs. {_fix(extra)}") from None


def extra(package: str, extra: str, argument: str, needed: str) -> Any:
    """Import what an extra brings, for an argument that asks for it.

    Args:
        package: The name to import.
        extra: The extra of attrfunc that installs it.
        argument: The argument's name.
        needed: Which value of it needs the package.

    Raises:
        ArgumentError: If it is not installed.
    """
    try:
        return importlib.import_module(package)
    except ImportError:
        top = _top(package)
        raise ArgumentError(argument, f"{needed} without {top} installed", f"{top} to be there", _fix(extra)) from None


def _top(package: str) -> str:
    return package.partition(".")[0]


def _fix(extra: str) -> str:
    return f"Install the extra: pip install 'attrfunc[{extra}]'."
