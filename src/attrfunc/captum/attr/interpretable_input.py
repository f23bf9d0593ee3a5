"""Inputs that are put together from the presence of their parts: templates, tokens."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from attrfunc.core.errors import ArgumentError, describe

__all__ = ["InterpretableInput", "TextTemplateInput", "TextTokenInput", "grouped"]

Values = list[str] | dict[str, str]


class InterpretableInput(ABC):
    """What a model is given, as a function of which of its parts are present.

    Attributes:
        n_itp_features: Number of parts, n.
        values: What each of them is, as text.
    """

    n_itp_features: int
    values: list[str]

    @abstractmethod
    def to_tensor(self) -> Tensor:
        """All parts present, `(1, n)`."""

    @abstractmethod
    def to_model_input(self, perturbed_tensor: Tensor | None = None) -> Any:
        """What the model is given.

        Args:
            perturbed_tensor: Which parts are present, `(1, n)` ones and zeros; None for all.
        """

    def format_attr(self, itp_attr: Tensor) -> Tensor:
        """Attributions `(..., n)` as they are shown."""
        return itp_attr

    def _settled(self) -> InterpretableInput:
        """The same, with what is drawn at random drawn once."""
        return self


def grouped(mask: list[Any]) -> tuple[list[int], list[Any]]:
    """Numbers from 0 for the identifiers of groups, and the identifiers in that order."""
    names = list(set(mask))
    return [names.index(one) for one in mask], names


class TextTemplateInput(InterpretableInput):
    """A text with segments that are replaced by others where they are absent.

    Baselines that are a function are drawn once for an attribution, so that all coalitions are of one game.

    Args:
        template: A text with fields, or a function of the segments.
        values: The segments, by place or by name.
        baselines: What stands in their places, likewise, or a function that gives it; nothing by default.
        mask: Numbers of groups of segments, likewise, that come and go together.
    """

    def __init__(
        self,
        template: str | Callable[..., str],
        values: Values,
        baselines: Values | Callable[[], Values] | None = None,
        mask: list[int] | dict[str, int] | None = None,
    ) -> None:
        if not isinstance(values, list | dict):
            raise _wrong("values", values, "a list or a dict of texts")
        self.dict_keys = list(values) if isinstance(values, dict) else []
        self.values = list(values.values()) if isinstance(values, dict) else values
        self.n_features = len(self.values)
        self.baselines: Any = baselines if callable(baselines) else self._listed(baselines, "baselines", "")
        self.mask = None if mask is None else self._listed(mask, "mask", 0)
        numbers, names = grouped(self.mask) if self.mask is not None else (list(range(self.n_features)), self.values)
        self.formatted_mask, self.n_itp_features = numbers, len(names)
        if not isinstance(template, str) and not callable(template):
            raise _wrong("template", template, "a text with fields, or a function")
        self.template = template
        self.format_fn: Callable[..., str] = template.format if isinstance(template, str) else template

    def _listed(self, given: Any, name: str, default: Any) -> list[Any]:
        """One entry for each segment."""
        if given is None:
            return [default] * self.n_features
        kind = "dict with the names of values" if self.dict_keys else "list as long as values"
        if self.dict_keys and isinstance(given, dict) and set(given) == set(self.dict_keys):
            return [given[key] for key in self.dict_keys]
        if not self.dict_keys and isinstance(given, list) and len(given) == self.n_features:
            return given
        raise _wrong(name, given, f"a {kind}")

    def to_tensor(self) -> Tensor:
        """All segments present, `(1, n)`."""
        return torch.ones(1, self.n_itp_features)

    def to_model_input(self, perturbed_tensor: Tensor | None = None) -> str:
        """The text with some segments present."""
        chosen = list(self.values)
        if perturbed_tensor is not None:
            drawn = callable(self.baselines)
            baselines = self._listed(self.baselines(), "baselines", "") if drawn else self.baselines
            for place, number in enumerate(self.formatted_mask):
                if not perturbed_tensor[0][number]:
                    chosen[place] = baselines[place]
        if self.dict_keys:
            return self.format_fn(**dict(zip(self.dict_keys, chosen, strict=True)))
        return self.format_fn(*chosen)

    def format_attr(self, itp_attr: Tensor) -> Tensor:
        """Each segment gets the attribution of its group."""
        return itp_attr[..., self.formatted_mask] if self.mask is not None else itp_attr

    def _settled(self) -> TextTemplateInput:
        if not callable(self.baselines):
            return self
        settled = copy.copy(self)
        settled.baselines = self._listed(self.baselines(), "baselines", "")
        return settled


class TextTokenInput(InterpretableInput):
    """The tokens of a text, which are replaced by another one where they are absent.

    Args:
        text: The text.
        tokenizer: The tokenizer.
        baselines: The token that stands for absent ones, by number or as text.
        skip_tokens: Tokens that are always present, likewise.
    """

    itp_mask: Tensor | None

    def __init__(
        self,
        text: str,
        tokenizer: Any,
        baselines: int | str = 0,
        skip_tokens: list[int] | list[str] | None = None,
    ) -> None:
        self.inp_tensor: Tensor = tokenizer.encode(text, return_tensors="pt")
        self.itp_tensor, self.itp_mask = self.inp_tensor, None
        if skip_tokens:
            texts = isinstance(skip_tokens[0], str)
            skip_tokens = tokenizer.convert_tokens_to_ids(skip_tokens) if texts else skip_tokens
            self.itp_mask = ~torch.isin(self.inp_tensor, torch.tensor(skip_tokens))
            self.itp_tensor = self.inp_tensor[self.itp_mask].unsqueeze(0)
            if self.itp_tensor.numel() == 0:
                raise _wrong("skip_tokens", skip_tokens, "tokens that are not all of the text's")
        self.skip_tokens, self.tokenizer = skip_tokens, tokenizer
        self.values = tokenizer.convert_ids_to_tokens(self.itp_tensor[0].tolist())
        self.n_itp_features = len(self.values)
        if isinstance(baselines, str):
            baselines = int(tokenizer.convert_tokens_to_ids([baselines])[0])
        self.baselines = baselines

    def to_tensor(self) -> Tensor:
        """All tokens present, `(1, n)`."""
        return torch.ones_like(self.itp_tensor)

    def to_model_input(self, perturbed_tensor: Tensor | None = None) -> Tensor:
        """The tokens `(K, L)`, with some of them replaced."""
        if perturbed_tensor is None:
            return self.inp_tensor
        rows, device = len(perturbed_tensor), perturbed_tensor.device
        itp = self.itp_tensor.to(device).expand(rows, -1)
        chosen = torch.where(perturbed_tensor == 1, itp, torch.full_like(itp, self.baselines))
        if self.itp_mask is None:
            return chosen
        whole = self.inp_tensor.to(device).expand(rows, -1)
        mask = self.itp_mask.to(device).expand(rows, -1)
        return whole.masked_scatter(mask, chosen)


def _wrong(argument: str, got: object, expected: str) -> ArgumentError:
    return ArgumentError(argument, describe(got), expected, "See the documentation of the class.")
