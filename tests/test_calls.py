"""How a model is called: the stateless twin, arguments, targets, baselines, views, reports of progress."""

import functools
import logging
import types
import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import attrfunc as af
from attrfunc.core.model.twin import Twin

close = torch.testing.assert_close


def rand(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def mlp(inputs=3, outputs=4):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(inputs, 5), nn.Tanh(), nn.Linear(5, outputs)).double()


class TestTwin:
    def test_shares_tensors_but_no_graph(self):
        model = mlp()
        twin = Twin(model)
        output = twin(rand(2, 3))
        close(output, model(rand(2, 3)))
        assert not output.requires_grad
        assert twin.modules[model[0]].weight.data_ptr() == model[0].weight.data_ptr()

    def test_tied_weights_stay_tied(self):
        class Tied(nn.Module):
            def __init__(self):
                super().__init__()
                self.a, self.b = nn.Linear(3, 3), nn.Linear(3, 3)
                self.b.weight = self.a.weight
                self.alias = self.a

            def forward(self, x):
                return self.b(self.alias(self.a(x)))

        model = Tied().double()
        weight = rand(3, 3)
        twin = Twin(model, {"a.weight": weight})
        with torch.no_grad():
            model.a.weight.copy_(weight)
        close(twin(rand(2, 3)), model(rand(2, 3)), check_stride=False)

    def test_attributes_set_in_forward_stay_on_the_twin(self):
        class Remembers(nn.Module):
            def forward(self, x):
                self.last = x
                return x.sum(1)

        model = Remembers()
        af.saliency(model, rand(2, 3))
        assert not hasattr(model, "last")

    def test_bound_methods_and_partials_act_on_the_twin(self):
        class Methods(nn.Module):
            def __init__(self):
                super().__init__()
                self.inner = nn.Linear(3, 3)
                self.step = self.doubled
                self.twice = functools.partial(Methods.doubled, self)

            def doubled(self, x):
                return 2 * self.inner(x)

            def forward(self, x):
                return self.step(x) + self.twice(x)

        model = Methods().double()
        assert not af.saliency(model, rand(2, 3), target=0).requires_grad
        assert not af.saliency(model.doubled, rand(2, 3), target=0).requires_grad
        close(af.ig(af.layer(model.doubled, "inner"), rand(2, 3), target=0).shape, torch.Size([2, 3]))

    def test_forward_replaced_on_the_instance(self):
        model = mlp()
        plain = model.forward
        model.forward = types.MethodType(lambda self, x: 3 * plain(x), model)
        close(af.saliency(model, rand(2, 3), target=0), 3 * af.saliency(mlp(), rand(2, 3), target=0))

    def test_user_hooks_still_act(self):
        model = mlp()
        model[0].register_forward_hook(lambda module, args, output: 2 * output)
        x = rand(2, 3)
        close(
            af.completeness_gap(model, x, af.ig(model, x, target=0), target=0),
            torch.zeros(2).double(),
            atol=1e-9,
            rtol=0,
        )

    def test_weight_norm(self):
        x = rand(2, 3)
        parametrized = nn.utils.parametrizations.weight_norm(nn.Linear(3, 2)).double()
        plain = nn.Linear(3, 2).double()
        plain.load_state_dict({"weight": parametrized.weight.detach(), "bias": parametrized.bias})
        close(af.ig(parametrized, x, target=1), af.ig(plain, x, target=1))

    @pytest.mark.parametrize("cell", [nn.LSTM, nn.GRU, nn.RNN])
    def test_recurrent(self, cell):
        class Recurrent(nn.Module):
            def __init__(self):
                super().__init__()
                self.cell, self.head = cell(3, 4, batch_first=True), nn.Linear(4, 2)

            def forward(self, x):
                return self.head(self.cell(x)[0][:, -1])

        model, x = Recurrent().double(), rand(2, 5, 3)
        close(
            af.completeness_gap(model, x, af.ig(model, x, target=0), target=0),
            torch.zeros(2).double(),
            atol=1e-7,
            rtol=0,
        )
        view = af.layer(model, "cell")
        result = af.ig(view, x, target=0)
        assert [result[0].shape, result[1][0].shape if isinstance(result[1], tuple) else result[1].shape] == [
            (2, 5, 4),
            (1, 2, 4),
        ]

    def test_in_place_model_does_not_write_into_the_input(self):
        model = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(3, 2)).double()
        x = rand(2, 3)
        for view in (model, af.layer(model, "1"), af.layer(model, "0"), af.neuron(model, "1", 0)):
            target = None if isinstance(view, af.View) and view.output else 0
            af.ig(view, x, target=target)
            af.saliency(view, x, target=target)
            af.input_x_gradient(view, x, target=target)
        close(x, rand(2, 3))

    def test_activation_before_an_in_place_operation(self):
        model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(inplace=True), nn.Linear(4, 2)).double()
        plain = nn.Sequential(model[0], nn.ReLU(), model[2])
        x = rand(6, 3)
        for method in (af.ig, af.saliency, af.input_x_gradient):
            for place in (["0"], ["1"], ["0", "1"]):
                close(method(af.layer(model, place), x, target=0), method(af.layer(plain, place), x, target=0))
        close(af.saliency(af.neuron(model, "0", 1), x), af.saliency(af.neuron(plain, "0", 1), x))

    def test_a_model_that_attributes(self):
        class Explains(nn.Module):
            def __init__(self):
                super().__init__()
                self.inner = mlp()

            def forward(self, x):
                return af.ig(self.inner, x, target=0, n_steps=1)

        model, x = Explains(), rand(4, 3)
        plain = lambda x: af.ig(model.inner, x, target=0, n_steps=1)
        close(af.saliency(model, x, target=1), af.saliency(plain, x, target=1).detach())
        assert af.ig(af.layer(model, "inner.0", call=0), x, target=1).shape == (4, 5)

    @pytest.mark.parametrize("method", [af.ig, af.saliency, af.input_x_gradient])
    @pytest.mark.parametrize("view", [lambda m: m, lambda m: af.layer(m, "0")])
    def test_no_examples(self, method, view):
        model = mlp()
        expected = (0, 3) if view(model) is model else (0, 5)
        assert method(view(model), rand(0, 3), target=1).shape == expected

    def test_inference_tensors_and_no_grad(self):
        model, x = mlp(), rand(2, 3)
        expected = af.ig(model, x, target=0)
        with torch.no_grad():
            close(af.ig(model, x, target=0), expected)
        with torch.inference_mode():
            close(af.ig(model, x, target=0), expected)


class TestArguments:
    def test_batched_arguments_follow_the_examples(self):
        scale, x = rand(4, 1, seed=1), rand(4, 3)
        weights = rand(3, 3, seed=2)
        model = lambda x, w, flag, *, scale: ((x @ w).tanh() * scale).sum(1) if flag else None
        whole = af.ig(model, x, args=(weights, True), kwargs={"scale": scale}, chunk_size=3)
        for i in range(4):
            one = af.ig(model, x[i : i + 1], args=(weights, True), kwargs={"scale": scale[i : i + 1]})
            close(whole[i : i + 1], one)

    def test_at_a_layer(self):
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.inner = nn.Linear(3, 3)

            def forward(self, x, scale):
                return (self.inner(x) * scale).tanh().sum(1)

        model, x, scale = Model().double(), rand(4, 3), rand(4, 1, seed=1)
        whole = af.ig(af.layer(model, "inner"), x, args=(scale,))
        close(whole[2:3], af.ig(af.layer(model, "inner"), x[2:3], args=(scale[2:3],)))


class TestTargets:
    @pytest.mark.parametrize(
        ("target", "per_example"),
        [
            (2, [2, 2, 2]),
            (-1, [3, 3, 3]),
            (torch.tensor(1), [1, 1, 1]),
            (torch.tensor([1]), [1, 1, 1]),
            (torch.tensor([0, 3, -2]), [0, 3, 2]),
            ([0, 3, 1], [0, 3, 1]),
            ([(0,), (3,), (1,)], [0, 3, 1]),
            ((torch.tensor([0, 3, 1]),), [0, 3, 1]),
            (lambda output: output[:, 1], [1, 1, 1]),
        ],
    )
    @pytest.mark.parametrize("chunk_size", [None, 2])
    def test_forms(self, target, per_example, chunk_size):
        model, x = mlp(), rand(3, 3)
        result = af.ig(model, x, target=target, n_steps=4, chunk_size=chunk_size)
        for i, index in enumerate(per_example):
            close(result[i : i + 1], af.ig(model, x[i : i + 1], target=index, n_steps=4))

    def test_outputs_with_more_dimensions(self):
        model = lambda x: torch.einsum("bi,bj->bij", x, x).tanh()
        x = rand(3, 4)
        expected = af.ig(lambda x: (x[:, 1] * x[:, 2]).tanh(), x)
        for target in ((1, 2), [(1, 2)] * 3, (1, torch.tensor([2, 2, 2])), lambda out: out[:, 1, 2]):
            close(af.ig(model, x, target=target), expected)
        ranged = af.ig(model, x, target=(slice(0, 2), 2))
        close(ranged, af.ig(model, x, target=(0, 2)) + af.ig(model, x, target=(1, 2)))

    @pytest.mark.parametrize("shape", [(-1,), (-1, 1)])
    def test_one_number_per_example(self, shape):
        x = rand(3, 4)
        close(af.saliency(lambda x: x.tanh().sum(1).reshape(shape), x), af.saliency(lambda x: x.tanh().sum(1), x))

    def test_one_example_and_a_scalar_output(self):
        assert af.saliency(lambda x: x.sum(), rand(1, 4)).eq(1).all()

    def test_neuron_selectors(self):
        model, x = nn.Sequential(nn.Conv1d(2, 3, 2), nn.Tanh(), nn.Flatten(), nn.Linear(12, 2)).double(), rand(2, 2, 5)
        expected = af.saliency(lambda x: model[0](x).tanh()[:, 1, 3], x).detach()
        for selector in ((1, 3), (1, slice(3, 4)), (torch.tensor(1), torch.tensor(3)), lambda a: a[:, 1, 3]):
            close(af.saliency(af.neuron(model, "1", selector), x), expected)
        close(af.saliency(af.neuron(model, "1", (1, 3), side="output"), x), expected)
        close(af.saliency(af.neuron(model, "2", (1, 3), side="input"), x), expected)
        close(af.saliency(af.neuron(model, "2", 7), x), expected)


class TestBaselines:
    @pytest.mark.parametrize(
        ("baseline", "full"),
        [
            (None, lambda x: torch.zeros_like(x)),
            (0.5, lambda x: torch.full_like(x, 0.5)),
            (1, lambda x: torch.ones_like(x)),
            (torch.arange(3), lambda x: torch.arange(3).double().expand(4, 3)),
            (torch.arange(3.0)[None], lambda x: torch.arange(3).double().expand(4, 3)),
            (torch.arange(12.0).view(4, 3), lambda x: torch.arange(12).double().view(4, 3)),
            (lambda x: x.mean(0), lambda x: x.mean(0).expand(4, 3)),
        ],
    )
    def test_forms(self, baseline, full):
        model, x = mlp(), rand(4, 3)
        close(af.ig(model, x, baseline=baseline, target=0), af.ig(model, x, baseline=full(x), target=0))

    def test_structures(self):
        model, x = lambda a, b: (a * b).tanh().sum(1), (rand(4, 3), rand(4, 3, seed=1))
        expected = af.ig(model, x, baseline=(torch.ones(4, 3), torch.zeros(4, 3)))
        for baseline in ((1, None), (torch.ones(3), 0.0), lambda x: (torch.ones_like(x[0]), torch.zeros_like(x[1]))):
            close(af.ig(model, x, baseline=baseline), expected)

    def test_tokens(self):
        model = nn.Sequential(nn.Embedding(7, 3), nn.Tanh(), nn.Flatten(), nn.Linear(6, 2)).double()
        x = torch.tensor([[1, 2], [3, 4]])
        for baseline in (None, 0, torch.zeros(1, 2, dtype=torch.long)):
            view = af.layer(model, "0")
            result = af.ig(view, x, baseline=baseline, target=1)
            assert result.shape == (2, 2, 3)
            gap = af.completeness_gap(view, x, result, baseline=baseline, target=1)
            close(gap, torch.zeros(2).double(), atol=1e-9, rtol=0)


class TestViews:
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.inner = nn.Linear(3, 3)

        def forward(self, x):
            return self.inner(self.inner(x).tanh()).tanh().sum(1)

    def test_a_chosen_call(self):
        model, x = self.Twice().double(), rand(4, 3)
        first = af.saliency(af.layer(model, "inner", call=0), x, absolute=False)
        second = af.saliency(af.layer(model, "inner", call=1), x, absolute=False)
        hidden = model.inner(x).detach().requires_grad_()
        (expected,) = torch.autograd.grad(model.inner(hidden.tanh()).tanh().sum(), hidden)
        close(first, expected)
        close(second, 1 - model(x).new_tensor(1) * model.inner(model.inner(x).tanh()).detach().tanh() ** 2)
        neuron = af.saliency(af.neuron(model, "inner", 1, call=1), x)
        close(neuron, af.saliency(lambda x: model.inner(model.inner(x).tanh())[:, 1], x).detach())

    def test_a_list_gives_the_list_of_single_results(self):
        model, x = mlp(), rand(4, 3)
        for method in (af.ig, af.saliency, af.input_x_gradient):
            together = method(af.layer(model, ["2", "0", model[1]]), x, target=1)
            for name, result in zip("201", together, strict=True):
                close(result, method(af.layer(model, name), x, target=1))
        view = af.layer(model, ["0", "1"])
        gaps = af.completeness_gap(view, x, af.ig(view, x, target=1), target=1)
        assert [gap.shape for gap in gaps] == [(4,), (4,)]

    def test_several_layers_take_one_forward_pass(self):
        model, x, calls = mlp(), rand(4, 3), []
        model.register_forward_hook(lambda *args: calls.append(1))
        af.input_x_gradient(af.layer(model, ["0", "1", "2"]), x, target=1)
        assert len(calls) == 1

    def test_a_module_inside_a_closure(self):
        model, x = mlp(), rand(4, 3)
        closure = lambda x: model(x).log_softmax(1)
        view = af.layer(closure, model[0])
        expected = af.ig(af.layer(nn.Sequential(model, nn.LogSoftmax(1)), "0.0"), x, target=1)
        close(af.ig(view, x, target=1).detach(), expected)

    def test_views_are_callable_and_compose(self):
        model, x = mlp(), rand(4, 3)
        close(af.layer(model, "0")(x), model(x))
        bound = af.bind(model, {"2.bias": torch.zeros(4).double()})
        close(bound(x), model(x) - model[2].bias)
        both = af.layer(af.neuron(bound, "2", 1), "0")
        close(af.ig(both, x), af.ig(af.layer(bound, "0"), x, target=1))
        close(af.ig(af.neuron(af.layer(bound, "0"), "2", 1), x), af.ig(both, x))

    def test_what_lies_before_a_layer_runs_once(self, caplog):
        class Deep(nn.Module):
            def __init__(self):
                super().__init__()
                self.body = nn.Sequential(*[nn.Sequential(nn.Linear(3, 3), nn.Tanh()) for _ in range(8)])
                self.head = nn.Linear(3, 2)

            def forward(self, x):
                return self.head(self.body(x))

        model, x = Deep().double(), rand(4, 3)
        rows = []
        model.body[0].register_forward_hook(lambda module, args, output: rows.append(len(output)))
        af.ig(af.layer(model, "body.6"), x, target=0, n_steps=20, chunk_size=1000)
        assert rows[-3:] == [4, 4, 4]  # at the input, at the baseline, and once for all points
        assert rows[:-3] == [4, 3, 1, 1, 1, 1]  # the batch, some examples, and one with and without vmap
        rows.clear()
        af.ig(af.layer(model, "body.0"), x, target=0, n_steps=20, chunk_size=1000)
        assert rows[-3:] == [4, 4, 80]

    def test_without_a_batching_rule_the_points_are_folded(self, caplog):
        class Picky(nn.Module):
            def __init__(self):
                super().__init__()
                self.body = nn.Sequential(*[nn.Sequential(nn.Linear(3, 3), nn.Tanh()) for _ in range(8)])

            def forward(self, x):
                x = self.body(x)
                if x.isnan().any():  # a branch on data
                    return x.sum(1)
                return F.gelu(x).sum(1)

        model, x = Picky().double(), rand(4, 3)
        with caplog.at_level(logging.DEBUG, "attrfunc"), warnings.catch_warnings():
            warnings.simplefilter("error")
            result = af.ig(af.layer(model, "body.6"), x)
        gap = af.completeness_gap(af.layer(model, "body.6"), x, result)
        close(gap, torch.zeros(4).double(), atol=1e-9, rtol=0)

    def test_activation_without_examples_first(self):
        class TimeFirst(nn.Module):
            def __init__(self):
                super().__init__()
                self.cell, self.head = nn.LSTM(3, 4), nn.Linear(4, 2)

            def forward(self, x):
                return self.head(self.cell(x.transpose(0, 1))[0][-1])

        model, x = TimeFirst().double(), rand(2, 5, 3)
        whole = af.ig(af.layer(model, "cell"), x, target=0, chunk_size=1)
        assert whole[0].shape == (5, 2, 4)
        close(whole[0][:, :1], af.ig(af.layer(model, "cell"), x[:1], target=0)[0])


class TestProgress:
    def test_callable(self):
        seen = []
        af.ig(
            mlp(),
            rand(4, 3),
            target=0,
            n_steps=5,
            chunk_size=8,
            progress=lambda done, total: seen.append((done, total)),
        )
        assert seen == [(8, 20), (16, 20), (20, 20)]

    def test_bar(self, capsys):
        af.ig(mlp(), rand(4, 3), target=0, n_steps=5, progress=True)
        assert "0/20" in capsys.readouterr().err
