"""Latent nodes: exact results on small latents."""

from __future__ import annotations

import pytest
import torch

from engine.errors import BadInput
from engine.types import Latent, Mask
from nodes.basics.latent import (
    add_latents,
    batch_latents,
    blend_latents,
    composite_latents,
    crop_latent,
    flip_latent,
    repeat_latent,
    rotate_latent,
    scale_latent,
    select_latents,
    set_latent_mask,
    upscale_latent,
)
from tests.nodes.support import close


def random_latent(batch: int = 1, height: int = 4, width: int = 6, seed: int = 0, factor: int = 8) -> Latent:
    samples = torch.randn(batch, 4, height, width, generator=torch.Generator().manual_seed(seed))
    return Latent(samples, factor)


def masked(latent: Latent) -> Latent:
    h, w = latent.samples.shape[2:]
    values = torch.arange(float(h * w)).reshape(1, h, w) / (h * w)
    return set_latent_mask(latent, Mask(values))


def test_sizes_are_given_in_pixels() -> None:
    latent = random_latent()
    assert upscale_latent(latent, 96, 64).samples.shape == (1, 4, 8, 12)
    assert upscale_latent(random_latent(factor=16), 96, 64).samples.shape == (1, 4, 4, 6)
    doubled = latent.samples.repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert close(scale_latent(latent, 2).samples, doubled, 0)
    assert close(upscale_latent(latent, 96, 64).samples, doubled, 0)


@pytest.mark.parametrize("method", ["nearest", "bilinear", "bicubic", "area"])
def test_every_method_keeps_flat_latents_and_scales_the_mask(method: str) -> None:
    flat = masked(Latent(torch.full((2, 4, 4, 6), 1.5)))
    larger = scale_latent(flat, 1.5, method)  # type: ignore[arg-type]
    assert close(larger.samples, torch.full((2, 4, 6, 9), 1.5), 1e-5)
    assert larger.mask is not None
    assert larger.mask.shape == (2, 6, 9)


def test_latents_cannot_grow_without_bound() -> None:
    with pytest.raises(BadInput, match="megapixels"):
        upscale_latent(random_latent(2), 8192, 8192)
    with pytest.raises(BadInput, match="megapixels"):
        repeat_latent(random_latent(1, 64, 64), 256)


def test_crop_flip_and_rotate_take_the_mask_along() -> None:
    latent = masked(random_latent())
    part = crop_latent(latent, 8, 16, 16, 999)
    assert close(part.samples, latent.samples[:, :, 2:, 1:3], 0)
    assert part.mask is not None
    assert latent.mask is not None
    assert close(part.mask, latent.mask[:, 2:, 1:3], 0)
    assert crop_latent(latent, 999, 999, 8, 8).samples.shape == (1, 4, 1, 1)
    twice = flip_latent(flip_latent(latent, "both"), "both")
    assert close(twice.samples, latent.samples, 0)
    turned = rotate_latent(latent, 1)
    assert close(turned.samples, torch.rot90(latent.samples, 1, (2, 3)), 0)
    assert close(rotate_latent(turned, -1).mask, latent.mask, 0)  # type: ignore[arg-type]


def test_composite_places_in_cells_and_feathers() -> None:
    base, layer = Latent(torch.zeros(1, 4, 4, 6)), Latent(torch.ones(1, 4, 2, 3))
    result = composite_latents(base, layer, 16, 8).samples[0, 0]
    assert result.sum() == 6
    assert result[1:3, 2:5].min() == 1
    soft = composite_latents(base, layer, 16, 8, feather=8).samples[0, 0]
    assert soft[1, 2:5].tolist() == [0.25, 0.5, 0.25]
    assert composite_latents(base, layer, 999, 0).samples.sum() == 0
    assert base.samples.sum() == 0


def test_blend_and_add() -> None:
    a, b = random_latent(seed=1), random_latent(2, seed=2)
    assert close(blend_latents(a, b, 0.25).samples, a.samples + 0.25 * (b.samples - a.samples), 1e-6)
    assert close(add_latents(a, b, 2, -1).samples, 2 * a.samples - b.samples)


def test_a_repeated_latent_gets_noise_for_each() -> None:
    one, three = select_latents(masked(random_latent(2)), 1), random_latent(3)
    mixed = blend_latents(one, three)
    assert mixed.seeds is None
    assert mixed.mask is not None
    assert mixed.mask.shape == (3, 4, 6)
    assert blend_latents(one, random_latent()).seeds == (1,)


def test_repeated_latents_have_noise_of_their_own() -> None:
    latent = random_latent(2)
    assert repeat_latent(latent, 3).seeds is None
    assert repeat_latent(select_latents(latent, 1), 3).seeds == (1, 3, 5)
    assert close(repeat_latent(latent, 2).samples[2:], latent.samples, 0)
    assert repeat_latent(masked(latent), 2).mask.shape == (4, 4, 6)  # type: ignore[union-attr]


def test_selected_latents_keep_their_noise() -> None:
    latent = random_latent(4)
    part = select_latents(latent, 2, 9)
    assert part.seeds == (2, 3)
    assert close(part.samples, latent.samples[2:], 0)
    assert select_latents(part, 1).seeds == (3,)
    with pytest.raises(BadInput, match="holds 4"):
        select_latents(latent, 4)


def test_batches_join_masks_and_noise() -> None:
    a, b = masked(random_latent(2)), random_latent(1, seed=1)
    both = batch_latents([a], [b])
    assert both.samples.shape[0] == 3
    assert both.mask is not None
    assert both.mask[2].min() == 1
    assert both.seeds is None
    assert batch_latents([select_latents(a, 1), b]).seeds == (1, 0)
    assert batch_latents([b, b]).mask is None


@pytest.mark.parametrize(
    ("other", "says"),
    [
        (random_latent(1, 5), "6 x 4 and 6 x 5"),
        (random_latent(factor=16), "8 pixels and 4 of 16"),
        (Latent(torch.zeros(1, 16, 4, 6)), "4 channels .* 16 of 8"),
    ],
)
def test_latents_that_do_not_fit_are_named(other: Latent, says: str) -> None:
    with pytest.raises(BadInput, match=says):
        batch_latents([random_latent(), other])
    with pytest.raises(BadInput, match=says):
        blend_latents(random_latent(), other)


def test_nothing_to_batch_is_said() -> None:
    with pytest.raises(BadInput, match="no latents"):
        batch_latents([])


def test_masks_are_averaged_per_cell_and_repeated() -> None:
    mask = torch.zeros(1, 32, 48)
    mask[:, :4, :8] = 1
    latent = set_latent_mask(random_latent(2), Mask(mask))
    assert latent.mask is not None
    assert latent.mask.shape == (2, 4, 6)
    assert latent.mask[1, 0, 0] == 0.5
    assert latent.mask.sum() == 1
    assert set_latent_mask(latent, None).mask is None
    with pytest.raises(BadInput, match="3 masks for 2 latents"):
        set_latent_mask(random_latent(2), Mask(torch.ones(3, 8, 8)))
