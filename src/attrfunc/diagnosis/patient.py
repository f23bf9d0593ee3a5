"""A model on a batch, examined by one method after the other."""

from __future__ import annotations

import copy
import inspect
import time
import warnings
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from attrfunc.core.errors import ArgumentError, AttributionError, ModelError
from attrfunc.core.model.parts import model_root, unsettled
from attrfunc.core.score.baseline import activation_baseline
from attrfunc.core.score.target import canonical
from attrfunc.core.score.views import layer as at_layer
from attrfunc.core.trees import batch_size
from attrfunc.diagnosis import anatomy
from attrfunc.diagnosis.case import INTERACTIONS, Case
from attrfunc.diagnosis.comparing import Match, agreement, match, rounding
from attrfunc.diagnosis.hand import Hand
from attrfunc.diagnosis.memory import peak
from attrfunc.diagnosis.recipes import Recipe
from attrfunc.diagnosis.report import Finding
from attrfunc.diagnosis.state import State

__all__ = ["Patient"]

SLOW, NOTICED = 3.0, 0.05  # times as slow as by hand, and seconds that are worth telling
PATIENCE = 10.0  # seconds: what takes longer is called once


@dataclass(frozen=True)
class _Called:
    """One call of a method: its numbers, or why there are none."""

    leaves: list[Tensor] | None = None
    seconds: float = 0.0
    refused: str = ""
    failed: str = ""
    warned: tuple[str, ...] = ()
    drew: bool = False


class Patient:
    """A model on a batch, with what is known of it.

    Args:
        model: The model.
        x: The input.
        memory: Whether to measure memory.
        given: Target, baseline, layer, and further arguments of the model.
    """

    def __init__(self, model: Any, x: Any, memory: bool, given: dict[str, Any]) -> None:
        self._model, self._x, self._given = model, x, given
        self._rest = {"args": given["args"], "kwargs": given["kwargs"]}
        self._state, self._measures, self.notes = State(model), memory, list[str]()
        rows = batch_size(x)
        if not rows:
            raise ArgumentError("x", "a batch of no example", "two or three of the model's inputs", "Pass x[:3], say.")
        hand = self._hand = Hand(model, x, given["args"], given["kwargs"], rows)
        self.device = hand.end[0].device
        self.target = self._aim(hand, given["target"])
        self.told_target = (
            "the largest output" if given["target"] is None and self.target is not None else _told(given["target"])
        )
        hand.start = anatomy.start_of(hand, given["baseline"])
        self.spread = anatomy.draws(hand)
        self.stirs = anatomy.stirs(hand)
        hand.apart = not anatomy.coupled(hand)
        self.seconds = anatomy.forward_seconds(hand)
        self.memory = self._forward_memory() if memory else None
        self._layers = anatomy.layers_of(hand)
        root = model_root(model)
        self.parameters = sum(p.numel() for p in root.parameters()) if root is not None else 0
        ids, groups = anatomy.groups_of(hand)
        layer = given["layer"]
        cam, units = layer or self._layers.cam, layer or self._layers.units
        self.case = Case(x, rows, hand, ids, groups, given["baseline"], cam, units)
        self._note(root)

    def _aim(self, hand: Hand, target: Any) -> Any:
        try:
            with torch.no_grad():
                output = hand.output()
        except Exception as error:
            message = str(error).splitlines()[0] if str(error) else ""
            raise ModelError(
                f"the model does not run on `x`: {type(error).__name__}: {message}. Try model(x) first; further "
                "arguments go into args= and kwargs=, and a tuple is spread over the model's arguments."
            ) from error
        target = anatomy.largest(output, hand.rows) if target is None else target
        hand.index = canonical(target, hand.rows)
        hand.scores()  # raises, where the target does not fit
        return target

    def _forward_memory(self) -> int | None:
        model = self._hand.fresh()
        with torch.no_grad():
            return peak(lambda: self._hand.output(model=model), self.device)[1]

    def _note(self, root: Any) -> None:
        hand, notes = self._hand, self.notes
        culprits = unsettled(root.modules()) if root is not None else []
        if culprits:
            kinds = ", ".join(dict.fromkeys(type(part).__name__ for part in culprits))
            notes.append(f"the model is in training mode ({kinds}); call model.eval() before you explain it")
        if self.spread > 0:
            notes.append(
                f"its scores are random: two runs differ by {self.spread:.1%}. No method can be compared with anything"
            )
        elif not hand.apart:
            notes.append("its examples depend on each other: what is attributed is the sum of the scores of the batch")
        if self.stirs and not self.spread > 0:
            notes.append(
                "forward sets or draws from torch's global source of randomness, so no method is judged by that"
            )
        if rounding(hand.end) > 0:
            notes.append("autocast is on: what is compared is rounded as it says")
        written = anatomy.writes(hand)
        if written:
            notes.append(f"forward writes {', '.join(written[:3])}{' and more' if len(written) > 3 else ''}")
        if not all(leaf.is_floating_point() for leaf in hand.end):
            where = self._layers.embedding
            notes.append(
                f"its inputs have no gradient; methods that need one are taken at the embeddings, layer {where!r}"
                if where
                else "its inputs have no gradient, and no embedding was found"
            )
        if not hand.copies and root is not None:
            notes.append("it cannot be copied by copy.deepcopy, so the comparisons run on copies that attrfunc makes")

    def examine(self, recipe: Recipe) -> Finding:
        """Try one method."""
        case, view, options = self._prepared(recipe)
        if recipe.layer and self._placed(recipe)["layer"] is None:
            said = "no layer was found that runs once and gives one tensor of the batch: pass layer="
            return Finding(recipe.method.__name__, "refused", said=said)
        told = ", ".join(_option(name, {**options(), **self._placed(recipe)}) for name in recipe.told)
        blank = Finding(recipe.method.__name__, "", options=told)
        if recipe.method.__name__ == "integrated_hessians" and case.hand.end[0][0].numel() > INTERACTIONS:
            return replace(blank, verdict="refused", said=f"not tried with more than {INTERACTIONS} features")
        first = self._call(recipe, view, self._x, options())
        said = "; ".join(first.warned)
        changed = self._state.change()
        if changed:
            self._state = State(self._model)
            return replace(blank, verdict="wrong", said=changed)
        if first.leaves is None:
            verdict = "refused" if first.refused else "failed"
            return replace(blank, verdict=verdict, said=first.refused or first.failed)
        timed = replace(blank, seconds=first.seconds, ratio=first.seconds / self.seconds, said=said)
        if self._measures and first.seconds < PATIENCE:
            timed = replace(timed, memory=self._memory(recipe, view, options()))
        if self.spread > 0:
            verdict = "warned" if said else "unjudged"
            return replace(timed, verdict=verdict, said=said or "its scores are random, which nothing has told")
        return self._judged(recipe, case, view, options, first, timed)

    def _judged(self, recipe: Recipe, case: Case, view: Any, options: Any, first: _Called, timed: Finding) -> Finding:
        assert first.leaves is not None
        if first.drew and not self.stirs:
            return replace(timed, verdict="wrong", said="it draws from torch's global source of randomness")
        found, seconds = match(recipe, case, first.leaves)
        if found.expected:
            slow = found.loops and first.seconds > NOTICED and first.seconds > SLOW * seconds
            if slow:  # the first call of a kind may load parts of torch
                first = min(first, self._call(recipe, view, self._x, options()), key=lambda called: called.seconds)
                slow = first.seconds > NOTICED and first.seconds > SLOW * seconds
                timed = replace(timed, seconds=first.seconds, ratio=first.seconds / self.seconds)
            said = "; ".join(filter(None, [timed.said, found.said]))
            judged = replace(timed, verdict=found.verdict, check=recipe.check, error=found.error, slow=slow, said=said)
            if found.verdict != "right" or first.seconds > PATIENCE:
                return judged
            again = self._again(recipe, case, view, options, first, alone=False)
            found_out = again.verdict in ("wrong", "failed")
            return replace(judged, verdict=again.verdict, said=again.said) if found_out else judged
        if first.seconds > PATIENCE:
            said = "; ".join(filter(None, [timed.said, "it was called once, since it takes long"]))
            return replace(timed, verdict="unjudged", said=said)
        again = self._again(recipe, case, view, options, first, alone=True)
        said = "; ".join(filter(None, [timed.said, again.said, found.said]))
        return replace(timed, verdict=again.verdict, check=again.check, said=said)

    def _again(self, recipe: Recipe, case: Case, view: Any, options: Any, first: _Called, *, alone: bool) -> Match:
        """Whether other ways to call it give the same: once more, in smaller chunks, one example by itself."""
        assert first.leaves is not None
        ways = ["twice"]
        chunked = {"chunk_size": case.rows} if "chunk_size" in inspect.signature(recipe.method).parameters else {}
        if chunked:
            ways.append("in chunks")
        second = self._call(recipe, view, self._x, {**options(), **chunked})
        if second.leaves is None:
            verdict = "failed" if second.failed else "wrong"
            return Match(verdict, said=f"in chunks of the batch: {second.refused or second.failed}")

        def nearest() -> list[Tensor] | None:
            return self._call(recipe, view, self._nearest(), options()).leaves

        found = agreement(first.leaves, second.leaves, nearest)
        if found.verdict == "wrong":
            return replace(
                found, said=f"called again with {chunked or 'the same'} it gives other numbers: {found.said}"
            )
        if alone and case.rows > 1 and case.hand.apart and not (self._given["args"] or self._given["kwargs"]):
            one = self._alone(recipe, view, options())
            if not recipe.draws and one is not None:
                part = [leaf[:1] for leaf in first.leaves]
                single = agreement(part, one, lambda: [leaf[:1] for leaf in nearest() or ()] or None)
                if single.verdict == "wrong":
                    return replace(single, said=f"the first example by itself gets other numbers: {single.said}")
                found = single if single.said else found
                ways.append("one example alone")
        told = ": the same" if not found.said else ": other numbers "
        return replace(found, check=", ".join(ways) + told + found.said, said="")

    def _nearest(self) -> Any:
        """The input as near as rounding allows."""
        return pytree.tree_unflatten(self._hand.moved().end, self._hand.spec)

    def _alone(self, recipe: Recipe, view: Any, options: dict[str, Any]) -> list[Tensor] | None:
        x = pytree.tree_map(lambda leaf: leaf[:1], self._x)
        kept = self.target
        self.target = kept[:1] if isinstance(kept, list) or (isinstance(kept, Tensor) and kept.dim()) else kept
        try:
            return self._call(recipe, view, x, options).leaves
        finally:
            self.target = kept

    def _prepared(self, recipe: Recipe) -> tuple[Case, Any, Any]:
        """The case and the view for a method, and what makes its options."""
        case, view = self.case, self._model
        where = self._layers.embedding
        if recipe.place == "embedding" and where and not all(leaf.is_floating_point() for leaf in case.hand.end):
            hand = self._at_embedding(where)
            case, view = replace(case, hand=hand, baseline=activation_baseline()), at_layer(self._model, where)
        return case, view, lambda: recipe.options(case)

    def _at_embedding(self, where: str) -> Hand:
        hand = copy.copy(self._hand)
        hand.layer = where
        hand.end = [hand.activation(where).detach()]
        hand.start = [torch.zeros_like(hand.end[0])]
        return hand

    def _placed(self, recipe: Recipe) -> dict[str, Any]:
        if not recipe.layer:
            return {}
        return {"layer": self.case.cam if recipe.layer == "cam" else self.case.units}

    def _call(self, recipe: Recipe, view: Any, x: Any, options: dict[str, Any]) -> _Called:
        """Call a method, and keep what it says."""
        given = {**self._rest, **options, **self._placed(recipe)}
        if "target" in inspect.signature(recipe.method).parameters:
            given["target"] = self.target
        torch.manual_seed(0)
        before, start = torch.get_rng_state(), time.perf_counter()
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            try:
                result = recipe.method(view, x, **given)
                anatomy.wait(self.device)
            except AttributionError as error:
                return _Called(refused=str(error).removeprefix(f"{recipe.method.__name__}: "))
            except Exception as error:
                return _Called(failed=f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")
        seconds = time.perf_counter() - start
        name = recipe.method.__name__
        warned = dict.fromkeys(str(one.message) for one in heard if str(one.message).startswith(f"{name}: "))
        leaves = [leaf.detach() for leaf in pytree.tree_leaves(result) if isinstance(leaf, Tensor)]
        drew = not torch.equal(before, torch.get_rng_state())
        return _Called(leaves, seconds, warned=tuple(w.removeprefix(f"{name}: ") for w in warned), drew=drew)

    def _memory(self, recipe: Recipe, view: Any, options: dict[str, Any]) -> int | None:
        called: _Called
        called, most = peak(lambda: self._call(recipe, view, self._x, options), self.device)
        return most if called.leaves is not None else None


def _told(target: Any) -> str:
    text = "one number per example" if target is None else repr(target)
    return text if len(text) <= 60 else text[:57] + "..."


def _option(name: str, options: dict[str, Any]) -> str:
    value = options.get(name)
    return f"{name}={value}"
