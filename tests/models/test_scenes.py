"""The world: the same seed gives the same bytes, and the truth about a scene agrees with its picture."""

from dataclasses import replace

import numpy as np
import pytest

from models.bozzetto.scenes import START, WIDE, captions, held_out, render, sample, scene
from models.bozzetto.scenes import vocabulary as words
from models.bozzetto.scenes.holdout import COLOUR_PAIRS, INSTANCES, OBJECTS
from models.bozzetto.scenes.pairs import EDITS, pair
from models.bozzetto.scenes.spec import GEOMETRY, ObjectSpec

OPEN = replace(
    WIDE, objects=(*WIDE.objects, *OBJECTS), styles=words.STYLES,
    style_weights=(1.0,) * len(words.STYLES), allow_held_out=True
)  # fmt: skip


@pytest.mark.parametrize("world", [START, WIDE, GEOMETRY], ids=["start", "wide", "geometry"])
def test_a_seed_is_a_scene(world):
    for seed in range(12):
        first, again = scene(seed, world), scene(seed, world)
        assert first.spec == again.spec
        assert np.array_equal(first.image, again.image)
        assert np.array_equal(first.masks, again.masks)


def test_different_seeds_differ():
    assert len({scene(seed).image.tobytes() for seed in range(40)}) == 40


def test_masks_boxes_and_order_agree():
    for seed in range(60):
        s = scene(seed, WIDE)
        assert s.image.shape == (128, 128, 3)
        assert s.masks.sum(0).max() <= 1, "visible masks never overlap"
        assert (s.masks & ~s.alphas).sum() == 0, "what is visible is part of the silhouette"
        for i, (x0, y0, x1, y1) in enumerate(s.boxes):
            rows, columns = np.where(s.masks[i])
            assert (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) == (x0, y0, x1, y1)
            assert (s.order[s.masks[i]] == i + 1).all()
        assert ((s.order > 0) == s.masks.any(0)).all()


def test_objects_can_be_seen():
    for seed in range(60):
        s = scene(seed)
        for mask in s.masks:
            assert mask.sum() > 150, s.spec
            assert (s.edges & mask).any()


def test_mask_is_where_the_picture_changes():
    s = scene(3)
    without = render(replace(s.spec, objects=()))
    changed = np.abs(s.image.astype(int) - without.image).max(2) > 12
    inside = changed[s.masks.any(0)].mean()
    assert inside > 0.8, inside


def test_relations_are_drawn_as_said():
    seen = set()
    for seed in range(300):
        spec = sample(seed)
        if spec.relation not in ("left", "right", "above", "below"):
            continue
        first, second = spec.objects[spec.named_first], spec.objects[1 - spec.named_first]
        dx, dy = first.x + first.side / 2 - second.x - second.side / 2, first.y - second.y
        assert {"left": dx < -10, "right": dx > 10, "above": dy < -10, "below": dy > 10}[spec.relation]
        seen.add(spec.relation)
    assert seen == {"left", "right", "above", "below"}


def test_of_two_things_beside_each_other_the_left_one_is_mostly_named_first():
    beside = [s for s in map(sample, range(4000)) if s.relation == "next"]
    left = [s.objects[s.named_first].x < s.objects[1 - s.named_first].x for s in beside]
    assert len(left) > 100
    assert 0.84 < np.mean(left) < 0.96


def test_nothing_held_out_is_drawn_for_training():
    for seed in range(600):
        for world in (START, WIDE):
            spec = sample(seed, world)
            assert not held_out(spec)
            assert spec.style != words.HELD_OUT_STYLE
            for o in spec.objects:
                assert o.noun not in OBJECTS
                assert (o.noun, o.colour) not in COLOUR_PAIRS
                assert o.paint is None


def test_the_open_world_has_what_is_held_out():
    specs = [sample(seed, OPEN) for seed in range(400)]
    assert {o.noun for s in specs for o in s.objects} >= set(OBJECTS)
    assert any(s.style == words.HELD_OUT_STYLE for s in specs)
    assert sum(held_out(s) for s in specs) > 50


@pytest.mark.parametrize("instance", INSTANCES, ids=lambda i: i.noun)
def test_painted_instances_differ_from_their_class(instance):
    o = ObjectSpec(instance.noun, instance.colour, 80, 24, 30)
    plain = replace(sample(5), style="3d", background="plain", background_colour="black", objects=(o,))
    painted = replace(plain, objects=(replace(o, paint=(instance.second, instance.mark)),))
    assert held_out(painted)
    a, b = render(plain), render(painted)
    assert np.array_equal(a.masks, b.masks), "paint changes no silhouette"
    assert (np.abs(a.image.astype(int) - b.image).max(2) > 40).mean() > 0.02


def test_the_puppet_has_seventeen_joints_on_its_body():
    found = 0
    for seed in range(400):
        s = scene(seed)
        for points, alpha in zip(s.joints, s.alphas, strict=True):
            if points is None:
                continue
            found += 1
            assert points.shape == (17, 2)
            rows, columns = points[:, 1].round().astype(int), points[:, 0].round().astype(int)
            near = [
                alpha[max(r - 3, 0) : r + 4, max(c - 3, 0) : c + 4].any() for r, c in zip(rows, columns, strict=True)
            ]
            assert all(near), (seed, near)
    assert found > 5


def test_geometry_has_depth_and_unit_normals():
    s = scene(1, GEOMETRY)
    depth, normals = s.geometry()
    known = np.isfinite(depth)
    assert known.sum() > 0.9 * s.masks.sum()
    assert (known & ~s.masks.any(0)).sum() == 0
    assert np.allclose(np.linalg.norm(normals[known], axis=-1), 1, atol=1e-3)
    assert (normals[known][:, 2] >= 0).all(), "what is seen faces the viewer"


def test_captions_say_what_is_there():
    empty = 0
    for seed in range(200):
        spec = sample(seed)
        for text in captions(spec, 4):
            empty += text == ""
        for text in captions(spec, 2, full=True):
            for o in spec.objects:
                assert o.noun in text or words.plural(o.noun) in text
                assert o.colour is None or o.colour in text
    assert 40 < empty < 125, "about a tenth of 800"


@pytest.mark.parametrize("kind", EDITS)
def test_pairs_change_what_the_instruction_says(kind):
    for seed in range(4):
        p = pair(seed, kind=kind)
        assert p.instruction
        assert not np.array_equal(p.before.image, p.after.image)
        again = pair(seed, kind=kind)
        assert np.array_equal(p.after.image, again.after.image)
        assert p.instruction == again.instruction
    if kind == "colour":
        assert np.array_equal(p.before.masks, p.after.masks)
        assert p.after.colours[0] in p.instruction
    if kind in ("add", "remove"):
        assert abs(len(p.before.masks) - len(p.after.masks)) == 1
