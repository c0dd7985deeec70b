"""Weights in folders elsewhere: ComfyUI's YAML, kinds under either name, first come first served."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from engine.diffusion import model_paths
from engine.diffusion.device import ModelManager
from engine.errors import BadFile, NotFound

YAML = """
comfyui:
    base_path: elsewhere/
    is_default: true
    checkpoints: models/checkpoints/
    text_encoders: |
        models/text_encoders/
        models/clip/  # legacy
    custom_nodes: custom_nodes
a111:
    base_path: {base}/webui
    checkpoints: models/Stable-diffusion
    loras:
      - models/Lora
      - models/LyCORIS
empty:
"""
FILES = (
    "models/checkpoints/own.safetensors", "models/checkpoints/same.safetensors",
    "elsewhere/models/checkpoints/same.safetensors", "elsewhere/models/clip/clip_l.safetensors",
    "elsewhere/models/text_encoders/t5.safetensors", "webui/models/Stable-diffusion/old.safetensors",
    "webui/models/Lora/a.safetensors", "webui/models/LyCORIS/deep/b.safetensors",
)  # fmt: skip


@pytest.fixture
def home(tmp_path):
    for i, name in enumerate(FILES):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        save_file({"a": torch.tensor([float(i)])}, tmp_path / name)
    (tmp_path / "paths.yaml").write_text(YAML.format(base=tmp_path))
    return tmp_path


def test_folders_of_other_programs_are_read_in_place(home):
    found = ModelManager(home / "models", home / "data", embedded=home, extra=home / "paths.yaml")
    assert found.names("checkpoints") == ["old.safetensors", "own.safetensors", "same.safetensors"]
    assert found.names("clip") == ["clip_l.safetensors", "t5.safetensors"]
    assert found.names("loras") == ["a.safetensors", "deep/b.safetensors"]
    same = found.find("checkpoints", "same.safetensors")
    assert found.library.path(same) == home / "elsewhere/models/checkpoints/same.safetensors"  # is_default comes first
    with pytest.raises(NotFound):
        found.find("checkpoints", "../webui/models/Lora/a.safetensors")


def test_the_file_in_the_models_folder_is_found_by_itself(home):
    yaml = home / "models" / model_paths.FILE
    yaml.write_text(YAML.format(base=home).replace("elsewhere/", "../elsewhere"))
    assert "old.safetensors" in ModelManager(home / "models", home / "data", embedded=home).names("checkpoints")
    yaml.write_text("# nothing yet\n")
    assert "old.safetensors" not in ModelManager(home / "models", home / "data", embedded=home).names("checkpoints")


def test_weights_say_what_their_headers_say(home):
    file = home / "models" / "loras" / "told.safetensors"
    file.parent.mkdir(exist_ok=True)
    save_file({"a": torch.zeros(1)}, file, metadata={"ss_tag": "cat"})
    library = ModelManager(home / "models", home / "data", embedded=home).library
    assert library.metadata("loras", "told.safetensors") == {"ss_tag": "cat"}
    with pytest.raises(NotFound):
        library.metadata("loras", "../told.safetensors")


def test_the_state_of_a_kind_follows_its_files(home):
    library = ModelManager(home / "models", home / "data", embedded=home).library
    word = home / "models" / "embeddings" / "cat.safetensors"
    states = [library.state("embeddings")]
    word.parent.mkdir()
    for count in (1, 2):
        save_file({"emb_params": torch.zeros(count, 4)}, word)
        states.append(library.state("embeddings"))
    assert library.find("embeddings", "cat").digest == library.find("embeddings", "cat.safetensors").digest
    word.unlink()
    word.symlink_to(home / "nowhere")
    states.append(library.state("embeddings"))
    assert len(set(states)) == len(states)


@pytest.mark.parametrize(
    "text", ["- a\n- b", "a: b", "a: [", "\x00", "a: &x [*x]", "!!python/object/apply:os.system ['true']"]
)
def test_other_files_are_sentences(tmp_path, text):
    (tmp_path / "paths.yaml").write_text(text)
    with pytest.raises(BadFile, match=r"paths\.yaml"):
        model_paths.read(tmp_path / "paths.yaml")


def test_a_file_that_is_not_there_is_a_sentence():
    with pytest.raises(BadFile, match="cannot be read"):
        model_paths.read(Path("/nowhere/paths.yaml"))
