"""A decoder fitted to a picture, an audit of an edited model, and curves drawn."""

from __future__ import annotations

import pytest
import torch

from engine.context import Context
from engine.diffusion import attention
from engine.diffusion.families.autoencoder import build_autoencoder
from engine.diffusion.families.load import Place
from engine.diffusion.families.unet import UNet
from engine.errors import BadInput, Cancelled
from engine.types import Clip, Image, Latent, Mask, Plot, Vae, Weights
from nodes.basics.plots import draw_curves
from nodes.editing.decoder_refit import decode_refitted
from nodes.editing.edit_audit import edit_audit
from nodes.editing.time_editing import time_edit_model
from tests.diffusion_models import tiny
from tests.editing.test_imagic import Desk, Laid
from tests.editing.toys import MODEL, SD, Models
from tests.editing.words import NETWORK

CLIP = Clip("toy", Weights("toys", "clip", "0"))
VAE = Vae("toy", Weights("toys", "vae", "0"), options={"channels": 4, "factor": 2, "width": 64})


@pytest.fixture(scope="module")
def parts():
    torch.set_num_threads(1)
    unet, vae, _ = tiny.networks()
    attention.install(unet)
    config = {**tiny.VAE, "_class_name": "AutoencoderKL"}
    return UNet(unet, SD, "eps"), build_autoencoder(config, vae.state_dict(), Place())


@pytest.fixture
def ctx(parts):
    class All(Laid):
        def use(self, described, *, working_bytes=0):
            if isinstance(described, Clip | Vae):
                return Models(NETWORK if isinstance(described, Clip) else parts[1]).use(described)
            return super().use(described)

    return Context(node="n", models=All(parts[0]))


def drawn(seed, *shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


LATENT = Latent(0.2 * drawn(1, 1, 4, 8, 8), 2)
ORIGINAL = Image(drawn(2, 1, 16, 16, 3) * 0.3 + 0.3)
MASK = Mask(torch.zeros(1, 16, 16).index_fill_(2, torch.arange(5), 1.0))


@pytest.mark.parametrize(("mode", "rate"), [("weights", 1e-3), ("latent", 0.1)])
def test_fitting_brings_the_background_back_and_leaves_the_autoencoder_alone(ctx, parts, mode, rate):
    before = {n: p.clone() for n, p in parts[1].module.named_parameters()}
    plain = parts[1].decode(LATENT.samples)
    out = decode_refitted(ctx, LATENT, VAE, ORIGINAL, MASK, 25, rate=rate, mode=mode)
    outside = 1 - MASK.values[..., None]

    def off(pixels):
        return float((outside * (pixels - ORIGINAL.pixels)).square().mean())

    assert off(out.image.pixels) < 0.5 * off(plain)
    assert all(torch.equal(p, before[n]) for n, p in parts[1].module.named_parameters())
    assert torch.equal(parts[1].decode(LATENT.samples), plain)
    losses = [y for _, y in out.curve.series["loss"]]
    assert losses[-1] < 0.6 * losses[0]
    if mode == "weights":  # at the small rate of weights every step helps
        assert losses[:5] == sorted(losses[:5], reverse=True)


def test_fitting_for_no_step_is_plain_decoding_and_can_be_resumed(ctx, parts):
    same = decode_refitted(ctx, LATENT, VAE, ORIGINAL, MASK, 0)
    assert torch.equal(same.image.pixels, parts[1].decode(LATENT.samples))
    whole = decode_refitted(ctx, LATENT, VAE, ORIGINAL, MASK, 6).image.pixels
    desk = Desk()
    broken = Context(
        node="n", models=ctx.models, cancelled=lambda: True, resume=desk.resume, checkpoint=desk.checkpoint
    )
    with pytest.raises(Cancelled):
        decode_refitted(broken, LATENT, VAE, ORIGINAL, MASK, 6)
    assert desk.kept["step"] == 0
    broken.cancelled = lambda: False
    assert torch.equal(decode_refitted(broken, LATENT, VAE, ORIGINAL, MASK, 6).image.pixels, whole)


def test_what_does_not_fit_is_refused(ctx):
    with pytest.raises(BadInput, match="as large as the edit"):
        decode_refitted(ctx, LATENT, VAE, Image(drawn(0, 1, 8, 8, 3)), Mask(torch.ones(1, 8, 8)))
    with pytest.raises(BadInput, match="one picture with one mask"):
        decode_refitted(ctx, Latent(drawn(0, 2, 4, 8, 8)), VAE, ORIGINAL, MASK)


def test_an_unedited_model_passes_its_audit_by_changing_nothing(ctx):
    canvas = Latent(torch.zeros(2, 4, 8, 8), 2)
    lines = {"edit": "a cat -> a red cat", "related": "the cat -> the red cat", "others": "a dog -> a red dog"}
    out = edit_audit(ctx, MODEL, MODEL, CLIP, VAE, canvas, **lines, steps=2, looks=2)
    kinds = [line.partition(":")[0] for line in out.report.splitlines()]
    assert kinds == ["efficacy", "generality", "specificity"]
    for line in out.report.splitlines():
        after, before = (part.split("%")[0].split()[-1].lstrip("(") for part in line.split("(before"))
        assert after == before
        assert line.endswith("of 2 pictures")
    pixels = out.image.pixels[0]
    assert pixels.shape[1] >= 4 * 16  # two before and two after in a row
    with pytest.raises(BadInput, match="Each line is"):
        edit_audit(ctx, MODEL, MODEL, CLIP, VAE, canvas, edit="a cat")
    with pytest.raises(BadInput, match="at least one line"):
        edit_audit(ctx, MODEL, MODEL, CLIP, VAE, canvas, edit=" ")


def test_an_edited_model_is_audited_beside_the_old_one(ctx):
    edited = time_edit_model(ctx, MODEL, CLIP, "a cat", "a red cat", 1e-3).model
    canvas = Latent(torch.zeros(1, 4, 8, 8), 2)
    same, other = (
        edit_audit(ctx, MODEL, m, CLIP, VAE, canvas, edit="a cat -> a red cat", steps=2, looks=1).image.pixels
        for m in (MODEL, edited)
    )
    assert not torch.equal(same, other)


def test_curves_are_drawn_from_their_first_to_their_last_point():
    falling = Plot({"loss": tuple((float(i), 1.0 / (i + 1)) for i in range(9)), "flat": ((0.0, 0.5), (8.0, 0.5))})
    out = draw_curves([falling, Plot({"one": ((1.0, 2.0),)})], 128, 96).pixels
    assert out.shape == (2, 96, 128, 3)
    blue = (out[0] - torch.tensor([58, 110, 225]) / 255).abs().amax(-1) < 0.02
    rows = [blue[8:, x].nonzero().float().mean().item() for x in (50, 80, 110)]
    assert rows == sorted(rows)  # falls from left to right
    for nothing in ([], [Plot({})]):
        with pytest.raises(BadInput, match="no p"):
            draw_curves(nothing)
