"""Recurrent layers written out, one step and one gate at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from attrfunc.core.visible import operation

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

    def run(x: Tensor, *rest: Any) -> Any:
        if isinstance(rest[2], bool):
            start, flat, biased, count, _, _, both, batch_first = rest
        else:
            sizes, start, flat, biased, count, _, _, both = rest
            return packed(x, sizes, start, flat, biased, count, both)
        x = x.transpose(0, 1) if batch_first else x
        output, states = over_layers(list(x.unbind(0)), start, flat, biased, count, both, None)
        output_tensor = torch.stack(output, 1 if batch_first else 0)
        return (output_tensor, *states)

    def packed(x: Tensor, sizes: Tensor, start: Any, flat: Any, biased: bool, count: int, both: bool) -> Any:
        lengths = sizes.tolist()
        output, states = over_layers(list(x.split(lengths)), start, flat, biased, count, both, lengths)
        return (torch.cat(output), *states)

    def over_layers(
        steps: list[Tensor], start: Any, flat: Any, biased: bool, count: int, both: bool, lengths: list[int] | None
    ) -> tuple[list[Tensor], list[Tensor]]:
        starts = list(start) if many_states else [start]
        ways = 2 if both else 1
        each = len(flat) // (count * ways)
        ends: list[State] = []
        for layer in range(count):
            found = []
            for way in range(ways):
                number = layer * ways + way
                weights = flat[number * each : (number + 1) * each]
                outputs, state = over_time(steps, [s[number] for s in starts], weights, way == 1, lengths)
                found.append(outputs)
                ends.append(state)
            steps = [torch.cat(pair, -1) for pair in zip(*found, strict=True)] if both else found[0]
        return steps, [torch.stack(states) for states in zip(*ends, strict=True)]

    def over_time(
        steps: list[Tensor], start: list[Tensor], weights: Any, backwards: bool, lengths: list[int] | None
    ) -> tuple[list[Tensor], State]:
        state, outputs = tuple(start), []
        for x in reversed(steps) if backwards else steps:
            rows = x.shape[0] if lengths is not None else None
            moved = cell(x, tuple(part if rows is None else part[:rows] for part in state), weights)
            # Sequences that have ended, or not begun yet, keep their state.
            state = (
                moved
                if rows is None
                else tuple(torch.cat([new, old[rows:]]) for new, old in zip(moved, state, strict=True))
            )
            outputs.append(moved[0])
        return (outputs[::-1] if backwards else outputs), state

    return run


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
