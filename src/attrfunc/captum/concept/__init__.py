"""The classes of `captum.concept`: the same names and signatures, on `attrfunc.concepts`.

What differs from Captum, on purpose:

* Activations are computed for each call; nothing is written but the vectors, with a hash of the model and of the
  concepts' examples. Vectors that were made from others are made anew, where Captum takes any file of that name.
  `generate_all_activations` and `load_cavs` of Captum's `TCAV` are not here: there is nothing for them to do.
* `DefaultClassifier` splits its data by torch's default generator, so that `torch.manual_seed` makes it reproducible;
  Captum draws from Python's `random`. It is fitted to all of its training data at once. It does not warn.
* `"magnitude"` is the mean sensitivity, as Captum computes it; its documentation says that it is the positive share of
  their sizes, which `attrfunc.concepts.tcav` gives.
* `processes` is accepted, and has no effect.
* `attrfunc.concepts.tcav_test` says whether scores differ from those of random concepts; Captum has no test.
* Errors are `attrfunc.ArgumentError`.
"""

from attrfunc.captum.concept.cav import CAV
from attrfunc.captum.concept.classifier import Classifier, DefaultClassifier
from attrfunc.captum.concept.concept import Concept, ConceptInterpreter
from attrfunc.captum.concept.tcav import TCAV

__all__ = ["CAV", "TCAV", "Classifier", "Concept", "ConceptInterpreter", "DefaultClassifier"]
