"""Settings for all tests."""

import torch

# The models are so small that threads only wait for each other.
torch.set_num_threads(1)
