"""The classes of `captum.attr`: the same names, signatures, defaults and shapes of results.

Each class converts its arguments and calls a function of attrfunc. What differs from Captum, on purpose,
stands at each class, and in `differences()`. `visualization` draws with colours for all eyes, and says what differs.

Example:
    >>> from attrfunc.captum.attr import IntegratedGradients
    >>> model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2))
    >>> explainer = IntegratedGradients(model)
    >>> attributions, delta = explainer.attribute(torch.ones(5, 3), target=1, return_convergence_delta=True)
    >>> attributions.shape, delta.shape
    (torch.Size([5, 3]), torch.Size([5]))
"""

from attrfunc.captum.attr import visualization
from attrfunc.captum.attr._models.base import (
    InterpretableEmbeddingBase,
    TokenReferenceBase,
    configure_interpretable_embedding_layer,
    remove_interpretable_embedding_layer,
)
from attrfunc.captum.attr._utils.lrp_rules import Alpha1_Beta0_Rule as Alpha1_Beta0_Rule
from attrfunc.captum.attr._utils.lrp_rules import EpsilonRule as EpsilonRule
from attrfunc.captum.attr._utils.lrp_rules import GammaRule as GammaRule
from attrfunc.captum.attr._utils.lrp_rules import IdentityRule as IdentityRule
from attrfunc.captum.attr.attribution import Attribution, GradientAttribution, LayerAttribution, NeuronAttribution
from attrfunc.captum.attr.baselines import ProductBaselines
from attrfunc.captum.attr.dataloader_attr import DataLoaderAttribution, InputRole
from attrfunc.captum.attr.deep_lift import (
    DeepLift,
    DeepLiftShap,
    LayerDeepLift,
    LayerDeepLiftShap,
    NeuronDeepLift,
    NeuronDeepLiftShap,
)
from attrfunc.captum.attr.gradient import (
    InputXGradient,
    LayerActivation,
    LayerGradCam,
    LayerGradientXActivation,
    NeuronGradient,
    Saliency,
)
from attrfunc.captum.attr.guided import (
    Deconvolution,
    GuidedBackprop,
    GuidedGradCam,
    NeuronDeconvolution,
    NeuronGuidedBackprop,
)
from attrfunc.captum.attr.image_mask_input import ImageMaskInput
from attrfunc.captum.attr.interpretable_input import InterpretableInput, TextTemplateInput, TextTokenInput
from attrfunc.captum.attr.lime import KernelShap, Lime, LimeBase
from attrfunc.captum.attr.llm import BaseLLMAttribution as BaseLLMAttribution
from attrfunc.captum.attr.llm import LLMAttribution, LLMGradientAttribution
from attrfunc.captum.attr.llm_remote import RemoteLLMAttribution, RemoteLLMProvider, VLLMProvider
from attrfunc.captum.attr.llm_result import LLMAttributionResult
from attrfunc.captum.attr.lrp import LRP, LayerLRP
from attrfunc.captum.attr.noise_tunnel import NoiseTunnel
from attrfunc.captum.attr.paths import (
    GradientShap,
    IntegratedGradients,
    InternalInfluence,
    LayerConductance,
    LayerGradientShap,
    LayerIntegratedGradients,
    NeuronConductance,
    NeuronGradientShap,
    NeuronIntegratedGradients,
)
from attrfunc.captum.attr.perturbation import (
    FeatureAblation,
    FeaturePermutation,
    LayerFeatureAblation,
    LayerFeaturePermutation,
    NeuronFeatureAblation,
    Occlusion,
    PerturbationAttribution,
    ShapleyValues,
    ShapleyValueSampling,
)
from attrfunc.captum.attr.stat import MSE, CommonStats, Count, Max, Mean, Min, StatValue, StdDev, Sum, Var
from attrfunc.captum.attr.summarizer import ClassSummarizer, Summarizer, SummarizerSingleTensor


def differences() -> dict[str, tuple[str, ...]]:
    """What differs from Captum on purpose, by the name of the class that says so; of a base it holds for its heirs."""
    classes = {name: globals()[name] for name in ("Attribution", *__all__) if isinstance(globals()[name], type)}
    return {name: vars(kind)["_differs"] for name, kind in classes.items() if "_differs" in vars(kind)}


__all__ = [
    "LRP", "MSE", "Attribution", "ClassSummarizer", "CommonStats", "Count", "DataLoaderAttribution", "Deconvolution",
    "DeepLift", "DeepLiftShap", "FeatureAblation", "FeaturePermutation", "GradientAttribution", "GradientShap",
    "GuidedBackprop", "GuidedGradCam", "ImageMaskInput", "InputRole", "InputXGradient", "IntegratedGradients",
    "InternalInfluence", "InterpretableEmbeddingBase", "InterpretableInput", "KernelShap", "LLMAttribution",
    "LLMAttributionResult", "LLMGradientAttribution", "LayerActivation", "LayerAttribution", "LayerConductance",
    "LayerDeepLift", "LayerDeepLiftShap", "LayerFeatureAblation", "LayerFeaturePermutation", "LayerGradCam",
    "LayerGradientShap", "LayerGradientXActivation", "LayerIntegratedGradients", "LayerLRP", "Lime", "LimeBase", "Max",
    "Mean", "Min", "NeuronAttribution", "NeuronConductance", "NeuronDeconvolution", "NeuronDeepLift",
    "NeuronDeepLiftShap", "NeuronFeatureAblation", "NeuronGradient", "NeuronGradientShap", "NeuronGuidedBackprop",
    "NeuronIntegratedGradients", "NoiseTunnel", "Occlusion", "PerturbationAttribution", "ProductBaselines",
    "RemoteLLMAttribution", "RemoteLLMProvider", "Saliency", "ShapleyValueSampling", "ShapleyValues", "StatValue",
    "StdDev", "Sum", "Summarizer", "SummarizerSingleTensor", "TextTemplateInput", "TextTokenInput",
    "TokenReferenceBase", "VLLMProvider", "Var", "configure_interpretable_embedding_layer", "differences",
    "remove_interpretable_embedding_layer", "visualization",
]  # fmt: skip
