"""Which layers and heads carry a fact? Attribution patching and EAP-IG, checked against real patching.

    python examples/attribution_patching.py

Two prompts of equal length differ in one name. Patching runs the model on the corrupt prompt with one activation of the
clean one, and sees how much of the answer comes back: one run for each activation. Attribution patching (Syed et al.
2023, arXiv:2310.10348) takes the gradient there instead, and integrated gradients between the two activations (EAP-IG,
Hanna et al. 2024, arXiv:2403.17806) some points on the way: all activations in a few passes. Both are methods of this
library at a view of the layer, with the corrupt prompt as the baseline.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

import attrfunc as af
import language

CLEAN = "When Mary and John went to the store, John gave a drink to"
CORRUPT = "When Mary and John went to the store, Mary gave a drink to"
ANSWER, FOIL = " Mary", " John"
LAYERS = (14, 18, 20, 22, 24)


class Found(NamedTuple):
    """What was found, for the heads of some layers.

    Attributes:
        layers: Scores of whole layers, from conductance: in one pass for all.
        patched: What each head alone brings back, `(layers, heads)`.
        gradients: Attribution patching's estimates of that.
        integrated: EAP-IG's.
        change: What there is to bring back.
    """

    layers: Tensor
    patched: Tensor
    gradients: Tensor
    integrated: Tensor
    change: float


def patch(model: Any, tokenizer: Any, layers: Sequence[int] = LAYERS, *, n_steps: int = 5) -> Found:
    """Scores of layers and heads, estimated and patched."""
    clean, corrupt = (torch.tensor([tokenizer(text).input_ids]) for text in (CLEAN, CORRUPT))
    assert clean.shape == corrupt.shape
    answer, foil = (tokenizer(text).input_ids for text in (ANSWER, FOIL))
    says = af.text.continuation(model, answer, foil=foil)
    heads = model.config.num_attention_heads
    names = [f"model.model.layers.{layer}" for layer in layers]
    inputs = af.layer(says, [f"{name}.self_attn.o_proj" for name in names], side="input")
    embedding = af.layer(says, "model.model.embed_tokens")
    whole = af.conductance(embedding, clean, layer=names, baseline=corrupt, target=0, n_steps=n_steps)
    integrated = af.ig(inputs, clean, baseline=corrupt, target=0, n_steps=n_steps)
    # The gradient at the corrupt prompt, times the way from there: integrated gradients' first point.
    slopes = af.saliency(inputs, corrupt, target=0, absolute=False)
    ends = [af.activation(inputs, ids) for ids in (clean, corrupt)]
    gradients = [slope * (one - other) for slope, one, other in zip(slopes, *ends, strict=True)]
    with torch.no_grad():
        low, high = float(says(corrupt)), float(says(clean))
    pairs = zip(names, ends[0], strict=True)
    patched = torch.stack([_patched(says, name, corrupt, there, heads) for name, there in pairs])
    return Found(
        torch.stack([layer.sum() for layer in whole]),
        patched - low,
        torch.stack([_by_head(one, heads) for one in gradients]),
        torch.stack([_by_head(one, heads) for one in integrated]),
        high - low,
    )


def _by_head(values: Tensor, heads: int) -> Tensor:
    return values.unflatten(-1, (heads, -1)).sum((0, 1, 3))


def _patched(says: Any, name: str, corrupt: Tensor, clean: Tensor, heads: int) -> Tensor:
    """The score with each head's output of the clean prompt in the place of its own: really run, one for each."""
    module = says.get_submodule(f"{name}.self_attn.o_proj")
    found = []
    for head in range(heads):
        size = clean.shape[-1] // heads
        place = slice(head * size, (head + 1) * size)

        def put(_: Any, args: tuple[Tensor, ...], place: slice = place) -> tuple[Tensor]:
            changed = args[0].clone()
            changed[..., place] = clean[..., place]
            return (changed,)

        handle = module.register_forward_pre_hook(put)
        try:
            with torch.no_grad():
                found.append(says(corrupt)[0, 0])
        finally:
            handle.remove()
    return torch.stack(found)


def main() -> Found:
    """Patch, and print what was found."""
    found = patch(*language.load())
    print(f"{CLEAN}{ANSWER}, not {FOIL}: {found.change:.2f} nats between the two prompts")
    for layer, score in zip(LAYERS, found.layers.tolist(), strict=True):
        print(f"  layer {layer}: {score:+.2f} nats pass through it (conductance)")
    for name, estimate in (("attribution patching", found.gradients), ("EAP-IG", found.integrated)):
        both = torch.stack([estimate.flatten(), found.patched.flatten()])
        print(f"{name}: correlation with patching {estimate.numel()} heads {float(torch.corrcoef(both)[0, 1]):.3f}")
    layer, head = divmod(int(found.patched.argmax()), found.patched.shape[1])
    most = float(found.patched[layer, head])
    print(f"the head that brings back most: {head} of layer {LAYERS[layer]}, {most:+.2f} nats")
    return found


if __name__ == "__main__":
    main()
