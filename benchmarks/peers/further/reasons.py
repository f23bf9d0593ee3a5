"""Why rows of `benchmarks.further` miss their goals, by hand after measuring; the first that fits is printed."""

__all__ = ["WHY"]

OPENING = (
    "One or a few runs of a small network are the work. Opening the problem, and the runs that tell whether examples "
    "depend on each other, which the others do not look at, are the rest: milliseconds, whatever the network."
)

WHY: list[tuple[str, str, str]] = [
    (
        "ablation_cam",
        "loop",
        "The loop has only the last linear layer to run. Two thirds of ours (profiled) are the six runs of the whole "
        "network that tell how its rows may be evaluated, which do not grow with the number of channels.",
    ),
    (
        "score_cam",
        "peer",
        "The runs of the network are the same and nearly all of the time: undecided within the machine's noise.",
    ),
    ("full_?grad|eigen_cam", "peer loop", OPENING),
    (
        "guided_ig",
        "peer",
        "Gradients are most of the time on both sides. In each step ours sorts all slopes, where saliency takes one "
        "quantile: a tenth of the time. The inverse of the order is scattered, no longer sorted, which saved as much.",
    ),
    (
        "xrai",
        "peer",
        "All of the time are gradients of as many images, 50 at once here and 10 there: activations of 10 stay in the "
        "cache. Runs gave from 0.8 to 1.2.",
    ),
    (
        "in_silico_mutagenesis, 60 places$",
        "peer",
        "tangermeme may evaluate only the places that a mutation reaches, for networks of layers that it knows and "
        "where it measures that this is faster: runs gave from 0.6 to 0.9. The row below is without.",
    ),
    (
        "in_silico_mutagenesis",
        "peer",
        "Convolutions of the same 960 sequences are most of the time on both sides: undecided within the noise.",
    ),
    (
        "extremal_perturbation",
        "loop",
        "The same gradients. Ours differentiates the score and the mask one after the other, so that any view of a "
        "model will do, and looks whether each score is finite.",
    ),
    (
        "feature_permutation|dataset_ablation|fgsm|activation_similarity|representer_points",
        "peer loop",
        OPENING,
    ),
    (
        "apgd|auto_attack|carlini_wagner",
        "peer",
        "On so small a network steps are some fifty operations each, called from Python, on both sides. Ours also runs "
        "the model as a function and looks whether each loss and gradient is finite.",
    ),
    (
        "fab",
        "peer",
        "Ours walks towards each of nine classes by itself, as the authors' later attack does: 90 evaluations and 99 "
        "gradients, where the peer has 10 evaluations with the gradients of ten classes. That finds nearer inputs.",
    ),
    (
        "gates",
        "peer loop",
        "Noise is drawn in double precision, so that a seed gives the same gates in any precision: more than half of "
        "the forward pass. Gates without a mask are no longer gathered by number, which was half of the backward pass.",
    ),
    (
        "concept_vectors|tcav",
        "peer loop",
        "The network's runs are nearly all of the time (profiled), and the same. What is left are a copy of what "
        "forward may change and hashes of the model and the data, which saved vectors are told by.",
    ),
]
"""A pattern of rows, `peer` or `loop` or both, and the reason."""
