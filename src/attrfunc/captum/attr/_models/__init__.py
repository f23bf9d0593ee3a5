"""The modules of `captum.attr._models`."""
