"""All the axioms at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from attrfunc.core.score.views import Model
from attrfunc.testing.completeness import check_completeness
from attrfunc.testing.implementation_invariance import check_implementation_invariance
from attrfunc.testing.linearity import check_linearity
from attrfunc.testing.sensitivity import check_dummy, check_sensitivity
from attrfunc.testing.symmetry import check_symmetry
from attrfunc.testing.trial import Method

__all__ = ["AXIOMS", "check_axioms"]

AXIOMS: dict[str, Callable[..., None]] = {
    "completeness": check_completeness,
    "sensitivity": check_sensitivity,
    "dummy": check_dummy,
    "linearity": check_linearity,
    "implementation_invariance": check_implementation_invariance,
    "symmetry": check_symmetry,
}


def check_axioms(
    method: Method, /, model: Model, x: Any, *, axioms: Iterable[str] = tuple(AXIOMS), **options: Any
) -> None:
    """Check several axioms, with the default tolerance of each.

    Args:
        method: Any method; see `attrfunc.testing`.
        model: Any model, with its input at the point (to check a method at a layer, see `at_layer`).
        x: The input.
        axioms: Which: keys of `AXIOMS`. Not every method fulfils all of them.
        **options: `baseline`, `target`, `args`, `kwargs`, and the method's own.

    Raises:
        AssertionError: If one does not hold.

    Example:
        >>> from attrfunc import testing
        >>> model, x = testing.MLP((3,), (2,)), testing.normal((4, 3))
        >>> testing.check_axioms(af.ig, model, x, baseline=0.5, target=1)
        >>> testing.check_axioms(af.saliency, model, x, target=1, axioms=("dummy", "symmetry"))
    """
    for axiom in axioms:
        AXIOMS[axiom](method, model, x, **options)
