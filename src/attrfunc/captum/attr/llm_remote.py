"""Language models behind a server; see `attrfunc.text.remote_game`."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from attrfunc.captum.attr.interpretable_input import InterpretableInput
from attrfunc.captum.attr.llm import LLMAttribution
from attrfunc.captum.attr.perturbation import PerturbationAttribution
from attrfunc.core.errors import ArgumentError, ModelError, describe
from attrfunc.text.remote import concurrently
from attrfunc.text.server import asked, posted

__all__ = ["RemoteLLMAttribution", "RemoteLLMProvider", "VLLMProvider"]


class RemoteLLMProvider(ABC):
    """A server that tells log-probabilities of a given answer."""

    api_url: str

    @abstractmethod
    def generate(self, prompt: str, **gen_args: Any) -> str:
        """What the model says after a prompt."""

    @abstractmethod
    def get_logprobs(self, input_prompt: str, target_str: str, tokenizer: Any = None) -> list[float]:
        """The log-probabilities of the answer's tokens after a prompt."""


class VLLMProvider(RemoteLLMProvider):
    """A server of vLLM, or another one with OpenAI's interface and its `prompt_logprobs`.

    It needs no further package. The key is read from the variable `OPENAI_API_KEY`.

    Args:
        api_url: Where the interface is, up to `/v1`.
        model_name: The model; the server's first one by default.
    """

    _differs: tuple[str, ...] = (
        "It needs no package of OpenAI's, and finds the tokens of an answer by their texts; providers are asked from "
        "several threads.",
    )

    timeout = 60.0

    def __init__(self, api_url: str, model_name: str | None = None) -> None:
        if not isinstance(api_url, str) or not api_url.strip():
            raise ArgumentError("api_url", describe(api_url), "an address", "For example http://localhost:8000/v1.")
        self.api_url = api_url.rstrip("/")
        self._key = os.getenv("OPENAI_API_KEY", "EMPTY")
        if model_name is None:
            listed = self._answer(asked, "models")
            models = listed.get("data") if isinstance(listed, dict) else None
            if not models:
                raise ModelError(f"the server at {api_url} has no models. Start it with one, or pass model_name.")
            model_name = models[0]["id"]
        self.model_name: str = model_name

    def generate(self, prompt: str, **gen_args: Any) -> str:
        """What the model says after a prompt; `max_new_tokens` is understood, and `do_sample` ignored."""
        given = {name: value for name, value in gen_args.items() if name != "do_sample" and value is not None}
        given["max_tokens"] = given.pop("max_new_tokens", given.get("max_tokens", 25))
        text = self._choice(prompt, given).get("text")
        if not isinstance(text, str):
            raise ModelError("the server gave no text.")
        return text

    def get_logprobs(self, input_prompt: str, target_str: str, tokenizer: Any = None) -> list[float]:
        """The log-probabilities of the answer's tokens after a prompt."""
        if not target_str:
            raise ArgumentError("target_str", "an empty text", "an answer", "Pass one.")
        given = {"max_tokens": 1, "temperature": 0.0, "prompt_logprobs": 0}
        told = self._choice(input_prompt + target_str, given).get("prompt_logprobs")
        if not isinstance(told, list) or not told:
            raise ModelError(
                "the server gave no log-probabilities of the prompt (`prompt_logprobs`, which vLLM knows). See "
                "attrfunc.text.completions for servers that echo them, or attrfunc.text.remote_game for any number."
            )
        entries = [next(iter(one.values())) if one else {} for one in told]
        return _of_answer(entries, target_str, tokenizer)

    def _answer(self, ask: Callable[[str, str, float], Any], what: str) -> Any:
        """What the server answers, or an error that names it, which may be tried again."""
        try:
            return ask(f"{self.api_url}/{what}", self._key, self.timeout)
        except OSError as error:
            raise ConnectionError(
                f"VLLMProvider: the server at {self.api_url} does not answer ({error}). See that it runs, and that "
                "this is its address up to /v1."
            ) from error

    def _choice(self, prompt: str, given: dict[str, Any]) -> dict[str, Any]:
        body = {"model": self.model_name, "prompt": prompt, **given}
        found = self._answer(lambda place, *rest: posted(place, body, *rest), "completions")
        choices = found.get("choices") if isinstance(found, dict) else None
        if not choices:
            raise ModelError("the server gave no choices.")
        return dict(choices[0])


def _of_answer(entries: list[dict[str, Any]], target: str, tokenizer: Any) -> list[float]:
    """The last entries: those whose tokens make up the answer, or as many as the tokenizer says.

    How the answer alone is read tells nothing of how it is read behind a prompt, so the tokens' texts decide.
    """
    taken, said = 0, ""
    if all(isinstance(entry.get("decoded_token"), str) for entry in entries[1:]):
        while taken < len(entries) and len(said) < len(target):
            taken += 1
            said = str(entries[-taken].get("decoded_token")) + said
        if said != target:
            raise ModelError(
                f"the server reads {said!r} where the answer {target!r} was expected: its beginning is one token with "
                "the end of the prompt. Let white space begin the answer and not end the prompt."
            )
    elif tokenizer is None:
        raise ArgumentError("tokenizer", "None", "the model's tokenizer, since the server tells no tokens", "Pass it.")
    else:
        taken = len(tokenizer.encode(target, add_special_tokens=False))
    numbers = [entry.get("logprob") for entry in entries[len(entries) - taken :]]
    if len(numbers) != taken or any(number is None for number in numbers):
        raise ModelError(f"the server gave log-probabilities {numbers} for the {taken} tokens of the answer.")
    return [float(number) for number in numbers]  # type: ignore[arg-type]


class _PlaceholderModel:
    """Stands for the model where there is none at hand."""

    device = torch.device("cpu")

    def __call__(self, *args: Any, **kwargs: Any) -> int:
        return 0


class RemoteLLMAttribution(LLMAttribution):
    """Methods that perturb, for a language model behind a server. Requests go out `workers` at a time.

    Args:
        attr_method: An object made of `RemoteLLMAttribution.placeholder_model`.
        tokenizer: The model's tokenizer.
        provider: The server.
        attr_target: `"log_prob"` or `"prob"`.
    """

    placeholder_model = _PlaceholderModel()
    workers = 8
    timeout = 600.0

    def __init__(
        self,
        attr_method: PerturbationAttribution,
        tokenizer: Any,
        provider: RemoteLLMProvider,
        attr_target: str = "log_prob",
    ) -> None:
        super().__init__(attr_method=attr_method, tokenizer=tokenizer, attr_target=attr_target)
        self.provider = provider

    def _generated(self, inp: InterpretableInput, gen_args: dict[str, Any]) -> Tensor:
        said = self.provider.generate(self._text(inp.to_model_input()), **gen_args)
        return torch.tensor(self.tokenizer.encode(said, add_special_tokens=False))

    def _text(self, model_input: Any) -> str:
        text: str = self.tokenizer.decode(model_input.flatten()) if isinstance(model_input, Tensor) else model_input
        return text

    def _row(self, inp: InterpretableInput, mask: tuple[bool, ...]) -> Any:
        return self._text(inp.to_model_input(torch.tensor([mask]).float()))

    def _prompt(self, row: Any) -> str:
        return str(row)

    def _evaluator(self, inp: InterpretableInput, tokens: Tensor) -> Callable[[Sequence[Any]], Tensor]:
        target = self.tokenizer.decode(tokens)

        def request(prompt: str) -> list[float]:
            found = self.provider.get_logprobs(input_prompt=prompt, target_str=target, tokenizer=self.tokenizer)
            if len(found) != len(tokens):
                raise ModelError(
                    f"the provider gave {len(found)} log-probabilities for the {len(tokens)} tokens of the answer. See "
                    "that it takes the tokenizer's model, and let white space begin the answer."
                )
            return list(map(float, found))

        def evaluate(prompts: Sequence[str]) -> Tensor:
            return torch.tensor(concurrently(request, prompts, self.workers, self.timeout, self.timeout))

        return evaluate
