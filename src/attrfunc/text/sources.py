"""What a prompt is made of: fixed text, and contents that may lose parts and are then put together again."""

from __future__ import annotations

import re
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from attrfunc.core.errors import ArgumentError, describe
from attrfunc.text.cutting import Span

__all__ = ["Chat", "Source", "Template", "Text", "as_source"]


@dataclass(frozen=True)
class Text:
    """A text as it is.

    Attributes:
        contents: The text, as the only content.
        special: Whether the tokenizer adds its special tokens.
    """

    contents: tuple[str, ...]
    special: bool = True

    def assemble(self, contents: Sequence[str]) -> tuple[str, list[Span]]:
        """The text with other contents, and where these lie in it."""
        return contents[0], [(0, len(contents[0]))]


@dataclass(frozen=True)
class Template:
    """Texts around values: `pieces[0] + values[0] + pieces[1] + ...`."""

    pieces: tuple[str, ...]
    contents: tuple[str, ...]
    special: bool = True

    def assemble(self, contents: Sequence[str]) -> tuple[str, list[Span]]:
        """The text with other values, and where these lie in it."""
        text, spans = self.pieces[0], []
        for value, piece in zip(contents, self.pieces[1:], strict=True):
            spans.append((len(text), len(text) + len(value)))
            text += value + piece
        return text, spans


@dataclass(frozen=True)
class Chat:
    """Messages, which the tokenizer's chat template renders; its marks are no content.

    Attributes:
        messages: The messages.
        contents: What each of them says.
        tokenizer: The tokenizer.
        special: The template writes the special tokens itself.
    """

    messages: tuple[Mapping[str, Any], ...]
    contents: tuple[str, ...]
    tokenizer: Any
    special: bool = False

    def assemble(self, contents: Sequence[str]) -> tuple[str, list[Span]]:
        """The rendered messages with other contents, and where these lie.

        Contents are found by marks that stand in their place: what one of them says may occur elsewhere.
        """
        text, marks = self._render(contents), [f"\ue000{number}\ue001" for number in range(len(contents))]
        parts = re.split("\ue000\\d+\ue001", self._render(marks))
        stripped = [content.strip() for content in contents]
        for chosen in (list(contents), stripped):
            if len(parts) == len(chosen) + 1:
                joined, spans = Template(tuple(parts), tuple(chosen)).assemble(chosen)
                if joined == text:
                    return joined, spans
        return text, _found(text, stripped)

    def _render(self, contents: Sequence[str]) -> str:
        messages = [{**message, "content": said} for message, said in zip(self.messages, contents, strict=True)]
        # A conversation that ends with words of the assistant is continued there.
        last = self.messages[-1].get("role") == "assistant"
        how = {"continue_final_message": True} if last and contents[-1] else {"add_generation_prompt": not last}
        rendered: str = self.tokenizer.apply_chat_template(messages, tokenize=False, **how)
        return rendered


def _found(text: str, contents: Sequence[str]) -> list[Span]:
    """Where contents lie one after the other."""
    spans, start = [], 0
    for content in contents:
        place = text.find(content, start)
        if place < 0:
            raise ArgumentError(
                "source",
                f"messages of which {content[:40]!r} is not in what the chat template makes of them",
                "a template that writes contents as they are",
                "Render the messages yourself, and pass the text with `by` as spans.",
            )
        spans.append((place, place + len(content)))
        start = place + len(content)
    return spans


Source = Text | Template | Chat


def as_source(tokenizer: Any, source: Any) -> Source:
    """A text, messages, or a template with its values.

    Raises:
        ArgumentError: If it is none of these, or empty.
    """
    if isinstance(source, str):
        _require_text(source)
        return Text((source,))
    if isinstance(source, tuple) and len(source) == 2 and isinstance(source[0], str):
        return _template(*source)
    if isinstance(source, Sequence) and source and all(isinstance(one, Mapping) for one in source):
        return _chat(tokenizer, source)
    raise ArgumentError(
        "source",
        describe(source),
        "a text, a list of messages, or a template (text, values)",
        'For example "The sky is", [{"role": "user", "content": "Hello"}], or ("I am {} from {}.", ["Ann", "Rome"]).',
    )


def _require_text(text: str) -> None:
    if not text.strip():
        raise ArgumentError("source", f"the text {text!r}", "a prompt that says something", "Pass a longer one.")


def _template(text: str, values: Any) -> Template:
    try:
        fields = list(string.Formatter().parse(text))
    except ValueError as error:
        raise ArgumentError(
            "source", f"the template {text!r}", f"fields in braces ({error})", "Write {{ for a {."
        ) from None
    pieces: list[str] = [""]
    names: list[str] = []
    for literal, name, spec, conversion in fields:
        pieces[-1] += literal
        if name is not None:
            if spec or conversion:
                raise ArgumentError(
                    "source", f"a field {{{name}}} with a format", "plain fields", "Format the value itself."
                )
            names.append(name or str(len(names)))
            pieces.append("")
    given = values if isinstance(values, Mapping) else {str(number): value for number, value in enumerate(values)}
    if not names or sorted(given) != sorted(set(names)) or len(set(names)) != len(names):
        raise ArgumentError(
            "source",
            f"values for {sorted(map(str, given))}",
            f"one value for each of the fields {names}, each of which stands once",
            "Values are a list for fields {} or a dict for named ones.",
        )
    contents = tuple(given[name] for name in names)
    for value in contents:
        if not isinstance(value, str) or not value:
            raise ArgumentError("source", f"the value {value!r}", "texts as values", "Pass str(value).")
    return Template(tuple(pieces), contents)


def _chat(tokenizer: Any, messages: Sequence[Mapping[str, Any]]) -> Chat:
    if not getattr(tokenizer, "chat_template", None):
        raise ArgumentError(
            "source",
            "messages, for a tokenizer without a chat template",
            "a tokenizer of a chat model",
            "Write the prompt as a text.",
        )
    contents = []
    for message in messages:
        said = message.get("content")
        if not isinstance(said, str):
            raise ArgumentError(
                "source", f"a message with content {describe(said)}", "texts as contents", "Pass images by `render`."
            )
        contents.append(said)
    _require_text("".join(contents))
    return Chat(tuple(dict(message) for message in messages), tuple(contents), tokenizer)
