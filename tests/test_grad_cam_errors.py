"""What bad input to `grad_cam`, `tokens_to_grid` and `interpolate` gets, and that the model is untouched behind it."""

import re

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import attrfunc as af


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.relu, self.head = nn.Conv1d(2, 4, 3), nn.ReLU(), nn.Linear(4, 3)
        self.spare, self.across = nn.Linear(1, 1), nn.Identity()

    def forward(self, x):
        h = self.relu(self.conv(x)).relu()
        return self.head(self.across(self.relu(h).movedim(0, -1)).mean(1).T)


@pytest.fixture
def net():
    torch.manual_seed(0)
    return Net().eval()


@pytest.fixture
def x():
    return torch.randn(5, 2, 6)


def raises(*parts, error=af.ArgumentError):
    """The error's message holds every part, in this order."""
    return pytest.raises(error, match=".*".join(re.escape(part) for part in parts))


class TestLayer:
    def test_missing(self, net, x):
        with pytest.raises(TypeError, match=r"grad_cam\(\) missing .* 'layer'"):
            af.grad_cam(net, x, target=0)

    @pytest.mark.parametrize("layer", [None, 3, ["conv", 3], [["conv"]], [None]], ids=str)
    def test_wrong_kind(self, net, x, layer):
        with raises("grad_cam: argument `layer`: got ", "expected the name of a layer, or a module", "list of these"):
            af.grad_cam(net, x, layer=layer, target=0)

    def test_unknown(self, net, x):
        with raises("grad_cam: argument `layer`: got 'cnov'", "'conv'"):
            af.grad_cam(net, x, layer="cnov", target=0)
        with raises("grad_cam: argument `layer`", "not a part of the model"):
            af.grad_cam(net, x, layer=nn.ReLU(), target=0)
        with raises("grad_cam: argument `layer`", "Pass the layer itself"):
            af.grad_cam(lambda x: net(x), x, layer="conv", target=0)
        with raises("grad_cam: argument `layer`: got an empty list"):
            af.grad_cam(net, x, layer=[], target=0)

    def test_side_and_call(self, net, x):
        with raises("grad_cam: argument `side`", "'inside'"):
            af.grad_cam(net, x, layer="conv", side="inside", target=0)
        with raises("grad_cam: argument `call`", "-1"):
            af.grad_cam(net, x, layer="relu", call=-1, target=0)
        with raises("grad_cam: layer 'relu' runs 2 times", "call=0", error=af.ModelError):
            af.grad_cam(net, x, layer="relu", target=0)
        with raises("grad_cam: layer 'spare' does not run", error=af.ModelError):
            af.grad_cam(net, x, layer=["conv", "spare"], target=0)

    def test_a_layer_view(self, net, x):
        with raises("grad_cam: argument `model`", "a view of layer 'conv'", "af.neuron", "layer='conv'"):
            af.grad_cam(af.layer(net, "conv"), x, layer="head", target=0)
        with raises("grad_cam: argument `model`", "layer=['conv', 'head']"):
            af.grad_cam(af.layer(net, ["conv", "head"]), x, layer="head", target=0)

    def test_examples_are_not_in_front(self, net, x):
        got = "an activation of shape (4, 4, 5) at the output of layer 'across'"
        with raises(f"grad_cam: argument `layer`: got {got}", "(B, C, *S): the 5 examples first", "reshape="):
            af.grad_cam(net, x, layer="across", target=0)
        with raises("layer 'across'"):
            af.grad_cam(net, x, layer=["conv", "across", "head"], target=0)
        heat = af.grad_cam(net, x, layer="across", target=0, reshape=lambda a: a.movedim(-1, 0))
        assert heat.shape == (5, 1, 4)

    def test_no_channels(self, x):
        class Squeeze(nn.Module):
            def forward(self, x):
                return x.sum((1, 2))

        with raises("grad_cam: argument `layer`", "(5,) at the input of layer '1'", "reshape="):
            af.grad_cam(nn.Sequential(Squeeze(), nn.Identity()), x, layer="1", side="input")


class TestReshape:
    def test_no_callable(self, net, x):
        with raises("grad_cam: argument `reshape`: got tuple (2, 2)", "callable", "tokens_to_grid"):
            af.grad_cam(net, x, layer="conv", target=0, reshape=(2, 2))

    @pytest.mark.parametrize(
        ("reshape", "got"),
        [
            (lambda a: a.sum((1, 2)), "(5,)"),
            (lambda a: a.movedim(0, 1), "(4, 5, 4)"),
            (lambda a: a.flatten(), "(80,)"),
            (lambda a: None, "NoneType"),
            (lambda a: (a,), "tuple"),
        ],
        ids=["no channels", "batch not first", "flat", "None", "tuple"],
    )
    def test_wrong_results(self, net, x, reshape, got):
        with raises("grad_cam: argument `reshape`", got, "an activation of shape (5, 4, 4)", "'conv'", "5 examples"):
            af.grad_cam(net, x, layer="conv", target=0, reshape=reshape)

    @pytest.mark.parametrize(
        "reshape", [torch.relu, torch.tanh, lambda a: a + 1, lambda a: a.softmax(1), lambda a: a / a.norm()]
    )
    def test_not_linear(self, net, x, reshape):
        with raises("grad_cam: argument `reshape`", "not linear at the output of layer 'conv'", "rearranges"):
            af.grad_cam(net, x, layer="conv", target=0, reshape=reshape)


class TestWeighting:
    @pytest.mark.parametrize("weighting", ["gradcam", None, 3])
    def test_unknown(self, net, x, weighting):
        with raises("grad_cam: argument `weighting`", str(weighting), "'grad_cam', ", "callable", "Near matches"):
            af.grad_cam(net, x, layer="conv", target=0, weighting=weighting)

    @pytest.mark.parametrize(
        "weigh",
        [
            lambda a, g: g.mean(2),
            lambda a, g: g.mean((0, 2)),
            lambda a, g: g[:, :, :3],
            lambda a, g: torch.cat([g, g]),
            lambda a, g: 1.0,
        ],
    )
    def test_wrong_weights(self, net, x, weigh):
        with raises("grad_cam: argument `weighting`", "3 dimensions that broadcast", "(5, 4, 4)", "keepdim=True"):
            af.grad_cam(net, x, layer="conv", target=0, weighting=weigh)


def test_what_every_method_checks(net, x):
    with raises("grad_cam: argument `target`", "(5, 3)", "0 to 2"):
        af.grad_cam(net, x, layer="conv", target=3)
    with raises("grad_cam: argument `target`: got None"):
        af.grad_cam(net, x, layer="conv")
    with raises("grad_cam: argument `target`", "selector"):
        af.grad_cam(af.neuron(net, "head", 0), x, layer="conv", target=0)
    with raises("grad_cam: argument `x`", "x[None]"):
        af.grad_cam(net, torch.ones(()), layer="conv", target=0)
    with raises("grad_cam: argument `model`", "int 3"):
        af.grad_cam(3, x, layer="conv")
    with raises("grad_cam: the score is not finite", error=af.ModelError):
        af.grad_cam(net, x * float("inf"), layer="conv", target=0)
    with pytest.warns(UserWarning, match=r"^grad_cam: the model is in training mode") as warned:
        af.grad_cam(nn.Sequential(net.conv, nn.BatchNorm1d(4)), x, layer="0", target=(0, 0))
    assert warned[0].filename == __file__


def fail(*_):
    raise KeyError("in the middle")


@pytest.mark.parametrize("closure", [False, True])
@pytest.mark.parametrize(
    "options",
    [{"reshape": fail}, {"weighting": fail}, {"target": fail}, {}],
    ids=lambda options: " ".join(options) or "none",
)
def test_nothing_is_left_after_an_exception(net, x, options, closure):
    if not options:
        net.head.forward = fail
    state = {key: value.clone() for key, value in net.state_dict().items()}
    model = (lambda x: net(x)) if closure else net
    with pytest.raises(KeyError, match="in the middle"):
        af.grad_cam(model, x, layer=net.conv, **{"target": 0, **options})
    assert all(torch.equal(value, state[key]) for key, value in net.state_dict().items())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in net.parameters())
    for module in net.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks


class TestTokensToGrid:
    def test_grids(self):
        tokens = torch.randn(2, 13, 3)
        for skip, size, expected in [
            (1, (3, 4), (3, 4)),
            (4, None, (3, 3)),
            (1, [2, 3, 2], (2, 3, 2)),
            (5, (8,), (8,)),
        ]:
            image = af.viz.tokens_to_grid(skip=skip, size=size)(tokens)
            assert image.shape == (2, 3, *expected)
            assert torch.equal(image.flatten(2), tokens[:, skip:].mT)

    def test_no_grid(self, net, x):
        with raises(
            "tokens_to_grid: argument `size`: got None for 12 tokens, the first 1 of 13", "square", "size=(H, W)"
        ):
            af.viz.tokens_to_grid()(torch.ones(2, 13, 3))
        with raises("tokens_to_grid: argument `size`: got (3, 5) for 12 tokens", "as many"):
            af.viz.tokens_to_grid(size=(3, 5))(torch.ones(2, 13, 3))
        for shape in [(2, 3, 4, 4), (2, 3), (2, 1, 3)]:
            with raises("tokens_to_grid: argument `tokens`", str(shape), "(B, 1 + H * W, C)"):
                af.viz.tokens_to_grid()(torch.ones(shape))
        with raises("tokens_to_grid: argument `size`: got None for 3 tokens"):
            af.grad_cam(net, x, layer="conv", target=0, reshape=af.viz.tokens_to_grid())

    @pytest.mark.parametrize(
        "options",
        [{"skip": -1}, {"skip": 1.5}, {"skip": None}, {"size": 7}, {"size": (7, 0)}, {"size": ()}, {"size": "7"}],
    )
    def test_arguments(self, options):
        with raises(f"tokens_to_grid: argument `{next(iter(options))}`: got ", "number"):
            af.viz.tokens_to_grid(**options)


class TestInterpolate:
    @pytest.mark.parametrize(
        ("positions", "size", "mode"),
        [
            ((4,), 7, "linear"),
            ((4, 3), (7, 9), "nearest"),
            ((4, 3), 8, "bilinear"),
            ((4, 3), [2, 5], "area"),
            ((4, 3), torch.Size((9, 9)), "bicubic"),
            ((4, 3, 2), (5, 5, 5), "trilinear"),
            ((4, 3, 2), 3, "nearest-exact"),
        ],
    )
    def test_one_map(self, positions, size, mode):
        maps = torch.randn(2, 3, *positions)
        assert torch.equal(af.viz.interpolate(maps, size, mode), F.interpolate(maps, size, mode=mode))

    def test_structures_and_derivatives(self, net, x):
        maps = af.grad_cam(net, x, layer=["conv", "conv"], target=0)
        first, second = af.viz.interpolate({"a": maps}, 6)["a"]
        assert torch.equal(first, second)
        assert first.shape == (5, 1, 6)
        slope = torch.func.grad(lambda m: af.viz.interpolate(m, 8).sum())(maps[0])
        assert torch.equal(slope, torch.full_like(maps[0], 2))

    @pytest.mark.parametrize("size", [0, (4, -1), (4,), (4, 4, 4), 2.5, None, "44", (4, None), ()], ids=str)
    def test_size(self, size):
        with raises("interpolate: argument `size`: got ", "2 of them", "x.shape[2:]"):
            af.viz.interpolate(torch.ones(2, 3, 4, 4), size)

    def test_mode(self):
        for shape, mode in [((2, 3, 4), "bilinear"), ((2, 3, 4, 4), "linear"), ((2, 3, 4), "cubic"), ((2, 3, 4), None)]:
            with raises("interpolate: argument `mode`", repr(mode), str(shape), "one of 'nearest'", "dimension(s)"):
                af.viz.interpolate(torch.ones(shape), 8, mode)

    @pytest.mark.parametrize(
        "maps",
        [torch.ones(2, 3), torch.ones(2, 1, 1, 1, 1, 1), torch.ones(2, 3, 4, dtype=torch.long), 3, None],
        ids=str,
    )
    def test_maps(self, maps):
        with raises("interpolate: argument `attributions`", "(B, C, *S)", "maps[:, None]"):
            af.viz.interpolate([torch.ones(2, 3, 4), maps], 8)
        with raises("interpolate: argument `attributions`", "at least one channel and position"):
            af.viz.interpolate(torch.ones(2, 3, 0), 8)
