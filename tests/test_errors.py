"""What bad input gets: the function, the argument, what came, what was expected, the fix; and an untouched model."""

import copy
import re
import warnings

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import attrfunc as af

METHODS = [af.ig, af.saliency, af.input_x_gradient]


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 4)
        self.relu = nn.ReLU()
        self.head = nn.Linear(4, 2)
        self.spare = nn.Linear(2, 2)

    def forward(self, x):
        return self.head(self.relu(self.relu(self.first(x))))


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Small().eval()


@pytest.fixture
def x():
    return torch.randn(5, 3)


def raises(*parts, error=af.ArgumentError):
    """The error's message holds every part, in this order."""
    return pytest.raises(error, match=".*".join(re.escape(part) for part in parts))


@pytest.mark.parametrize("method", METHODS)
class TestEveryMethod:
    def named(self, method):
        return method.__name__ + ":"

    def test_target_out_of_range(self, method, model, x):
        for target in (2, -3, torch.tensor(2), torch.tensor([0, 1, 0, 1, 5])):
            explained = lambda x, target=target: method(model, x, target=target)
            for call in (explained, torch.func.jacfwd(explained)):
                with raises(self.named(method), "`target`", "(5, 2)", "0 to 1"):
                    call(x)

    def test_target_missing(self, method, model, x):
        with raises(self.named(method), "`target`", "None for an output of shape (5, 2)", "Pass target=0"):
            method(model, x)

    def test_target_of_wrong_length(self, method, model, x):
        with raises(self.named(method), "`target`", "(3,)", "(5,)"):
            method(model, x, target=torch.zeros(3, dtype=torch.long))
        with raises(self.named(method), "`target`", "a list of 3", "5 examples"):
            method(model, x, target=[0, 1, 0])

    def test_target_of_wrong_kind(self, method, model, x):
        with raises(self.named(method), "`target`", "float 1.5", "None, an int"):
            method(model, x, target=1.5)
        with raises(self.named(method), "`target`", "torch.float32"):
            method(model, x, target=torch.ones(5))

    def test_target_with_too_many_indices(self, method, model, x):
        with raises(self.named(method), "`target`", "2 index(es) for an output of shape (5, 2)"):
            method(model, x, target=(0, 1))

    def test_callable_target_of_wrong_shape(self, method, model, x):
        with raises(self.named(method), "`target`", "(5, 2)", "shape (5,)"):
            method(model, x[:, None].squeeze(1), target=lambda output: output[:5, :2])

    def test_output_that_is_no_tensor(self, method, x):
        with raises(self.named(method), "`target`", "dict", "callable", "no logits"):
            method(lambda x: {"scores": x}, x, target=0)
        with raises(self.named(method), "`target`", "tuple", "callable"):
            method(lambda x: (x, 2 * x), x, target=0)

    def test_integer_input(self, method):
        model = nn.Sequential(nn.Embedding(5, 3), nn.Flatten(), nn.Linear(6, 2))
        with raises(self.named(method), "`x`", "torch.int64", "floating-point", "af.layer(model, '0')"):
            method(model, torch.tensor([[0, 1]]), target=0)

    def test_batch_sizes_differ(self, method):
        with raises(self.named(method), "`x`", "(2, 3), (3, 3)", "one batch size"):
            method(lambda a, b: a.sum(1), (torch.ones(2, 3), torch.ones(3, 3)))

    def test_no_batch_dimension(self, method):
        with raises(self.named(method), "`x`", "shape ()", "x[None]"):
            method(lambda a: a, torch.ones(()))

    def test_layer_that_never_runs(self, method, model, x):
        with raises(self.named(method), "'spare' does not run", error=af.ModelError):
            method(af.layer(model, "spare"), x, target=0)

    def test_layer_that_runs_twice(self, method, model, x):
        with raises(self.named(method), "'relu' runs 2 times", "call=0", error=af.ModelError):
            method(af.layer(model, "relu"), x, target=0)
        with raises(self.named(method), "'relu' runs 2 time(s)", "call=2", error=af.ModelError):
            method(af.layer(model, "relu", call=2), x, target=0)

    def test_neuron_that_runs_twice(self, method, model, x):
        with raises(self.named(method), "'relu' runs 2 times", error=af.ModelError):
            method(af.neuron(model, "relu", 0), x)

    def test_score_that_is_not_finite(self, method, x):
        with raises(self.named(method), "not finite", error=af.ModelError):
            method(lambda x: (x * float("inf")).sum(1), x)

    def test_target_for_a_neuron(self, method, model, x):
        with raises(self.named(method), "`target`", "int 1", "selector"):
            method(af.neuron(model, "head", 0), x, target=1)

    def test_neuron_out_of_range(self, method, model, x):
        with raises(self.named(method), "`selector`", "(5, 2)", "0 to 1"):
            method(af.neuron(model, "head", 2), x)

    def test_model_that_is_no_callable(self, method, x):
        with raises(self.named(method), "`model`", "int 3"):
            method(3, x)

    def test_training_mode_warns(self, method, x):
        for module, name in ((nn.BatchNorm1d(4), "BatchNorm1d '1'"), (nn.Dropout(0.5), "Dropout '1'")):
            model = nn.Sequential(nn.Linear(3, 4), module, nn.Linear(4, 2)).train()
            before = copy.deepcopy(model.state_dict())
            with pytest.warns(UserWarning, match=f"{method.__name__}: .*training mode.*{name}.*model.eval"):
                method(model, x, target=0)
            assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())

    def test_training_mode_without_effect_is_silent(self, method, x):
        model = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.0), nn.LayerNorm(4), nn.Linear(4, 2)).train()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            method(model, x, target=0)

    @pytest.mark.filterwarnings(
        "ignore:None of the inputs have requires_grad"
    )  # checkpointing, run for its values only
    @pytest.mark.parametrize("reentrant", [True, False])
    def test_checkpointing(self, method, model, x, reentrant):
        class Checkpointed(nn.Module):
            def __init__(self):
                super().__init__()
                self.inner = model

            def forward(self, x):
                return checkpoint(self.inner, x, use_reentrant=reentrant)

        torch.testing.assert_close(method(Checkpointed(), x, target=0), method(model, x, target=0))
        with raises(self.named(method), "checkpoint", "Checkpointed", error=af.ModelError):
            torch.func.vmap(lambda x: method(Checkpointed(), x, target=0))(x[None])

    def test_autograd_function_without_setup_context(self, method, x):
        class Odd(torch.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                return x * 2

            @staticmethod
            def backward(ctx, grad):
                return grad * 2

        torch.testing.assert_close(
            method(lambda x: Odd.apply(x).sum(1), x), method(lambda x: (2 * x).sum(1), x), check_dtype=False
        )
        with raises(self.named(method), "'Odd'", "setup_context", error=af.ModelError):
            torch.func.vmap(lambda x: method(lambda x: Odd.apply(x).sum(1), x))(x[None])

    @pytest.mark.parametrize("transform", ["vmap", "jvp"])
    def test_autograd_function_without_a_rule_for_a_transform(self, method, x, transform):
        class Doubled(torch.autograd.Function):
            @staticmethod
            def forward(x):
                return x * 2

            @staticmethod
            def setup_context(ctx, inputs, output):
                pass

            @staticmethod
            def backward(ctx, grad):
                return grad * 2

        class Mended(Doubled):
            generate_vmap_rule = transform == "vmap"

        if transform == "jvp":
            Mended.jvp = staticmethod(lambda ctx, change: change * 2)

        def run(function):
            explained = lambda x: method(lambda x: function.apply(x).square().sum(1), x)
            return (
                torch.func.jvp(explained, (x,), (x,))[0] if transform == "jvp" else torch.func.vmap(explained)(x[None])
            )

        fix = {"vmap": "generate_vmap_rule", "jvp": "Define its jvp"}[transform]
        with raises(self.named(method), "'Doubled'", fix, error=af.ModelError):
            run(Doubled)
        plain = method(lambda x: (2 * x).square().sum(1), x)
        torch.testing.assert_close(run(Mended).view_as(plain), plain)

    def test_backward_hooks(self, method, model, x):
        plain, told = method(model, x, target=0), []
        handle = model.head.register_full_backward_hook(lambda *args: told.append(1))
        torch.testing.assert_close(method(model, x, target=0), plain)
        assert told
        with raises(self.named(method), "backward hooks", "handle.remove()", error=af.ModelError):
            torch.func.vmap(lambda x: method(model, x, target=0))(x[None])
        handle.remove()

    def test_parameters_without_shape(self, method, x):
        with raises(self.named(method), "Run it once", error=af.ModelError):
            method(nn.Sequential(nn.LazyLinear(2)), x, target=0)


@pytest.mark.parametrize("method", [af.ig])
class TestPathMethods:
    def test_baseline_that_does_not_broadcast(self, method, model, x):
        for baseline in (torch.zeros(4), torch.zeros(2, 3), torch.zeros(1, 5, 3)):
            with raises("`baseline`", str(tuple(baseline.shape)), "(5, 3)"):
                method(model, x, baseline=baseline, target=0)

    def test_baseline_of_other_structure(self, method, model, x):
        with raises("`baseline`", "tuple", "structure of the input"):
            method(model, x, baseline=(x, x), target=0)
        with raises("`baseline`", "str", "None, a number or a tensor"):
            method(model, x, baseline="zero", target=0)

    def test_float_baseline_for_integers(self, method):
        model = nn.Sequential(nn.Embedding(5, 3), nn.Flatten(), nn.Linear(6, 2))
        with raises("`baseline`", "torch.float32", "torch.int64"):
            method(af.layer(model, "0"), torch.tensor([[0, 1]]), baseline=torch.zeros(1, 2), target=0)

    @pytest.mark.parametrize("value", [0, -1, 1.5, None])
    def test_n_steps(self, method, model, x, value):
        with raises("`n_steps`", "at least 1"):
            method(model, x, target=0, n_steps=value)

    @pytest.mark.parametrize("value", [0, -1, 1.5])
    def test_chunk_size(self, method, model, x, value):
        with raises("`chunk_size`", "at least 1"):
            method(model, x, target=0, chunk_size=value)

    def test_unknown_rule(self, method, model, x):
        with raises("`method`", "'simpson'", "gausslegendre"):
            method(model, x, target=0, method="simpson")

    def test_trapezoid_of_one_point(self, method, model, x):
        with raises("`n_steps`", "at least 2"):
            method(model, x, target=0, method="riemann_trapezoid", n_steps=1)

    def test_progress(self, method, model, x):
        with raises("`progress`", "str 'yes'"):
            method(model, x, target=0, progress="yes")

    def test_score_that_mixes_the_batch(self, method, x):
        with raises("`target`", "for an output of shape ()"):
            method(lambda x: x.sum(), x)


class TestViews:
    def test_unknown_layer_lists_near_matches(self, model):
        with raises("`where`", "'frist'", "'first'"):
            af.layer(model, "frist")

    def test_module_of_another_model(self, model):
        with raises("`where`", "Linear", "not a part of the model"):
            af.layer(model, nn.Linear(2, 2))

    def test_side_and_call(self, model):
        with raises("`side`", "'inside'"):
            af.layer(model, "first", side="inside")
        with raises("`call`", "-1"):
            af.neuron(model, "first", 0, call=-1)

    def test_empty_list(self, model):
        with raises("`where`", "an empty list"):
            af.layer(model, [])

    def test_neuron_without_selector(self, model):
        with raises("`selector`", "None"):
            af.neuron(model, "first", None)

    def test_joint_layers_in_sequence(self, model, x):
        with raises("integrated_gradients", "'head' depends on another layer", "joint=True", error=af.ModelError):
            af.ig(af.layer(model, ["first", "head"], joint=True), x, target=0)

    def test_bind_unknown_name(self, model, x):
        with raises("`tensors`", "'first.weigth'", "'first.weight'"):
            af.saliency(af.bind(model, {"first.weigth": torch.zeros(4, 3)}), x, target=0)

    def test_layer_without_floats(self, x):
        class Indices(nn.Module):
            def forward(self, x):
                return x.argmax(1)

        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.indices = Indices()

            def forward(self, x):
                return x.gather(1, self.indices(x)[:, None])

        with raises("'indices' has no floating-point tensor at its output", error=af.ModelError):
            af.saliency(af.layer(Model(), "indices"), x)


def test_gap_of_other_shapes(model, x):
    with raises("completeness_gap", "`attributions`", "(5, 4)", "(5, 3)"):
        af.completeness_gap(model, x, torch.ones(5, 4), target=0)


@pytest.mark.parametrize("closure", [False, True])
@pytest.mark.parametrize("where", ["input", "layer", "neuron"])
@pytest.mark.parametrize("method", METHODS)
def test_nothing_is_left_after_an_exception_in_forward(model, x, method, where, closure):
    class Failing(nn.Module):
        def forward(self, x):
            raise KeyError("in the middle")

    model.head = Failing()
    outer = (lambda x: model(x)) if closure else model
    views = {"input": outer, "layer": af.layer(outer, model.first), "neuron": af.neuron(outer, model.first, 0)}
    state = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(KeyError, match="in the middle"):
        method(views[where], x)
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    for module in model.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
        assert not module._forward_pre_hooks_with_kwargs
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())
