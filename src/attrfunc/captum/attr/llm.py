"""The classes that attribute language models; see `attrfunc.text`, which does the work."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from attrfunc.captum.attr.attribution import Attribution, GradientAttribution
from attrfunc.captum.attr.gradient import LayerGradientXActivation
from attrfunc.captum.attr.image_mask_input import ImageMaskInput
from attrfunc.captum.attr.interpretable_input import InterpretableInput, TextTemplateInput, TextTokenInput
from attrfunc.captum.attr.lime import KernelShap, Lime
from attrfunc.captum.attr.llm_result import LLMAttributionResult
from attrfunc.captum.attr.paths import LayerGradientShap, LayerIntegratedGradients
from attrfunc.captum.attr.perturbation import (
    FeatureAblation,
    PerturbationAttribution,
    ShapleyValues,
    ShapleyValueSampling,
)
from attrfunc.captum.explainers import NoFuture
from attrfunc.captum.faces import face
from attrfunc.captum.forms import Options
from attrfunc.core.errors import ArgumentError, describe, positive
from attrfunc.text.continuation import Continuation, continuation
from attrfunc.text.game import Game
from attrfunc.text.rows import Row, evaluator
from attrfunc.text.running import device_of

__all__ = ["BaseLLMAttribution", "LLMAttribution", "LLMGradientAttribution"]

# By so much may one pass over an answer and one for each of its tokens differ.
ROUNDING = 1e-3
GENERATION: dict[str, Any] = {"max_new_tokens": 25, "do_sample": False, "temperature": None, "top_p": None}
# Tokens of an answer whose gradients are taken at once.
AT_ONCE = 8


class BaseLLMAttribution(NoFuture):
    """Base of the classes that attribute language models.

    Args:
        attr_method: An object of one of the supported classes, made of the model.
        tokenizer: The model's tokenizer.
    """

    SUPPORTED_METHODS: ClassVar[tuple[type[Attribution], ...]] = ()
    SUPPORTED_INPUTS: ClassVar[tuple[type[InterpretableInput], ...]] = ()

    def __init__(self, attr_method: Attribution, tokenizer: Any) -> None:
        if not isinstance(attr_method, self.SUPPORTED_METHODS):
            names = ", ".join(kind.__name__ for kind in self.SUPPORTED_METHODS)
            raise ArgumentError(
                "attr_method", describe(attr_method), f"an object of one of {names}", "Take one of them."
            )
        super().__init__(attr_method.forward_func)
        self.attr_method, self.tokenizer = copy.copy(attr_method), tokenizer
        self.model: Any = self.forward_func
        self.device = getattr(self.model, "device", None) or device_of(self.model)

    def _require_input(self, inp: Any) -> None:
        if not isinstance(inp, self.SUPPORTED_INPUTS):
            names = ", ".join(kind.__name__ for kind in self.SUPPORTED_INPUTS)
            raise ArgumentError("inp", describe(inp), f"one of {names}", "Make one of your prompt.")

    def _get_target_tokens(
        self, inp: InterpretableInput, target: str | Tensor | None, gen_args: dict[str, Any] | None
    ) -> Tensor:
        """The tokens of the answer."""
        self._require_input(inp)
        if target is None:
            made = self._generated(inp, gen_args or GENERATION)
        elif gen_args is not None:
            raise ArgumentError("gen_args", describe(gen_args), "None, since the target is given", "Drop one of them.")
        elif isinstance(target, str):
            made = torch.tensor(self.tokenizer.encode(target, add_special_tokens=False))
        else:
            made = target if isinstance(target, Tensor) else torch.empty(0)
        if made.dim() != 1 or made.numel() == 0 or made.is_floating_point():
            raise ArgumentError(
                "target", describe(target), "a text, or its tokens (T,), at least one", "Pass a longer one."
            )
        return made.long().cpu()

    def _generated(self, inp: InterpretableInput, gen_args: dict[str, Any]) -> Tensor:
        if not callable(getattr(self.model, "generate", None)):
            raise ArgumentError("target", "None", "an answer, since the model cannot generate one", "Pass a text.")
        given = self._named(inp.to_model_input())
        tokens: Tensor = self.model.generate(**given, **gen_args)
        return tokens[0][given["input_ids"].shape[1] :]

    def _named(self, model_input: Any) -> dict[str, Any]:
        """What the model takes, by name."""
        if isinstance(model_input, str):
            model_input = self.tokenizer.encode(model_input, return_tensors="pt")
        if isinstance(model_input, Tensor):
            return {"input_ids": model_input.to(self.device)}
        if not isinstance(model_input, Mapping):
            raise ArgumentError(
                "inp", describe(model_input), "a text, tokens, or a dict by name", "See to_model_input."
            )
        return dict(model_input)

    def _shown(self, tokens: Tensor) -> list[str]:
        """The tokens of the answer as texts."""
        return [self.tokenizer.decode(token) for token in tokens.split(1)]


def _answer_by_coalitions(
    model: Any, inp: InterpretableInput, *, explainer: LLMAttribution, further: dict[str, Any], target: Any,
    num_trials: int, gen_args: Any, _inspect_forward: Any, **idle: Any,
) -> LLMAttributionResult:  # fmt: skip
    """Attributions of an answer and of each of its tokens, averaged over trials."""
    tokens = explainer._get_target_tokens(inp, target, gen_args)
    columns = torch.arange(1 + len(tokens) if explainer.include_per_token_attr else 1)
    total = torch.zeros(len(columns), inp.n_itp_features)
    for _ in range(positive("num_trials", num_trials)):
        method = copy.copy(explainer.attr_method)
        method.forward_func = explainer._game(inp._settled(), tokens, _inspect_forward)
        present = torch.ones(len(columns), inp.n_itp_features)
        total += method.attribute(present, target=columns, **further).reshape(total.shape).cpu() / num_trials
    values = inp.format_attr(total)
    return LLMAttributionResult(
        seq_attr=values[0],
        token_attr=values[1:] if explainer.include_per_token_attr else None,
        input_tokens=inp.values,
        output_tokens=explainer._shown(tokens),
        inp=inp,
    )


class LLMAttribution(BaseLLMAttribution):
    """Methods that perturb, for language models; see `attrfunc.text.explain`.

    Args:
        attr_method: An object made of the model.
        tokenizer: The model's tokenizer.
        attr_target: `"log_prob"` or `"prob"`.
    """

    _differs: tuple[str, ...] = (
        "An answer is read in one pass for all of its tokens; Captum's default with a cache is wrong on later "
        "transformers. A model for which that is not what token by token gives (it looks ahead) is run token by token.",
        "Coalitions are run once, several at a time, and one set serves all tokens. Baselines of a template that are "
        "a function are drawn once for each trial, so that coalitions are of one game.",
        "`seq_attr_dict` numbers segments that are alike, and names of tokens are what each decodes to.",
    )

    SUPPORTED_METHODS = (FeatureAblation, ShapleyValueSampling, ShapleyValues, Lime, KernelShap)
    SUPPORTED_PER_TOKEN_ATTR_METHODS = (FeatureAblation, ShapleyValueSampling, ShapleyValues)
    SUPPORTED_INPUTS = (TextTemplateInput, TextTokenInput, ImageMaskInput)

    def __init__(self, attr_method: PerturbationAttribution, tokenizer: Any, attr_target: str = "log_prob") -> None:
        super().__init__(attr_method, tokenizer)
        self.include_per_token_attr = isinstance(attr_method, self.SUPPORTED_PER_TOKEN_ATTR_METHODS)
        if attr_target not in ("log_prob", "prob"):
            raise ArgumentError("attr_target", describe(attr_target), '"log_prob" or "prob"', "Take one of these.")
        self.attr_target = attr_target

    @face(_answer_by_coalitions)
    def attribute(
        self, inp: InterpretableInput, target: str | Tensor | None = None, num_trials: int = 1,
        gen_args: Options = None, use_cached_outputs: bool = True,
        _inspect_forward: Callable[[str, str, list[float]], None] | None = None, forward_in_tokens: bool = True,
        **kwargs: Any,
    ) -> Any: ...  # fmt: skip

    def _game(self, inp: InterpretableInput, tokens: Tensor, inspect: Callable[..., None] | None) -> Game:
        """The game of the prompt: the score of the whole answer, and those of its tokens."""
        evaluate = self._evaluator(inp, tokens)

        def evaluated(rows: Sequence[Any]) -> Tensor:
            logs = evaluate(rows)
            numbers = torch.cat([logs.sum(1, keepdim=True), logs], 1)
            if inspect is not None:
                for row, values in zip(rows, numbers, strict=True):
                    inspect(self._prompt(row), self.tokenizer.decode(tokens), values.exp().tolist())
            return numbers.exp() if self.attr_target == "prob" else numbers

        return Game(_Parts(inp.n_itp_features), lambda mask: self._row(inp, mask), evaluated)  # type: ignore[arg-type]

    def _row(self, inp: InterpretableInput, mask: tuple[bool, ...]) -> Any:
        given = self._named(inp.to_model_input(torch.tensor([mask]).float()))
        return Row(tuple(given["input_ids"][0].tolist())) if set(given) == {"input_ids"} else given

    def _prompt(self, row: Any) -> str:
        ids = torch.tensor(row.ids) if isinstance(row, Row) else row["input_ids"][0]
        text: str = self.tokenizer.decode(ids)
        return text

    def _evaluator(self, inp: InterpretableInput, tokens: Tensor) -> Callable[[Sequence[Any]], Tensor]:
        """Log-probabilities `(rows, T)`: in one pass, where that gives what one for each token does."""
        function = continuation(self.model, tokens)
        row = self._row(inp, (True,) * inp.n_itp_features)
        plain = evaluator(function, None, None)

        def step(rows: Sequence[Any]) -> Tensor:
            return torch.stack([_step_by_step(self.model, one, tokens) for one in rows])

        if len(tokens) == 1:
            return plain
        one, other = plain([row]), step([row])
        return plain if torch.allclose(one, other, rtol=ROUNDING, atol=ROUNDING) else step


class _Parts:
    """So many parts of a prompt."""

    def __init__(self, count: int) -> None:
        self._count = count
        self.full = torch.ones(1, count, dtype=torch.bool)

    def __len__(self) -> int:
        return self._count


def _step_by_step(model: Any, row: Any, tokens: Tensor) -> Tensor:
    """Log-probabilities of an answer, one pass for each token: for models that see what is to come."""
    given = {"input_ids": torch.tensor([row.ids], device=device_of(model))} if isinstance(row, Row) else dict(row)
    found = []
    for token in tokens:
        with torch.no_grad():
            logits = model(**given).logits[:, -1].float()
        found.append(logits.log_softmax(-1)[0, token].cpu())
        following = token.view(1, 1).to(given["input_ids"].device)
        shape = given["input_ids"].shape
        for name, tensor in given.items():
            if name != "input_ids" and isinstance(tensor, Tensor) and tensor.shape == shape:
                more = torch.full_like(following, int(name == "attention_mask"))
                given[name] = torch.cat([tensor, more.to(tensor.dtype)], 1)
        given["input_ids"] = torch.cat([given["input_ids"], following], 1)
    return torch.stack(found)


def _answer_by_gradients(
    model: Any, inp: InterpretableInput, *, explainer: LLMGradientAttribution, further: dict[str, Any], target: Any,
    gen_args: Any,
) -> LLMAttributionResult:  # fmt: skip
    """Attributions of each token of an answer; the answer's are their sum."""
    tokens = explainer._get_target_tokens(inp, target, gen_args)
    assert isinstance(inp, TextTokenInput)
    method = copy.copy(explainer.attr_method)
    method.forward_func = _Presence(continuation(explainer.model, tokens), inp)
    present = inp.to_tensor().to(explainer.device)
    # The answer is read once forward for all of its tokens; samples are drawn for each, as in Captum.
    if isinstance(method, LayerGradientShap) or len(tokens) == 1:
        found = [explainer._attributed(method, present, number, further) for number in range(len(tokens))]
        values = torch.cat(found)
    else:
        one = lambda number: explainer._attributed(method, present, number, further)[0]  # noqa: E731
        places = torch.arange(len(tokens), device=explainer.device)
        values = torch.vmap(one, chunk_size=AT_ONCE, randomness="same")(places)
    values = values.sum(-1).cpu()[:, : inp.inp_tensor.shape[1]]
    if inp.itp_mask is not None:
        values = values[:, inp.itp_mask[0]]
    return LLMAttributionResult(
        seq_attr=values.sum(0),
        token_attr=values,
        input_tokens=inp.values,
        output_tokens=explainer._shown(tokens),
    )


class LLMGradientAttribution(BaseLLMAttribution):
    """Methods that take gradients, for language models; see `attrfunc.text.explain`.

    Args:
        attr_method: An object made of the model and its layer of embeddings.
        tokenizer: The model's tokenizer.
    """

    SUPPORTED_METHODS = (LayerGradientShap, LayerGradientXActivation, LayerIntegratedGradients)
    SUPPORTED_INPUTS = (TextTokenInput,)

    def __init__(self, attr_method: GradientAttribution, tokenizer: Any) -> None:
        super().__init__(attr_method, tokenizer)

    @face(_answer_by_gradients)
    def attribute(
        self, inp: InterpretableInput, target: str | Tensor | None = None, gen_args: Options = None, **kwargs: Any
    ) -> Any: ...

    def _attributed(self, method: Any, present: Tensor, number: Any, kwargs: dict[str, Any]) -> Tensor:
        found = method.attribute(present, target=number, **kwargs)
        if not isinstance(found, Tensor):
            raise ArgumentError(
                "return_convergence_delta", "True", "attributions alone", "af.text.explain tells the gap of each token."
            )
        return found.detach()


class _Presence(nn.Module):
    """The log-probabilities of an answer as a function of which tokens of the prompt are present."""

    def __init__(self, function: Continuation, inp: TextTokenInput) -> None:
        super().__init__()
        self.function, self._inp = function, inp
        self.training = False

    def forward(self, present: Tensor) -> Tensor:
        numbers: Tensor = self.function(self._inp.to_model_input(present))
        return numbers
