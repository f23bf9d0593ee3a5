"""Pictures under attack: what once drew something wrong, or failed with an error that named nothing."""

import numpy as np
import pytest

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
