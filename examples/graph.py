"""Why is a member of the karate club on this side? A graph network, whose examples depend on each other.

    python examples/graph.py [--output examples-output] [--member 8]

Zachary's karate club parted in two. A network of two convolutions over the graph knows the sides of two members only,
and tells those of all others. Its nodes are rows, so the score of one depends on its neighbours: the library notices
that, and evaluates the whole graph at every point. Members who are more than two steps away have no share at all.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import networkx as nx
import torch
from torch import Tensor, nn

import attrfunc as af


class Found(NamedTuple):
    """What was found.

    Attributes:
        accuracy: How many members are on the right side.
        shares: What each member adds to the score, `(34,)`.
        gap: What the shares miss of the score's change.
        near: The members within two steps.
    """

    accuracy: float
    shares: Tensor
    gap: float
    near: set[int]


class GraphNet(nn.Module):
    """Two convolutions over a graph."""

    def __init__(self, nodes: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(nodes, 8), nn.Linear(8, 2)

    def forward(self, nodes: Tensor, edges: Tensor) -> Tensor:
        """Logits `(N, 2)` of nodes `(N, F)` with edges `(2, E)`."""
        return self.spread(self.second(self.spread(self.first(nodes), edges).tanh()), edges)

    def spread(self, values: Tensor, edges: Tensor) -> Tensor:
        """Means over neighbours, weighed by how many each has."""
        degree = torch.zeros(len(values)).index_add(0, edges[1], torch.ones(edges.shape[1]))
        scale = (degree[edges[0]] * degree[edges[1]]) ** -0.5
        return torch.zeros_like(values).index_add(0, edges[1], values[edges[0]] * scale[:, None])


def trained(x: Tensor, edges: Tensor, side: Tensor) -> GraphNet:
    """A network that was told of the instructor and the officer."""
    torch.manual_seed(1)
    model, known = GraphNet(len(x)), torch.tensor([0, 33])
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(200):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x, edges)[known], side[known]).backward()
        optimizer.step()
    return model.eval()


def main(arguments: Sequence[str] | None = None) -> Found:
    """Train, explain, draw and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("examples-output"))
    parser.add_argument("--member", type=int, default=8, choices=range(34), metavar="0..33")
    options = parser.parse_args(arguments)
    options.output.mkdir(parents=True, exist_ok=True)

    graph = nx.karate_club_graph()
    edges = torch.tensor(list(graph.edges)).T
    edges = torch.cat([edges, edges.flip(0), torch.arange(34).repeat(2, 1)], 1)  # both ways, and to oneself
    x, side = torch.eye(34), torch.tensor([graph.nodes[node]["club"] == "Officer" for node in graph]).long()
    model = trained(x, edges, side)
    accuracy = (model(x, edges).argmax(1) == side).float().mean().item()

    def of_member(output: Tensor) -> Tensor:
        """One number for each row, of which only the member's is not zero."""
        chosen = torch.arange(len(output)) == options.member
        return torch.where(chosen, output[:, 1] - output[:, 0], 0)

    score = {"target": of_member, "args": (edges,)}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*depends on the batch")  # which is what a graph is
        attributions = af.ig(model, x, n_steps=32, **score)
        gap = af.completeness_gap(model, x, attributions, **score).sum().item()
    shares = attributions.sum(1)
    near = set(nx.single_source_shortest_path_length(graph, options.member, cutoff=2))
    strongest = shares.abs().topk(3).indices.tolist()
    print(f"{accuracy:.0%} are on the right side; the shares miss {abs(gap):.0e}")
    print(f"member {options.member}: most is said by members {', '.join(map(str, strongest))}")

    names = [f"member {node}" for node in graph]
    figure = af.viz.bars(shares, names=names, top=10, unit="for the officer's side", title=f"member {options.member}")
    figure.savefig(options.output / "graph.png")
    print(f"see {options.output / 'graph.png'}")
    return Found(accuracy, shares, gap, near)


if __name__ == "__main__":
    main()
