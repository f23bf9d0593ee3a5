"""The game itself: values of coalitions, masks, and what composes."""

import pytest
import torch
from torch import nn
from torch.func import grad, jacfwd, jacrev, vmap
from torch.utils import _pytree as pytree

import attrfunc as af
from attrfunc.perturbation.game import open_game
from oracle_net import drawn, make
from zoo import CASES

LOOPS = "ignore:There is a performance drop"
MASK = torch.tensor([[0, 1, 1, 0, 2]])


@pytest.fixture
def net():
    return make()


@pytest.fixture
def x():
    return drawn(1, 3, 5)


def coalitions(players):
    return torch.tensor([[bool(number >> k & 1) for k in range(players)] for number in range(2**players)])


@pytest.mark.parametrize("mask", [MASK, torch.tensor([[0, 0, 1, 2, 0], [2, 2, 2, 1, 2], [0, 1, 2, 1, 0]])])
@pytest.mark.parametrize("chunk_size", [None, 1, 2, 7, 24])
def test_values_of_all_coalitions(mask, chunk_size, net, x):
    baseline = drawn(2, 3, 5)
    game = open_game(net, x, baseline=baseline, target=1, feature_mask=mask)
    assert (game.players, game.rows) == (3, 3)
    values = game.values(coalitions(3), chunk_size=chunk_size)
    assert values.shape == (8, 3)
    for coalition, row in zip(coalitions(3), values, strict=True):
        for number, value in enumerate(row):
            point = baseline[number].clone()
            for group in coalition.nonzero().flatten():
                inside = mask[number % len(mask)] == group
                point[inside] = x[number][inside]
            torch.testing.assert_close(value, net(point[None])[0, 1])


def test_progress_counts_rows(net, x):
    seen = []
    game = open_game(net, x, target=1, feature_mask=MASK)
    game.values(coalitions(3), chunk_size=6, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(6, 24), (12, 24), (18, 24), (24, 24)]


def test_spread_takes_leading_dimensions(net, x):
    game = open_game(net, x, target=1, feature_mask=MASK)
    per_group = drawn(3, 2, 3, 3)
    assert torch.equal(game.spread(per_group), per_group[..., MASK[0]])
    own = torch.randint(0, 3, (3, 5), generator=torch.Generator().manual_seed(0))
    game = open_game(net, x, target=1, feature_mask=own)
    assert torch.equal(game.spread(per_group)[1, 2], per_group[1, 2][own[2]])


def test_coalitions_of_another_shape_are_refused(net, x):
    game = open_game(net, x, target=1, feature_mask=MASK)
    for wrong in (torch.ones(4, 2, dtype=torch.bool), torch.ones(4, 3), torch.ones(3, dtype=torch.bool)):
        with pytest.raises(af.ArgumentError, match=r"`coalitions`.*\(K, 3\)"):
            game.values(wrong)


class TestTransforms:
    """With groups; the contract's table has every element its own."""

    def function(self, net, **options):
        return lambda x: af.feature_ablation(net, x, feature_mask=MASK, **({"target": 1} | options))

    def test_vmap_over_targets_runs_forward_once(self, net, x):
        runs = []
        net.register_forward_hook(lambda *args: runs.append(1))
        self.function(net, chunk_size=6)(x)
        alone = len(runs)
        mapped = vmap(lambda t: self.function(net, target=t, chunk_size=6)(x))(torch.arange(3))
        assert len(runs) == 2 * alone
        for target in range(3):
            torch.testing.assert_close(mapped[target], self.function(net, target=target)(x))

    def test_vmap_over_baselines(self, net, x):
        baselines = drawn(4, 6, 3, 5)
        mapped = vmap(lambda b: self.function(net, baseline=b)(x))(baselines)
        for baseline, result in zip(baselines, mapped, strict=True):
            torch.testing.assert_close(result, self.function(net, baseline=baseline)(x))

    def test_jacobians(self, net, x):
        function = self.function(net)
        torch.testing.assert_close(jacrev(function)(x), jacfwd(function)(x))

    def test_gradients_to_parameters(self, net, x):
        parameters = {name: p.detach() for name, p in net.named_parameters()}

        def loss(parameters):
            return self.function(af.bind(net, parameters))(x).square().sum()

        def by_hand(parameters):
            score = lambda z: torch.func.functional_call(net, parameters, (z,))[:, 1]
            losses = [score(x) - score(torch.where(group == MASK, 0.0, x)) for group in MASK[0]]
            return torch.stack(losses).square().sum()

        for name, expected in grad(by_hand)(parameters).items():
            torch.testing.assert_close(grad(loss)(parameters)[name], expected)

    @pytest.mark.parametrize("layer", [None, "block"])
    def test_compile(self, layer, net, x):
        torch.compiler.reset()
        view, mask = (net, MASK) if layer is None else (af.layer(net, layer), torch.tensor([[4, 4, 2, 9]]))
        numbered = af.masks.number_groups(mask)
        function = lambda x, mask=numbered: af.feature_ablation(view, x, target=1, feature_mask=mask)
        compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(compiled(x), function(x, mask))


PLACES = [pytest.param(c, place, id=f"{c}-{place}") for c in CASES for place in (None, *c.layers)]


@pytest.mark.parametrize(("case", "place"), PLACES)
@pytest.mark.filterwarnings(LOOPS)
def test_every_place_of_the_zoo(case, place):
    """In chunks of any size, and the model stays as it was."""
    view, x, options = opened(case, place)
    model = view if place is None else view.model
    state = {name: value.clone() for name, value in model.state_dict().items()}
    expected = pytree.tree_leaves(af.feature_ablation(view, x, **options))
    assert all(leaf.any() and not leaf.requires_grad for leaf in expected)
    for chunk_size in (1, 4, 1000):
        close(pytree.tree_leaves(af.feature_ablation(view, x, chunk_size=chunk_size, **options)), expected)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


# A list of targets would have to be cut as well.
@pytest.mark.parametrize(("case", "place"), [p for p in PLACES if not isinstance(p.values[0].target, list)])
@pytest.mark.filterwarnings(LOOPS)
def test_a_batch_gives_what_its_examples_give(case, place):
    view, x, options = opened(case, place)
    expected = pytree.tree_leaves(af.feature_ablation(view, x, **options))
    rows = pytree.tree_leaves(x)[0].shape[0]
    pick = lambda leaf: leaf[1:2] if isinstance(leaf, torch.Tensor) and leaf.shape[:1] == (rows,) else leaf
    own = {**options, **{name: pytree.tree_map(pick, options[name]) for name in ("args", "kwargs", "target")}}
    close(pytree.tree_leaves(af.feature_ablation(view, pytree.tree_map(pick, x), **own)), map(pick, expected))


def opened(case, place):
    """A view of the case's model, its input, and the options of an ablation of five groups."""
    model = case.make(torch.float64)
    double = lambda leaf: leaf.double() if isinstance(leaf, torch.Tensor) and leaf.is_floating_point() else leaf
    x, args, kwargs = pytree.tree_map(double, (case.inputs, case.args, dict(case.kwargs)))
    view = model if place is None else af.layer(model, place)
    options = {"args": args, "kwargs": kwargs, "target": case.target}
    options["baseline"] = lambda x: pytree.tree_map(lambda leaf: leaf.roll(1, -1), x)
    activation = x if place is None else af.activation(view, x, args=args, kwargs=kwargs)
    groups = lambda leaf: (torch.arange(leaf[:1].numel()) % 5).view(1, *leaf.shape[1:])
    options["feature_mask"] = pytree.tree_map_only(torch.Tensor, groups, activation)
    return view, x, options


def close(found, expected):
    expected = list(expected)
    scale = max(leaf.abs().max() for leaf in expected)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-10 * float(scale))


def test_many_groups_take_memory_for_a_chunk_only():
    """Twenty thousand groups of one element each: a matrix of groups would take 400 MB, one of elements more."""
    x = drawn(5, 1, 20_000)
    result = af.feature_ablation(lambda x: x.sum(1), x, chunk_size=500)
    torch.testing.assert_close(result, x)


def test_opaque_models():
    """Nothing is differentiated, so anything that runs can be looked into."""

    class Scripted(nn.Module):
        def forward(self, x):
            return torch.from_numpy(x.detach().numpy() ** 2).sum(1)

    x = drawn(6, 3, 4)
    torch.testing.assert_close(af.feature_ablation(Scripted(), x), x**2)


def test_backward_hooks_are_no_hindrance(net, x):
    expected = af.feature_ablation(net, x, target=1)
    net.block.register_full_backward_hook(lambda *args: None)
    torch.testing.assert_close(af.feature_ablation(net, x, target=1), expected)
    assert af.feature_ablation(af.layer(net, "embed"), x, target=1).any()


class TestMasks:
    def test_a_grid(self):
        image = torch.zeros(2, 3, 5, 4)
        expected = torch.tensor([[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3], [2, 2, 3, 3], [4, 4, 5, 5]])
        assert torch.equal(af.masks.grid_mask(image, (2, 2)), expected[None, None])
        assert af.masks.grid_mask(image, (1, 5, 4)).flatten().tolist() == [0, 1, 2]
        assert af.masks.grid_mask(torch.zeros(2, 6), 4).tolist() == [[0, 0, 0, 0, 1, 1]]

    def test_superpixels_follow_edges(self):
        images = torch.zeros(2, 1, 12, 12)
        images[0, :, :, 6:] = 5
        images[1, :, 6:] = -5
        mask = af.masks.superpixels(images, n_segments=9, sigma=0.0)
        assert mask.shape == (2, 1, 12, 12)
        assert mask.dtype == torch.long
        assert not set(mask[0, 0, :, :6].flatten().tolist()) & set(mask[0, 0, :, 6:].flatten().tolist())
        assert not set(mask[1, 0, :6].flatten().tolist()) & set(mask[1, 0, 6:].flatten().tolist())

    def test_superpixels_say_what_is_missing(self, monkeypatch):
        monkeypatch.setitem(__import__("sys").modules, "skimage.segmentation", None)
        with pytest.raises(af.ArgumentError, match=r"superpixels: .*attrfunc\[superpixels\]"):
            af.masks.superpixels(torch.zeros(1, 3, 8, 8))

    def test_numbers_are_counted_once(self):
        mask = {"a": torch.tensor([[7, 3]]), "b": torch.tensor([[3], [12]])}
        numbered = af.masks.number_groups(mask)
        assert numbered.count == 3
        assert numbered.ids["a"].tolist() == [[1, 0]]
        assert numbered.ids["b"].tolist() == [[0], [2]]
        x = {"a": drawn(1, 2, 2), "b": drawn(2, 2, 3)}
        model = lambda d: d["a"].prod(1) * d["b"].sum(1)
        results = [af.feature_ablation(model, x, feature_mask=given) for given in (mask, numbered)]
        assert all(torch.equal(results[0][name], results[1][name]) for name in x)


class TestErrors:
    @pytest.mark.parametrize(
        ("mask", "words"),
        [
            (torch.zeros(1, 4, dtype=torch.long), "a shape that broadcasts to \\(3, 5\\)"),
            (torch.zeros(2, 5, dtype=torch.long), "a shape that broadcasts to \\(3, 5\\)"),
            (torch.zeros(1, 5), "integers.*mask.long\\(\\)"),
            (torch.zeros(1, 5, dtype=torch.bool), "integers"),
            ([[0, 1]], "integers"),
            (torch.tensor([[0, 1, -1, 0, 0]]), "the group number -1.*from 0 on"),
            ((torch.zeros(1, 5, dtype=torch.long),), "a tensor of integers"),
        ],
    )
    @pytest.mark.parametrize("method", [af.feature_ablation, af.feature_permutation])
    def test_masks(self, mask, words, method, net, x):
        with pytest.raises(af.ArgumentError, match=f"{method.__name__}: argument `feature_mask`.*({words})"):
            method(net, x, target=1, feature_mask=mask)

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"window": (2, 2)}, "`window`.*last of the 1 dimensions"),
            ({"window": 6}, "`window`.*inside the example of shape \\(5,\\)"),
            ({"window": 0}, "`window`.*at least 1"),
            ({"window": "3"}, "`window`.*whole numbers"),
            ({"window": 2, "stride": 0}, "`stride`.*at least 1"),
            ({"window": 2, "stride": 3}, "`stride`.*no steps longer than the window"),
            ({"window": 2, "stride": (1, 1)}, "`stride`.*last of the 1 dimensions"),
            ({"window": ((2,), (3,))}, "`window`"),
        ],
    )
    def test_windows(self, options, words, net, x):
        with pytest.raises(af.ArgumentError, match=f"occlusion: argument {words}"):
            af.occlusion(net, x, target=1, **options)

    def test_a_permutation_that_changes_the_batch(self, net, x):
        with pytest.raises(af.ArgumentError, match=r"`perm_func`.*\(2, 5\).*\(3, 5\)"):
            af.feature_permutation(net, x, target=1, perm_func=lambda x, mask: x[1:])

    def test_a_permutation_of_one_example(self, net, x):
        with pytest.raises(af.ArgumentError, match=r"feature_permutation: argument `x`.*at least two"):
            af.feature_permutation(net, x[:1], target=1)

    def test_groups_of_each_example_cannot_be_permuted(self, net, x):
        with pytest.raises(af.ArgumentError, match=r"`feature_mask`.*alike in all examples"):
            af.feature_permutation(net, x, target=1, feature_mask=torch.zeros(3, 5, dtype=torch.long))

    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    @pytest.mark.parametrize("method", [af.feature_ablation, af.feature_permutation])
    def test_scores_that_are_not_finite(self, value, method, x):
        with pytest.raises(af.ModelError, match=r"the score is not finite"):
            method(lambda x: x.sum(1) * value, x)

    def test_scores_that_depend_on_the_batch(self, x):
        """Then the sum of all scores is explained, and each example's features are players of their own."""
        model = lambda x: x.square().sum(1) * (1 + x.roll(1, 0).sum(1))
        with pytest.warns(UserWarning, match=r"feature_ablation: .*depends on the batch"):
            found = af.feature_ablation(model, x)
        for place in [(0, 0), (1, 3), (2, 4)]:
            without = x.clone()
            without[place] = 0
            torch.testing.assert_close(found[place], model(x).sum() - model(without).sum())
        with pytest.raises(af.ModelError, match="depend"), pytest.warns(UserWarning, match="depends on the batch"):
            af.feature_permutation(model, x)

    @pytest.mark.parametrize("method", [af.feature_ablation, af.shapley_values, af.lime])
    def test_models_of_one_size_of_batch(self, method, x):
        """Some take one example at a time, some as many as they were built for; no other number is tried."""
        for rows, chunk_size in ((1, 1), (3, 3)):

            def model(x, rows=rows):
                assert len(x) == rows
                return x.view(rows, 5).sum(1)

            torch.testing.assert_close(method(model, x, chunk_size=chunk_size), method(lambda x: x.sum(1), x))

    def test_rounding_is_no_dependence(self):
        model = nn.Sequential(nn.Linear(300, 300), nn.LayerNorm(300), nn.Linear(300, 1)).bfloat16()
        af.feature_ablation(model, torch.randn(7, 300).bfloat16(), feature_mask=torch.arange(300)[None] // 30)

    def test_a_batch_score_that_is_none(self, net, x):
        with pytest.raises(af.ArgumentError, match=r"`target`.*one number for the whole batch"):
            af.feature_ablation(net, x, target=af.batch_score())

    @pytest.mark.parametrize("method", [af.saliency, af.ig, af.input_x_gradient])
    def test_a_batch_score_is_not_differentiated(self, method, net, x):
        with pytest.raises(af.ArgumentError, match=rf"{method.__name__}: argument `target`: got a batch_score"):
            method(net, x, target=af.batch_score(torch.sum))

    def test_a_fraction_for_integers(self):
        for baseline in (0.5, torch.tensor(0.0)):
            with pytest.raises(af.ArgumentError, match=r"`baseline`.*integers.*padding id"):
                af.feature_ablation(lambda x: x.sum(1), torch.ones(2, 3, dtype=torch.long), baseline=baseline)

    def test_an_activation_baseline_needs_a_layer(self, net, x):
        with pytest.raises(af.ArgumentError, match=r"`baseline`.*activation_baseline.*af\.layer"):
            af.feature_ablation(net, x, target=1, baseline=af.activation_baseline())

    def test_a_training_model_is_warned_of_only(self, x):
        model = nn.Sequential(nn.BatchNorm1d(5), nn.Linear(5, 1)).double()
        with pytest.warns(UserWarning, match="training mode"):
            af.feature_ablation(model, x)

    def test_an_image_that_is_none(self):
        with pytest.raises(af.ArgumentError, match=r"superpixels: argument `image`"):
            af.masks.superpixels(torch.zeros(3, 8, 8))
        with pytest.raises(af.ArgumentError, match=r"grid_mask: argument `cell`"):
            af.masks.grid_mask(torch.zeros(1, 3, 8, 8), (9, 9))


class TestLinearPrefix:
    """Where a linear layer alone reads the input, each group's share of its output is computed once."""

    N = 150

    @pytest.fixture
    def found(self, monkeypatch):
        from attrfunc.perturbation.linear_prefix import LinearPrefix

        found, find = [], LinearPrefix.find
        monkeypatch.setattr(LinearPrefix, "find", lambda *args: found.append(find(*args)) or found[-1])
        return found

    def mask(self, *shape, rows=1):
        return torch.randint(0, self.N, (rows, *shape), generator=torch.Generator().manual_seed(rows))

    def by_hand(self, net, x, baseline, mask):
        mask = mask.expand(x.shape)
        out = torch.zeros_like(x)
        for group in mask.unique():
            losses = net(x) - net(torch.where(mask == group, baseline, x))
            out = torch.where(mask == group, losses.view(-1, *[1] * (x.dim() - 1)), out)
        return out

    @pytest.mark.parametrize("rows", [1, 4])
    @pytest.mark.parametrize("shape", [(20, 15), (3, 10, 10)])
    def test_ablation(self, rows, shape, found):
        class Views(nn.Module):
            """The input reaches the layer flattened."""

            def __init__(self):
                super().__init__()
                self.fc, self.head = nn.Linear(300, 8), nn.Linear(8, 1)

            def forward(self, x):
                return self.head(self.fc(x.flatten(1)).tanh())[:, 0]

        torch.manual_seed(0)
        net, x, baseline = Views().double(), drawn(7, 4, *shape), drawn(8, 4, *shape)
        mask = self.mask(*shape, rows=rows)
        for chunk_size in (None, 3, 50):
            result = af.feature_ablation(net, x, baseline=baseline, feature_mask=mask, chunk_size=chunk_size)
            torch.testing.assert_close(result, self.by_hand(net, x, baseline, mask))
        assert all(found)

    @pytest.mark.parametrize("chunk_size", [None, 2, 64])
    def test_coalitions(self, chunk_size, found):
        torch.manual_seed(0)
        net, x = nn.Sequential(nn.Linear(30, 8), nn.Tanh(), nn.Linear(8, 1)).double(), drawn(7, 4, 30)
        mask = torch.arange(30)[None] % 8
        values = open_game(net, x, baseline=0.5, feature_mask=mask).values(coalitions(8), chunk_size=chunk_size)
        points = torch.where(coalitions(8)[:, mask[0]].unsqueeze(1), x, 0.5)
        torch.testing.assert_close(values, net(points).squeeze(2))
        assert all(found)

    def test_gradients(self, found):
        torch.manual_seed(0)
        net, x = nn.Sequential(nn.Linear(200, 8), nn.Tanh(), nn.Linear(8, 1)).double(), drawn(7, 2, 200)
        parameters = {name: p.detach().clone().requires_grad_() for name, p in net.named_parameters()}
        leaf, weights = x.clone().requires_grad_(), drawn(9, 2, 200)
        (weights * af.feature_ablation(af.bind(net, parameters), leaf)).sum().backward()
        assert all(found)
        hand, free = {k: p.detach().clone().requires_grad_() for k, p in parameters.items()}, x.clone().requires_grad_()
        model = lambda z: torch.func.functional_call(net, hand, (z,))[:, 0]
        (weights * self.by_hand(model, free, torch.zeros_like(x), torch.arange(200)[None])).sum().backward()
        torch.testing.assert_close(leaf.grad, free.grad)
        for name, parameter in parameters.items():
            torch.testing.assert_close(parameter.grad, hand[name].grad)

    def test_an_input_that_is_read_elsewhere_has_none(self, found):
        net, x = nn.Linear(200, 1).double(), drawn(7, 2, 200)
        model = lambda x: net(x)[:, 0] + x.square().sum(1)
        mask = torch.arange(200)[None]
        torch.testing.assert_close(
            af.feature_ablation(model, x), self.by_hand(model, x, torch.zeros_like(x), mask).detach()
        )
        assert found == [None]
