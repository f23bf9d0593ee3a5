"""What the tests of the ground share: comparisons, and integrated gradients by hand."""

import torch
from torch.utils import _pytree as pytree


def same(found, expected, rtol=1e-9):
    """Two results are the same, beside the largest number in them."""
    pairs = zip(pytree.tree_leaves(found), pytree.tree_leaves(expected), strict=True)
    for ours, theirs in pairs:
        scale = float(theirs.detach().abs().max())
        torch.testing.assert_close(ours, theirs, rtol=0, atol=rtol * max(scale, 1e-9))


def by_loop(score, x, baseline, points=400):
    """Integrated gradients by plain autograd: midpoints, one at a time, and the batch as it is."""
    total = torch.zeros_like(x)
    for k in range(points):
        point = (baseline + (k + 0.5) / points * (x - baseline)).detach().requires_grad_()
        total += torch.autograd.grad(score(point).sum(), point)[0]
    return total / points * (x - baseline)


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
