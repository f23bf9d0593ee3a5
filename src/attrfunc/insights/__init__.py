"""`attrfunc.insights`."""

from attrfunc.insights.call import Request
from attrfunc.insights.demonstration import demo_tasks
from attrfunc.insights.inputs import Image, Table, Text
from attrfunc.insights.pictures import Picture, explain
from attrfunc.insights.task import Task

__all__ = ["Image", "Picture", "Request", "Table", "Task", "Text", "demo_tasks", "explain"]
