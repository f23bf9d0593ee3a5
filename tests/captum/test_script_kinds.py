"""Kinds of scripts that Captum's users have: inputs without a batch, outputs of any shape, masks of any form.

The oracle is Captum where it is right, and the definition in float64 where it is not.
"""

import functools

import captum.attr as captum_attr
import pytest
import torch
from captum.attr._utils.input_layer_wrapper import ModelInputWrapper as CaptumWrapper
from captum_peer import agree, captum_warnings
from torch import nn
from torch.futures import Future

import attrfunc as af
import attrfunc.captum.attr as shim_attr
from attrfunc.captum.attr._utils.input_layer_wrapper import ModelInputWrapper

ABLATION = ["FeatureAblation", "ShapleyValueSampling", "ShapleyValues"]


def both(name, model, *arguments, **options):
    """What the shim and Captum give."""
    found = []
    for module in (shim_attr, captum_attr):
        with captum_warnings():
            found.append(getattr(module, name)(model).attribute(*arguments, **options))
    return found


@pytest.fixture
def x():
    return torch.randn(2, 3, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def linear():
    torch.manual_seed(0)
    return nn.Linear(3, 2)


class TestWithoutABatch:
    """One example alone has what it has as a batch of one."""

    @pytest.mark.parametrize(
        "name", ["IntegratedGradients", "Saliency", "InputXGradient", "DeepLift", "GuidedBackprop", "LRP"]
    )
    @pytest.mark.parametrize("target", [0, None, (1,), torch.tensor(1)])
    def test_gradients(self, name, target, x, linear):
        model = nn.Sequential(linear, nn.Tanh())
        model = model if target is not None else nn.Sequential(*model, nn.Linear(2, 1), nn.Flatten(0))
        ours = getattr(shim_attr, name)(model).attribute(x[0], target=target)
        alone = getattr(shim_attr, name)(model).attribute(x[:1], target=target)
        agree(ours, alone[0])

    @pytest.mark.parametrize("name", ["IntegratedGradients", "Saliency", "FeatureAblation", "KernelShap"])
    def test_a_number_of_a_number(self, name):
        ours = getattr(shim_attr, name)(lambda x: x**2).attribute(torch.tensor(3.0))
        torch.testing.assert_close(ours, torch.tensor(6.0 if name == "Saliency" else 9.0))

    def test_captums_first_example(self):
        """Rows of one number each; Captum gives these, too."""
        model = lambda a, b: torch.relu(torch.relu(a) - 1 - torch.relu(b))
        inputs = (torch.tensor([3.0]), torch.tensor([1.0]))
        ours, theirs = both("IntegratedGradients", model, inputs)
        assert [part.shape for part in ours] == [(1,), (1,)]
        for one, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(one, other.float())
        torch.testing.assert_close(ours[0], torch.tensor([1.5]))

    def test_a_score_of_all_numbers(self):
        point = torch.tensor([1.0, 2.0, 3.0])
        model = lambda x: (x**2).sum()
        attributions, delta = shim_attr.IntegratedGradients(model).attribute(point, return_convergence_delta=True)
        torch.testing.assert_close(attributions, point**2)
        assert delta.shape == (1,)
        assert delta.abs() < 1e-5
        with pytest.raises(IndexError):
            captum_attr.IntegratedGradients(model).attribute(point)

    def test_baselines_masks_and_further_arguments(self, x, linear):
        model = lambda x, scale: linear(x).tanh() * scale
        options = {"baselines": torch.tensor([0.1, 0.2, 0.3]), "target": 1, "additional_forward_args": 2.0}
        ours = shim_attr.IntegratedGradients(model).attribute(x[0], **options)
        options["baselines"] = options["baselines"][None]
        agree(ours, shim_attr.IntegratedGradients(model).attribute(x[:1], **options)[0])
        options["feature_mask"] = torch.tensor([[0, 0, 1]])
        alone = shim_attr.FeatureAblation(model).attribute(x[:1], **options)[0]
        assert torch.equal(shim_attr.FeatureAblation(model).attribute(x[0], **options), alone)

    def test_a_noise_tunnel(self, x, linear):
        options = {"target": 0, "stdevs": 0.0, "nt_samples": 3}
        ours = shim_attr.NoiseTunnel(shim_attr.IntegratedGradients(linear)).attribute(x[0], **options)
        agree(ours, shim_attr.IntegratedGradients(linear).attribute(x[0], target=0))

    def test_a_mistaken_target_is_still_an_error(self, linear):
        for model, target in ((linear, None), (linear, 5), (lambda x: x.sum(1), 0)):
            with pytest.raises(af.ArgumentError, match=r"Saliency\.attribute: argument `target`"):
                shim_attr.Saliency(model).attribute(torch.ones(4, 3), target=target)


class TestOutputsOfAnyShape:
    @pytest.mark.parametrize("name", ABLATION)
    @pytest.mark.parametrize(
        "reduced",
        [
            lambda out: out,
            lambda out: torch.cat([out.sum(0), out.sum().reshape(1), out[0]]),
            lambda out: out.sum(0, keepdim=True),
            lambda out: out.sum().reshape(1),
            lambda out: out.reshape(2, 1, 2, 1),
        ],
    )
    def test_each_number_has_attributions(self, name, reduced, x, linear):
        model = lambda x: reduced(linear(x).tanh())
        found = [both(name, model, x), both(name, model, x, feature_mask=torch.tensor([[0, 1, 1]]))]
        if name == "ShapleyValueSampling":  # whose permutations differ: each has the same sum
            found = [[part.sum(-1) for part in pair] for pair in found[:1]]
        for ours, theirs in found:
            agree(ours, theirs)

    def test_a_model_that_looks_at_numbers(self, x):
        model = lambda x: torch.tensor([x.sum().item(), float(x.max()), 1.0, 2.0])
        agree(*both("FeatureAblation", model, x))

    def test_half_precision_and_strides(self, x, linear):
        wide = torch.randn(3, 2, dtype=torch.bfloat16, generator=torch.Generator().manual_seed(2)).T
        found = shim_attr.FeatureAblation(lambda x: linear.bfloat16()(x).tanh().repeat(2, 1)).attribute(wide)
        assert found.shape == (8, 3)
        assert found.dtype == torch.bfloat16
        assert torch.equal(found[:4], found[4:])

    def test_by_the_definition(self, x, linear):
        x, linear = x.double(), linear.double()
        model = lambda x: torch.cat([linear(x).prod(0), x.sum().reshape(1)])
        ours = shim_attr.FeatureAblation(model).attribute(x, baselines=0.5)
        for feature in range(3):
            moved = x.clone()
            moved[:, feature] = 0.5
            torch.testing.assert_close(ours[:, feature], model(x) - model(moved))

    @pytest.mark.parametrize("name", [*ABLATION, "KernelShap"])
    def test_a_target_of_an_output_with_rows_of_its_own(self, name, x, linear):
        agree(*both(name, lambda x: linear(x).sum(0)[None], x, target=1))

    def test_occlusion_and_permutation(self, x, linear):
        model = lambda x: linear(x).tanh().sum(0).repeat(2)
        agree(*both("Occlusion", model, x, sliding_window_shapes=(2,)))
        roll = lambda x, mask: torch.where(mask, x.roll(1, 0), x)
        ours, theirs = (
            m.FeaturePermutation(lambda x: (2 * x[0] - x[1]).cumsum(0), roll).attribute(x)
            for m in (shim_attr, captum_attr)
        )
        agree(ours, theirs)

    @pytest.mark.parametrize("model", [lambda x: (x > 0).sum(1), lambda x: (x > 0).sum(), lambda x: int((x > 0).sum())])
    def test_integer_scores_keep_their_dtype(self, model, x):
        ours, theirs = both("FeatureAblation", model, x)
        assert ours.dtype == theirs.dtype == torch.int64
        assert torch.equal(ours, theirs)
        assert both("ShapleyValues", model, x)[0].dtype == torch.float32

    @pytest.mark.parametrize("name", [*ABLATION, "KernelShap", "Lime"])
    @pytest.mark.parametrize("baseline", [0.5, torch.tensor([[0.5, 0.25, 0.5]])])
    def test_fractions_replace_integers(self, name, baseline):
        x, model = torch.tensor([[1, 2, 3], [4, 5, 6]]), lambda x: (x * 2).sum(1)
        kind = getattr(shim_attr, name)
        explainer = kind(model) if name != "Lime" else kind(model, af_linear())
        found = explainer.attribute(x, baselines=baseline, **({"n_samples": 200} if name == "Lime" else {}))
        torch.testing.assert_close(found, (x - baseline) * 2, atol=2e-3, rtol=0)

    def test_tokens_are_not_replaced_by_fractions(self):
        model = nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(12, 1))
        with pytest.raises(af.ArgumentError, match=r"argument `baselines`.*0\.5"):
            shim_attr.FeatureAblation(model).attribute(torch.tensor([[1, 2, 3]]), baselines=0.5)


def af_linear():
    from attrfunc.captum.models import SkLearnLinearRegression

    return SkLearnLinearRegression()


class TestBatchesThatDiffer:
    """Lists of sparse features."""

    model = staticmethod(lambda a, b: torch.stack([a.sum() + b.sum() * 2, (a**2).sum() - b.sum()]))

    @pytest.mark.parametrize("name", ABLATION)
    def test_lists(self, name):
        inputs = (torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.0, 3.0]))
        for ours, theirs in zip(*both(name, self.model, inputs), strict=True):
            agree(ours, theirs)
        rows = tuple(part[:, None] for part in inputs)
        for ours, theirs in zip(*both(name, self.model, rows), strict=True):
            agree(ours, theirs)

    def test_empty_ones(self):
        inputs = (torch.tensor([1.0, 2.0]), torch.tensor([]))
        ours, theirs = both("FeatureAblation", self.model, inputs)
        assert torch.equal(ours[0], theirs[0])
        assert torch.equal(ours[1], torch.zeros(2))

    def test_masks_and_baselines(self):
        inputs, mask = (torch.ones(2, 3), torch.ones(4, 2)), (torch.tensor([[0, 1, 1]]), torch.tensor([[0, 2]]))
        options = {"feature_mask": mask, "baselines": (0.5, torch.full((1, 2), 0.25))}
        for ours, theirs in zip(*both("FeatureAblation", self.model, inputs, **options), strict=True):
            agree(ours, theirs)

    @pytest.mark.filterwarnings("ignore:the score is the sum of all")
    def test_gradients(self):
        inputs = (torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.0, 3.0]))
        for ours, theirs in zip(*both("Saliency", self.model, inputs), strict=True):
            agree(ours, theirs)


class TestMasks:
    @pytest.mark.parametrize("name", [*ABLATION, "KernelShap"])
    @pytest.mark.parametrize("mask", [[[0.0, 0.0, 1.0]], [[0.5, 0.5, 1.5]], [[-1.0, -1.0, 2.0]]])
    def test_floats(self, name, mask, x, linear):
        found = [
            getattr(shim_attr, name)(linear).attribute(x, target=0, feature_mask=torch.tensor(part))
            for part in (mask, [[0, 0, 1]])
        ]
        torch.testing.assert_close(*found)
        if name == "FeatureAblation":
            agree(found[0], both(name, linear, x, target=0, feature_mask=torch.tensor(mask))[1])

    def test_what_is_no_number_of_a_group(self, x, linear):
        for mask in (torch.tensor([[0.0, float("nan"), 1.0]]), torch.tensor([[True, False, True]])):
            with pytest.raises(af.ArgumentError, match=r"FeatureAblation\.attribute: argument `feature_mask`"):
                shim_attr.FeatureAblation(linear).attribute(x, target=0, feature_mask=mask)

    @pytest.mark.parametrize(
        "mask",
        [
            (torch.tensor([[0, 1, 2]]), torch.tensor([[[0], [1], [2]]])),
            (torch.tensor(0), torch.tensor([[[0, 0, 1, 1]]])),
            (torch.tensor([0, 1, 2]), torch.tensor([0, 1, 2, 3])),
        ],
    )
    @pytest.mark.parametrize("name", ["FeatureAblation", "ShapleyValues"])
    def test_shared_across_ranks(self, name, mask, x):
        y = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(1))
        model = lambda a, b: (a.sum(1) + b.sum((1, 2))).tanh()
        ours = getattr(shim_attr, name)(model).attribute((x, y), feature_mask=mask)
        if name == "FeatureAblation":
            for one, other in zip(ours, both(name, model, (x, y), feature_mask=mask)[1], strict=True):
                agree(one, other)
        for row in range(2):  # what has one number moves together
            numbers = torch.cat([part.expand_as(leaf[:1]).flatten() for part, leaf in zip(mask, (x, y), strict=True)])
            values = torch.cat([part[row].flatten() for part in ours])
            assert all(values[numbers == group].unique().numel() == 1 for group in numbers.unique())


class TestDataLoader:
    def test_fractions(self):
        data = [(torch.tensor([[1, 2, 3], [4, 5, 6]]),), (torch.tensor([[7, 8, 9]]),)]
        model = lambda x: (x * 2).sum(1)
        explainer = shim_attr.DataLoaderAttribution(shim_attr.FeatureAblation(model))
        ours = explainer.attribute(data, baselines=0.5, to_metric=lambda scores: scores.sum())
        expected = (torch.cat([batch for (batch,) in data]) - 0.5).sum(0) * 2
        torch.testing.assert_close(ours[0] if isinstance(ours, tuple) else ours, expected[None])


class TestSingleRows:
    @pytest.mark.parametrize("error", [ValueError, AssertionError, RuntimeError, KeyError])
    @pytest.mark.parametrize("name", [*ABLATION, "KernelShap", "Occlusion"])
    def test_a_model_that_takes_one_row(self, name, error, x):
        rows = []

        def model(x):
            if len(x) > 1:
                raise error("one row only")
            rows.append(len(x))
            return x.tanh().sum(1)

        options = {"sliding_window_shapes": (1,)} if name == "Occlusion" else {}
        ours = getattr(shim_attr, name)(model).attribute(x[:1], **options)
        torch.testing.assert_close(ours, x[:1].tanh())
        assert set(rows) == {1}


class TestFutures:
    @pytest.mark.parametrize("name", ABLATION)
    @pytest.mark.parametrize("reduced", [lambda out: out[:, 1], lambda out: out.sum(), lambda out: out.sum(0)[None]])
    def test_the_same_numbers(self, name, reduced, x, linear):
        def later(x):
            future = Future()
            future.set_result(reduced(linear(x)))
            return future

        ours = getattr(shim_attr, name)(later).attribute_future(x).wait()
        agree(ours, getattr(shim_attr, name)(lambda x: reduced(linear(x))).attribute(x))
        if name == "FeatureAblation":
            agree(ours, captum_attr.FeatureAblation(later).attribute_future(x).wait())


@pytest.mark.filterwarnings("ignore:Setting backward hooks on ReLU", "ignore:Input Tensor . did not")
class TestNeurons:
    @pytest.fixture
    def net(self):
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv1d(3, 2, 4), nn.Tanh(), nn.Flatten(), nn.Linear(2, 1)).double()

    @pytest.fixture
    def y(self):
        return torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    @pytest.mark.parametrize("selector", [lambda a: a.pow(2).sum(), lambda a: a.pow(2).mean().reshape(1)])
    @pytest.mark.parametrize("name", ["NeuronGradient", "NeuronGuidedBackprop", "NeuronDeconvolution"])
    def test_one_number_for_the_batch(self, name, selector, net, y):
        with captum_warnings():
            ours, theirs = (getattr(m, name)(net, net[0]).attribute(y, selector) for m in (shim_attr, captum_attr))
        agree(ours, theirs)
        point = y.clone().requires_grad_()
        selector(net[0](point)).sum().backward()
        torch.testing.assert_close(ours, point.grad)

    def test_along_a_path(self, net, y):
        """Captum takes the mean over all points of the path: a fiftieth."""
        selector = lambda a: a.pow(2).mean()
        ours = shim_attr.NeuronIntegratedGradients(net, net[0]).attribute(y, selector)
        expected = torch.zeros_like(y)
        for step in range(1000):
            point = (y * (step + 0.5) / 1000).requires_grad_()
            selector(net[0](point)).backward()
            expected += y * point.grad / 1000
        torch.testing.assert_close(ours, expected)
        theirs = captum_attr.NeuronIntegratedGradients(net, net[0]).attribute(y, selector)
        torch.testing.assert_close(theirs.detach() * 50, expected)

    def test_ablation_and_paths(self, net, y):
        selector = lambda a: a.pow(2).sum()
        with captum_warnings():
            for name in ("NeuronFeatureAblation", "NeuronIntegratedGradients"):
                agree(*(getattr(m, name)(net, net[0]).attribute(y, selector) for m in (shim_attr, captum_attr)))

    def test_last_dimensions_of_one(self, net, y):
        with captum_warnings():
            agree(*(m.NeuronGradient(net, net[0]).attribute(y, 1) for m in (shim_attr, captum_attr)))
        model = lambda y: net[0](y)[..., None]
        for target in (1, (1,), torch.tensor(1)):
            agree(*both("IntegratedGradients", model, y, target=target))
            agree(*both("FeatureAblation", model, y, target=target))
        for target in ([0, 1], torch.tensor([1, 0])):
            found = [
                shim_attr.Saliency(one).attribute(y, target=target) for one in (model, lambda y: net[0](y)[..., 0])
            ]
            agree(*found)
        with pytest.raises(af.ArgumentError, match="one index for each of the 2 dimensions"):
            shim_attr.Saliency(lambda y: net[0](y).expand(2, 2, 3)).attribute(y, target=1)


class TestLRP:
    """The literal epsilon rule: each input has its share of what they add up to."""

    class Branches(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.a, self.b, self.relu, self.out = nn.Linear(3, 3), nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)
            for layer in (self.a, self.b, self.out):
                nn.init.uniform_(layer.weight, 0.5, 1.5)
                nn.init.zeros_(layer.bias)
            self.double()

        def forward(self, p, q):
            return self.out(self.relu(self.a(p) + self.b(q)))

    def test_two_inputs(self):
        net, p, q = self.Branches(), torch.tensor([[1.0, 2.0, 3.0]]).double(), torch.tensor([[3.0, 6.0]]).double()
        ours, delta = shim_attr.LRP(net).attribute((p, q), target=0, return_convergence_delta=True)
        hidden = net.a(p) + net.b(q)
        relevance = hidden * net.out.weight
        expected = tuple(
            (part[:, None] * layer.weight * (relevance / hidden)[:, :, None]).sum(1).detach()
            for part, layer in ((p, net.a), (q, net.b))
        )
        for one, other in zip(ours, expected, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)
        assert delta.abs().max() < 1e-6

    def test_where_captum_counts_each_input_twice(self):
        net = self.Branches()
        net.b = nn.Linear(3, 3, bias=False)
        for layer in (net.a, net.b, net.out):
            nn.init.ones_(layer.weight)
        p = torch.tensor([[1.0, 2.0, 3.0]])
        options = {"target": 0, "return_convergence_delta": True}
        net.float()
        _, delta = shim_attr.LRP(net).attribute((p, 3 * p), **options)
        with pytest.warns(UserWarning, match="did not already require gradients"):
            _, theirs = captum_attr.LRP(net).attribute((p, 3 * p), **options)
        torch.testing.assert_close(delta, torch.zeros(1))
        torch.testing.assert_close(theirs.detach(), torch.tensor([-72.0]), rtol=1e-4, atol=0)


class TestInternalInfluence:
    """The small network of Captum's documentation: both libraries give the same sum; the rule is off at the kink."""

    def net(self):
        net = nn.Sequential(nn.Identity(), nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
        for layer in (net[1], net[3]):
            nn.init.ones_(layer.weight)
        net[1].bias.data = torch.tensor([-10.0, 1.0, 1.0, 1.0])
        return net

    @pytest.mark.parametrize(("start", "end"), [(-20.0, 20.0), (-20.0, 100.0), (0.0, 50.0), (-80.0, 20.0)])
    def test_many_points(self, start, end):
        net, x, baseline = self.net(), torch.tensor([[0.0, end, 0.0]]), torch.tensor([[0.0, start, 0.0]])
        steps = (torch.arange(200_000, dtype=torch.float64) + 0.5) / 200_000
        hidden = (start + steps * (end - start))[:, None] + net[1].bias.double()
        right = (hidden > 0).double().mean(0, keepdim=True)
        for n_steps in (50, 500):
            for method in ("gausslegendre", "riemann_middle", "riemann_left"):
                options = {"baselines": baseline, "target": 0, "n_steps": n_steps, "method": method}
                ours, theirs = (
                    m.InternalInfluence(net, net[1]).attribute(x, **options) for m in (shim_attr, captum_attr)
                )
                agree(ours, theirs)
                assert (ours.double() - right).abs().max() < 1.6 / n_steps  # a weight of the rule


@pytest.mark.filterwarnings("ignore:Setting backward hooks on ReLU", "ignore:Input Tensor . did not")
class TestGuidedGradCam:
    def test_a_map_that_does_not_fit_one_of_several_inputs(self):
        torch.manual_seed(0)
        conv, head = nn.Conv2d(3, 4, 3), nn.Linear(4, 2)

        class Beside(nn.Module):
            def __init__(self):
                super().__init__()
                self.conv, self.relu, self.head = conv, nn.ReLU(), head

            def forward(self, image, table):
                return self.head(self.relu(self.conv(image)).mean((2, 3))) * table

        inputs = (torch.rand(2, 3, 8, 8), torch.rand(2, 2))
        with pytest.warns(UserWarning, match=r"GuidedGradCam.*does not fit the input \(2, 2\)"):
            ours = shim_attr.GuidedGradCam(Beside(), conv).attribute(inputs, 1)
        with pytest.warns(UserWarning, match="Couldn't appropriately interpolate"):
            theirs = captum_attr.GuidedGradCam(Beside(), conv).attribute(inputs, 1)
        agree(ours[0], theirs[0])
        assert ours[1].shape == theirs[1].shape == (0,)


class Text(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.part = nn.Module()
        self.part.embedding, self.out = nn.Embedding(9, 4), nn.Linear(4, 2)

    def forward(self, tokens):
        return self.out(self.part.embedding(tokens).tanh().mean(1))


class TestEmbeddings:
    tokens = torch.tensor([[1, 5, 2], [0, 3, 3]])

    def test_a_patched_embedding(self):
        found, states = [], []
        for module in (shim_attr, captum_attr):
            net = Text()
            before = net.part.embedding
            with pytest.warns(UserWarning, match="remove_interpretable_embedding_layer"):
                embedding = module.configure_interpretable_embedding_layer(net, "part.embedding")
            vectors = embedding.indices_to_embeddings(self.tokens)
            reference = module.TokenReferenceBase(reference_token_idx=7).generate_reference(3, torch.device("cpu"))
            baseline = embedding.indices_to_embeddings(reference[None])
            options = {"target": 1, "return_convergence_delta": True}
            found.append(module.IntegratedGradients(net).attribute(vectors, baseline.expand(2, 3, 4), **options))
            layer = module.LayerIntegratedGradients(net, net.part.embedding)
            states.append(layer.attribute(vectors.detach(), baseline.detach().expand(2, 3, 4), target=1))
            module.remove_interpretable_embedding_layer(net, embedding)
            assert net.part.embedding is before
            assert embedding.num_embeddings == 9
            assert embedding.embedding_dim == 4
        agree(found[0][0], found[1][0])
        assert (found[0][1] - found[1][1]).abs().max() < 1e-5
        agree(*states)
        view = shim_attr.LayerIntegratedGradients(Text(), "part.embedding")
        agree(found[0][0], view.attribute(self.tokens, torch.full((2, 3), 7), target=1))

    def test_errors(self):
        net = Text()
        with pytest.raises(af.ArgumentError, match=r"embedding_layer_name.*'part\.embedding'"):
            shim_attr.configure_interpretable_embedding_layer(net, "part.embeding")
        with pytest.warns(UserWarning, match="takes embeddings"):
            embedding = shim_attr.configure_interpretable_embedding_layer(net, "part.embedding")
        with pytest.raises(af.ArgumentError, match="remove_interpretable_embedding_layer first"):
            shim_attr.configure_interpretable_embedding_layer(net, "part.embedding")
        with pytest.raises(af.ArgumentError, match="no argument"):
            embedding()
        assert torch.equal(embedding(inputs=torch.ones(2)), torch.ones(2))


def test_inputs_as_layers(x):
    torch.manual_seed(0)
    net = nn.Bilinear(3, 3, 2)
    results = []
    for module, wrapper in ((shim_attr, ModelInputWrapper), (captum_attr, CaptumWrapper)):
        wrapped = wrapper(net)
        layers = [wrapped.input_maps["input1"], wrapped.input_maps["input2"]]
        with captum_warnings():
            explainer = module.LayerIntegratedGradients(wrapped, layers)
            results.append(explainer.attribute((x, x + 1), target=1))
        assert torch.equal(wrapped(x, input2=x + 1), net(x, x + 1))
    for ours, theirs in zip(*results, strict=True):
        agree(ours, theirs)
    for ours, direct in zip(
        results[0], shim_attr.IntegratedGradients(net).attribute((x, x + 1), target=1), strict=True
    ):
        agree(ours, direct)


@pytest.mark.parametrize(("name", "count"), [("FeatureAblation", 4), ("Occlusion", 4), ("FeaturePermutation", 4)])
def test_bars_have_the_methods_name_and_count_evaluations(name, count, x, linear, capsys):
    options = {"sliding_window_shapes": (1,)} if name == "Occlusion" else {}
    found = []
    for module in (shim_attr, captum_attr):
        getattr(module, name)(linear).attribute(x, target=1, show_progress=True, **options)
        found.append(capsys.readouterr().err.split("\r")[-1])
    title = (
        f"{shim_attr.FeatureAblation.get_name() if name == 'FeatureAblation' else getattr(shim_attr, name).get_name()}"
    )
    for text in found:
        assert text.startswith(f"{title} attribution: 100%")
        assert f"{count}/{count}" in text


@pytest.mark.parametrize("name", ["ShapleyValueSampling", "KernelShap", "Lime"])
def test_bars_of_sampling_methods(name, x, linear, capsys):
    getattr(shim_attr, name)(linear).attribute(x, target=1, show_progress=True)
    assert f"{getattr(shim_attr, name).get_name()} attribution: 100%" in capsys.readouterr().err


def test_a_partial_is_a_model(x, linear):
    model = functools.partial(lambda scale, x: linear(x).sum() * scale, 2.0)
    agree(*both("FeatureAblation", model, x))


class Counted(nn.Module):
    """Counts its runs, in a buffer and in a list."""

    def __init__(self, output):
        super().__init__()
        self.linear, self.output, self.runs = nn.Linear(3, 2), output, []
        self.register_buffer("count", torch.zeros(()))

    def forward(self, *inputs):
        self.count += 1
        self.runs.append(1)
        return self.output(self.linear(inputs[0]) if len(inputs) == 1 else inputs[0].sum() + inputs[1].sum())


@pytest.mark.parametrize(
    ("name", "output", "shapes"),
    [
        ("Saliency", lambda out: out.sum(), [(3,)]),
        ("LRP", lambda out: out.sum(), [(3,)]),
        ("FeatureAblation", lambda out: out.sum(0)[None], [(2, 3)]),
        ("FeatureAblation", lambda out: (out > 0).sum(1), [(2, 3)]),
        ("ShapleyValues", lambda out: out, [(2, 3)]),
        ("FeatureAblation", lambda out: out, [(2,), (3,)]),
        ("Lime", lambda out: out.sum(), [(2, 3)]),
        ("KernelShap", lambda out: out.sum(), [(2, 3)]),
    ],
)
def test_the_model_stays_as_it_is(name, output, shapes):
    model, inputs = Counted(output), tuple(torch.randn(shape) for shape in shapes)
    getattr(shim_attr, name)(model).attribute(inputs)
    assert (float(model.count), model.runs) == (0.0, [])
