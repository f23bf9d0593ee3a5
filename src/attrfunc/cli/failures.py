"""What goes wrong, in words and exit codes: 2 for what was asked wrongly, 1 for what failed."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from attrfunc.core.errors import ArgumentError, AttributionError

__all__ = ["UsageError", "reported"]


class UsageError(AttributionError):
    """A command that cannot be right."""


@contextmanager
def reported(debug: bool) -> Iterator[None]:
    """Turn errors into messages and exit codes, and warnings into lines.

    Args:
        debug: Whether to let errors through, with all that Python says of them.
    """
    with warnings.catch_warnings():
        warnings.showwarning = _warned
        try:
            yield
        except (UsageError, ArgumentError) as error:
            _leave(error, str(error), 2, debug)
        except AttributionError as error:
            _leave(error, str(error), 1, debug)
        except KeyboardInterrupt:
            print("attrfunc: interrupted", file=sys.stderr)
            raise SystemExit(130) from None
        except Exception as error:  # the model's own, of any kind
            _leave(error, f"{type(error).__name__}: {error}", 1, debug)


def _leave(error: Exception, message: str, code: int, debug: bool) -> None:
    if debug:
        raise error
    hint = "" if isinstance(error, AttributionError) else " (--debug shows where)"
    print(f"attrfunc: error: {message}{hint}", file=sys.stderr)
    raise SystemExit(code) from None


def _warned(message: Any, category: type, filename: str, lineno: int, file: Any = None, line: Any = None) -> None:
    if issubclass(category, UserWarning) and not issubclass(category, DeprecationWarning | FutureWarning):
        print(f"attrfunc: warning: {message}", file=sys.stderr)
