"""Captum's classes of training-data influence on attrfunc, with their signatures.

What differs from Captum 0.9.0, on purpose:

- Checkpoints are loaded into a copy of the model, once; the user's model keeps its parameters, gradients and flags.
- A `learning_rate` in a checkpoint is read, as Captum's documentation says.
- `TracInCPFast` and `TracInCPFastRandProj` count the bias of the last layer, which has a gradient, too.
- `TracInCPFastRandProj` takes training data's gradients of the training loss, and influence functions queries' of the
  test loss, also where `k` is given. Search is exact unless a `NearestNeighbors` is passed.
- Every layer counts (norms, embeddings, grouped convolutions), whatever `sample_wise_grads_per_batch` is, which only
  says what the loss function reduces.
- `SimilarityInfluence` works with one layer and with a short last batch, and computes activations anew at each call.
- Random numbers come from generators of their own; the global one is left alone.
- A model in training mode with dropout or batch norm is an error: its losses would be random.
"""

from attrfunc.captum.influence._shared import DataInfluence, KMostInfluentialResults
from attrfunc.captum.influence.influence_function import ArnoldiInfluenceFunction, NaiveInfluenceFunction
from attrfunc.captum.influence.similarity_influence import SimilarityInfluence
from attrfunc.captum.influence.tracincp import TracInCP, TracInCPBase
from attrfunc.captum.influence.tracincp_fast import NearestNeighbors, TracInCPFast, TracInCPFastRandProj

__all__ = [
    "ArnoldiInfluenceFunction",
    "DataInfluence",
    "KMostInfluentialResults",
    "NaiveInfluenceFunction",
    "NearestNeighbors",
    "SimilarityInfluence",
    "TracInCP",
    "TracInCPBase",
    "TracInCPFast",
    "TracInCPFastRandProj",
]
