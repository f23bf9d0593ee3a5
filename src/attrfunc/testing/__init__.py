"""Property tests of attribution methods, for models and methods of your own. Needs hypothesis: `attrfunc[testing]`.

Strategies draw networks, inputs, baselines and targets; checks say whether an axiom holds. To test your own model:

    >>> import attrfunc as af
    >>> import torch
    >>> my_model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))

    >>> from hypothesis import given, settings
    >>> from attrfunc import testing
    >>> @settings(max_examples=10, deadline=None)
    ... @given(call=testing.calls(shape=(4,), outputs=(3,)))
    ... def test_ig_of_my_model(call):
    ...     testing.check_axioms(af.ig, my_model, **call, n_steps=200)

    >>> test_ig_of_my_model()  # pytest does this for you

A check takes any method, `method(model, x, baseline=..., target=..., **options)`, and passes on what was given: `args`,
`kwargs` and every further option too. It takes any model that the method takes, and derives from it the models that an
axiom speaks of. To test your own method, draw the network too: `@given(case=testing.cases())` and
`testing.check_completeness(my_method, **case)`.

Methods with a quadrature fulfil completeness and sensitivity up to its error: on piecewise-linear networks (ReLU) take
more steps, or say which error you accept. The default tolerances, and the reasons for them, stand with each check and
in `attrfunc.testing.verdict`.
"""

try:
    import hypothesis as _hypothesis  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "hypothesis":
        raise
    raise ModuleNotFoundError(
        "attrfunc.testing needs hypothesis. Install the extra: pip install 'attrfunc[testing]'", name="hypothesis"
    ) from error

from attrfunc.testing.axioms import AXIOMS, check_axioms
from attrfunc.testing.completeness import check_completeness
from attrfunc.testing.draws import Contrast, LogProbability, Scaled, Total, normal, uniform
from attrfunc.testing.implementation_invariance import check_implementation_invariance, equal_models
from attrfunc.testing.linearity import check_linearity
from attrfunc.testing.networks import CNN, MLP, Attention, Network, Recurrent, Residual
from attrfunc.testing.places import at_layer, at_neuron
from attrfunc.testing.sensitivity import check_dummy, check_sensitivity
from attrfunc.testing.strategies import baselines, calls, cases, inputs, networks, targets
from attrfunc.testing.symmetry import check_symmetry
from attrfunc.testing.trial import Method

__all__ = [
    "AXIOMS",
    "CNN",
    "MLP",
    "Attention",
    "Contrast",
    "LogProbability",
    "Method",
    "Network",
    "Recurrent",
    "Residual",
    "Scaled",
    "Total",
    "at_layer",
    "at_neuron",
    "baselines",
    "calls",
    "cases",
    "check_axioms",
    "check_completeness",
    "check_dummy",
    "check_implementation_invariance",
    "check_linearity",
    "check_sensitivity",
    "check_symmetry",
    "equal_models",
    "inputs",
    "networks",
    "normal",
    "targets",
    "uniform",
]
