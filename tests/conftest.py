"""Settings for the whole suite."""

import os

import torch
from hypothesis import Phase, settings

# The models are so small that threads only wait for each other.
torch.set_num_threads(1)

# The suite gives the same verdict every time; HYPOTHESIS_PROFILE=explore looks for new failures. No deadline: the
# machines that run it are shared; no phase that explains failures, which traces every line of torch and takes minutes.
PHASES = (Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink)
settings.register_profile("ci", deadline=None, phases=PHASES, max_examples=25, derandomize=True)
settings.register_profile("explore", deadline=None, phases=PHASES, max_examples=300)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


def pytest_addoption(parser):
    parser.addoption("--device", default="cpu", help="where the models of the zoo and their inputs are: cuda, mps, ...")


def pytest_configure(config):
    """Move the zoo before any test module takes its cases."""
    device = config.getoption("--device")
    if device != "cpu":
        import zoo

        zoo.CASES[:] = [case.on(device) for case in zoo.CASES]
