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

from attrfunc.captum.attr import visualization as visualization
from attrfunc.captum.attr.attribution import *
from attrfunc.captum.attr.baselines import *
from attrfunc.captum.attr.dataloader_attr import *
from attrfunc.captum.attr.gradient import *
from attrfunc.captum.attr.image_mask_input import *
from attrfunc.captum.attr.interpretable_input import *
from attrfunc.captum.attr.lime import *
from attrfunc.captum.attr.llm import *
from attrfunc.captum.attr.llm_remote import *
from attrfunc.captum.attr.llm_result import *
from attrfunc.captum.attr.lrp_rules import *
from attrfunc.captum.attr.noise_tunnel import *
from attrfunc.captum.attr.paths import *
from attrfunc.captum.attr.perturbation import *
from attrfunc.captum.attr.propagation import *
from attrfunc.captum.attr.stat import *
from attrfunc.captum.attr.summarizer import *
from attrfunc.captum.attr.wrappers import *


def differences() -> dict[str, tuple[str, ...]]:
    """What differs from Captum on purpose, by the name of the class that says so; of a base it holds for its heirs."""
    classes = {name: globals()[name] for name in __all__ if isinstance(globals()[name], type)}
    return {name: vars(kind)["_differs"] for name, kind in classes.items() if "_differs" in vars(kind)}


# All that the modules list: names have been imported from below this package, and nothing else is in it.
__all__ = [n for n, value in globals().items() if getattr(value, "__module__", "").startswith(__name__)]
