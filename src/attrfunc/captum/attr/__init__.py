"""The classes of `captum.attr`: the same names, signatures, defaults and shapes of results.

Each class converts its arguments and calls a function of attrfunc. What differs from Captum, on purpose:

* The arguments' meaning is that of attrfunc, which takes more: baselines may be callables, a number serves several
  inputs, `target` may be a callable, layers may be named by strings, inputs may be nested structures, and a tensor in
  `additional_forward_args` without a batch dimension is passed on as it is.
* What cannot be right raises `attrfunc.ArgumentError` or `attrfunc.ModelError`. In particular a layer that runs several
  times in one forward pass raises, where Captum mixes its calls; `attrfunc.layer(..., call=0)` chooses one.
* The input of a layer is what goes into that layer. Where the same tensor also flows around it, as in a residual block,
  Captum's `LayerGradientXActivation` adds the gradient of that; its `LayerIntegratedGradients` does not.
* Where one layer of a list feeds another, `LayerIntegratedGradients` raises; Captum raises, or gives the first what
  reaches the output around the second.
* An input or layer that the score does not depend on gets zeros, where Captum raises.
* Results carry no graph, not even to inputs that require grad. `attrfunc.bind` makes attributions that do.
* The weights of `riemann_trapezoid` sum to one; Captum's sum to (n - 1) / n.
* `internal_batch_size` bounds the rows that are evaluated at once; without it the library chooses, and memory does not
  grow with `n_steps`. A batch larger than it is split, where Captum evaluates all examples at once.
* `device_ids` is accepted and kept, and has no effect: layers of a `DataParallel` model are found where they run.
* The convergence delta of a layer is that of the layer: what bypasses it stays as it is at the input, so the delta is
  the error of the integral. Captum takes the whole network's change instead, in which bypassing connections look like
  such an error. Without these the two agree. `LayerConductance` has that of the whole score, as in Captum.
* `LayerConductance` is nearer to its integral: Captum's differences are of first order, and leave out the ends of the
  path with the default rule. Its class says more.
* `NeuronConductance` of a group of neurons is the sum of theirs. Captum multiplies the sums of the two gradients.
* `LayerGradientShap` takes its points between the layer's activations, and so is complete on average. Captum takes
  gradients at points between the inputs, and multiplies them by the activation's change.
* Gradient SHAP draws the baselines of several inputs together, so they are as many for each, and tensors; of
  `n_samples` points of a path, one lies in each of as many equal parts, so the variance is lower. With
  `multiply_by_inputs=False` deltas are what they are with `True`, since average gradients do not add up to anything.
* `torch.manual_seed` makes what is random reproducible; Captum draws from NumPy too.
* Shapley values take fewer evaluations, or have lower errors after as many; `attrfunc.captum.attr.shapley` says how.
* Deltas of a `NoiseTunnel` stand example by example whatever `nt_samples_batch_size`; Captum's batch by batch. Without
  that argument the library chooses how many samples to take at once, where Captum takes all.
* In a `NoiseTunnel`, gradient SHAP is given `baselines` as they are, and draws from them for each noisy copy. Captum
  draws twice, or raises.
* Guided backpropagation and deconvolution change what goes back through ReLU in whatever form a model writes it, and
  through its relatives (`attrfunc.propagation.rectifiers`), and take any callable. Captum changes `nn.ReLU` modules
  alone: with `F.relu` or GELU it gives the plain gradient.
* `GuidedGradCam` raises where the map does not fit a single input. Beside others it warns, and gives an empty tensor.
* `DeepLift` and its relatives go by operation: functional activations, reused and in-place modules, GELU, softmax,
  attention and normalisation are complete, where Captum takes the plain gradient, or raises. A softmax is that of each
  example, where Captum's depends on the whole batch. Where max pooling chooses another number at the baseline, both
  share the change, so that multipliers lie between 0 and 1; Captum gives all of it to the input's.
* `LRP` goes by operation, too, and takes reused modules and any operation of `attrfunc.lrp`. `module.rule` holds inside
  the module, is read, and stays; Captum deletes it. `GammaRule` and `Alpha1_Beta0_Rule` leave a batch norm to
  `EpsilonRule`. Rules of one's own define `as_rule`. `LayerLRP` gives the relevance of activations and, with
  `layer=None`, of all modules without parts. The rules are here, and in `attrfunc.captum.attr._utils.lrp_rules`
  as in Captum.
* In `Lime` one set of coalitions serves all examples of a batch, so that `perturb_func` is called once for all of them;
  where all coalitions are no more than `n_samples`, each is taken once; gaps in the numbers of groups get zeros, and
  are not fitted. Weights of which only one is not negligible raise.
* A `DataLoaderAttribution` takes batches that are tuples or single tensors, of which Captum raises or takes single
  rows; it refuses to compare single outputs between passes of a loader that shuffles.
* A `ClassSummarizer` takes equal numbers in a tensor of labels as one class; Captum makes each a class of its own. The
  name of `StdDev(order=2)` is `std_dev(2)`; Captum's lacks the bracket.
* `ProductBaselines` draws from torch's default generator.
* `perturbations_per_eval=1`, the default, lets the library choose how many perturbations to evaluate as one batch; the
  score of an example must not depend on the others. Where an output is not one number for each example, each of its
  numbers has attributions, as in Captum, also to `KernelShap`.
* Inputs may be one example without a batch dimension, even a single number; Captum mostly raises.
* Of integers that are replaced by fractions all become fractions. Captum cuts off the digits, or raises.
* A floating-point mask makes a group of each number, also for `KernelShap` and `Lime`.
* A neuron selector that gives one number for the batch is taken batch by batch: of its points, Captum's path methods
  mix all.
* `Occlusion` of more than two inputs puts each window where it belongs; Captum mixes their numbers up.
* Permutation moves what a group has in several inputs together; Captum permutes each input by itself.
* `visualization` draws with colours for all eyes, and says what differs.
* Language models: an answer is read in one pass for all of its tokens, where Captum's default with a cache is wrong on
  later transformers; a model for which that is not what token by token gives (it looks ahead) is run token by token.
  Coalitions are run once, several at a time, and one set serves all tokens. Baselines of a template that are a function
  are drawn once for each trial, so that coalitions are of one game. `seq_attr_dict` numbers segments that are alike.
  Names of tokens are what each decodes to. `VLLMProvider` needs no package of OpenAI's, and finds the tokens of an
  answer by their texts; providers are asked from several threads.
* `attribute_future` evaluates in a thread, and several perturbations as one batch.

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
from attrfunc.captum.attr.conductance import InternalInfluence, LayerConductance, NeuronConductance
from attrfunc.captum.attr.dataloader_attr import DataLoaderAttribution, InputRole
from attrfunc.captum.attr.deep_lift import (
    DeepLift,
    DeepLiftShap,
    LayerDeepLift,
    LayerDeepLiftShap,
    NeuronDeepLift,
    NeuronDeepLiftShap,
)
from attrfunc.captum.attr.gradient import InputXGradient, IntegratedGradients, Saliency
from attrfunc.captum.attr.gradient_shap import GradientShap, LayerGradientShap, NeuronGradientShap
from attrfunc.captum.attr.guided import (
    Deconvolution,
    GuidedBackprop,
    GuidedGradCam,
    NeuronDeconvolution,
    NeuronGuidedBackprop,
)
from attrfunc.captum.attr.image_mask_input import ImageMaskInput
from attrfunc.captum.attr.interpretable_input import InterpretableInput, TextTemplateInput, TextTokenInput
from attrfunc.captum.attr.layer import (
    LayerActivation,
    LayerGradCam,
    LayerGradientXActivation,
    LayerIntegratedGradients,
)
from attrfunc.captum.attr.lime import Lime, LimeBase
from attrfunc.captum.attr.llm import BaseLLMAttribution as BaseLLMAttribution
from attrfunc.captum.attr.llm import LLMAttribution, LLMGradientAttribution
from attrfunc.captum.attr.llm_remote import RemoteLLMAttribution, RemoteLLMProvider, VLLMProvider
from attrfunc.captum.attr.llm_result import LLMAttributionResult
from attrfunc.captum.attr.lrp import LRP, LayerLRP
from attrfunc.captum.attr.neuron import NeuronGradient, NeuronIntegratedGradients
from attrfunc.captum.attr.noise_tunnel import NoiseTunnel
from attrfunc.captum.attr.perturbation import (
    FeatureAblation,
    FeaturePermutation,
    Occlusion,
    PerturbationAttribution,
)
from attrfunc.captum.attr.perturbation_inside import (
    LayerFeatureAblation,
    LayerFeaturePermutation,
    NeuronFeatureAblation,
)
from attrfunc.captum.attr.shapley import KernelShap, ShapleyValues, ShapleyValueSampling
from attrfunc.captum.attr.stat import MSE, CommonStats, Count, Max, Mean, Min, StatValue, StdDev, Sum, Var
from attrfunc.captum.attr.summarizer import ClassSummarizer, Summarizer, SummarizerSingleTensor

__all__ = [
    "LRP",
    "MSE",
    "Attribution",
    "ClassSummarizer",
    "CommonStats",
    "Count",
    "DataLoaderAttribution",
    "Deconvolution",
    "DeepLift",
    "DeepLiftShap",
    "FeatureAblation",
    "FeaturePermutation",
    "GradientAttribution",
    "GradientShap",
    "GuidedBackprop",
    "GuidedGradCam",
    "ImageMaskInput",
    "InputRole",
    "InputXGradient",
    "IntegratedGradients",
    "InternalInfluence",
    "InterpretableEmbeddingBase",
    "InterpretableInput",
    "KernelShap",
    "LLMAttribution",
    "LLMAttributionResult",
    "LLMGradientAttribution",
    "LayerActivation",
    "LayerAttribution",
    "LayerConductance",
    "LayerDeepLift",
    "LayerDeepLiftShap",
    "LayerFeatureAblation",
    "LayerFeaturePermutation",
    "LayerGradCam",
    "LayerGradientShap",
    "LayerGradientXActivation",
    "LayerIntegratedGradients",
    "LayerLRP",
    "Lime",
    "LimeBase",
    "Max",
    "Mean",
    "Min",
    "NeuronAttribution",
    "NeuronConductance",
    "NeuronDeconvolution",
    "NeuronDeepLift",
    "NeuronDeepLiftShap",
    "NeuronFeatureAblation",
    "NeuronGradient",
    "NeuronGradientShap",
    "NeuronGuidedBackprop",
    "NeuronIntegratedGradients",
    "NoiseTunnel",
    "Occlusion",
    "PerturbationAttribution",
    "ProductBaselines",
    "RemoteLLMAttribution",
    "RemoteLLMProvider",
    "Saliency",
    "ShapleyValueSampling",
    "ShapleyValues",
    "StatValue",
    "StdDev",
    "Sum",
    "Summarizer",
    "SummarizerSingleTensor",
    "TextTemplateInput",
    "TextTokenInput",
    "TokenReferenceBase",
    "VLLMProvider",
    "Var",
    "configure_interpretable_embedding_layer",
    "remove_interpretable_embedding_layer",
    "visualization",
]
