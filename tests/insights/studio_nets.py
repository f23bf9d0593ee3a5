"""Small tasks of every kind that the tests of the page share."""

import torch
from torch import nn

import attrfunc as af


def picture_net(classes=3, seed=0):
    torch.manual_seed(seed)
    body = [nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(64, classes)]
    return nn.Sequential(*body).eval()


def pictures(**options):
    """Two networks on twelve pictures of noise, the fourth of which has no label."""
    generator = torch.Generator().manual_seed(1)
    data = [(torch.rand(3, 16, 16, generator=generator), number % 3 if number != 3 else None) for number in range(12)]
    image = af.insights.Image((16, 16), mean=0.25, std=0.5)
    models = {"one": picture_net(), "two": picture_net(seed=1)}
    return af.insights.Task(
        "pictures", inputs=(image,), **{"models": models, "data": data, "classes": ["a", "b", "c"], **options}
    )


class Reader(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embedding, self.head = nn.Embedding(64, 8), nn.Linear(8, 2)

    def forward(self, ids):
        return self.head(self.embedding(ids).tanh().sum(1))


def texts(**options):
    text = af.insights.Text(
        lambda text: [0, *(1 + len(word) for word in text.split())],
        lambda ids: ["^", *(f" w{number}" for number in ids[1:])],
        "embedding",
        keep=1,
        longest=40,
    )
    data = [("to be or not to be", 1), ("that is the question", 0)]
    return af.insights.Task("texts", {"reader": Reader().eval()}, (text,), **{"data": data, **options})


def rows(**options):
    torch.manual_seed(0)
    table = af.insights.Table(("age", "dose", "weight"), mean=(40.0, 1.0, 70.0), std=(10.0, 0.5, 15.0))
    data = [([30, 1.5, 80], 0), ({"dose": 2, "age": 50, "weight": 60}, 1), ([45, 0.5, 75], 1)]
    models = {"net": nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, 2)).eval(), "linear": nn.Linear(3, 2)}
    return af.insights.Task("rows", inputs=(table,), **{"models": models, "data": data, **options})


class Both(nn.Module):
    def __init__(self):
        super().__init__()
        self.picture, self.row = picture_net(), nn.Linear(3, 3)

    def forward(self, image, row):
        return self.picture(image) * (1 + self.row(row).tanh())


def several(**options):
    torch.manual_seed(0)
    inputs = (af.insights.Image((16, 16)), af.insights.Table(("age", "dose", "weight")))
    data = [((torch.rand(3, 16, 16), [1.0, 2.0, 3.0]), 0), ((torch.rand(3, 16, 16), [0.0, 1.0, 0.5]), 2)]
    return af.insights.Task("several", {"both": Both().eval()}, inputs, **{"data": data, **options})


TASKS = {"pictures": pictures, "texts": texts, "rows": rows, "several": several}
# What makes methods cheap here.
CHEAP = {
    "n_steps": 4,
    "n_samples": 24,
    "window": 4,
    "stride": 4,
    "cells": 3,
}
