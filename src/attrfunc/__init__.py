"""Feature attribution for PyTorch as pure functions on torch.func."""
