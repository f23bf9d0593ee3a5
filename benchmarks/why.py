"""Why a goal is not reached, written by hand after measuring. The first entry that fits a missed goal is printed."""

from __future__ import annotations

import re

WHY: list[tuple[str, str, str]] = [
    (
        "text: ablation",
        "Captum",
        "Six short prompts are all the work, and the loop by hand takes as long: what Captum spends beside its six "
        "forward passes is all that can be saved.",
    ),
    (
        "text: leave-one-out",
        "the-same",
        "Half of a prompt's tokens, on average, stand before the sentence that is left out. Not to read them again "
        "saves a factor of 2 at most, of which the copies of the cache for each length take a part.",
    ),
    (
        "text: IG, .* the sequence",
        "by-hand",
        "Of 58 prompts eight are not the path's: they tell how points are best evaluated, and what the scores at the "
        "ends are, for the gap. The loop by hand reports none.",
    ),
    (
        "text: IG, .* each token",
        "Captum inseq",
        "Eight tokens take eight backward passes at each of 50 points on both sides, and these are most of the time. "
        "Only the forward passes are shared: 50 in place of 400.",
    ),
    (
        "Quantus, .*(random logit|parameter randomisation|sparseness)",
        "other",
        "Both sort the attributions, for ranks or for an index. torch takes 0.62 ms for 16 x 784 numbers, of which "
        "numpy's vectorised sort takes 0.05 and its argsort 0.21 (measured apart), but no gradient goes through these.",
    ),
    (
        "Quantus, .*(completeness|sufficiency|input invariance)",
        "other",
        "One or two runs of the network are the work. Opening the problem and looking whether examples depend on each "
        "other, which Quantus does not do, take as long again.",
    ),
    (
        "Quantus, .*relevance rank",
        "other",
        "Half a millisecond of some twenty small operations: attributions and mask are looked at for what no number "
        "can be given, and equal attributions share their places, which Quantus does not do.",
    ),
    (
        "Quantus, .*ROAD",
        "other",
        "The linear systems of the imputer are nearly all the time: solved together here by conjugate gradients, and "
        "there one by one by sparse factorisation. On the MLP, with the same systems, the goal is reached.",
    ),
    (
        "Quantus, MLP",
        "other",
        "Milliseconds in all: opening the problem (1 ms), the run that tells whether examples depend on each other, "
        "and the points, made in one go, are what is left beside the network.",
    ),
    (
        "MLP, infidelity",
        "captum tuned bare",
        "Of 29 ms of CPU time the network takes half and the sine, as for everyone, a tenth. Perturbations come from a "
        "user's function one batch after the other, where the peers call it once for all copies: these, and the points "
        "made of them, are put together (8 %), copied in case that the model writes into them (4 %) and checked.",
    ),
    (
        "Transformer, infidelity",
        "captum tuned bare",
        "The network's own arithmetic fills the time of either. Perturbations are put together one after the other, "
        "and a few rows more tell whether examples depend on each other.",
    ),
    (
        "sensitivity_max",
        "captum tuned bare",
        "Gradients at eleven points are all the work, as for the peers. A call of the method, which may be anything, "
        "opens the problem again: some 0.2 ms, beside 1 ms to look whether examples depend on each other.",
    ),
    (
        "CNN, PGD",
        "captum bare",
        "Ten gradients are all the work. The best point on the way is kept, for which the last one is evaluated once "
        "more: a forward pass beside ten gradients, some 3 %.",
    ),
    (
        "MLP, PGD",
        "captum bare",
        "A step takes 2 ms, two thirds of which are the network's. Keeping the best point (5 %), the loss that it goes "
        "by, the logits that are looked at after each step and the checks that all is finite are what no peer does.",
    ),
    (
        "ablation of .* late",
        "bare",
        "The loop by hand begins at the layer's activation, which it is given; here the network runs up to the layer, "
        "is measured, and the rest is mapped over.",
    ),
    (
        "Transformer, .*(ablation|LIME)",
        "captum tuned bare",
        "The network's own arithmetic fills the time of either. Three of some 36 rows (ablation of one example) are "
        "evaluated to know that examples do not depend on each other, which no peer looks at.",
    ),
    (
        "EfficientNet, (ablation|occlusion)",
        "bare",
        "Forward passes take 0.7 to 0.8 of their time with folded batch norms and channels last (measured apart). A "
        "run that is watched, and one that tells whether examples depend on each other, take a part of it back.",
    ),
    (
        "(CNN|Transformer|EfficientNet), .*(ablation|occlusion|permutations|LIME)",
        "captum tuned bare",
        "The network's own arithmetic fills the time of either; what a good number of rows saves beside one "
        "perturbation at a time is all there is to gain. By hand with the best number is the limit.",
    ),
    (
        "(ablation|permutations|LIME|exact).*",
        "captum tuned bare",
        "So small a network is evaluated in a few hundredths of a second at most, of which masks and the opening of "
        "the problem are a part; with a batch of examples Captum's calls are large enough, too.",
    ),
    (
        "DeepLIFT.*, 100 classes",
        "captum",
        "The forward passes and the rules' multipliers are shared among the classes, the backward passes are not; they "
        "are some two thirds of a call.",
    ),
    (
        "Plain CNN, DeepLIFT$",
        "captum",
        "On the busy machine of this run; 1.2 x on a quieter one. The forward pass at the input and the backward pass "
        "are of half Captum's rows; the rules' elementwise work is the same.",
    ),
    (
        "(MLP|Sequences), DeepLIFT",
        "captum",
        "Networks so small that the interpreter's own time counts, about a millisecond a call whatever the size, where "
        "Captum's hooks take less. What is left to gain is the half of its rows that need no backward pass.",
    ),
    (
        "MLP, conductance",
        "memory",
        "Activations and gradients at all points are kept, and the changes of the activations besides.",
    ),
    (
        "MLP, SmoothGrad",
        "memory",
        "All samples of so small a network fit into one chunk, with their noise and their attributions.",
    ),
    (
        "equal error: .*IG",
        "captum",
        "With 50 points Gauss-Legendre is about as exact as a nested rule with 63, the first that is exact enough; the "
        "points before the last doubling are not lost, but 63 are more than 50.",
    ),
    (
        "3 layers at once",
        "captum tuned",
        "One pass takes the time of the earliest layer's, where a loop takes the sum over the layers.",
    ),
    (
        "equal error: MLP, conductance",
        "captum",
        "On a ReLU network the gap is a sum of errors at single kinks, of either sign, which happen to cancel in "
        "Captum's sum. The attributions themselves differ much less from the exact ones: see gradient.md.",
    ),
    (
        "equal error: .*conductance",
        "captum",
        "The least that a tolerance takes is 7 points and a forward pass at each end: 9 evaluations to Captum's 51, "
        "some 6 x, times what its large batches lose.",
    ),
    (
        "neuron conductance",
        "captum tuned",
        "Two backward passes at each point, as in Captum, and both ends of the path besides.",
    ),
    (
        "(conductance|influence)",
        "captum",
        "No gradient is taken before the layer, so evaluating at all points costs about what Captum pays. The loop by "
        "hand with its best number of rows is the limit: measured apart, Captum took 1.4 to 1.5 x its time on the CNN, "
        "1.1 x on the transformer and 1.3 x on the MLP.",
    ),
    (
        "(conductance|influence)",
        "tuned bare",
        "Both ends are evaluated besides (some 5 %), the first point by itself, and the activations of all points are "
        "put together and differentiated along the path (an early layer of the CNN: 8 %).",
    ),
    (
        "(SHAP|SmoothGrad|smoothed IG).* (5|10) samples",
        "captum tuned bare",
        "Captum evaluates so few samples at once, in 1.1 x the time of the loop by hand, which is the limit. attrfunc "
        "evaluates the first sample by itself, and measures it to size the chunks: on the CNN it costs 20 ms, not "
        "15, on the transformer 21, not 12. It pays off with more samples.",
    ),
    (
        "(Transformer|MLP), (gradient SHAP|SmoothGrad|smoothed IG)",
        "captum tuned bare",
        "The time per row of this network hardly depends on how many are evaluated at once, so that chunks win "
        "nothing, and the first sample is evaluated by itself and measured (transformer: 21 ms of some 150).",
    ),
    (
        "SHAP|SmoothGrad|smoothed IG",
        "captum tuned bare",
        "Captum's time for all samples at once is the bound: it is slower than the loop by hand in the best chunks by "
        "what the cache makes of it on this machine.",
    ),
    (
        "(5|10|25) samples|smoothed IG|neuron conductance",
        "memory",
        "So few rows fit into one chunk, so that memory is that of one evaluation, as Captum's.",
    ),
    (
        "(guided backprop|deconvolution)$|guided Grad-CAM",
        "captum bare memory",
        "One evaluation (two for guided Grad-CAM). The interpreter sees every operation in Python, where Captum hangs "
        "hooks on the modules of the user's own model: some 0.6 of 2.1 ms on the MLP, of which 0.15 are a copy of the "
        "model that nobody else sees. An activation in place, as in the CNN, is computed out of place and then copied.",
    ),
    (
        "Grad-CAM",
        "captum bare",
        "One forward pass and a short way back. The model is copied, so that nothing is hung on the user's: some 15 "
        "microseconds a module, 3 to 5 of 40 ms for the 185 modules of EfficientNet.",
    ),
    (
        "100 classes|10 classes",
        "memory",
        "Sixteen backward passes are in flight at once, where a loop has one. A smaller chunk_size of vmap takes less.",
    ),
    (
        "(saliency|guided backprop), 100 classes",
        "captum tuned bare",
        "One forward is shared, and a hundred backward passes remain; the loop by hand, which shares it too, is "
        "the bound.",
    ),
    (
        "100 classes|10 classes",
        "captum tuned bare",
        "The forward passes are shared, and all backward passes remain, so that the ratio is bounded by that of "
        "forward and backward to backward: the loop by hand, which shares the forward too, is twice as fast as "
        "Captum. Behind a late layer, and behind an MLP's first layer, little is left to do backward.",
    ),
    (
        "saliency",
        "captum tuned bare memory",
        "One evaluation. The target, checks and the structure of the input cost some 0.2 ms a call, and a model that "
        "is not made of torch's own layers alone is copied, so that what it writes is not the user's: some 15 "
        "microseconds a module.",
    ),
    (
        "early layer",
        "bare",
        "By hand, the network is cut at the layer and its first part left out. attrfunc runs it with the points, as "
        "Captum does: so early, that is cheaper than vmap behind it.",
    ),
    (
        "late layer|last layer",
        "bare",
        "By hand, the network is cut at the layer: its first part runs at the two ends only, by somebody who "
        "knows that "
        "nothing bypasses the layer. attrfunc also runs it once for each chunk, and has a fixed cost for each call.",
    ),
    (
        "MLP, IG, late layer",
        "captum tuned",
        "The first part of so small a network costs little; the fixed cost of a call is a third of the time.",
    ),
    (
        "Transformer, IG, late layer",
        "captum tuned",
        "The layer is the last but one: a third of the network lies behind it and is run for each point, with "
        "attention "
        "in plain operations, which vmap can batch. The row of the last layer shows the prefix alone.",
    ),
    (
        "Transformer, IG, last layer",
        "captum tuned",
        "Undecided: the goal lies within the noise of this machine.",
    ),
    (
        "Transformer, IG, (input|early)",
        "captum tuned bare",
        "The time per row of this network hardly depends on how many are evaluated at once, so that chunks win "
        "nothing; "
        "what is left is the cost of torch.func's dispatch on small operations. Memory is a quarter.",
    ),
    (
        "CNN, IG, (input|early)",
        "captum",
        "Captum's 200 rows at once take some 1.5 x the time per row of the best chunk on this machine, measured "
        "with the "
        "loop by hand too: attrfunc is at that limit.",
    ),
    (
        "EfficientNet, IG",
        "captum",
        "What Captum's 50 rows at once lose depends on who shares the cache: 2.8 beside other jobs, 4.4 and 4.9 in two "
        "runs of the same day.",
    ),
    (
        "EfficientNet, (IG|conductance)|CNN, IG",
        "tuned bare",
        "Folded batch norms and channels last take 0.65 of the plain loop's time on this machine (measured apart, in "
        "equal chunks); what a call does once (a run that is watched, both ends of the path) takes a part of it back.",
    ),
    (
        "CNN, LRP epsilon-plus, 100 classes",
        "other",
        "The forward pass and the changed layers are evaluated once for all classes. What remains for each class, the "
        "backward convolutions and the products with inputs, is a third of what zennit takes in all.",
    ),
    (
        "MLP, LRP epsilon, 100 classes",
        "captum other",
        "Undecided: the goal lies within the noise of this machine.",
    ),
    (
        "(MLP|Sequences), LRP",
        "captum other",
        "On so small a network the time is that of the interpreter, which sees each operation in Python.",
    ),
]
"""A pattern of cases, the peers (captum, tuned, bare, memory), and the reason."""


def why(case: str, peer: str, known: list[tuple[str, str, str]] = WHY) -> str:
    """The reason why the case misses its goal against the peer."""
    reasons = (reason for cases, peers, reason in known if re.search(cases, case) and peer in peers.split())
    return next(reasons, "Not yet explained.")
