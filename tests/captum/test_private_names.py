"""What users import from Captum's private modules."""

import importlib
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import attrfunc as af
from attrfunc.captum.private import PLACES

# As the tutorials of Captum and packages of others have them.
IMPORTS = """
captum._utils.gradient: compute_gradients apply_gradient_requirements undo_gradient_requirements
captum._utils.models.linear_model: SkLearnLasso SkLearnLinearRegression SkLearnRidge SGDLinearModel
captum._utils.models.linear_model.model: SkLearnLinearModel LinearModel
captum._utils.models.model: Model
captum._utils.typing: BaselineType ModuleOrModuleList TargetType TensorOrTupleOfTensorsGeneric
captum.attr._core.integrated_gradients: IntegratedGradients
captum.attr._core.layer.grad_cam: LayerGradCam
captum.attr._core.lime: LimeBase default_perturb_func get_exp_kernel_similarity_function
captum.attr._core.llm_attr: BaseLLMAttribution LLMAttributionResult
captum.attr._core.neuron.neuron_deep_lift: NeuronDeepLift NeuronDeepLiftShap
captum.attr._models.base: InterpretableEmbeddingBase
captum.attr._utils.attribution: Attribution GradientAttribution PerturbationAttribution
captum.attr._utils.custom_modules: Addition_Module
captum.attr._utils.input_layer_wrapper: ModelInputWrapper
captum.attr._utils.lrp_rules: EpsilonRule PropagationRule
captum.attr._utils.stat: Mean MSE
captum.attr._utils.summarizer: Summarizer SummarizerSingleTensor
captum.attr._utils.visualization: VisualizationDataRecord format_classname format_word_importances _get_color
captum.concept._core.concept: Concept
captum.concept._utils.classifier: Classifier DefaultClassifier
captum.concept._utils.common: concepts_to_str
captum.concept._utils.data_iterator: CustomIterableDataset dataset_to_dataloader
captum.influence._core.similarity_influence: cosine_similarity euclidean_distance
captum.influence._core.tracincp_fast_rand_proj: TracInCPFast TracInCPFastRandProj
captum.metrics._core.sensitivity: default_perturb_func sensitivity_max
captum.module.binary_concrete_stochastic_gates: BinaryConcreteStochasticGates
captum.robust._core.metrics.min_param_perturbation: MinParamPerturbationMode
captum.robust._core.perturbation: Perturbation
"""
PAIRS = [line.split(": ") for line in IMPORTS.strip().splitlines()]


@pytest.mark.parametrize(("module", "names"), PAIRS)
def test_imports(module, names):
    ours, theirs = importlib.import_module(f"attrfunc.{module}"), importlib.import_module(module)
    for name in names.split():
        assert hasattr(theirs, name)
        assert getattr(ours, name).__module__.partition(".")[0] in ("attrfunc", "typing", "types"), name


def test_every_place_is_there():
    for place in PLACES:
        assert vars(importlib.import_module(f"attrfunc.captum.{place}"))


def test_what_is_not_there():
    with pytest.raises(ImportError, match=re.escape("Import _run_forward from captum._utils.common itself")):
        exec("from attrfunc.captum._utils.common import _run_forward")
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("attrfunc.captum.attr.nowhere")
    assert not hasattr(importlib.import_module("attrfunc.captum._utils.common"), "__version__")


def test_classes_of_ones_own():
    """A class that takes the gradients itself; one whose gradients would be left out is refused."""

    class Own(af.captum.attr.GradientAttribution):
        def attribute(self, inputs, target):
            return self.gradient_func(self.forward_func, inputs, target)[0] * 2

    torch.manual_seed(0)
    model, x = nn.Linear(3, 2), torch.rand(4, 3)
    torch.testing.assert_close(Own(model).attribute(x, 1), 2 * model.weight[1].detach().expand(4, 3))
    changed = af.captum.attr.Saliency(model)
    changed.gradient_func = lambda forward_fn, inputs, *more: inputs
    with pytest.raises(af.ArgumentError, match="argument `gradient_func`"):
        changed.attribute(x, target=1)


def test_files_of_concepts(tmp_path):
    from attrfunc.captum.concept._utils.data_iterator import CustomIterableDataset, dataset_to_dataloader

    for number in (2, 0, 1):
        (tmp_path / f"{number}.txt").write_text(str(number))
    read = lambda path: torch.tensor(float(Path(path).read_text()))
    for folder in (f"{tmp_path}", f"{tmp_path}/"):
        (batch,) = dataset_to_dataloader(CustomIterableDataset(read, folder))
        assert batch.tolist() == [0, 1, 2]
    one = CustomIterableDataset(lambda path: iter([torch.ones(2)]), str(tmp_path / "0.txt"))
    assert len(list(one)) == 1


def test_pieces_of_texts():
    from attrfunc.captum.attr import visualization

    told = visualization.format_word_importances(["good", "<s>"], np.array([1.0, -0.5, 0.2]))
    assert re.sub("<[^>]*>", "", told).split() == ["good", "#s"]
    assert f"background:{visualization._get_color(1.0)}" in told.replace(" ", "")
    assert visualization.format_word_importances([], []).startswith("<td")
    assert visualization.VisualizeSign.all.name == "all"
    assert "&lt;b&gt;" in visualization.format_classname("<b>")
    with pytest.raises(af.ArgumentError, match="word_attributions"):
        visualization.format_word_importances(["a", "b"], [0.1])
