"""The stateless call: a twin of the user's model that shares its tensors and nothing else.

A twin is what `copy.deepcopy` would make, with tensors that are shared and only read: whatever forward writes
(attributes, containers, buffers, hooks of its own, weights in place) lands on the twin, and is put back before the next
evaluation. The user's model is never written to.
"""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedTensorMixin  # type: ignore[attr-defined]

from attrfunc.core.errors import ModelError
from attrfunc.core.model.code import BELOW, OUTSIDE, may_write
from attrfunc.core.model.copier import Copier, is_simple
from attrfunc.core.model.copies import Clones, original
from attrfunc.core.model.engines import wrapped
from attrfunc.core.model.folding import Pair, folded
from attrfunc.core.model.guard import Guard, Written, address
from attrfunc.core.model.parts import model_root, replaced
from attrfunc.core.model.traced import Traced

# Models that wrote nothing when they were watched: to look at every operation takes a tenth of a small network's time.
_HARMLESS: weakref.WeakKeyDictionary[Any, dict[Any, list[Any]]] = weakref.WeakKeyDictionary()

__all__ = ["Twin"]

# Their inference fast path has no gradient.
_FAST = (nn.MultiheadAttention, nn.TransformerEncoderLayer)


class Twin:
    """A callable that computes what `model` computes, on copies of its parts, from the same state at every call.

    It is made when it is first needed. A model of torch's own layers, which write nothing, needs no copy until
    something is put into it.

    Args:
        model: A module, a bound method of a module, or any other callable. The tensors of a module are detached: no
            graph to the parameters is built. Those that a plain callable closes over are not, since the caller may be
            training them.
        tensors: Parameters and buffers to use in place of the model's own, by name. Every slot that holds one physical
            tensor (tied weights) gets the same replacement.
        shares: Whether torch's own layers may keep their very tensors, as `restore` is told.
        folds: Convolutions and batch norms that are computed as one.

    Attributes:
        writes_arguments: Whether forward writes into what it is called with, as far as has been seen.
        detached: Whether no tensor in it requires a gradient that anyone could ask for.
        simple: Whether it is made of torch's own modules alone, which keep nothing.
        verified: Sites that are known to be reached once in each run.
        folds: Convolutions and batch norms that are computed as one.
    """

    def __init__(
        self,
        model: Callable[..., Any],
        tensors: Mapping[str, Tensor] | None = None,
        *,
        shares: bool = False,
        folds: Sequence[Pair] = (),
    ) -> None:
        root = model_root(model)
        self._model, self.detached = model, root is not None
        self._bound: dict[int, Tensor] = {}  # by the identity of the model's own
        self._replaced: dict[int, str] = {}  # by where it lies
        self._volatile: set[int] = set()  # where the tensors lie that forward writes
        self._arguments: set[int] = set()
        self.writes_arguments = False
        if tensors:
            self._replace(model, tensors)
        self._shared = dict(self._bound)
        self.verified: set[Any] = set()
        self._modules: dict[nn.Module, nn.Module] | None = None
        self._call: Callable[..., Any] | None = None
        self.simple = self._trusted = True
        self._shares, self._owns, self.folds = shares, False, tuple(folds)
        self._clones_all = self._runs_again = False
        if torch.compiler.is_compiling():
            self._modules = {}
            self._call = Traced(self._tensor, self._modules).rebound(model)
            return
        self._model = original(model)
        self._parts = list(root.modules()) if root is not None else []
        # What torch's own modules do is known: they keep nothing, and write nothing but what they give.
        self.simple = root is not None and all(map(is_simple, self._parts))
        training = [part for part in self._parts if part.training and not isinstance(part, torch.jit.ScriptModule)]
        self._volatile = {address(slot) for part in training for slot in part._buffers.values() if slot is not None}

    @property
    def parts(self) -> Iterable[nn.Module]:
        """The model's modules, those of the user."""
        return self._parts if self.simple and not torch.compiler.is_compiling() else self.modules

    @property
    def modules(self) -> dict[nn.Module, nn.Module]:
        """The twin of each of the model's modules."""
        if self._modules is None:
            self._build(self._shares)
        assert self._modules is not None
        return self._modules

    def may_skip(self) -> bool:
        """Whether it may have layers that take a fast path for inference, which has no gradient."""
        if torch.compiler.is_compiling():
            return True
        # What a plain callable runs is not known.
        return not self.parts or any(isinstance(part, _FAST) for part in self.parts)

    def folded(self, pairs: Sequence[Pair]) -> Twin:
        """The same, in which these convolutions and batch norms, and no others, are computed as one."""
        if not self.folds and not pairs:
            return self
        twin = copy.copy(self)
        twin.folds, twin._modules, twin._call = tuple(pairs), None, None
        return twin

    def _build(self, shares: bool) -> None:
        """Copy the model, with tensors that forward writes copied, too."""
        self._shares = shares and not (self._bound or self._volatile or self._owns)
        self._shared, self._clones, self._read_only = dict(self._bound), Clones(), set[int]()
        self._shared_by_layers: set[int] | None = None
        changes = {part: held for pair in self.folds for part, held in folded(pair).items()}
        journal = self._runs_again and not self.simple
        self._copier = Copier(self._tensor, journal=journal, shares=self._shares, changes=changes)
        self._modules = self._copier.modules
        self._call = self._copier(self._model)
        self._fresh = True
        self._copier.called.add(getattr(self._model, "__name__", ""))
        code = frozenset() if self.simple else frozenset(map(type, self._modules)), frozenset(self._copier.called)
        self._owns = self._owns or may_write(*code)
        if self._owns and self._shares:
            self._build(False)
            return
        if may_write(*code, only=OUTSIDE):
            self._copier.opaque = True
        if may_write(*code, only=BELOW) and not self._clones_all:
            self._clones_all = True
            self._build(False)
            return
        # Scripted code does not run under every mode that looks below it. Torch's own modules write nothing, and read
        # no tensor but those that a copy reaches.
        self._trusted = self._copier.scripted or self.simple

    def restore(self, *, shares: bool = False) -> None:
        """Put back the state that the model has, whatever an evaluation has left.

        Args:
            shares: Whether torch's own layers may keep their very tensors, which nobody then may differentiate through.
        """
        if torch.compiler.is_compiling():
            return
        if self._modules is None and self.simple and shares and not (self._bound or self.folds):
            self._call = self._model  # as it is
        elif self._modules is None or (self._shares and not shares):
            self._build(shares)
            self._fresh = self.simple
        elif self._fresh:
            self._fresh = self.simple
        elif self._volatile or self._clones_all or self._copier.opaque or not self._runs_again:
            self._runs_again = True  # for one run nothing need be noted down
            self._build(shares)
            self._fresh = False
        else:
            self._copier.restore()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the model from its own state."""
        while True:
            self.restore()
            try:
                copied_args, copied_kwargs = self.copied((args, kwargs))
                return self.run(copied_args, copied_kwargs)
            except Written:  # it starts anew, with a copy of what it was about to write into
                continue

    def run(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call the model, in the state that `restore` has put back.

        Args:
            args: Its positional arguments, as `copied` gives them.
            kwargs: Its keyword arguments.

        Raises:
            Written: If it is about to write into a tensor of the user's, once for each: restore it and call again.
            ModelError: If it reads a tensor that was replaced.
        """
        assert self._call is not None
        try:
            if self._trusted or self._is_harmless():
                return self._call(*args, **kwargs)
            protected = self._protected() | (set() if self.writes_arguments else self._arguments)
            with Guard(protected - {0}, self._replaced) as guard:
                output = self._call(*args, **kwargs)
        except Written as written:
            if written.address in self._arguments:
                self.writes_arguments = True
            if written.address in self._protected():
                self._volatile.add(written.address)
                self._fresh = False
            raise
        except RuntimeError as error:
            # A transform stops a write before the guard sees it. Copies that are made inside of it may be written.
            if "mutate a captured Tensor" not in str(error) or (self._clones_all and self.writes_arguments):
                raise
            self._clones_all = self.writes_arguments = True
            self._modules = None
            raise Written(0) from error
        owner = getattr(self._model, "__self__", self._model)
        # What reads numbers may do other things, with other numbers.
        if isinstance(owner, nn.Module) and not (self._volatile or self.writes_arguments or guard.reads_numbers):
            _HARMLESS.setdefault(owner, {})[self._way()] = self._copier.seen
        return output

    def _protected(self) -> set[int]:
        """Where the tensors lie that belong to the user."""
        if self._shares and self._shared_by_layers is None:
            tables = (table for part in self.modules for table in (part._parameters, part._buffers))
            self._shared_by_layers = {address(held) for table in tables for held in table.values() if held is not None}
        return self._read_only | (self._shared_by_layers or set())

    def _is_harmless(self) -> bool:
        """Whether this model wrote nothing when it was watched, and its code does not look as if it would."""
        owner = getattr(self._model, "__self__", self._model)
        if not isinstance(owner, nn.Module) or self._owns or self._replaced:
            return False
        return _HARMLESS.get(owner, {}).get(self._way()) == self._copier.seen

    def _way(self) -> tuple[Any, ...]:
        """How it is called. Under rules operations may be left out that write."""
        modes = torch._C._len_torch_function_stack()
        innermost = type(torch._C._get_function_stack_at(modes - 1)) if modes else None
        return getattr(self._model, "__name__", ""), torch.is_grad_enabled(), innermost

    def copied(self, values: Any) -> Any:
        """Arguments that may be written into: containers and objects are copied, and tensors where need be."""
        if torch.compiler.is_compiling() or not any(values):
            return values
        clones, every = Clones(), self.writes_arguments
        self._arguments = set()

        def tensor(value: Tensor) -> Tensor:
            self._arguments.add(address(value))
            return clones(value) if every or value.is_inference() else value

        return Copier(tensor)(values)

    def trained(self) -> Iterable[Tensor]:
        """The tensors of the user's that may require a gradient; the model's own are detached from now on."""
        if self._shares:
            self._owns, self._modules = True, None
        names = getattr(getattr(self._model, "__code__", None), "co_names", ())
        found = [getattr(self._model, "__globals__", {}).get(name) for name in names]
        reached = (p for module in found if isinstance(module, nn.Module) for p in module.parameters())
        return () if self.detached else (*self._shared.values(), *reached)

    def _replace(self, model: Callable[..., Any], tensors: Mapping[str, Tensor]) -> None:
        found = replaced(model, tensors)
        self._bound = {id(slot): tensor for _, slot, tensor in found}
        if torch.compiler.is_compiling():
            return
        # What is mapped or differentiated may wrap the very tensor that it stands for.
        own = {address(tensor) for _, _, tensor in found}
        self._replaced = {address(slot): name for name, slot, _ in found if address(slot) not in own | {0}}

    def _tensor(self, tensor: Tensor) -> Tensor:
        known = self._shared.get(id(tensor))
        if known is None:
            if isinstance(tensor, UninitializedTensorMixin):
                raise ModelError(
                    "the model has parameters without a shape yet. Run it once on an example, then attribute."
                )
            known = tensor
            if not torch.compiler.is_compiling():
                place = address(tensor)
                if place and (self._clones_all or place in self._volatile):
                    known = self._clones(tensor)
                else:
                    self._read_only.add(place)
            known = self._shared[id(tensor)] = _detached(tensor, known) if self.detached else known
        return known


def _detached(tensor: Tensor, value: Tensor) -> Tensor:
    """A value of a tensor, without its graph, and a parameter where that is one."""
    if not isinstance(tensor, nn.Parameter) or torch.compiler.is_compiling() or wrapped(value):
        return value.detach()
    parameter = nn.Parameter(value if type(value) in (Tensor, nn.Parameter) else value.detach(), requires_grad=False)
    if tensor.__dict__:
        parameter.__dict__.update(tensor.__dict__)  # what libraries of quantised weights keep there
    return parameter
