"""Why rows of `benchmarks.further` miss their goals, by hand after profiling; the first that fits is printed.

Shares are those of one profile of our call on a busy machine. Where none explains the ratio, this is said.
"""

__all__ = ["WHY"]

UNEXPLAINED = "What makes the difference was not found."

WHY: list[tuple[str, str, str]] = [
    (
        "ablation_cam",
        "loop",
        "The loop has only the last linear layer to run. Two thirds of ours are the runs of the whole network that "
        "tell how its rows may be evaluated; their number does not grow with that of channels.",
    ),
    ("score_cam", "peer", "Undecided: three runs gave from 0.9 to 1.1. Seven tenths of ours are runs of the network."),
    (
        "eigen_cam",
        "peer loop",
        "Half of ours is the run of the network, a third the singular vectors, and opening the problem a tenth.",
    ),
    (
        "full_?grad",
        "peer loop",
        f"Three quarters and more of ours are the gradient, at the input and at all layers at once; opening the "
        f"problem is less than a tenth. {UNEXPLAINED}",
    ),
    (
        "guided_ig",
        "peer",
        "Undecided: four runs gave from 0.8 to 1.0. Six tenths are gradients. In each step ours sorts all slopes, a "
        "tenth of the time, where saliency takes one quantile.",
    ),
    ("xrai", "peer", f"Undecided: runs gave from 0.8 to 1.2. {UNEXPLAINED}"),
    (
        "in_silico_mutagenesis, 60 places$",
        "peer",
        "tangermeme may evaluate only the places that a mutation reaches, for networks of layers that it knows and "
        "where it measures that this is faster: two runs gave 0.6 and 0.9. The row below is without.",
    ),
    (
        "in_silico_mutagenesis",
        "peer",
        f"Six tenths of ours are convolutions, of the 960 sequences that tangermeme evaluates, too. {UNEXPLAINED}",
    ),
    (
        "extremal_perturbation",
        "loop",
        "The score and the mask are differentiated one after the other, so that any view of a model will do: two "
        "backward passes in each step, where the loop has one.",
    ),
    (
        "fgsm",
        "peer loop",
        "One gradient of a small network is the work. Six tenths of ours open the attack, most of it the runs that "
        "tell whether examples depend on each other, which the others do not look at.",
    ),
    (
        "representer_points",
        "loop",
        "Ours differentiates any loss, for each example; the loop knows the slope of the cross-entropy in closed form.",
    ),
    (
        "feature_permutation",
        "peer loop",
        f"A quarter of ours are runs of the network, a third or more makes the permuted points. {UNEXPLAINED}",
    ),
    ("dataset_ablation", "loop", f"No part of ours stands out in the profile. {UNEXPLAINED}"),
    (
        "activation_similarity",
        "loop",
        "Half of ours are runs of the network, a fifth the loader that puts batches together, which the loop, with all "
        "of the data in one tensor, does not need.",
    ),
    (
        "apgd|auto_attack|carlini_wagner",
        "peer",
        f"On so small a network the time is that of operations called from Python, on both sides. {UNEXPLAINED}",
    ),
    (
        "fab",
        "peer",
        "Ours walks towards each of nine classes by itself: 90 evaluations and 99 gradients, where the peer takes the "
        "gradients of all ten classes in 10 steps. That finds inputs that are a little nearer.",
    ),
    (
        "gates, Gaussian",
        "peer loop",
        "Noise is drawn in double precision, so that a seed gives the same gates in any precision: six tenths of the "
        "forward pass.",
    ),
    ("gates", "peer loop", f"Three quarters of ours are the backward pass. {UNEXPLAINED}"),
    (
        "concept_vectors|tcav",
        "peer loop",
        f"Nine tenths of ours are runs of the network. {UNEXPLAINED}",
    ),
]
"""A pattern of rows, `peer` or `loop` or both, and the reason."""
