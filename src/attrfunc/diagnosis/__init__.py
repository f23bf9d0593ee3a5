"""`attrfunc.doctor`: which methods are right on a model, which are refused, and what they cost."""

from attrfunc.diagnosis.examination import doctor
from attrfunc.diagnosis.report import Diagnosis, Finding

__all__ = ["Diagnosis", "Finding", "doctor"]
