"""Paths from a baseline to the input: points on them, rules of integration, and layers that are watched on the way."""
