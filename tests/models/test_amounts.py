"""Which way between two prompts Imagic's figures are of."""

from __future__ import annotations

import numpy as np
import pytest

from models.bozzetto.methods.imagic import amount


@pytest.mark.parametrize(
    ("old", "new", "chosen"),
    [
        ((0.8, 0.7, 0.6, 0.5), (0.5, 0.6, 0.7, 0.9), 2),  # and not 3, which is nearest of all
        ((0.8, 0.7, 0.6), (0.5, 0.6, 0.4), 1),
        ((0.4, 0.5), (0.5, 0.9), 0),
    ],
)
def test_the_least_amount_that_changes_the_picture_is_chosen(old, new, chosen):
    assert amount(np.array(old), np.array(new)) == chosen
