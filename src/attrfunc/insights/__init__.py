"""`attrfunc.insights`: a page in the browser that explains what models say (extra `attrfunc[insights]`).

`launch` starts it on the caller's models and data, `demo` on real ones. What it computes is here without a browser,
too: `explain` makes a `Picture` of a `Request`. Gradio is imported when a page starts.
"""

from attrfunc.insights.call import Request
from attrfunc.insights.demonstration import demo_tasks
from attrfunc.insights.inputs import Image, Table, Text
from attrfunc.insights.pictures import Picture, explain
from attrfunc.insights.server import Page, demo, launch
from attrfunc.insights.task import Task

__all__ = ["Image", "Page", "Picture", "Request", "Table", "Task", "Text", "demo", "demo_tasks", "explain", "launch"]
