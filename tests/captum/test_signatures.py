"""The classes have Captum's names, signatures and family."""

import inspect
import subprocess
import sys

import captum.attr as captum_attr
import pytest
import torch
from torch import nn

import attrfunc.captum.attr as shim_attr

CLASSES = [name for name in captum_attr.__all__ if isinstance(getattr(captum_attr, name), type)]
NAMES = [name for name in CLASSES if issubclass(getattr(shim_attr, name), shim_attr.Attribution)]
METHODS = [
    "__init__",
    "attribute",
    "compute_convergence_delta",
    "has_convergence_delta",
    "attribute_future",
    "get_name",
]


def parameters(function):
    """Names, kinds and defaults; a function that is a default counts by its name."""
    found = inspect.signature(function).parameters.values()
    return [(p.name, p.kind, p.default.__name__ if inspect.isfunction(p.default) else p.default) for p in found]


def signatures(module, name, methods):
    """The parameters of each of these methods that a class has."""
    kind = getattr(module, name)
    return {method: parameters(getattr(kind, method)) for method in methods if hasattr(kind, method)}


@pytest.mark.parametrize("name", NAMES)
def test_signatures(name):
    ours, theirs = (signatures(module, name, [*METHODS, "interpolate"]) for module in (shim_attr, captum_attr))
    assert ours == theirs


@pytest.mark.parametrize("name", sorted(set(CLASSES) - set(NAMES)))
def test_signatures_of_other_classes(name):
    methods = ("__init__", "update", "get", "sample", "__call__")
    assert signatures(shim_attr, name, methods) == signatures(captum_attr, name, methods)


@pytest.mark.parametrize("name", NAMES)
def test_family(name):
    def ancestors(module):
        return {other for other in NAMES if issubclass(getattr(module, name), getattr(module, other))}

    assert ancestors(shim_attr) == ancestors(captum_attr)


@pytest.mark.parametrize("name", NAMES)
def test_what_an_object_says_of_itself(name):
    model = nn.Sequential(nn.Linear(2, 2))
    values = []
    for module in (shim_attr, captum_attr):
        kind = getattr(module, name)
        arguments = {
            "NoiseTunnel": lambda module: (module.IntegratedGradients(model),),
            "DataLoaderAttribution": lambda module: (module.FeatureAblation(model),),
            "LLMAttribution": lambda module: (module.FeatureAblation(model), None),
            "LLMGradientAttribution": lambda module: (module.LayerIntegratedGradients(model, model[0]), None),
            "RemoteLLMAttribution": lambda module: (module.FeatureAblation(model), None, None),
            "LimeBase": lambda module: (model, None, None, None, True, print, None),
        }
        takes = inspect.signature(kind).parameters
        layer = [model[0]] if "layer" in takes else []
        layer += [[0]] if layer and "device_ids" in takes else []
        explainer = kind(*arguments[name](module)) if name in arguments else kind(model, *layer)
        ids = getattr(explainer, "device_ids", None)
        values.append((kind.get_name(), explainer.has_convergence_delta(), explainer.multiplies_by_inputs, ids))
        assert explainer.forward_func is model
        assert getattr(explainer, "layer", model[0]) is model[0]
    assert values[0] == values[1]


@pytest.mark.parametrize("multiply", [True, False])
@pytest.mark.parametrize(
    "name",
    [
        "GradientShap",
        "IntegratedGradients",
        "LayerGradientShap",
        "LayerGradientXActivation",
        "LayerIntegratedGradients",
        "NeuronConductance",
        "NeuronGradientShap",
        "NeuronIntegratedGradients",
    ],
)
def test_multiplies_by_inputs(name, multiply):
    layer = () if name in ("GradientShap", "IntegratedGradients") else (nn.Identity(),)
    assert getattr(shim_attr, name)(nn.Identity(), *layer, multiply_by_inputs=multiply).multiplies_by_inputs is multiply


@pytest.mark.parametrize(
    "name",
    [
        "Deconvolution",
        "GradientShap",
        "GuidedBackprop",
        "IntegratedGradients",
        "InputXGradient",
        "Saliency",
        "NoiseTunnel",
        "Lime",
    ],
)
def test_no_futures(name):
    inner = shim_attr.Saliency(nn.Identity()) if name == "NoiseTunnel" else nn.Identity()
    with pytest.raises(NotImplementedError, match=name):
        getattr(shim_attr, name)(inner).attribute_future()


def test_interpolate():
    x = torch.randn(2, 3, 4, 4)
    for arguments in ((8,), ((5, 6), "bilinear")):
        ours = shim_attr.LayerAttribution.interpolate(x, *arguments)
        assert torch.equal(ours, captum_attr.LayerAttribution.interpolate(x, *arguments))


def test_the_shim_does_not_import_captum():
    code = "import sys, attrfunc.captum.attr; assert 'captum' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
