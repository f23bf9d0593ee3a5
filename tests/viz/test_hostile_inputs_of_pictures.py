"""Pictures under attack: what once drew something wrong, or failed with an error that named nothing."""

import io

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox
from PIL import Image

import attrfunc as af


@pytest.mark.parametrize("shared", ["method", "all"])
@pytest.mark.parametrize("sign", ["all", "positive"])
def test_a_map_that_shows_nothing_does_not_set_a_shared_scale(shared, sign):
    small = np.array([[1e-3, 0.0], [0.0, 5e-4]])
    for blank in (np.zeros((2, 2)), np.full((2, 2), np.nan)):
        maps = {"a": [blank, small]}
        drawn = af.viz.images(maps, shared=shared, sign=sign).axes[1].images[0].get_array()
        alone = af.viz.image(small, sign=sign).axes[0].images[0].get_array()
        np.testing.assert_array_equal(drawn, alone)


def test_options_of_savefig_win():
    figure = af.viz.waterfall([1.0, 2.0], base=0.0)
    sizes = []
    for options in ({}, {"bbox_inches": "tight"}, {"bbox_inches": Bbox([[0, 0], [2, 1]])}):
        stream = io.BytesIO()
        figure.savefig(stream, dpi=50, **options)
        sizes.append(Image.open(stream).size)
    assert sizes[0] == sizes[1]
    assert sizes[2] == (100, 50)


@pytest.mark.parametrize("layout", [None, "constrained"])
def test_parts_of_figures_are_drawn_in(layout):
    figure = Figure(layout=layout, figsize=(8, 4))
    left, right = figure.subfigures(1, 2)
    title = "a title of many words that needs more than one line"
    assert af.viz.image(np.eye(3), ax=left.subplots(), title=title, unit="u") is figure
    assert af.viz.interactions(np.eye(3), ax=right.subplots(), title=title) is figure
    figure.savefig(io.BytesIO(), dpi=30)
    assert [len(part.axes) for part in (left, right)] == [2, 2]  # with its colour bar
    assert left.axes[0].get_title().count("\n") >= 1
