"""Upscalers: both layouts of files are one network, and tiles leave no seam."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from engine.diffusion.device import ModelManager
from engine.diffusion.families import esrgan
from engine.errors import BadFile
from engine.types import Upscaler
from tests.diffusion_models.tiny import write_file

OLD = {"conv_first": "model.0", "conv_body": "model.1.sub.2", "conv_up1": "model.3", "conv_up2": "model.6",
       "conv_hr": "model.8", "conv_last": "model.10"}  # fmt: skip


def network(fold: int = 1) -> esrgan.Generator:
    torch.manual_seed(0)
    return esrgan.Generator(8, 4, 2, fold).requires_grad_(False).eval()


def weights(fold: int = 1) -> dict[str, Tensor]:
    return dict(network(fold).state_dict())


def old_name(key: str) -> str:
    layer, _, kind = key.rpartition(".")
    if layer in OLD:
        return f"{OLD[layer]}.{kind}"
    _, number, dense, conv = layer.split(".")
    return f"model.1.sub.{number}.{dense.upper()}.{conv}.0.{kind}"


def loaded(folder: Path, state: dict[str, Tensor]) -> tuple[ModelManager, Upscaler]:
    write_file(folder / "models" / "upscale_models" / "a.safetensors", state)
    manager = ModelManager(folder / "models", folder / "data")
    return manager, manager.load(manager.find("upscale_models", "a.safetensors"))["upscaler"]


@pytest.mark.parametrize("layout", ["new", "old", "ema"])
def test_every_layout_is_the_same_network(tmp_path: Path, layout: str) -> None:
    names = {"new": lambda k: k, "old": old_name, "ema": lambda k: f"params_ema.{k}"}
    manager, described = loaded(tmp_path, {names[layout](k): v for k, v in weights().items()})
    pixels = torch.rand(2, 10, 14, 3)
    with manager.use(described) as upscaler:
        made = upscaler(pixels)
    expected = network()(pixels.movedim(-1, 1)).clamp(0, 1).movedim(1, -1)
    assert described.options["scale"] == 4
    assert torch.equal(made, expected)


def test_folded_pixels_make_it_twice_larger(tmp_path: Path) -> None:
    manager, described = loaded(tmp_path, weights(2))
    with manager.use(described) as upscaler:
        assert upscaler(torch.rand(1, 7, 9, 3)).shape == (1, 14, 18, 3)


def test_tiles_leave_no_seam(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(esrgan, "MARGIN", 40)  # more than the tiny network sees
    manager, described = loaded(tmp_path, weights())
    pixels, told = torch.rand(1, 100, 60, 3), []
    with manager.use(described) as upscaler:
        whole = upscaler(pixels)
        monkeypatch.setattr(esrgan, "TILE", 50)
        tiled = upscaler(pixels, on_tile=lambda done, total: told.append((done, total)))
    assert (tiled - whole).abs().max() < 1e-5
    assert told == [(i, 4) for i in range(4)]


def test_other_inputs_are_refused(tmp_path: Path) -> None:
    state = weights() | {"conv_first.weight": torch.zeros(8, 5, 3, 3)}
    with pytest.raises(BadFile, match="5 channels"):
        loaded(tmp_path, state)
