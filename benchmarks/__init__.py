"""Measures attrfunc beside its peers: `python -m benchmarks --help`."""
