from pathlib import Path

import pytest
import torch

from engine.diffusion.device import ModelManager
from tests.diffusion_models import tiny


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    """Tiny networks are faster on one thread, above all on a busy machine."""
    before = torch.get_num_threads()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder with one tiny model in both layouts."""
    root = tmp_path_factory.mktemp("models")
    tiny.write_folder(root / "diffusers" / "tiny")
    tiny.write_file(root / "checkpoints" / "sub" / "tiny.safetensors")
    return root


@pytest.fixture(autouse=True)
def _same_numbers():
    torch.manual_seed(0)


@pytest.fixture
def manager(models_dir: Path, tmp_path: Path) -> ModelManager:
    return ModelManager(models_dir, tmp_path / "data")


@pytest.fixture(scope="session")
def parts(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> dict:
    """Descriptions of the tiny model's networks."""
    found = ModelManager(models_dir, tmp_path_factory.mktemp("data"))
    return found.load(found.find("diffusers", "tiny"))
