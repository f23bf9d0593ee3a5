"""captum.concept and captum.module: Captum's names, signatures and numbers, and where these differ on purpose."""

import inspect
import warnings

import captum.concept as captum_concept
import captum.module as captum_module
import pytest
import torch
from test_signatures import parameters
from torch import nn

import attrfunc as af
import attrfunc.captum.attr as shim_attr
import attrfunc.captum.concept as shim_concept
import attrfunc.captum.module as shim_module
from small_nets import inputs

METHODS = (
    "__init__", "forward", "get_gate_values", "get_gate_active_probs", "_from_pretrained", "train_and_eval", "weights",
    "classes", "compute_cavs", "interpret", "save", "load", "assemble_save_path", "create_cav_dir_if_missing",
)  # fmt: skip


@pytest.mark.parametrize(
    ("ours", "theirs"), [(shim_concept, captum_concept), (shim_module, captum_module)], ids=["concept", "module"]
)
def test_names_and_signatures(ours, theirs):
    assert sorted(ours.__all__) == sorted(theirs.__all__)
    for name in theirs.__all__:
        one, other = getattr(ours, name), getattr(theirs, name)
        assert inspect.isclass(one)
        for method in METHODS:
            if method in vars(other):
                found = [parameters(getattr(kind, method)) for kind in (one, other)]
                assert found[0] == found[1], (name, method)


class Centroids(shim_concept.Classifier, captum_concept.Classifier):
    """A classifier of one's own, which draws nothing: each class against the mean."""

    def __init__(self):
        self.seen = []

    def train_and_eval(self, dataloader, **kwargs):
        batches = list(dataloader)
        x, y = (torch.cat([batch[place] for batch in batches]) for place in (0, 1))
        self.found = y.unique()
        self.means = torch.stack([x[y == label].mean(0) - x.mean(0) for label in self.found])
        self.seen.append(kwargs)
        return {"accs": torch.tensor(1.0)}

    def weights(self):
        return self.means

    def classes(self):
        return self.found.tolist()


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 8), nn.Tanh(), nn.Linear(8, 3)
    ).eval()


def concepts_of(module, count=3):
    made = []
    for number in range(count):
        data = inputs(6, 2, 6, 6, seed=number).float() + number
        made.append(module.Concept(number, f"c{number}", list(data.split(4))))
    return made


@pytest.mark.parametrize("side", [False, True])
def test_tcav(model, tmp_path, side):
    x, results = inputs(9, 2, 6, 6, seed=8).float(), []
    for name, module in (("ours", shim_concept), ("theirs", captum_concept)):
        one, two, three = concepts_of(module)
        tcav = module.TCAV(
            model,
            ["0", "3"],
            classifier=Centroids(),
            attribute_to_layer_input=side,
            save_path=str(tmp_path / name),
            a=1,
        )
        results.append(tcav.interpret(x, [[one, two], [two, three], [three, one, two]], target=1))
        assert tcav.classifier.seen[0] == {"a": 1}
    assert results[0].keys() == results[1].keys() == {"0-1", "1-2", "2-0-1"}
    for key in results[0]:
        for layer in ("0", "3"):
            for part in ("sign_count", "magnitude"):
                torch.testing.assert_close(results[0][key][layer][part], results[1][key][layer][part])


def test_the_layer_method_and_the_default_classifier(model, tmp_path):
    x = inputs(9, 2, 6, 6, seed=8).float()
    one, two, _ = concepts_of(shim_concept)
    method = shim_attr.LayerIntegratedGradients(model, None, multiply_by_inputs=False)
    tcav = shim_concept.TCAV(model, "3", layer_attr_method=method, save_path=str(tmp_path), test_split_ratio=0.25)
    torch.manual_seed(0)
    scores = tcav.interpret(x, [[one, two]], target=0, n_steps=5)["0-1"]["3"]
    weights = tcav.cavs["0-1"]["3"].stats["weights"]
    assert weights.shape == (2, 8)
    torch.testing.assert_close(weights[0], -weights[1])
    slopes = af.ig(af.layer(model, "3"), x, target=0, n_steps=5, multiply_by_inputs=False)
    torch.testing.assert_close(scores["sign_count"], (slopes @ weights.T > 0).float().mean(0))
    # The second concept's examples have the larger activations in the sense of its own vector.
    active = [af.activation(af.layer(model, "3"), torch.cat(concept.data_iter)) for concept in (one, two)]
    assert ((active[1] @ weights[1]).mean() - (active[0] @ weights[1]).mean()) > 0
    torch.manual_seed(0)
    again = shim_concept.TCAV(model, "3", save_path=str(tmp_path / "again"), test_split_ratio=0.25)
    torch.testing.assert_close(again.compute_cavs([[one, two]])["0-1"]["3"].stats["weights"], weights)


def test_vectors_are_saved_and_made_anew_where_they_are_stale(model, tmp_path):
    """Captum takes any file of the name, from whatever model it comes."""
    concepts, path = concepts_of(shim_concept)[:2], str(tmp_path)
    classifier = Centroids()
    make = lambda: shim_concept.TCAV(model, "3", classifier=classifier, save_path=path)
    first = make().compute_cavs([concepts])["0-1"]["3"]
    assert len(classifier.seen) == 1
    second = make().compute_cavs([concepts])["0-1"]["3"]
    assert len(classifier.seen) == 1
    torch.testing.assert_close(second.stats["weights"], first.stats["weights"])
    loaded = shim_concept.CAV.load(path, "default_model_id", concepts, "3")
    torch.testing.assert_close(loaded.stats["weights"], first.stats["weights"])
    assert shim_concept.CAV.load(path, "other", concepts, "3") is None
    make().compute_cavs([concepts], force_train=True)
    assert len(classifier.seen) == 2
    with torch.no_grad():
        model[3].bias += 1
    third = make().compute_cavs([concepts])["0-1"]["3"]
    assert len(classifier.seen) == 3
    assert not torch.equal(third.stats["weights"], first.stats["weights"])
    concepts[0].data_iter = [concepts[0].data_iter[0]]
    make().compute_cavs([concepts])
    assert len(classifier.seen) == 4
    # Without data, what was saved is taken as it is.
    bare = [shim_concept.Concept(concept.id, concept.name, None) for concept in concepts]
    make().compute_cavs([bare])
    assert len(classifier.seen) == 4


def test_what_concepts_say_of_themselves():
    for module in (shim_concept, captum_concept):
        concept = module.Concept(3, "striped", None)
        assert (concept.identifier, repr(concept)) == ("striped-3", "Concept(3, 'striped')")
    paths = [module.CAV.assemble_save_path("p", "m", [concept], "a.b") for module in (shim_concept, captum_concept)]
    assert paths[0] == paths[1]


def test_what_tcav_refuses(model, tmp_path):
    one, two, _ = concepts_of(shim_concept)
    tcav = shim_concept.TCAV(model, "3", classifier=Centroids(), save_path=str(tmp_path))
    with pytest.raises(af.ArgumentError, match=r"compute_cavs: argument `experimental_sets`.*one id"):
        tcav.compute_cavs([[one, shim_concept.Concept(0, "other", two.data_iter)]])
    with pytest.raises(af.ArgumentError, match=r"`experimental_sets`.*two and more"):
        tcav.compute_cavs([[one]])
    with pytest.raises(af.ArgumentError, match=r"Concept\(7, 'none'\)`.*no example"):
        tcav.compute_cavs([[one, shim_concept.Concept(7, "none", [])]])
    with pytest.raises(af.ArgumentError, match=r"DefaultClassifier.weights.*train_and_eval"):
        shim_concept.DefaultClassifier().weights()
    with pytest.raises(af.ArgumentError, match=r"train_and_eval: argument `dataloader`.*one class"):
        shim_concept.DefaultClassifier().train_and_eval([(torch.ones(5, 2), torch.ones(5))])


GATES = {
    "BinaryConcreteStochasticGates": {"temperature": 0.5, "lower_bound": -0.2, "upper_bound": 1.3},
    "GaussianStochasticGates": {"std": 0.3},
}
MASK = torch.tensor([[0, 0, 1], [1, 2, 2]])


@pytest.mark.parametrize("reduction", ["sum", "mean", "none"])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", GATES)
def test_gates(name, masked, reduction):
    parameter = torch.tensor([0.3, -2.0, 1.4]) if masked else torch.linspace(-1, 2, 6)
    mask, x, found = MASK if masked else None, inputs(200, 2, 3).float(), []
    for module in (shim_module, captum_module):
        options = {"mask": mask, "reg_weight": 0.7, "reg_reduction": reduction, **GATES[name]}
        gates = getattr(module, name)._from_pretrained(parameter, **options)
        torch.manual_seed(0)
        drawn, penalty = gates.train()(x)
        fixed, _ = gates.eval()(x)
        found.append((fixed, penalty, gates.get_gate_values(), gates.get_gate_values(clamp=False),
                      gates.get_gate_active_probs(), (drawn / x).mean(0), (drawn == 0).float().mean(0)))  # fmt: skip
        assert list(gates.state_dict()) == (["log_alpha_param"] if "Binary" in name else ["mu"]) + ["mask"] * masked
    for number, (ours, theirs) in enumerate(zip(*found, strict=True)):
        # What is drawn has the same moments.
        tolerance = {"rtol": 0, "atol": 0.12} if number > 4 else {"rtol": 1e-5, "atol": 1e-6}
        torch.testing.assert_close(ours, theirs, **tolerance)


@pytest.mark.parametrize("name", GATES)
def test_gates_learn_and_refuse(name):
    kind = getattr(shim_module, name)
    gates = kind(4)
    torch.manual_seed(1)
    out, penalty = gates(torch.ones(3, 4))
    (out.sum() + penalty).backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in gates.parameters())
    for options, message in (
        ({"reg_reduction": "max"}, "`reg_reduction`"),
        ({"mask": torch.tensor([0, 4])}, "`mask`"),
        (
            {"std": 0} if "Gaussian" in name else {"lower_bound": 0.1},
            "`std`" if "Gaussian" in name else "`lower_bound`",
        ),
    ):
        with pytest.raises(af.ArgumentError, match=f"{name}: argument {message}"):
            kind(4, **options)
    with pytest.raises(af.ArgumentError, match=f"{name}: argument `input_tensor`"):
        gates(torch.ones(3, 5))


def test_the_default_classifier_does_not_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        shim_concept.DefaultClassifier()


@pytest.mark.parametrize("name", ["BinaryConcreteStochasticGates", "GaussianStochasticGates"])
def test_gates_of_a_seed_are_those_of_captum_and_so_are_kinds_of_errors(name):
    found = []
    for module in (shim_module, captum_module):
        torch.manual_seed(3)
        gates = getattr(module, name)(3, mask=torch.tensor([0, 1, 1, 2]))
        found.append((gates.get_gate_values(), *(part.detach() for part in gates(torch.ones(5, 4)))))
        with pytest.raises(AssertionError):
            getattr(module, name)(3, mask=torch.tensor([0, 1, 1]))
        with pytest.raises(AssertionError):
            getattr(module, name)(5)(torch.ones(2, 3))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
