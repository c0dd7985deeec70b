"""Painted words, collage layers and experts: no-ops to the bit, monotone pulls, the right expert at each sigma."""

from __future__ import annotations

import pytest
import torch

from engine.context import Context
from engine.diffusion.attention import Layer
from engine.diffusion.control import Controller
from engine.diffusion.experts import Routed, RoutedNetwork
from engine.errors import BadInput
from engine.types import AttentionControl, Image, Latent, Mask, Noise, Sampler
from nodes.basics.sampling_custom import sample_custom
from nodes.editing.collage import compose_layers, layer_attention, layer_strengths
from nodes.editing.expert_router import sample_experts
from nodes.editing.paint_words import paint_regions, paint_words
from tests.editing.toys import MODEL, SD, Models, Toy, context, guider, spaced
from tests.editing.words import NETWORK

CTX = Context(node="n", models=Models(NETWORK))
TEXT = "a cat and a dog"
LEFT = torch.zeros(1, 8, 8)
LEFT[..., :4] = 1
LAYER = Layer("x", "down", True, 2, (8, 8))
LOGITS = torch.randn(2, 2, 64, 12, generator=torch.Generator().manual_seed(0))


def biased(control, sigma=5.0, logits=LOGITS):
    run = Controller(control, spaced(4).values, keep=False)
    run.sigma = sigma
    for hook in run.hooks:
        logits = hook.call(LAYER, logits)
    return logits


def mass(logits, token, inside):
    probs = logits.softmax(-1)[..., token]
    return probs[..., inside.flatten() > 0].sum().item()


def painted(weight=0.4, strength=1.0, words="cat", mask=LEFT, **more):
    return paint_words(CTX, MODEL, TEXT, words, Mask(mask), strength, weight=weight, **more)


@pytest.mark.parametrize("stat", ["std", "max"])
def test_painting_pulls_more_with_more_weight_and_nothing_with_none(stat):
    masses = [mass(biased(painted(w, stat=stat)), 2, LEFT) for w in (0.0, 0.1, 0.4, 1.0)]
    assert masses == sorted(masses)
    assert masses[0] < masses[-1]
    assert torch.equal(biased(painted(0.0)), LOGITS)
    assert torch.equal(biased(painted(), sigma=0.0), LOGITS)


def test_painting_all_words_everywhere_changes_no_attention():
    control = painted()
    part = control.parts[0]
    part.options["tokens"] = (tuple(range(12)),)
    part.tensors["masks"] = torch.ones(1, 8, 8)
    torch.testing.assert_close(biased(control).softmax(-1), LOGITS.softmax(-1), rtol=1e-5, atol=1e-6)


def test_painting_does_not_know_its_batch_and_not_the_order_of_masks():
    both = biased(painted(stat="max"))
    torch.testing.assert_close(biased(painted(stat="max"), logits=LOGITS[:1]), both[:1])
    one = painted(words="dog", mask=1 - LEFT, before=painted())
    other = painted(before=painted(words="dog", mask=1 - LEFT))
    assert len(one.parts) == 1
    torch.testing.assert_close(biased(one), biased(other))
    with pytest.raises(BadInput, match="not in the prompt"):
        painted(words="bird")


HALVES = [{"text": "cat", "x": 0, "y": 0, "width": 0.5, "height": 1},
          {"text": "dog", "x": 0.5, "y": 0, "width": 0.5, "height": 1}]  # fmt: skip


def test_drawn_regions_paint_as_masks_do():
    drawn = paint_regions(CTX, MODEL, TEXT, HALVES, side=32)
    masks = painted(words="dog", mask=1 - LEFT, before=painted())
    torch.testing.assert_close(biased(drawn), biased(masks))
    torch.testing.assert_close(biased(paint_regions(CTX, MODEL, TEXT, HALVES[1:], before=painted())), biased(masks))
    for text, sentence in (("bird", "'bird' is not in the prompt"), ("", "Name the words")):
        with pytest.raises(BadInput, match=sentence) as told:
            paint_regions(CTX, MODEL, TEXT, [{**HALVES[0], "text": text}])
        assert told.value.field == "regions"


def collaged(inside=0.5, outside=0.25):
    return layer_attention(CTX, MODEL, TEXT, "cat\ndog", Mask(torch.cat([LEFT, 1 - LEFT])), inside, outside=outside)


def test_layers_raise_inside_and_lower_outside():
    out = biased(collaged())
    torch.testing.assert_close(out.softmax(-1).sum(-1), torch.ones(2, 2, 64))
    assert mass(out, 2, LEFT) > mass(LOGITS, 2, LEFT)
    assert mass(out, 2, 1 - LEFT) < mass(LOGITS, 2, 1 - LEFT)
    assert torch.equal(biased(collaged(0.0, 0.0)), LOGITS)


def test_a_negative_maximum_never_lowers_what_is_raised():
    low = LOGITS - 20
    assert bool((biased(collaged(), logits=low) >= low).all())


def test_hidden_layers_have_no_words():
    visible = Mask(torch.cat([torch.zeros(1, 8, 8), LEFT]))
    control = layer_attention(CTX, MODEL, TEXT, "cat\ndog", visible)
    assert len(control.parts[0].options["tokens"]) == 1
    assert layer_attention(CTX, MODEL, TEXT, "cat", Mask(torch.zeros(1, 8, 8))) == AttentionControl(())
    with pytest.raises(BadInput, match="2 layers and 1 lines"):
        layer_attention(CTX, MODEL, TEXT, "cat", visible)


def test_what_is_seen_of_layers_and_background_sums_to_one():
    sheet = Image(torch.zeros(1, 8, 8, 3))
    red, blue = (Image(torch.tensor(c).expand(1, 4, 4, 3).clone()) for c in ((1.0, 0, 0), (0, 0, 1.0)))
    full = Mask(torch.ones(1, 4, 4))
    out = compose_layers(sheet, [red, blue], [full, full], [[0, 0], [2, 2]])
    assert out.visible.values.sum(0).max() == 1
    assert out.visible.values[0].sum() == 12
    assert out.image.pixels[0, 3, 3].tolist() == [0, 0, 1]
    apart = [compose_layers(sheet, a, [full, full], p).image.pixels for a, p in (
        ([red, blue], [[0, 0], [4, 4]]), ([blue, red], [[4, 4], [0, 0]]))]  # fmt: skip
    assert torch.equal(*apart)
    assert not sheet.pixels.any()
    outside = compose_layers(sheet, [red], [full], [[-2, 6]])
    assert outside.visible.values.sum() == 4
    with pytest.raises(BadInput, match="pairs"):
        compose_layers(sheet, [red], [full], [[0.5, 1]])
    strength = layer_strengths(out.visible, [0.2, 0.9], 0.5, 0.0).values[0]
    assert strength[0, 0] == pytest.approx(0.2)
    assert strength[3, 3] == pytest.approx(0.9)
    assert strength[0, 7] == pytest.approx(0.5)
    with pytest.raises(BadInput, match="2 numbers"):
        layer_strengths(out.visible, [1])


# Experts


@pytest.mark.parametrize(
    "sampler", ["euler", "ddim", "heun", "dpm_2", "dpmpp_2m", "euler_ancestral", "uni_pc", "dpmpp_sde"]
)
def test_equal_experts_are_the_model_itself_to_the_bit(sampler):
    canvas, noise, chosen = Latent(torch.zeros(1, 2, 4, 4), 2), Noise(1), Sampler(sampler)
    plain = sample_custom(context(Toy()), guider(), chosen, spaced(6), canvas, noise).latent.samples
    both = sample_experts(
        context(Toy()), guider(), [MODEL], [0.5], chosen, spaced(6), latent=canvas, noise=noise
    ).samples
    assert torch.equal(plain, both)


def test_every_call_goes_to_the_expert_of_its_sigma():
    names = []

    class Named(Toy):
        def __init__(self, name):
            super().__init__()
            self.name = name

        def predict(self, x_in, c_noise, cond):
            names.append((self.name, SD.table[int(c_noise[0]) + 1].item()))
            return super().predict(x_in, c_noise, cond)

    class Two(Models):
        def use(self, described, *, working_bytes=0):
            return Models(Named("low" if described.options.get("low") else "high")).use(described)

    canvas = Latent(torch.zeros(1, 2, 4, 4), 2)
    ctx = Context(node="n", models=Two(None))
    low = MODEL.with_options(low=True)
    sample_experts(ctx, guider(), [low], [3.0], Sampler("heun"), spaced(6), latent=canvas, noise=Noise(0), unit="sigma")
    assert {name for name, _ in names} == {"high", "low"}
    assert all((name == "low") == (sigma <= 3.0) for name, sigma in names)
    steps = [{name for name, _ in names[i : i + 2]} for i in range(0, len(names) - 1, 2)]  # a step of Heun is two calls
    assert {"high", "low"} in steps
    with pytest.raises(BadInput, match="boundary for each"):
        sample_experts(ctx, guider(), [low], [], Sampler("heun"), spaced(6), latent=canvas)
    with pytest.raises(BadInput, match=r"lies in 0\.\.1, got 3"):
        sample_experts(ctx, guider(), [low], [3.0], Sampler("heun"), spaced(6), latent=canvas)
    with pytest.raises(BadInput, match="different channels"):
        RoutedNetwork((Toy(), Toy(channels=3)), (1.0,))
    with pytest.raises(BadInput, match="falling boundaries"):
        Routed((Toy().denoiser,) * 3, (1.0, 2.0))


def test_two_samplers_in_a_row_lose_the_history_that_one_keeps():
    canvas = Latent(torch.zeros(1, 2, 4, 4), 2)

    def split(sampler):
        values = spaced(6).values
        upper = sample_custom(context(Toy()), guider(), Sampler(sampler), type(spaced(6))(values[:4]), canvas, Noise(1))
        lower = type(spaced(6))(values[3:])
        return sample_custom(context(Toy()), guider(), Sampler(sampler), lower, upper.latent).latent.samples

    def whole(sampler):
        return sample_experts(
            context(Toy()), guider(), [MODEL], [0.5], Sampler(sampler), spaced(6), latent=canvas, noise=Noise(1)
        ).samples

    for memoryless in ("euler", "ddim"):
        torch.testing.assert_close(split(memoryless), whole(memoryless))
    assert not torch.allclose(split("dpmpp_2m"), whole("dpmpp_2m"), rtol=1e-4, atol=1e-5)
