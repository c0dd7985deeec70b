"""Memory runs out at every place it can: the job ends in its result or a typed error, and the next one succeeds."""

import gc
import os

import pytest
import torch
from torch.utils._python_dispatch import _disable_current_modes

from engine.diffusion import relief
from engine.diffusion.device import ModelManager
from engine.diffusion.families.base import Source
from engine.errors import OutOfMemory
from engine.types import Cond
from tests.diffusion_models.fake_device import FakeDevice

X, T = torch.randn(2, 4, 8, 8), torch.full((2,), 500.0)
COND = Cond(torch.randn(2, 77, 64))


def job(manager, parts):
    """A network call for both halves of guidance, and the picture of its first row."""
    with torch.no_grad():
        with manager.use(parts["model"], working_bytes=1) as unet:
            out = unet(X, T, COND)
        with manager.use(parts["vae"], working_bytes=1) as vae:
            return vae.decode(out[:1])


@pytest.fixture
def fresh(models_dir, tmp_path, monkeypatch):
    mapped = Source.tensors

    def without_device(*args, **kwargs):  # mapping a file takes nothing of a device
        with _disable_current_modes():
            return mapped(*args, **kwargs)

    monkeypatch.setattr(Source, "tensors", without_device)
    return ModelManager(models_dir, tmp_path / "data")


def allocations(fresh, parts):
    with FakeDevice() as device:
        job(fresh, parts)
    fresh.shelf.offload_unused()
    return device.allocations


def live():
    gc.collect()
    return sum(1 for o in gc.get_objects() if issubclass(type(o), torch.Tensor))


def sweep(fresh, parts, points):
    """Fail the n-th allocation once, and every one from the n-th on, for each n; return how the jobs ended."""
    expected = job(fresh, parts)
    ends = []
    for n in points:
        for refuses in (lambda i, size, n=n: i == n, lambda i, size, n=n: i >= n):
            fresh.shelf.offload_unused()
            try:
                with FakeDevice(refuses):
                    made = job(fresh, parts)
                ends.append(torch.allclose(made, expected, atol=1e-4))
            except OutOfMemory as error:
                ends.append(error.message)
    assert torch.equal(job(fresh, parts), expected)
    return ends


def test_every_end_is_a_result_or_a_sentence(fresh, parts):
    total = allocations(fresh, parts)
    assert total > 300
    ends = sweep(fresh, parts, range(1, total, total // 25))
    assert any(end is True for end in ends)
    assert any("MB are free" in str(end) for end in ends)
    assert all(end is True or "needed" in str(end) for end in ends)


@pytest.mark.slow
@pytest.mark.skipif("SFUMATO_SWEEP" not in os.environ, reason="SFUMATO_SWEEP is not set: 2,000 jobs take ten minutes")
def test_a_thousand_allocations(fresh, parts):
    ends = sweep(fresh, parts, range(1, 1001))
    assert len(ends) == 2000
    assert all(end is True or "needed" in str(end) for end in ends)


def test_nothing_is_kept_alive_by_a_failure(fresh, parts):
    job(fresh, parts)
    fresh.shelf.offload_unused()
    before = live()
    with pytest.raises(OutOfMemory), FakeDevice(lambda n, size: n > 400):
        job(fresh, parts)
    fresh.shelf.offload_unused()
    assert live() <= before


def test_a_batch_is_halved(fresh, parts):
    with fresh.use(parts["model"]) as unet, torch.no_grad():
        whole = unet(X, T, COND)
        with FakeDevice() as device:
            unet(X[:1], T[:1], Cond(COND.tokens[:1]))
        half = device.largest
        with FakeDevice(lambda n, size: size > half):
            assert torch.allclose(unet(X, T, COND), whole, atol=1e-5)


def test_an_autoencoder_goes_to_tiles(fresh, parts):
    latent = torch.randn(1, 4, 160, 160)
    with fresh.use(parts["vae"]) as vae, torch.no_grad():
        with FakeDevice() as device:
            tiled = vae.decode(latent, tile=256)
        with FakeDevice(lambda n, size: size > device.largest):
            assert torch.equal(vae.decode(latent), tiled)


def test_other_errors_pass(fresh):
    with pytest.raises(RuntimeError, match="shapes"):
        relief.relieved(lambda: (_ for _ in ()).throw(RuntimeError("shapes")))


@pytest.mark.parametrize("text", ["MPS backend out of memory (1 GB)", "DefaultCPUAllocator: can't allocate memory"])
def test_what_other_backends_say_is_understood(text):
    def fails():
        raise RuntimeError(text)

    with pytest.raises(OutOfMemory, match="is not known"):
        relief.relieved(fails)


def test_bytes_asked_for_are_named():
    def fails():
        raise torch.OutOfMemoryError("Tried to allocate 2.00 GiB.")

    ladder = relief.Ladder(lambda: None, lambda: None, lambda: 3_000_000)
    with relief.standing_on(ladder), pytest.raises(OutOfMemory, match=r"2,147 MB more are needed; 3 MB are free"):
        relief.relieved(fails)
