"""The command `attrfunc`, a thin layer over the library (needs typer, `attrfunc[cli]`)."""

from __future__ import annotations

import sys
from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line.

    Args:
        arguments: The words behind `attrfunc`; by default those of the process.
    """
    try:
        from attrfunc.cli.app import app
    except ModuleNotFoundError as error:
        if error.name != "typer":
            raise
        print("attrfunc: the command line needs typer. Install it: pip install 'attrfunc[cli]'", file=sys.stderr)
        raise SystemExit(1) from None
    app(args=None if arguments is None else list(arguments), prog_name="attrfunc")
