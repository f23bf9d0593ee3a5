"""Recurrent layers written out, one step and one gate at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from attrfunc.core.errors import ModelError
from attrfunc.core.model.visible import operation

__all__ = ["RECURRENT", "gated"]

State = tuple[Tensor, ...]
Cell = Callable[[Tensor, State, Sequence[Tensor]], State]


@operation
def gated(gate: Tensor, signal: Tensor) -> Tensor:
    """A gate times what it lets through, as an operation of its own: rule books may tell the two apart."""
    return gate * signal


def _lstm_cell(x: Tensor, state: State, weights: Sequence[Tensor]) -> State:
    hidden, memory = state
    into, keep, new, out = _gates(x, hidden, weights).chunk(4, -1)
    memory = gated(torch.sigmoid(keep), memory) + gated(torch.sigmoid(into), torch.tanh(new))
    hidden = gated(torch.sigmoid(out), torch.tanh(memory))
    projected = len(weights) in (3, 5)
    return F.linear(hidden, weights[-1]) if projected else hidden, memory


def _gru_cell(x: Tensor, state: State, weights: Sequence[Tensor]) -> State:
    (hidden,) = state
    biases = weights[2:] or (None, None)
    reset, update, new = F.linear(x, weights[0], biases[0]).chunk(3, -1)
    reset_h, update_h, new_h = F.linear(hidden, weights[1], biases[1]).chunk(3, -1)
    new = torch.tanh(new + gated(torch.sigmoid(reset + reset_h), new_h))
    return (new + gated(torch.sigmoid(update + update_h), hidden - new),)


def _simple_cell(activation: Callable[[Tensor], Tensor]) -> Cell:
    return lambda x, state, weights: (activation(_gates(x, state[0], weights)),)


def _gates(x: Tensor, hidden: Tensor, weights: Sequence[Tensor]) -> Tensor:
    biases = weights[2:4] if len(weights) >= 4 else (None, None)
    return F.linear(x, weights[0], biases[0]) + F.linear(hidden, weights[1], biases[1])


def _layers(cell: Cell, many_states: bool) -> Callable[..., Any]:
    """The function of a whole recurrent network, with the arguments of `torch.lstm` and its like."""

    def run(x: Tensor, start: Any, flat: Any, *rest: Any) -> Any:
        if not isinstance(rest[0], bool):
            raise ModelError(
                "torch.func cannot differentiate packed sequences. Pass the padded tensor to the recurrent layer."
            )
        _, count, _, _, both, batch_first = rest
        steps = list(x.unbind(1 if batch_first else 0))
        starts, ways = list(start) if many_states else [start], 2 if both else 1
        each = len(flat) // (count * ways)
        ends: list[State] = []
        for layer in range(count):
            found = []
            for number in range(layer * ways, (layer + 1) * ways):
                weights = flat[number * each : (number + 1) * each]
                outputs, state = _over_time(cell, steps, [s[number] for s in starts], weights, number % ways == 1)
                found.append(outputs)
                ends.append(state)
            steps = [torch.cat(pair, -1) for pair in zip(*found, strict=True)] if both else found[0]
        output = torch.stack(steps, 1 if batch_first else 0)
        return (output, *(torch.stack(states) for states in zip(*ends, strict=True)))

    return run


def _over_time(
    cell: Cell, steps: list[Tensor], start: list[Tensor], weights: Any, backwards: bool
) -> tuple[list[Tensor], State]:
    state, outputs = tuple(start), []
    for x in reversed(steps) if backwards else steps:
        state = cell(x, state, weights)
        outputs.append(state[0])
    return (outputs[::-1] if backwards else outputs), state


def _single(cell: Cell) -> Callable[..., Any]:
    """The function of one step, with the arguments of `torch.lstm_cell` and its like."""

    def run(x: Tensor, start: Any, w_ih: Tensor, w_hh: Tensor, b_ih: Any = None, b_hh: Any = None) -> Any:
        several = not isinstance(start, Tensor)
        weights = [w_ih, w_hh] if b_ih is None else [w_ih, w_hh, b_ih, b_hh]
        state = cell(x, tuple(start) if several else (start,), weights)
        return state if several else state[0]

    return run


_CELLS: dict[str, Cell] = {
    "lstm": _lstm_cell,
    "gru": _gru_cell,
    "rnn_tanh": _simple_cell(torch.tanh),
    "rnn_relu": _simple_cell(torch.relu),
}

RECURRENT: dict[str, Callable[..., Any]] = {
    **{name: _layers(cell, name == "lstm") for name, cell in _CELLS.items()},
    **{f"{name}_cell": _single(cell) for name, cell in _CELLS.items()},
}
"""What torch's recurrent operations compute, with their arguments."""
