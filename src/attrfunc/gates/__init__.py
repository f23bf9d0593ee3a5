"""`attrfunc.gates`: random gates that learn which features a model needs, with a penalty on how many are open."""

from attrfunc.gates.gaussian_gate import gaussian_active_probability, gaussian_gate
from attrfunc.gates.hard_concrete import active_probability, expected_gate, hard_concrete
from attrfunc.gates.modules import GaussianGates, HardConcreteGates

__all__ = [
    "GaussianGates",
    "HardConcreteGates",
    "active_probability",
    "expected_gate",
    "gaussian_active_probability",
    "gaussian_gate",
    "hard_concrete",
]
