"""How does a network know where an exon ends? CI-SpliceAI on the first exons of human beta-globin, base by base.

    python examples/splice_site.py [--output examples-output]

The network has 700,000 weights, of which its package holds a frozen TensorFlow graph; its layers are those of SpliceAI
with 10,000 bases of context (Jaganathan et al. 2019, https://doi.org/10.1016/j.cell.2018.12.015). It gives each base
probabilities to end an intron (acceptor), to end an exon (donor), or neither. What is explained are the logits of the
donor behind the first exon and of the acceptor in front of the second: introns begin with GT and end with AG.

DeepLIFT compares with bases that are nothing in particular, a quarter of each. Mutagenesis puts the three other bases
in the place of each one near the site, and averages what that costs.
"""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

import attrfunc as af
from graph_def import constants

EXON = (
    "ACATTTGCTTCTGACACAACTGTGTTCACTAGCAACCTCAAACAGACACCATGGTGCATCTGACTCCTGAGGAGAAGTCTGCCGTTACTGCCCTGTGGGG"
    "CAAGGTGAACGTGGATGAAGTTGGTGGTGAGGCCCTGGGCAG"
)
INTRON = (
    "GTTGGTATCAAGGTTACAAGACAGGTTTAAGGAGACCAATAGAAACTGGGCATGTGGAGACAGAGAAGACTCTTGGGTTTCTGATAGGCACTGACTCTCT"
    "CTGCCTATTGGTCTATTTTCCCACCCTTAG"
)
NEXT = (
    "GCTGCTGGTGGTCTACCCTTGGACCCAGAGGTTCTTTGAGTCCTTTGGGGATCTGTCCACTCCTGATGCTGTTATGGGCAACCCTAAGGTGAAGGCTCATGGCAAGAAAGTGC"
)
BASES, CONTEXT, NEAR = "ACGT", 5000, 6
DONOR, ACCEPTOR = len(EXON) - 1, len(EXON) + len(INTRON)  # the last base of an exon, and the first of the next


class SpliceNet(nn.Module):
    """Residual convolutions over ever wider surroundings, with weights of the first of the package's five networks."""

    def __init__(self, held: dict[str, Tensor]) -> None:
        super().__init__()
        self.first, self.skip = convolution(held, 1), convolution(held, 2)
        self.groups, self.skips, number, norms = nn.ModuleList(), nn.ModuleList(), 3, 1
        for dilation in (1, 4, 10, 25):
            units = nn.ModuleList()
            for _ in range(4):
                pair = [norm_relu_convolution(held, norms + k, number + k, dilation) for k in (0, 1)]
                units.append(nn.Sequential(*pair[0], *pair[1]))
                number, norms = number + 2, norms + 2
            self.groups.append(units)
            self.skips.append(convolution(held, number))
            number += 1
        self.last = convolution(held, number)

    def forward(self, x: Tensor) -> Tensor:
        """Logits `(B, 3, L)` (neither, acceptor, donor) of bases `(B, 4, L)`."""
        hidden = self.first(nn.functional.pad(x, (CONTEXT, CONTEXT)))
        found = self.skip(hidden)
        for units, skip in zip(self.groups, self.skips, strict=True):
            for unit in units:
                hidden = hidden + unit(hidden)
            found = found + skip(hidden)
        return self.last(found[..., CONTEXT:-CONTEXT])


def convolution(held: dict[str, Tensor], number: int, dilation: int = 1) -> nn.Conv1d:
    """A convolution of the graph."""
    weight = held[f"model_1/conv1d_{number}/conv1d/ExpandDims_1/ReadVariableOp/resource"].permute(2, 1, 0)
    made = nn.Conv1d(weight.shape[1], weight.shape[0], weight.shape[2], padding="same", dilation=dilation)
    made.load_state_dict({"weight": weight, "bias": held[f"model_1/conv1d_{number}/BiasAdd/ReadVariableOp/resource"]})
    return made


def norm_relu_convolution(held: dict[str, Tensor], norm: int, number: int, dilation: int) -> list[nn.Module]:
    """Half a residual unit."""
    at = f"model_1/batch_normalization_{norm}/batchnorm"
    variance, mean, bias = (held[f"{at}/ReadVariableOp{end}/resource"] for end in ("", "_1", "_2"))
    made = nn.BatchNorm1d(len(mean), eps=1e-3)
    made.weight.data, made.bias.data = held[f"{at}/mul/ReadVariableOp/resource"], bias
    made.running_mean, made.running_var = mean, variance
    return [made, nn.ReLU(), convolution(held, number, dilation)]


class Found(NamedTuple):
    """What was found.

    Attributes:
        probabilities: Of the donor and the acceptor.
        strongest: The two bases of the intron's end to which DeepLIFT gives most within 6 bases, for both.
        costs: What mutations of each base near the donor cost its logit, `(12,)`.
        gap: What DeepLIFT's attributions of both miss of the logits' changes.
    """

    probabilities: tuple[float, float]
    strongest: tuple[str, str]
    costs: Tensor
    gap: float


def main(arguments: Sequence[str] | None = None) -> Found:
    """Explain, draw and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("examples-output"))
    options = parser.parse_args(arguments)
    options.output.mkdir(parents=True, exist_ok=True)

    package = Path(importlib.util.find_spec("cispliceai").origin).parent  # not imported: it asks for TensorFlow
    model, text = SpliceNet(constants(package / "data" / "CI-SpliceAI.pb")).eval(), EXON + INTRON + NEXT
    x = nn.functional.one_hot(torch.tensor([[BASES.index(base) for base in text]]), 4).mT.float()
    with torch.no_grad():
        probabilities = model(x).softmax(1)
    seen = {"donor": (2, DONOR), "acceptor": (1, ACCEPTOR)}
    shares, gaps, strongest = {}, [], []
    for name, target in seen.items():
        lifted = af.deep_lift(model, x, baseline=0.25, target=target)
        gaps.append(af.completeness_gap(model, x, lifted, baseline=0.25, target=target).abs().item())
        shares[name] = lifted.sum((0, 1))
        window = slice(target[1] - NEAR, target[1] + NEAR)
        best = shares[name][window].topk(2).indices.sort().values + window.start
        strongest.append("".join(text[place] for place in best))
        chance = probabilities[0, target[0], target[1]].item()
        print(f"{name} with probability {chance:.3f}: most is said by {strongest[-1]}; DeepLIFT misses {gaps[-1]:.0e}")

    near = slice(DONOR - NEAR + 1, DONOR + NEAR + 1)

    def of_window(part: Tensor) -> Tensor:
        """The donor's logit, of sequences that differ near it alone."""
        before, after = (x[..., side].expand(len(part), -1, -1) for side in (slice(near.start), slice(near.stop, None)))
        return model(torch.cat([before, part, after], 2))[:, 2, DONOR]

    mutated = af.in_silico_mutagenesis(of_window, x[..., near])
    costs = -mutated.sum(1)[0] / 3  # of the three other bases
    names = [f"{text[place]} {place - DONOR:+d}" for place in range(near.start, near.stop)]
    figure = af.viz.bars(costs, names=names, top=10, unit="logits that a mutation costs", title="the donor")
    figure.savefig(options.output / "splice_site.png")
    print(f"mutations cost most at {names[int(costs.argmax())]}; see {options.output / 'splice_site.png'}")
    sites = tuple(float(probabilities[0, kind, place]) for kind, place in seen.values())
    return Found(sites, tuple(strongest), costs, max(gaps))


if __name__ == "__main__":
    main()
