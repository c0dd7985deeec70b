"""The training loop: stopping and resuming changes nothing, and the state lies where it should."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers.models.attention_processor import AttnProcessor
from torch import nn

from models.bozzetto import paths
from models.bozzetto.scenes import render, sample
from models.bozzetto.train import latents, loop, state, tokenizer, unet
from models.bozzetto.train.loop import Settings
from models.bozzetto.train.muon import Muon
from models.bozzetto.train.ranks import Ranks
from models.bozzetto.train.recipes import RECIPES, make
from models.bozzetto.train.text import QUESTIONS, answers

TINY = Settings("tiny", 8, 12, 1e-2, warmup=2, flat=6, decay=4, ema=0.9, log_steps=4)


class TinyJob:
    """A line fitted to points that follow from the step's number."""

    def __init__(self, settings=TINY):
        torch.manual_seed(settings.seed)
        self.settings = settings
        self.model = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))

    def loss(self, step, ranks):
        g = torch.Generator().manual_seed(step)
        x = torch.randn(self.settings.batch, 3, generator=g)[ranks.share(self.settings.batch)]
        error = (self.model(x)[:, 0] - x.sum(1)).square().mean()
        return error, {"error": float(error.detach())}

    def measure(self, step):
        return {"size": float(sum(p.abs().sum() for p in self.model.parameters()))}

    def sheet(self, step):
        return np.zeros((8, 8, 3), np.uint8)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.setenv("SFUMATO_TRAIN_DIR", str(tmp_path))
    return tmp_path


def _weights(run):
    return [p.detach().clone() for p in run.job.model.parameters()] + [e.clone() for e in run.ema]


def test_resumed_equals_uninterrupted(monkeypatch, tmp_path):
    whole = _weights(loop.train(TinyJob(), Ranks()))
    monkeypatch.setenv("SFUMATO_TRAIN_DIR", str(tmp_path / "again"))
    run = loop.new_run(TinyJob())
    for _ in range(5):
        loop.one_step(run, Ranks(), False)
    state.save(state.run_dir("tiny") / "state.pt", run.state())
    resumed = loop.train(TinyJob(), Ranks())
    assert resumed.step == 12
    assert all(torch.equal(a, b) for a, b in zip(whole, _weights(resumed), strict=True))


def test_training_learns_logs_and_draws(tmp_path):
    loop.train(TinyJob(replace(TINY, steps=200, log_steps=20)), Ranks())
    rows = state.read_log("tiny")
    assert [r["step"] for r in rows] == list(range(20, 201, 20))
    assert rows[-1]["error"] < 0.5 * rows[0]["error"]
    assert rows[-1]["samples"] == 1600
    assert (tmp_path / "tiny" / "loss.png").exists()
    assert state.read_log("tiny/held_out")[-1]["step"] == 200
    assert not list((tmp_path / "pids").iterdir()), "a finished training leaves no process id"


def test_repeated_steps_count_once():
    for step in (10, 20, 30, 20):
        state.append_log("x", {"step": step, "samples": step})
    assert [r["step"] for r in state.read_log("x")] == [10, 20]


def test_two_shares_are_the_whole_batch():
    parts = [Ranks(rank, 2).share(8) for rank in (0, 1)]
    assert [i for part in parts for i in range(8)[part]] == list(range(8))


def test_rate_warms_up_and_decays():
    rates = [TINY.rate_at(step) for step in range(13)]
    assert rates[0] < rates[2] == max(rates)
    assert rates[12] == 0


def _stepped(weights, grads):
    for w, g in zip(weights, grads, strict=True):
        w.grad = g.clone()
    muon = Muon(weights, lr=0.1)
    muon.step()
    return [w.detach().clone() for w in weights]


def _matrices_and_kernel():
    g = torch.Generator().manual_seed(0)
    shapes = [(8, 12), (12, 8), (8, 12), (6, 4, 3, 3)]
    return [[torch.randn(s, generator=g) for s in shapes] for _ in range(2)]


def test_muon_is_that_of_torch_and_takes_kernels_as_matrices():
    weights, grads = _matrices_and_kernel()
    mine = _stepped([nn.Parameter(w.clone()) for w in weights], grads)
    theirs = [nn.Parameter(w.flatten(1).clone()) for w in weights]
    for w, g in zip(theirs, grads, strict=True):
        w.grad = g.flatten(1).clone()
    torch.optim.Muon(theirs, lr=0.1, weight_decay=0, adjust_lr_fn="match_rms_adamw").step()
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a.flatten(1), b.detach(), rtol=0, atol=2e-3)  # both in bfloat16


def test_the_ranks_shares_of_muon_add_up(monkeypatch):
    weights, grads = _matrices_and_kernel()
    whole = _stepped([nn.Parameter(w.clone()) for w in weights], grads)
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda _flat: None)
    shares = []
    for rank in (0, 1):
        monkeypatch.setattr(torch.distributed, "get_rank", lambda rank=rank: rank)
        shares.append(_stepped([nn.Parameter(w.clone()) for w in weights], grads))
    for w, a, b, both in zip(weights, *shares, whole, strict=True):
        torch.testing.assert_close(a + b - w, both)
    assert all(torch.cat([(s != w).flatten() for s, w in zip(share, weights, strict=True)]).any() for share in shares)


def test_gradients_that_are_not_finite_stop_the_training():
    job = TinyJob()
    with torch.no_grad():
        job.model[0].weight.fill_(float("nan"))
    with pytest.raises(FloatingPointError, match="step 0"):
        loop.one_step(loop.new_run(job), Ranks(), False)


def test_autoencoder_steps_lower_its_loss():
    job = make("autoencoder", replace(RECIPES["autoencoder"], batch=2, warmup=1, rate=1e-4))
    run = loop.new_run(job)
    before = float(job.loss(0, Ranks())[0].detach())
    for _ in range(4):
        run.step = 0
        loop.one_step(run, Ranks(), False)
    assert float(job.loss(0, Ranks())[0].detach()) < before
    with torch.no_grad():
        assert job.model.encode(job.held_out[:1]).latent.shape == (1, 16, 16, 16)


def test_judge_takes_a_step():
    run = loop.new_run(make("judge", replace(RECIPES["judge"], batch=2)))
    figures, stopping = loop.one_step(run, Ranks(), False)
    assert np.isfinite(figures["loss"])
    assert not stopping


def test_text_answers_follow_the_caption():
    spec = replace(sample(2), seed=2)
    names = list(QUESTIONS)
    said = dict(zip(names, answers(spec, f"a {spec.objects[0].noun}"), strict=True))
    assert said["background"] == QUESTIONS["background"] - 1, "unsaid"
    assert said["first"] != QUESTIONS["first"] - 1
    assert dict(zip(names, answers(spec, ""), strict=True))["first"] == QUESTIONS["first"] - 1


@pytest.fixture
def unet_job(elsewhere, monkeypatch):
    """A U-Net training on four scenes, from the shipped text encoder and autoencoder."""
    monkeypatch.setattr(latents, "SHARD", 4)
    shutil.copytree(paths.HERE / "vae", elsewhere / "autoencoder" / "vae")
    for part in ("tokenizer", "text_encoder"):
        shutil.copytree(paths.HERE / part, elsewhere / "text" / part)
    latents.build(1)
    return unet.UnetJob(replace(RECIPES["unet"], batch=4), shards=1)


def test_cached_scenes_are_the_scenes(unet_job):
    cached = unet_job.cached
    scenes = [render(sample(latents.FIRST_SEED + i, latents.WORLD)) for i in range(4)]
    for i, s in enumerate(scenes):
        said = [latents.WORLD.objects[n] for n in cached.nouns[i] if n >= 0]
        assert said == list(s.classes)
        covered = cached.cells[i].float().sum((1, 2)) / 255 * 64  # a cell is 8 x 8 pixels
        np.testing.assert_allclose(covered[: len(said)], s.masks.sum((1, 2)), rtol=0.03)


def test_a_perfect_prediction_has_no_error(unet_job):
    z, _, _, _, times, noise, _ = unet_job.draw(0)
    a = unet_job.alphas[times][:, None, None, None]
    v = a.sqrt() * noise - (1 - a).sqrt() * z
    unet_job.predict = lambda *_: (v, torch.zeros(4, 192, 16, 16), torch.zeros(4, 256, tokenizer.LENGTH))
    assert unet_job.loss(0, Ranks())[1]["mse"] < 1e-12


def test_nouns_are_asked_to_look_at_their_objects(unet_job):
    _, cells, nouns, ids, *_ = unet_job.draw(0)
    cells = (cells > 0.5).float()  # then attention can lie within exactly
    maps = torch.zeros(4, 256, tokenizer.LENGTH)
    for b in range(4):
        for o in range(latents.MOST):
            if nouns[b, o] >= 0:
                maps[b, :, ids[b] == unet_job.noun_tokens[nouns[b, o]]] = cells[b, o].flatten()[:, None]
    loss = [float(unet_job.attending(m, cells, nouns, ids)) for m in (maps, maps / 10, maps * _first(maps), 1 - maps)]
    assert loss[:2] == pytest.approx([0, 0], abs=1e-4), "where, not how much"
    assert loss[2] > 1, "one bright cell is not the whole object"
    assert loss[3] > loss[2], "nor is everything else"


def _first(maps):
    """(B, 256, L) 1 at the first place at which a word has its highest attention."""
    return torch.nn.functional.one_hot(maps.argmax(1), 256).mT


def test_the_watched_network_is_the_network(unet_job):
    z, _, _, ids, times, *_ = unet_job.draw(0)
    with torch.no_grad():
        states = unet_job.model.text(ids).last_hidden_state
        seen, features, maps = unet_job.predict(z, times, states)
        unet_job.model.unet.set_attn_processor(AttnProcessor())
        plain = unet_job.model.unet(z, times, states).sample
    torch.testing.assert_close(seen, plain, rtol=1e-4, atol=1e-5)
    assert features.shape == (4, 192, 16, 16)
    torch.testing.assert_close(maps.sum(2), torch.ones(4, 256))


def test_the_unet_takes_a_step(unet_job):
    run = loop.new_run(unet_job)
    figures, _ = loop.one_step(run, Ranks(), False)
    assert np.isfinite(figures["loss"])
    assert all(bool((a != b).any()) for a, b in zip(run.ema, unet_job.model.parameters(), strict=True) if b.grad.any())
