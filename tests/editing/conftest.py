"""What tests of editing share: a tiny random Stable Diffusion, as a network with its hooks and inside an engine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from engine.diffusion import attention
from engine.diffusion.families.unet import UNet
from engine.jobs.execute import Engine
from engine.settings import Settings
from tests.diffusion_models import tiny
from tests.editing.toys import SD


@pytest.fixture(scope="module")
def network() -> UNet:
    """The U-Net alone, predicting noise."""
    torch.set_num_threads(1)
    module, _, _ = tiny.networks()
    attention.install(module)
    return UNet(module, SD, "eps")


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """An engine that knows the whole model as a file and as a folder, `tiny`."""
    yield from engine_in(tmp_path_factory.mktemp("engine"))


def engine_in(folder: Path) -> Iterator[Engine]:
    """Give an engine with data, results and the model `tiny` in a folder; close it after that."""
    tiny.write_file(folder / "models" / "checkpoints" / "tiny.safetensors")
    tiny.write_folder(folder / "models" / "diffusers" / "tiny")
    made = Engine(
        Settings(data_dir=folder / "data", output_dir=folder / "output", models_dir=folder / "models", custom_nodes=())
    )
    yield made
    made.close()
