"""Names that Captum keeps in private modules, and that its tutorials and users import from there all the same.

`from captum._utils.models.linear_model import SkLearnLasso` is in Captum's own tutorials. With `attrfunc.` before
`captum` it works here: a private module of Captum's is made when it is imported, of what the places in `PLACES` list.
Modules that are files of this package come first.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

__all__ = ["PLACES", "install"]

PACKAGE = "attrfunc.captum"

PLACES: dict[str, tuple[str, ...]] = {
    "_utils": (),
    "_utils.models": ("models",),
    "attr._core": ("attr", "attr.lime", "attr.llm"),
    "attr._models": ("attr",),
    "attr._utils": ("attr", "attr.stat", "attr.summarizer"),
    "attr._utils.visualization": ("attr.visualization", "attr.text_pieces"),
    "concept._core": ("concept",),
    "concept._utils": ("concept",),
    "influence._core": ("influence", "influence.influence_function", "influence.similarity_influence"),
    "influence._utils": ("influence",),
    "metrics._core": ("metrics", "metrics.sensitivity"),
    "module.binary_concrete_stochastic_gates": ("module",),
    "module.gaussian_stochastic_gates": ("module",),
    "module.stochastic_gates_base": ("module",),
    "robust._core": ("robust", "robust.attack_comparator", "robust.min_param_perturbation"),
}
"""What a private module of Captum's, and all below it, is made of; of several that fit, the longest counts."""


def _place(name: str) -> str | None:
    """The entry for a module's whole name."""
    below = name.removeprefix(f"{PACKAGE}.")
    fits = [place for place in PLACES if below == place or below.startswith(f"{place}.")]
    return max(fits, key=len, default=None) if below != name else None


class _Private(MetaPathFinder, Loader):
    """Finds and fills the modules."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return None if _place(fullname) is None else ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        place = _place(module.__name__)
        homes = PLACES[place] if place else ()
        for home in homes:
            found = importlib.import_module(f"{PACKAGE}.{home}")
            vars(module).update({name: getattr(found, name) for name in found.__all__})
        instead = " or ".join(f"{PACKAGE}.{home}" for home in homes) or PACKAGE

        def missing(name: str) -> None:
            text = f"module {module.__name__!r} has no {name!r}"
            if name.startswith("__"):
                raise AttributeError(text)  # which Python and its tools ask for
            theirs = module.__name__.removeprefix("attrfunc.")
            raise ImportError(
                f"{text}: of Captum's private modules it has what {instead} has. Import {name} from {theirs} itself, "
                "which works beside attrfunc if Captum is installed."
            )

        vars(module)["__getattr__"] = missing


def install() -> None:
    """Let Python find these modules, behind all other modules."""
    if not any(isinstance(one, _Private) for one in sys.meta_path):
        sys.meta_path.append(_Private())
