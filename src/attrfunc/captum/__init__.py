"""Captum's classes on attrfunc: change the import from `captum.attr` to `attrfunc.captum.attr`.

The modules carry the names of Captum's modules. Nothing here imports Captum.
"""

from attrfunc.captum import attr, concept, influence, insights, metrics, models, module, robust

__all__ = ["attr", "concept", "influence", "insights", "metrics", "models", "module", "robust"]
