"""What the classes of language models give."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from attrfunc.captum.attr.image_mask_input import ImageMaskInput, draw_segments
from attrfunc.core.errors import ArgumentError, describe

__all__ = ["LLMAttributionResult"]


class LLMAttributionResult:
    """Attributions of an answer to the parts of a prompt.

    Args:
        input_tokens: The parts, n.
        output_tokens: The tokens of the answer, T.
        seq_attr: Attributions of the whole answer, `(n,)`.
        token_attr: Those of each token, `(T, n)`.
        output_probs: The probabilities of the tokens, `(T,)`.
        inp: The input.
    """

    def __init__(
        self,
        *,
        input_tokens: list[str],
        output_tokens: list[str],
        seq_attr: Any,
        token_attr: Any = None,
        output_probs: Any = None,
        inp: Any = None,
    ) -> None:
        self.input_tokens, self.output_tokens, self.inp = input_tokens, output_tokens, inp
        self.seq_attr = self._fitting("seq_attr", seq_attr, (len(input_tokens),))
        shape = (len(output_tokens), len(input_tokens))
        self.token_attr = None if token_attr is None else self._fitting("token_attr", token_attr, shape)
        self.output_probs = None if output_probs is None else self._fitting("output_probs", output_probs, shape[:1])

    @staticmethod
    def _fitting(name: str, given: Any, shape: tuple[int, ...]) -> Tensor:
        made = given if isinstance(given, Tensor) else torch.as_tensor(given)
        if made.shape != shape:
            raise ArgumentError(name, describe(made), f"shape {shape}", "One number for each part of the prompt.")
        return made

    @property
    def seq_attr_dict(self) -> dict[str, float]:
        """Attributions of the whole answer by parts; a part that occurs again is numbered, where Captum drops one."""
        found: dict[str, float] = {}
        for name, value in zip(self.input_tokens, self.seq_attr.cpu().tolist(), strict=True):
            again, key = 1, name
            while key in found:
                again += 1
                key = f"{name} ({again})"
            found[key] = value
        return found

    def plot_token_attr(self, show: bool = False) -> Any:
        """Draw the attributions of each token of the answer; figure and axes, or None if shown."""
        if self.token_attr is None:
            raise ArgumentError(
                "token_attr", "None", "attributions of each token", "Call plot_seq_attr for those of the whole answer."
            )
        import matplotlib.pyplot as plt

        values = self.token_attr.detach().cpu().float().numpy()
        height, width = values.shape
        figure, axes = plt.subplots(figsize=(max(width * 1.3, 6.4), max(height / 2.5, 4.8)), facecolor="white")
        axes.grid(False)
        most = float(abs(values).max())
        image = axes.imshow(values, vmin=-most, vmax=most, cmap=_colours(), aspect="auto")
        figure.colorbar(image, ax=axes).ax.set_ylabel("Token Attribution", rotation=-90, va="bottom")
        axes.set_xticks(range(width), labels=list(map(_shown, self.input_tokens)))
        axes.set_yticks(range(height), labels=list(map(_shown, self.output_tokens)))
        _labels_above(axes, plt)
        for row in range(height):
            for column in range(width):
                value = float(values[row, column])
                colour = "black" if 0.2 < image.norm(value) < 0.8 else "white"
                axes.text(column, row, f"{value:.4f}", ha="center", va="center", color=colour)
        return _given(figure, axes, plt, show)

    def plot_seq_attr(self, show: bool = False) -> Any:
        """Draw the attributions of the whole answer as bars; figure and axes, or None if shown."""
        import matplotlib.pyplot as plt

        values = self.seq_attr.detach().cpu().float().tolist()
        figure, axes = plt.subplots(figsize=(max(len(values) / 2, 6.4), max(len(values) / 4, 4.8)), facecolor="white")
        axes.set_xticks(range(len(values)), labels=list(map(_shown, self.input_tokens)))
        _labels_above(axes, plt)
        axes.bar(range(len(values)), [max(value, 0) for value in values], color="#4772b3")
        axes.bar(range(len(values)), [min(value, 0) for value in values], color="#d0365b")
        axes.set_ylabel("Sequence Attribution", rotation=90, va="bottom")
        return _given(figure, axes, plt, show)

    def plot_image_heatmap(
        self,
        show: bool = False,
        target_token_pos: int | tuple[int, int] | None = None,
        border_width: int = 2,
        show_legends: bool = True,
    ) -> Any:
        """Draw the attributions over the image; figure and axes, or None if shown.

        Args:
            show: Whether to show the figure.
            target_token_pos: A token of the answer, or from which to behind which; None for the whole.
            border_width: Of the segments, in pixels.
            show_legends: Whether to number them.
        """
        if not isinstance(self.inp, ImageMaskInput):
            raise ArgumentError("inp", describe(self.inp), "an ImageMaskInput", "Explain one, then draw it.")
        chosen = self.seq_attr
        if target_token_pos is not None:
            if self.token_attr is None:
                raise ArgumentError("token_attr", "None", "attributions of each token", "Pass target_token_pos=None.")
            single = isinstance(target_token_pos, int)
            span: Any = slice(target_token_pos, target_token_pos + 1) if single else slice(*target_token_pos)  # type: ignore
            chosen = self.token_attr[span].sum(0)
        import matplotlib.pyplot as plt

        figure, axes = plt.subplots(facecolor="white")
        axes.imshow(self.inp.image.convert("L"), cmap="gray")
        pixels = self.inp.format_pixel_attr(chosen.detach().cpu().float())
        most = float(pixels.abs().max()) or 1.0
        colours = _colours()
        heat = axes.imshow(pixels.numpy(), vmin=-most, vmax=most, cmap=colours, alpha=0.8)
        figure.colorbar(heat, ax=axes).ax.set_ylabel("Attribution", rotation=-90, va="bottom")
        shades = [colours((float(value) / most + 1) / 2) for value in chosen]
        darker = [(*(0.7 * part for part in shade[:3]), 0.8) for shade in shades]
        draw_segments(axes, self.inp, border_width, show_legends, darker)
        axes.axis("off")
        return _given(figure, axes, plt, show)


def _shown(text: str) -> str:
    """A part of a text in one line; a dollar would begin a formula."""
    line = repr(text)[1:-1].replace("$", r"\$")
    return line if len(line) <= 50 else line[:47] + "..."


def _labels_above(axes: Any, plt: Any) -> None:
    axes.tick_params(top=True, bottom=False, labeltop=True, labelbottom=False)
    plt.setp(axes.get_xticklabels(), rotation=-30, ha="right", rotation_mode="anchor")


def _colours() -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("RdWhGn", ["red", "white", "green"])


def _given(figure: Any, axes: Any, plt: Any, show: bool) -> Any:
    if not show:
        return figure, axes
    plt.show()
    return None
