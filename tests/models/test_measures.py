"""The judge's verdicts and the metrics, on cases whose answer is known."""

import numpy as np
import pytest

from models.bozzetto.generate import sheet
from models.bozzetto.judge import metrics
from models.bozzetto.judge.read import Reading, Seen
from models.bozzetto.judge.score import accuracy, mask_iou, verdict
from models.bozzetto.scenes import Scene, scene


def truthful(s: Scene) -> Reading:
    """What a perfect judge reads."""
    objects = tuple(
        Seen(
            o.noun,
            o.colour or "red",
            1.0,
            tuple(box),
            ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2),
            mask,
            np.zeros(64),
        )
        for o, box, mask in zip(s.spec.objects, s.boxes, s.masks, strict=True)
    )
    return Reading(s.spec.style, s.spec.background, s.spec.background_colour, objects)


def test_a_perfect_judge_is_always_right():
    scenes = [scene(seed) for seed in range(80)]
    figures = accuracy([truthful(s) for s in scenes], [s.spec for s in scenes])
    assert set(figures) >= {"object_one", "object_two", "colour", "background", "style", "relation"}
    assert set(figures.values()) == {1.0}


def test_a_judge_that_sees_nothing_is_wrong():
    s = scene(0)
    marks = verdict(Reading("oil", "plain", "red", ()), s.spec)
    assert not any(mark for answers in marks.values() for mark in answers)
    assert mask_iou(Reading("oil", "plain", "red", ()), s.classes[0], s.masks[0]) == 0


def test_masked_psnr():
    a = np.zeros((16, 16, 3), np.uint8)
    b = a.copy()
    b[:, 8:] = 255
    left = np.zeros((16, 16), bool)
    left[:, :8] = True
    assert metrics.masked_psnr(a, b, left) > 90
    assert metrics.masked_psnr(a, b, ~left) == 0
    with pytest.raises(ValueError, match="selects no pixel"):
        metrics.masked_psnr(a, b, left & ~left)


def test_edge_f1_forgives_a_pixel():
    a, b = np.zeros((2, 20, 20), bool)
    a[:, 5], b[:, 6] = True, True
    assert metrics.edge_f1(a, b) == 1
    assert metrics.edge_f1(a, np.roll(b, 6, 1)) == 0


def test_frechet_grows_with_distance():
    r = np.random.default_rng(0)
    a = r.normal(size=(400, 5))
    near, far = metrics.frechet(a, r.normal(size=(400, 5))), metrics.frechet(a, r.normal(2, 1, (400, 5)))
    assert near < 0.3
    assert 15 < far < 25, "the squared distance of the means is 20"


def test_diversity_direction_and_keypoints():
    assert metrics.diversity(np.eye(4)) == 1
    assert abs(metrics.diversity(np.ones((4, 3)))) < 1e-6
    assert np.allclose(metrics.direction(np.array([[1.0, 0]]), np.array([[2.0, 0]])), 1)
    points = np.array([[0.0, 0], [10, 0]])
    assert metrics.keypoints_correct(points, points + np.array([0, 5]), side=100) == 1
    assert metrics.keypoints_correct(points, points + np.array([0, 5]), side=40) == 0


def test_the_memorisation_alarm_finds_a_copy():
    scenes = np.stack([scene(seed).image for seed in range(8)])
    which, likeness = metrics.nearest(scenes[[3]], scenes)
    assert which[0] == 3
    assert likeness[0] > 0.999


def test_a_sheet_has_ten_in_a_row():
    images = np.stack([scene(seed).image for seed in range(12)])
    whole = sheet(images)
    assert whole.shape == (256, 1280, 3)
    assert np.array_equal(whole[128:, 128:256], images[11])
    assert (whole[128:, 256:] == 255).all()
    assert np.array_equal(sheet(images[:1]), images[0])
