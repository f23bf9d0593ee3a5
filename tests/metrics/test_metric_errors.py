"""What metrics refuse, with the argument and the way out."""

import pytest
import torch

import attrfunc as af
from small_nets import inputs, mlp

M = af.metrics
MODEL, X, A = mlp(), inputs(4, 6), inputs(4, 6, seed=3)
IMAGE = inputs(2, 3, 4, 4)
SUM = lambda x: x.flatten(1).sum(1)
MASK = torch.tensor([[1, 0, 0, 0, 0, 0]])
PIXELS = torch.arange(16).view(1, 1, 4, 4)


def curve(**options):
    return M.perturbation_curve(MODEL, X, options.pop("a", A), target=1, **options)


REFUSED = {
    "shape": (lambda: curve(a=A[:, :5]), r"perturbation_curve: argument `attributions`.*\(4, 5\).*expand_as"),
    "nan": (lambda: curve(a=A * float("nan")), "`attributions`.*NaN or infinite"),
    "order": (lambda: curve(order="largest"), "`order`.*most_first"),
    "start": (lambda: curve(start="zero"), "`start`.*baseline"),
    "steps": (lambda: curve(n_steps=7), "`n_steps`.*at most the number of features, 6"),
    "steps 0": (lambda: curve(n_steps=0), "`n_steps`.*at least 1"),
    "imputer": (lambda: curve(imputer=0.5), "`imputer`.*noisy_linear"),
    "imputer's shape": (lambda: curve(imputer=lambda x: lambda r, p: x), r"`imputer`.*\(4, 6\)"),
    "not an image": (lambda: curve(imputer=M.noisy_linear()), "`imputer`.*images"),
    "channels": (
        lambda: M.perturbation_curve(SUM, IMAGE, IMAGE, imputer=M.noisy_linear()),
        "`feature_mask`.*whole pixels",
    ),
    "noise": (lambda: M.noisy_linear(stdev=-1), "noisy_linear: argument `stdev`"),
    "layers": (
        lambda: M.monotonicity(af.layer(MODEL, ["0", "1"]), X, [A, A], target=1),
        "`model`.*2 layers.*joint=True",
    ),
    "batch score": (
        lambda: M.monotonicity(MODEL, X, A, target=af.batch_score(lambda o: o.sum())),
        "`target`.*each example",
    ),
    "batch score of infidelity": (
        lambda: M.infidelity(MODEL, X, A, target=af.batch_score(lambda o: o.sum())),
        "infidelity: argument `target`",
    ),
    "perturb": (
        lambda: M.infidelity(MODEL, X, A, target=1, perturb=lambda x, g: x[:, :3]),
        r"infidelity: argument `perturb`.*\(4, 3\).*x - I is evaluated",
    ),
    "perturb gives a pair": (
        lambda: M.infidelity(MODEL, X, A, target=1, perturb=lambda x, g: (x, x, x)),
        "`perturb`.*tuple",
    ),
    "neighbours": (
        lambda: M.max_sensitivity(af.ig, radius=1, perturb=lambda x, g: x[0])(MODEL, X, target=1),
        "`perturb`.*one neighbour",
    ),
    "norm": (lambda: M.max_sensitivity(af.ig, radius=1, norm=0), "`norm`.*at least 1"),
    "samples": (lambda: M.infidelity(MODEL, X, A, target=1, n_samples=0), "`n_samples`.*at least 1"),
    "subset": (lambda: M.faithfulness_correlation(MODEL, X, A, target=1, subset_size=6), "`subset_size`.*fewer than"),
    "subsets": (lambda: M.faithfulness_correlation(MODEL, X, A, target=1, n_subsets=0), "`n_subsets`"),
    "n": (lambda: M.sensitivity_n(MODEL, X, A, target=1, n=[1, 6]), "sensitivity_n: argument `n`.*6"),
    "generator": (
        lambda: M.faithfulness_correlation(MODEL, inputs(2, 99), inputs(2, 99), generator=3),
        "`generator`.*torch.Generator",
    ),
    "tolerance": (lambda: M.effective_complexity(MODEL, X, A, tolerance=0), "`tolerance`.*above 0"),
    "two baselines": (
        lambda: M.effective_complexity(SUM, X, A, tolerance=1, baseline=1.0, baselines=A),
        "`baseline`.*one of the two",
    ),
    "threshold": (lambda: M.sufficiency(MODEL, X, A, threshold=-1), "`threshold`"),
    "labels": (lambda: M.sufficiency(MODEL, X, A, threshold=1, labels=torch.zeros(3)), "`labels`.*argmax"),
    "outputs": (lambda: M.sufficiency(SUM, X, A, threshold=1), r"`labels`.*\(B, C\)"),
    "radius": (lambda: M.max_sensitivity(af.ig, radius=0), "max_sensitivity: argument `radius`.*above 0"),
    "method": (lambda: M.local_lipschitz(MODEL.state_dict(), radius=1), "local_lipschitz: argument `method`"),
    "no rows": (
        lambda: M.avg_sensitivity(lambda m, x: x.sum(0), radius=1)(SUM, X),
        "`method`.*4 examples in dimension 0",
    ),
    "integers": (lambda: M.avg_sensitivity(lambda m, x: x.float(), radius=1)(SUM, X.long()), "`x`.*embeddings"),
    "integers of infidelity": (lambda: M.infidelity(SUM, X.long(), A), "integers.*at the embedding"),
    "similarity": (
        lambda: M.random_logit(af.ig, similarity="kendall"),
        "random_logit: argument `similarity`.*spearman",
    ),
    "similarity's shape": (
        lambda: M.random_logit(af.ig, similarity=lambda a, b: a)(MODEL, X, target=0),
        "`similarity`.*4 numbers",
    ),
    "no class": (lambda: M.random_logit(af.ig)(MODEL, X, target=lambda o: o[:, 0]), "`target`.*labels"),
    "one class": (lambda: M.random_logit(af.ig)(lambda x: x[:, :1], X, target=0), "`model`.*one class"),
    "no classes": (lambda: M.random_logit(lambda m, x, target: x)(SUM, X, target=0), r"`model`.*\(B, C\)"),
    "kind": (lambda: M.parameter_randomisation(af.ig, kind="zeros"), "`kind`.*shuffled"),
    "no such layer": (
        lambda: M.parameter_randomisation(af.ig, layers=["1"])(MODEL, X, target=0),
        "`layers`.*'1'.*parameters of their own",
    ),
    "no module": (lambda: M.parameter_randomisation(af.ig)(SUM, X), "`model`.*a module"),
    "shift": (lambda: M.input_invariance(af.ig, shift=inputs(5))(MODEL, X, target=0), r"`shift`.*\(4, 6\)"),
    "shift of a layer": (
        lambda: M.input_invariance(af.ig, shift=1.0)(af.layer(MODEL, "1"), X, target=0),
        "`model`.*view of the input",
    ),
    "integers attributed": (lambda: M.sparseness(torch.ones(2, 3).long()), "sparseness: argument `attributions`"),
    "an array attributed": (
        lambda: M.sparseness(A.numpy()),
        r"argument `attributions`.*torch.as_tensor\(attributions\)",
    ),
    "nan attributed": (lambda: M.complexity(A / 0), "complexity: argument `attributions`.*finite"),
    "mask's shape": (lambda: M.pointing_game(A, MASK[0]), r"pointing_game: argument `mask`.*mask\[:, None\]"),
    "mask of numbers": (lambda: M.relevance_mass(A, MASK * 0.5), "relevance_mass: argument `mask`.*0 and 1"),
    "empty mask": (lambda: M.relevance_rank(A, MASK * 0), "relevance_rank: argument `mask`.*example 0"),
    "full mask": (lambda: M.localisation_auc(A, MASK * 0 + 1), "localisation_auc: argument `mask`.*inside and outside"),
    "a structure": (lambda: M.relevance_mass((A, A), MASK), "`attributions`.*each tensor"),
    "distance": (lambda: M.pointing_game(A, MASK, tolerance=-2), "`tolerance`"),
    "curve": (lambda: M.curve_area(A[0]), "curve_area: argument `curve`.*perturbation_curve"),
    "no methods": (lambda: M.compare({}, MODEL, [(X, 1)]), "compare: argument `methods`"),
    "no data": (lambda: M.compare({"ig": af.ig}, MODEL, []), "`data`.*no batch"),
    "no pairs": (lambda: M.compare({"ig": af.ig}, MODEL, X), "`data`.*pairs"),
    "a metric": (
        lambda: M.compare({"ig": af.ig}, MODEL, [(X, 1)], metrics={"mean": lambda m: m.x.mean()}),
        r"`metrics`.*'mean' of 'ig'.*\(4,\)",
    ),
    "confidence": (lambda: M.compare({"ig": af.ig}, MODEL, [(X, 1)], confidence=95), "`confidence`"),
    "no sizes": (lambda: M.sensitivity_n(MODEL, X, A, n=[], target=1), "sensitivity_n: argument `n`.*one size"),
    "one feature": (lambda: M.faithfulness_correlation(SUM, X[:, :1], A[:, :1]), "`subset_size`.*more groups"),
    "no layers": (lambda: M.parameter_randomisation(af.ig, layers=[])(MODEL, X, target=1), "`layers`.*one at least"),
    "no weights": (lambda: M.parameter_randomisation(af.ig)(torch.nn.Tanh(), X, target=1), "`model`.*no layer"),
    "one example": (lambda: M.compare({"ig": af.ig}, MODEL, [(X[:1], 1)]), "`metrics`.*two examples"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    call, message = REFUSED[name]
    with pytest.raises(af.AttributionError, match="(?s)" + message):
        call()


@pytest.mark.filterwarnings("ignore:.*score of an example depends")
def test_examples_that_depend_on_each_other():
    coupled = lambda x: x.sum(1) - x.mean()
    for metric in (M.perturbation_curve, M.infidelity, M.monotonicity):
        with pytest.raises(af.ModelError, match=r"depends on the others.*one example"):
            metric(coupled, X, A)
    assert M.perturbation_curve(coupled, X[:1], A[:1]).shape == (1, 7)  # the way out


def test_the_fixes_work():
    narrow = A[:, :1]
    assert M.perturbation_curve(MODEL, X, narrow.expand_as(X), target=1).shape == (4, 7)
    assert M.perturbation_curve(SUM, IMAGE, IMAGE, feature_mask=PIXELS, imputer=M.noisy_linear()).shape == (2, 17)
    assert M.pointing_game(IMAGE, (IMAGE[:, :1] > 0)).shape == (2,)
