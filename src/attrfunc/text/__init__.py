"""`attrfunc.text`: which part of a prompt made a language model say what it said."""

from attrfunc.text.segments import Segments, segments

__all__ = ["Segments", "segments"]
