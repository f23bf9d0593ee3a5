"""Sites: places inside a model, and runs of it that read or replace the activations there."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from attrfunc.core.errors import ArgumentError, ModelError, describe, suggestions
from attrfunc.core.model.engines import level
from attrfunc.core.model.parts import model_root, named_modules
from attrfunc.core.model.twin import Twin

__all__ = ["Calls", "Edit", "Given", "Layers", "Side", "Site", "find_site", "find_sites", "run"]

Side = Literal["input", "output"]
Layers = str | nn.Module | Sequence[str | nn.Module]
Calls = int | Sequence[int] | None


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


@dataclass(frozen=True)
class Given:
    """An edit that puts a value in place of what comes, which is known beforehand: the module need not run.

    Attributes:
        make: Makes the value, anew for each run: what goes on may be changed in place.
    """

    make: Callable[[], Any]

    def __call__(self, value: Any) -> Any:
        """The value."""
        return self.make()


Edit = Callable[[Any], Any]
"""What goes on from a site in place of what has come there."""


def find_sites(
    model: Callable[..., Any], where: Layers, side: Side, call: Calls, argument: str = "where"
) -> tuple[Site, ...]:
    """Look one or several layers up, and one or several calls of each; see `find_site`."""
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
    calls = list(call) if isinstance(call, Sequence) and not isinstance(call, str) else [call]
    if not calls:
        raise ArgumentError("call", "an empty list", "at least one number", "Pass call=[0, 1], say, or None.")
    return tuple(find_site(model, place, side, one, argument) for place in places for one in calls)


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
    if call is not None and (not isinstance(call, int) or isinstance(call, bool) or call < 0):
        raise ArgumentError("call", repr(call), "the number of the call, counted from 0", "Pass call=0 for the first.")
    names = named_modules(model)
    if isinstance(where, nn.Module):
        name = next((name for name, module in names.items() if module is where), None)
        if name is None and model_root(model) is not None and not _holds(model, where):
            raise ArgumentError(
                argument,
                f"a {type(where).__name__} that is not a part of the model",
                "one of its layers",
                suggestions("", names),
            )
        # A plain callable may call any module; that it does is seen when it runs.
        return Site(where, name or type(where).__name__, side, call)
    if where not in names:
        hint = (
            suggestions(str(where), names) if names else "Pass the layer itself: a plain callable has no named layers."
        )
        raise ArgumentError(argument, repr(where), "the name of a layer, or a module", hint)
    return Site(names[where], where, side, call)


def _holds(model: Callable[..., Any], module: nn.Module) -> bool:
    """Whether a module stands somewhere in a model where it has no name: in a list, say."""
    return not torch.compiler.is_compiling() and module in Twin(model).modules


class _Stop(BaseException):
    """Leaves a forward pass whose rest is not needed; not an Exception, so that a model's own handlers let it pass."""


def run(
    twin: Twin,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    edits: Sequence[tuple[Site, Edit]],
    *,
    stop: bool = False,
) -> Any:
    """Call a model once, with edits at some sites.

    Args:
        twin: The twin of the model.
        args: Positional arguments of the model.
        kwargs: Keyword arguments of the model.
        edits: What is read, replaced or skipped, by site.
        stop: Leave the model when every site has been reached; the output is then None. The first run to a site is
            always whole: it tells whether a layer runs more often than once.

    Returns:
        The output.

    Raises:
        ModelError: If a site's layer did not run, or ran several times when no call was chosen.
    """
    visits = _Visits(twin, edits, stop and all(site in twin.verified for site, _ in edits))
    installed = [entry for number in range(len(edits)) for entry in visits.install(number)]
    try:
        output = twin.run(args, kwargs)
    except _Stop:
        if not visits.stopped:
            raise  # the end of a run around this one: the model attributes something itself
        output = None
    finally:
        for table, key in installed:
            del table[key]
    visits.check()
    twin.verified.update(site for site, _ in edits)
    return output


class _Visits:
    """The edits of one run, and how often each site was reached."""

    def __init__(self, twin: Twin, edits: Sequence[tuple[Site, Edit]], stop: bool) -> None:
        self._edits, self._stop, self.stopped = edits, stop, False
        self._modules = [twin.modules.get(site.module, site.module) for site, _ in edits]
        self._counts, self._level = [0] * len(edits), level()
        # Modules that only a plain callable knows are the user's own, and another thread may be running them.
        alone = torch.compiler.is_compiling() or all(site.module in twin.modules for site, _ in edits)
        self._owner = 0 if alone else threading.get_ident()

    def reach(self, number: int, value: Any, *, edited: bool = False) -> Any:
        """What goes on from a site."""
        site, edit = self._edits[number]
        self._counts[number] += 1
        if self._counts[number] != (site.call or 0) + 1:
            return value
        self._require_level(site)
        value = value if edited else edit(value)
        if self._stop and all(n > (s.call or 0) for n, (s, _) in zip(self._counts, self._edits, strict=True)):
            self.stopped = True
            raise _Stop
        return value

    def _require_level(self, site: Site) -> None:
        if level() != self._level:
            raise ModelError(
                f"layer {site.name!r} runs inside a transform of torch.func that the model applies itself (vmap, grad, "
                "jvp), where its activation is not that of the batch. Choose a layer outside of it."
            )

    def install(self, number: int) -> list[tuple[dict[Any, Any], Any]]:
        """Put the edit of a site in place."""
        # The hook tables are written directly: a compiler cannot make a handle, as register_forward_hook does.
        module, (site, edit), owner = self._modules[number], self._edits[number], self._owner
        key = ("attrfunc", number, id(self) if owner else 0)

        def foreign() -> bool:
            return owner != 0 and threading.get_ident() != owner

        shown: list[Any] = []

        def shown_hook(module: nn.Module, args: Any, output: Any) -> Any:
            if self._counts[number] != (site.call or 0):
                return output
            self._require_level(site)
            shown[:] = [edit(output)]
            return shown[0]

        def output_hook(module: nn.Module, args: Any, output: Any) -> Any:
            edited = bool(shown) and output is shown.pop()
            return output if foreign() else self.reach(number, output, edited=edited)

        def input_hook(module: nn.Module, args: Any, kwargs: Any) -> Any:
            if foreign():
                return args, kwargs
            if not args:
                return args, self.reach(number, kwargs)
            if len(args) == 1:
                return (self.reach(number, args[0]),), kwargs
            return self.reach(number, args), kwargs

        entries: list[tuple[Any, Any]]
        if site.side == "output":
            table: dict[Any, Any] = module._forward_hooks
            if table and module is not site.module and not torch.compiler.is_compiling():
                # The user's hooks keep what goes on. One that makes another output of it has that replaced in turn.
                own = list(table.items())
                table.clear()
                table.update([((*key, "shown"), shown_hook), *own])
            entries = [(table, output_hook)]
        else:
            entries = [(module._forward_pre_hooks, input_hook), (module._forward_pre_hooks_with_kwargs, True)]
        for table, entry in entries:
            table[key] = entry
        hooks: dict[Any, Any] = module._forward_hooks
        shown_at = [(hooks, place) for place in hooks if place == (*key, "shown")]
        if isinstance(edit, Given) and self._may_rest(number):
            slots = module.__dict__
            slots["forward"] = lambda *args, **kwargs: None
            return [*((table, key) for table, _ in entries), (slots, "forward")]
        return [*((table, key) for table, _ in entries), *shown_at]

    def _may_rest(self, number: int) -> bool:
        """Whether a module whose output is known need not run: its only effect is that output, and nobody looks in."""
        (site, _), module = self._edits[number], self._modules[number]
        if site.side != "output" or site.call is not None or module is site.module or torch.compiler.is_compiling():
            return False
        if "forward" in module.__dict__:  # of a batch norm that is folded into what lies before it
            return False
        inner = set(site.module.modules())
        if any(other.module in inner for place, (other, _) in enumerate(self._edits) if place != number):
            return False
        return all(
            type(part).__module__.startswith("torch.nn.")
            and "forward" not in part.__dict__
            and not part._forward_hooks
            and not part._forward_pre_hooks
            for part in inner
        )

    def check(self) -> None:
        """Raise where a site was not reached as it should have been."""
        for (site, _), count in zip(self._edits, self._counts, strict=True):
            if count == 0:
                raise ModelError(f"layer {site.name!r} does not run in the model's forward pass. Choose one that does.")
            if site.call is not None and count <= site.call:
                raise ModelError(
                    f"layer {site.name!r} runs {count} time(s); call={site.call} is not among 0 to {count - 1}."
                )
            if site.call is None and count > 1 and not self.stopped:
                raise ModelError(
                    f"layer {site.name!r} runs {count} times in one forward pass. Choose one: call=0 to "
                    f"call={count - 1}, or several: af.layer(..., call=[0, 1], joint=True)."
                )
