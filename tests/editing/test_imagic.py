"""Imagic's stages: nothing learnt changes nothing, what is learnt is the optimum, and the model stays as it was."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import pytest
import torch

from engine.codec import digest_of
from engine.context import Context
from engine.diffusion import attention, patches
from engine.diffusion.denoiser import Denoiser
from engine.diffusion.families.unet import UNet
from engine.diffusion.fitting import LEARNING, Lesson, denoising_error, fit_embedding, fit_weights, looks
from engine.diffusion.optimise import optimise
from engine.errors import BadInput, Cancelled, NotFinite, OutOfMemory
from engine.types import Cond, Conditioning, Guider, Latent, Noise, Sampler
from nodes.basics.sampling_custom import sample_custom
from nodes.editing.imagic import between_prompts, finetune_on_picture, optimise_embedding
from tests.diffusion_models import tiny
from tests.editing.toys import MODEL, SD, Models, spaced

SCOPES = ("lora", "attention", "full")
LESSON = Lesson(4, 0.01, 2, 3)


def drawn(seed, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


TARGET = Conditioning((Cond(drawn(1, 1, 12, 64)),))
PICTURE = Latent(drawn(2, 1, 4, 8, 8), 2)


@dataclass
class Desk:
    """Keeps what is half-done, and cancels at a step."""

    stop: int = 10**9
    kept: Any = None
    reported: list[Any] = field(default_factory=list)

    def resume(self):
        return self.kept

    def checkpoint(self, value):
        self.kept = value

    def progress(self, done, total, note="", *, figures=None):
        self.reported.append((done, total, figures))
        if done >= self.stop:
            raise Cancelled("Stop.")


class Laid(Models):
    """Lays a description's patches over the network, as the models of the engine do."""

    def use(self, described, *, working_bytes=0):
        laid = [(p.strength, patches.KINDS[p.kind](p.tensors, self.network.module, "unet")) for p in described.patches]
        baked = patches.bake(self.network.module, laid)
        return Models(replace(self.network, patched=partial(patches.swapped, self.network.module, baked))).use(
            described
        )


@pytest.fixture
def ctx(network):
    return Context(node="n", models=Laid(network))


def sampled(ctx, model, conditioning):
    guider = Guider("cfg", model, {"positive": conditioning, "negative": TARGET.map(tokens=torch.zeros(1, 12, 64))})
    return sample_custom(ctx, guider, Sampler("ddim"), spaced(3), PICTURE, Noise(1)).latent.samples


def test_the_way_between_prompts_ends_in_them_to_the_byte():
    a, b = TARGET, Conditioning((Cond(drawn(5, 1, 12, 64), drawn(6, 1, 3)),))
    assert digest_of(between_prompts(a, b, 0)) == digest_of(a)
    assert digest_of(between_prompts(a, b, 1)) == digest_of(b)
    x, y = (each.conds[0].tokens for each in (a, b))
    for amount in (-0.5, 0.3, 1.4):
        torch.testing.assert_close(between_prompts(a, b, amount).conds[0].tokens, x + amount * (y - x))
    with pytest.raises(BadInput, match="no way between"):
        between_prompts(a, a.map(tokens=torch.zeros(1, 13, 64)), 0.5)


@pytest.mark.parametrize("scope", SCOPES)
def test_learning_for_no_step_changes_nothing(ctx, scope):
    prompt = optimise_embedding(ctx, MODEL, PICTURE, TARGET, 0).conditioning
    assert torch.equal(prompt.conds[0].tokens, TARGET.conds[0].tokens)
    tuned = finetune_on_picture(ctx, MODEL, PICTURE, prompt, 0, scope=scope)
    assert torch.equal(sampled(ctx, tuned.model, prompt), sampled(ctx, MODEL, TARGET))


@pytest.mark.parametrize("scope", SCOPES)
def test_a_rate_of_nothing_changes_nothing_and_the_curve_is_flat(ctx, scope):
    prompt = optimise_embedding(ctx, MODEL, PICTURE, TARGET, 3, 0.0)
    tuned = finetune_on_picture(ctx, MODEL, PICTURE, prompt.conditioning, 3, 0.0, scope=scope)
    assert torch.equal(sampled(ctx, tuned.model, prompt.conditioning), sampled(ctx, MODEL, TARGET))
    for curve in (prompt.curve, tuned.curve):
        assert [x for x, _ in curve.series["loss"]] == [0, 1, 2, 3]
        assert len({y for _, y in curve.series["loss"]}) == 1
    assert "moved by 0.0%" in prompt.report


def test_the_optimum_of_a_linear_network_is_found():
    """eps_hat = A e + B x: on fixed looks the best e solves A e = mean(eps - B x)."""
    a, b = torch.eye(8) + 0.2 * drawn(1, 8, 8), 0.3

    def linear(x, c_noise, cond):
        return (cond.tokens[:, 0] @ a.T).reshape(-1, 2, 2, 2) + b * x

    x0, at = drawn(3, 1, 2, 2, 2), looks(SD, torch.zeros(1, 2, 2, 2), 8, 0, 0)
    denoiser, cond = Denoiser(linear, SD, "eps"), Cond(torch.zeros(1, 1, 8))

    def loss(parameters, step=0):
        return denoising_error(denoiser, x0, replace(cond, tokens=parameters["tokens"]), at)

    found = optimise({"tokens": cond.tokens}, loss, Desk(), steps=600, rate=0.02, measure=lambda p: float(loss(p)))
    sigmas = at.sigmas.float()[:, None, None, None]
    x_in = (x0 + sigmas * at.noise) / (1 + sigmas**2).sqrt()
    best = torch.linalg.solve(a, (at.noise - b * x_in).flatten(1).mean(0))
    assert (found.parameters["tokens"].flatten() - best).norm() < 0.01 * best.norm()
    assert len(found.curve) == 21


@pytest.mark.parametrize("scope", SCOPES)
def test_the_model_is_not_touched_and_the_patch_is_what_was_learnt(ctx, network, scope):
    before = {n: p.clone() for n, p in network.module.named_parameters()}
    plain = sampled(ctx, MODEL, TARGET)
    first = finetune_on_picture(ctx, MODEL, PICTURE, TARGET, 3, 0.001, scope=scope)
    over = finetune_on_picture(ctx, first.model, PICTURE, TARGET, 3, 0.001, scope=scope)  # on top of another patch
    assert all(torch.equal(p, before[n]) for n, p in network.module.named_parameters())
    assert torch.equal(sampled(ctx, MODEL, TARGET), plain)
    assert not torch.equal(sampled(ctx, over.model, TARGET), sampled(ctx, first.model, TARGET))
    at = looks(SD, PICTURE.samples, 12, 0, -1)
    for tuned in (first, over):
        with ctx.models.use(tuned.model) as changed, torch.no_grad():
            error = denoising_error(changed.denoiser, PICTURE.samples, TARGET.conds[0], at)
        assert float(error) == pytest.approx(tuned.curve.series["loss"][-1][1], rel=1e-5)
    assert first.curve.series["loss"][-1][1] < first.curve.series["loss"][0][1]


def test_pictures_learnt_side_by_side_do_not_know_of_each_other(network):
    other, done = drawn(9, 1, 4, 8, 8), []

    class Meanwhile(Desk):
        def progress(self, *args, **figures):
            done.append(fit_weights(network, other, TARGET.conds[0], Desk(), LESSON)[0])

    alone, _ = fit_weights(network, PICTURE.samples, TARGET.conds[0], Desk(), LESSON)
    beside, _ = fit_weights(network, PICTURE.samples, TARGET.conds[0], Meanwhile(), LESSON)
    assert digest_of(beside) == digest_of(alone)  # and so the same seed gives the same patch
    assert len({digest_of(patch) for patch in done}) == 1
    assert digest_of(done[0]) != digest_of(alone)
    seeded, _ = fit_weights(network, PICTURE.samples, TARGET.conds[0], Desk(), replace(LESSON, seed=4))
    assert digest_of(seeded) != digest_of(alone)


@pytest.mark.parametrize("stage", ["prompt", *SCOPES])
def test_work_that_was_broken_off_ends_as_if_it_had_not_been(network, stage):
    def learn(desk):
        if stage == "prompt":
            return fit_embedding(network.denoiser, PICTURE.samples, TARGET.conds[0], desk, LESSON)
        return fit_weights(network, PICTURE.samples, TARGET.conds[0], desk, LESSON, scope=stage)

    whole, broken = Desk(), Desk(stop=2)
    result, learnt = learn(whole)
    assert [done for done, _, _ in whole.reported] == [0, 1, 2, 3, 4]
    assert whole.reported[-1][2] == {"loss": learnt.curve[-1][1]}
    with pytest.raises(Cancelled):
        learn(broken)
    broken.stop = 10**9
    again, learnt_again = learn(broken)
    assert [done for done, _, _ in broken.reported] == [0, 1, 2, 2, 3, 4]
    assert digest_of(again) == digest_of(result)
    assert learnt_again.curve == learnt.curve


def test_work_is_kept_from_time_to_time(network, monkeypatch):
    monkeypatch.setattr("engine.diffusion.optimise.CHECKPOINT_SECONDS", 0.0)
    desk = Desk()
    fit_embedding(network.denoiser, PICTURE.samples, TARGET.conds[0], desk, LESSON)
    assert desk.kept["step"] == LESSON.steps


def test_dropout_stays_off():
    """`train()` would switch it on, and a fixed look would no longer give a fixed loss."""
    module, _, _ = tiny.networks()
    for m in module.modules():
        if isinstance(m, torch.nn.Dropout):
            m.p = 0.5
    attention.install(module)
    modes = []
    module.register_forward_hook(lambda m, given, out: modes.append(m.training))
    _, learnt = fit_weights(
        UNet(module, SD, "eps"), PICTURE.samples, TARGET.conds[0], Desk(), replace(LESSON, rate=0.0)
    )
    assert set(modes) == {False}
    assert len({y for _, y in learnt.curve}) == 1


def test_the_first_token_is_learnt_only_if_asked(network):
    for keep in (True, False):
        cond, _ = fit_embedding(
            network.denoiser, PICTURE.samples, TARGET.conds[0], Desk(), LESSON, keep_begin=keep
        )  # fmt: skip
        assert torch.equal(cond.tokens[:, 0], TARGET.conds[0].tokens[:, 0]) == keep
        assert not torch.equal(cond.tokens[:, 1:], TARGET.conds[0].tokens[:, 1:])


def test_each_step_looks_at_every_part_of_the_levels():
    for step in range(3):
        at = looks(SD, PICTURE.samples, 4, 0, step)
        parts = [int((SD.level(s) - 1e-9) * 4 / SD.count) for s in at.sigmas.tolist()]
        assert parts == [0, 1, 2, 3]
    assert not torch.equal(at.noise, looks(SD, PICTURE.samples, 4, 0, 1).noise)


def test_learning_all_weights_asks_for_their_memory_and_a_refusal_names_the_scope_that_takes_less(network):
    asked = []

    class Narrow(Laid):
        def use(self, described, *, working_bytes=0):
            asked.append(working_bytes)
            if working_bytes > LEARNING * 1000:
                raise OutOfMemory("9 MB are needed.")
            return super().use(described)

    narrow = Context(node="n", models=Narrow(network))
    with pytest.raises(OutOfMemory, match=r"9 MB are needed. The scope lora takes far less") as refused:
        finetune_on_picture(narrow, MODEL, PICTURE, TARGET, 1, scope="full", batch=1)
    assert refused.value.field == "scope"
    with pytest.raises(OutOfMemory, match=r"needed\.$"):
        finetune_on_picture(narrow, MODEL, PICTURE, TARGET, 1, batch=1)
    count = sum(p.numel() for p in network.module.parameters())
    assert asked[1] - asked[3] == LEARNING * count


def test_what_cannot_be_learnt_is_refused(ctx, network):
    with pytest.raises(BadInput, match="One picture"):
        optimise_embedding(ctx, MODEL, Latent(drawn(0, 2, 4, 8, 8)), TARGET)
    with pytest.raises(BadInput, match="One prompt"):
        finetune_on_picture(ctx, MODEL, PICTURE, Conditioning(TARGET.conds * 2))
    with pytest.raises(NotFinite, match="lower the rate"):
        optimise({"x": torch.ones(1)}, lambda p, step: p["x"].sum() / 0, Desk(), steps=1, rate=1.0, measure=lambda p: 0)
    bare = replace(network, module=torch.nn.Linear(2, 2))
    with pytest.raises(BadInput, match="no weights"):
        fit_weights(bare, PICTURE.samples, TARGET.conds[0], Desk(), LESSON)
