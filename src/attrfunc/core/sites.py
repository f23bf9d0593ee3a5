"""Sites: places inside a model, and the taps that read or replace the activations there."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from attrfunc.core.errors import ArgumentError, ModelError, describe, near
from attrfunc.core.stateless import Twin, model_root
from attrfunc.core.trees import Restore, floats

__all__ = ["Layers", "Side", "Site", "Taps", "Visit", "find_site", "find_sites"]

Side = Literal["input", "output"]
Layers = str | nn.Module | Sequence[str | nn.Module]
Visit = Callable[[int, list[Tensor]], list[Tensor]]


@dataclass(frozen=True)
class Site:
    """The input or output of one call of one module.

    Attributes:
        module: The module, in the user's model.
        name: Its dotted name, for messages.
        side: Whether its input or its output is meant.
        call: Which of its calls in one forward pass, counted from 0; None if it runs once.
    """

    module: nn.Module
    name: str
    side: Side = "output"
    call: int | None = None


def find_sites(
    model: Callable[..., Any], where: Layers, side: Side, call: int | None, argument: str = "where"
) -> tuple[Site, ...]:
    """Look one or several layers up; see `find_site`."""
    places = list(where) if isinstance(where, Iterable) and not isinstance(where, str | nn.Module) else [where]
    for place in places:
        if not isinstance(place, str | nn.Module):
            raise ArgumentError(
                argument, describe(place), "the name of a layer, or a module", "Pass one, or a list of these."
            )
    if not places:
        raise ArgumentError(
            argument, "an empty list", "at least one layer", "Pass a name, a module or a list of these."
        )
    return tuple(find_site(model, place, side, call, argument) for place in places)


def find_site(
    model: Callable[..., Any], where: str | nn.Module, side: Side, call: int | None, argument: str = "where"
) -> Site:
    """Look a layer up by its dotted name or by the module itself.

    Args:
        model: The model.
        where: A dotted name as in `model.named_modules()`, or a module.
        side: `"input"` or `"output"`.
        call: Which call of a layer that runs several times.
        argument: What the public function calls `where`.

    Returns:
        The site.

    Raises:
        ArgumentError: If the model has no such layer (near matches are listed), or `side` or `call` is out of range.
    """
    if side not in ("input", "output"):
        raise ArgumentError("side", repr(side), "'input' or 'output'", "A layer's output is the default.")
    if call is not None and call < 0:
        raise ArgumentError("call", repr(call), "the number of the call, counted from 0", "Pass call=0 for the first.")
    root = model_root(model)
    names = dict(root.named_modules()) if root is not None else {}
    if isinstance(where, nn.Module):
        name = next((name for name, module in names.items() if module is where), None)
        if name is None and root is not None:
            raise ArgumentError(
                argument,
                f"a {type(where).__name__} that is not a part of the model",
                "one of its layers",
                near("", names),
            )
        # A plain callable may call any module; that it does is seen when it runs.
        return Site(where, name or type(where).__name__, side, call)
    if where not in names:
        hint = near(str(where), names) if names else "Pass the layer itself: a plain callable has no named layers."
        raise ArgumentError(argument, repr(where), "the name of a layer, or a module", hint)
    return Site(names[where], where, side, call)


class _Stop(BaseException):
    """Leaves a forward pass whose rest is not needed; not an Exception, so that a model's own handlers let it pass."""


class Taps:
    """Runs a twin and visits the activations at some sites on the way.

    Args:
        twin: The twin of the model.
        sites: Where to tap.
    """

    def __init__(self, twin: Twin, sites: Sequence[Site]) -> None:
        self._twin = twin
        self._sites = sites
        self._modules = [twin.modules.get(site.module, site.module) for site in sites]
        # Modules inside a plain callable are the user's own, and another thread may be running them.
        alone = bool(twin.modules) or not sites or torch.compiler.is_compiling()
        self._owner = 0 if alone else threading.get_ident()
        self._verified = False

    def run(
        self,
        args: Sequence[Any],
        kwargs: dict[str, Any],
        visit: Visit,
        *,
        stop: bool = False,
        given: Mapping[int, Any] | None = None,
    ) -> tuple[Any, list[Restore]]:
        """Call the model once.

        Args:
            args: Positional arguments of the model.
            kwargs: Keyword arguments of the model.
            visit: Maps the number of a site and its tensors to the tensors that go on from there.
            stop: Leave the model when every site has been visited; its output is then None. The first run is always
                whole: it tells whether a layer runs more often than once.
            given: By the number of a site, the output that it is to have. Where that is safe, its module need not run.

        Returns:
            The output, and what gives a site's tensors the structure that they came in, for each site.

        Raises:
            ModelError: If a site's layer did not run, or ran several times when no call was chosen.
        """
        stop = stop and self._verified
        found: list[Restore | None] = [None] * len(self._sites)
        counts = [0] * len(self._sites)
        done: list[bool] = []

        def reach(number: int, value: Any) -> Any:
            site = self._sites[number]
            counts[number] += 1
            if counts[number] != (site.call or 0) + 1:
                return value
            tensors, restore = floats(value)
            if not tensors:
                raise ModelError(f"layer {site.name!r} has no floating-point tensor at its {site.side}.")
            found[number] = restore
            value = restore(visit(number, tensors))
            if stop and None not in found:
                done.append(True)
                raise _Stop
            return value

        installed = [entry for number in range(len(self._sites)) for entry in self._install(number, reach)]
        for number, value in (given or {}).items():
            if self._idle(number):
                slots = self._modules[number].__dict__
                slots["forward"] = lambda *args, value=value, **kwargs: value
                installed.append((slots, "forward"))
        try:
            output = self._twin(*args, **kwargs)
        except _Stop:
            if not done:
                raise  # the end of a run around this one: the model attributes something itself
            output = None
        finally:
            for table, key in installed:
                del table[key]
        restores = [self._checked(*entry) for entry in zip(self._sites, found, counts, strict=True)]
        self._verified = True
        return output, restores

    def _idle(self, number: int) -> bool:
        """Whether a module whose output is known need not run: its only effect is that output, and nobody looks in."""
        site, module = self._sites[number], self._modules[number]
        if site.side != "output" or site.call is not None or module is site.module or torch.compiler.is_compiling():
            return False
        inner = set(site.module.modules())
        if any(other.module in inner for other in self._sites if other is not site):
            return False
        return all(
            type(part).__module__.startswith("torch.nn.")
            and "forward" not in part.__dict__
            and not part._forward_hooks
            and not part._forward_pre_hooks
            for part in inner
        )

    def _install(self, number: int, reach: Callable[[int, Any], Any]) -> list[tuple[dict[Any, Any], Any]]:
        # The hook tables are written directly: a handle from register_forward_hook cannot be made inside a compiled
        # region.
        module, owner = self._modules[number], self._owner
        key = ("attrfunc", number, id(self) if owner else 0)

        def foreign() -> bool:
            return owner != 0 and threading.get_ident() != owner

        def output_hook(module: nn.Module, args: Any, output: Any) -> Any:
            return output if foreign() else reach(number, output)

        def input_hook(module: nn.Module, args: Any, kwargs: Any) -> Any:
            if foreign():
                return args, kwargs
            if not args:
                return args, reach(number, kwargs)
            if len(args) == 1:
                return (reach(number, args[0]),), kwargs
            return reach(number, args), kwargs

        entries: list[tuple[Any, Any]]
        if self._sites[number].side == "output":
            entries = [(module._forward_hooks, output_hook)]
        else:
            entries = [(module._forward_pre_hooks, input_hook), (module._forward_pre_hooks_with_kwargs, True)]
        for table, entry in entries:
            table[key] = entry
        return [(table, key) for table, _ in entries]

    def _checked(self, site: Site, restore: Restore | None, count: int) -> Restore:
        if count == 0:
            raise ModelError(f"layer {site.name!r} does not run in the model's forward pass. Choose one that does.")
        if restore is None:
            raise ModelError(
                f"layer {site.name!r} runs {count} time(s); call={site.call} is not among 0 to {count - 1}."
            )
        if site.call is None and count > 1:
            raise ModelError(
                f"layer {site.name!r} runs {count} times in one forward pass. Choose one: call=0 to call={count - 1}."
            )
        return restore
