"""Weights by name, digests by content, networks within a budget, patched views that leave no trace."""

import gc
import os
import weakref

import pytest
import torch
from safetensors.torch import save_file

from engine.diffusion import device
from engine.diffusion.device import ModelManager
from engine.diffusion.families.load import Place
from engine.diffusion.text import encode
from engine.errors import BadFile, NotFound, OutOfMemory
from engine.types import Cond, Patch, Vae
from tests.diffusion_models import tiny

torch.manual_seed(1)
X, T, COND = torch.randn(1, 4, 8, 8), torch.tensor([500.0]), Cond(torch.randn(1, 77, 64))


def nbytes_of(module):
    return sum(t.nbytes for t in (*module.parameters(), *module.buffers()))


def test_names_are_those_in_the_folders(manager, models_dir):
    assert manager.names("checkpoints") == ["sub/tiny.safetensors", "bozzetto"]
    assert manager.names("diffusers") == ["tiny"]
    assert manager.names("embedded") == ["bozzetto"]
    assert manager.names("vae") == []
    assert {"embedded", "checkpoints", "loras"} <= set(manager.kinds())


@pytest.mark.parametrize(
    "name", ["../diffusers/tiny", "/etc/passwd", "sub/../sub/tiny.safetensors", "", "a\0b", "x" * 9999]
)
def test_names_that_are_not_listed_lead_nowhere(manager, name):
    with pytest.raises(NotFound) as error:
        manager.find("checkpoints", name)
    assert "sub/tiny.safetensors" in error.value.message
    assert len(error.value.message) < 400
    with pytest.raises(NotFound, match="known: embedded"):
        manager.find("secrets", name)


def test_an_empty_folder_says_where_files_go(manager):
    with pytest.raises(NotFound, match="Put one into models/vae"):
        manager.find("vae", "x")


def test_other_peoples_folder_names_and_links_are_followed_once(tmp_path):
    root = tmp_path / "models"
    save_file({"a": torch.zeros(1)}, tmp_path / "x.safetensors")
    for folder in ("Lora/deep", "loras"):
        (root / folder).mkdir(parents=True)
    (root / "Lora" / "deep" / "b.SafeTensors").symlink_to(tmp_path / "x.safetensors")
    (root / "Lora" / "deep" / "loop").symlink_to(root / "Lora")
    save_file({"a": torch.zeros(1)}, root / "loras" / "a.safetensors")
    (root / "loras" / "notes.txt").write_text("x")
    assert ModelManager(root, tmp_path / "data", embedded=tmp_path).names("loras") == [
        "a.safetensors",
        "deep/b.SafeTensors",
    ]


def test_the_shipped_models_extras_are_listed_under_its_name(tmp_path):
    (tmp_path / "own" / "loras").mkdir(parents=True)
    save_file({"a": torch.zeros(1)}, tmp_path / "own" / "loras" / "a.safetensors")
    found = ModelManager(tmp_path / "models", tmp_path / "data", embedded=tmp_path / "own")
    assert found.names("loras") == ["bozzetto/a.safetensors"]
    assert found.names("embedded") == []
    with pytest.raises(NotFound, match="bozzetto"):
        found.find("embedded", "bozzetto")


def test_digests_are_of_content_and_are_remembered(tmp_path, monkeypatch):
    folder = tiny.write_folder(tmp_path / "models" / "diffusers" / "tiny")
    manager = ModelManager(tmp_path / "models", tmp_path / "data")
    first = manager.find("diffusers", "tiny")
    with monkeypatch.context() as patch:
        patch.setattr("engine.diffusion.library._chunks", lambda path: pytest.fail("read again"))
        assert ModelManager(tmp_path / "models", tmp_path / "data").find("diffusers", "tiny") == first
    (folder / "README.md").write_text("not part of the model")
    assert manager.find("diffusers", "tiny") == first
    config = folder / "unet" / "config.json"
    config.write_text(config.read_text() + " ")
    assert manager.find("diffusers", "tiny").digest != first.digest
    with pytest.raises(BadFile, match="has changed since"):
        manager.load(first)


def test_a_file_that_goes_away_is_a_sentence(tmp_path):
    path = tiny.write_file(tmp_path / "models" / "checkpoints" / "a.safetensors")
    manager = ModelManager(tmp_path / "models", tmp_path / "data")
    weights = manager.find("checkpoints", "a.safetensors")
    parts = manager.load(weights)
    path.unlink()
    with pytest.raises(NotFound), manager.use(parts["model"]):
        pass
    path.symlink_to(tmp_path / "nowhere")
    with pytest.raises(BadFile, match="cannot be read"):
        manager.find("checkpoints", "a.safetensors")


def test_descriptions_and_cards(manager, parts):
    assert parts["model"].options == {"channels": 4, "factor": 2, "size": 16}
    card = manager.card(parts["model"].weights)
    assert card["family"] == "sd1"
    assert {"entry", "value", "why"} == set(card["entries"][0])


def test_a_card_of_a_lora_says_what_its_maker_wrote(tmp_path):
    root = tmp_path / "models" / "loras"
    root.mkdir(parents=True)
    save_file({"a": torch.zeros(1)}, root / "a.safetensors", {"ss_network_dim": "16"})
    manager = ModelManager(tmp_path / "models", tmp_path / "data")
    card = manager.card(manager.find("loras", "a.safetensors"))
    assert card["title"] == "1 tensors for loras"
    assert card["entries"][1]["value"] == "16"


def test_networks_are_loaded_once_and_evicted_least_recently_used_first(models_dir, tmp_path, parts):
    unet, _, text = tiny.networks()
    size = nbytes_of
    manager = ModelManager(models_dir, tmp_path / "data", budget=size(unet) + size(text) + 1000)
    with manager.use(parts["model"]) as first, manager.use(parts["model"]) as again:
        assert first.module is again.module
    with manager.use(parts["clip"]):
        pass
    kept = weakref.ref(first.module)
    del first, again
    with manager.use(parts["clip"]), manager.use(parts["vae"]):
        gc.collect()
        assert kept() is None  # the least recently used made room
    with (
        manager.use(parts["clip"]),
        pytest.raises(OutOfMemory, match="budget"),
        manager.use(parts["model"], working_bytes=10**9),
    ):
        pass


def test_a_network_in_use_is_never_evicted(models_dir, tmp_path, parts):
    unet, _vae, _ = tiny.networks()
    manager = ModelManager(models_dir, tmp_path / "data", budget=nbytes_of(unet) + 1000)
    with manager.use(parts["model"]) as network:
        with pytest.raises(OutOfMemory), manager.use(parts["vae"]):
            pass
        assert torch.isfinite(network(X, T, COND)).all()
    with manager.use(parts["vae"]):
        pass


def test_patched_views_live_side_by_side_and_leave_the_model_alone(tmp_path, models_dir, parts):
    (tmp_path / "loras").mkdir()
    for name in ("checkpoints", "diffusers"):
        (tmp_path / name).symlink_to(models_dir / name)
    layer = "down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_v"
    text_layer = "text_model_encoder_layers_0_mlp_fc2"
    lora = {
        f"lora_unet_{layer}.lora_down.weight": torch.randn(2, 64),
        f"lora_unet_{layer}.lora_up.weight": torch.randn(32, 2),
    }
    lora |= {
        f"lora_te_{text_layer}.lora_down.weight": torch.randn(2, 64),
        f"lora_te_{text_layer}.lora_up.weight": torch.randn(64, 2),
    }
    save_file(lora, tmp_path / "loras" / "a.safetensors")
    manager = ModelManager(tmp_path, tmp_path / "data")
    weights = manager.find("loras", "a.safetensors")
    patched = parts["model"].patched(Patch("lora", "unet", 0.5, weights))
    zero = parts["model"].patched(Patch("lora", "unet", 0.0, weights))
    with manager.use(parts["model"]) as plain, manager.use(patched) as view, manager.use(zero) as same:
        before = plain(X, T, COND)
        changed = view(X, T, COND)
        assert view.module is plain.module
        assert torch.equal(plain(X, T, COND), before)
        assert torch.equal(same(X, T, COND), before)
        assert not torch.allclose(changed, before)
        assert str(view.reports[0]) == "1 matched"
        with view.patched():
            assert torch.equal(plain(X, T, COND), changed)
    merged = tiny.networks()[0]
    weight = merged.down_blocks[0].attentions[0].transformer_blocks[0].attn2.to_v.weight
    weight += 0.5 * lora[f"lora_unet_{layer}.lora_up.weight"] @ lora[f"lora_unet_{layer}.lora_down.weight"]
    assert torch.allclose(merged(X, T, COND.tokens).sample, changed, atol=1e-5)
    clip = parts["clip"].patched(Patch("lora", "text", 1.0, weights))
    with manager.use(parts["clip"]) as plain, manager.use(clip) as view:
        assert not torch.allclose(encode(plain, "a cat").tokens, encode(view, "a cat").tokens)
        assert torch.equal(encode(plain, "a cat", skip=2).tokens, encode(plain, "a cat", skip=2).tokens)


def test_learnt_embeddings_come_from_the_description_or_the_folder(tmp_path, models_dir, parts):
    (tmp_path / "embeddings").mkdir()
    (tmp_path / "diffusers").symlink_to(models_dir / "diffusers")
    vector = torch.randn(2, 64)
    save_file({"emb_params": vector}, tmp_path / "embeddings" / "dog.safetensors")
    save_file({"<cat>": vector[0]}, tmp_path / "embeddings" / "cat.safetensors")
    save_file({"a": vector, "b": vector + 1}, tmp_path / "embeddings" / "two.safetensors")
    manager = ModelManager(tmp_path, tmp_path / "data")
    made = Patch("embedding", "text", 1.0, tensors={"vectors": vector[1:]}, options={"name": "made"})
    named = Patch("embedding", "text", 1.0, manager.find("embeddings", "dog.safetensors"), options={"name": "rex"})
    with manager.use(parts["clip"].patched(made, named)) as network:
        assert torch.equal(network.vectors("dog")[0], vector)
        assert torch.equal(network.vectors("rex")[0], vector)
        assert torch.equal(network.vectors("cat")[0], vector[:1])
        assert torch.equal(network.vectors("made")[0], vector[1:])
        states = encode(network, "a embedding:dog").tokens
        assert not torch.allclose(states, encode(network, "a embedding:cat").tokens)
        with pytest.raises(NotFound, match="nothere"):
            network.vectors("nothere")
        with pytest.raises(BadFile, match="none of it is an embedding"):
            network.vectors("two")


def test_a_part_that_is_not_there_is_a_sentence(tmp_path):
    state = {k: v for k, v in tiny.ldm_state().items() if "first_stage" not in k}
    tiny.write_file(tmp_path / "models" / "checkpoints" / "a.safetensors", state)
    manager = ModelManager(tmp_path / "models", tmp_path / "data")
    weights = manager.find("checkpoints", "a.safetensors")
    assert set(manager.load(weights)) == {"model", "clip"}
    with pytest.raises(BadFile, match="holds no vae"), manager.use(Vae("sd1", weights)):
        pass


def test_number_formats(monkeypatch):
    cpu = torch.device("cpu")
    assert device.choose_dtype("vae", 10**9, cpu) == torch.float32
    assert device.choose_dtype("model", 10**6, cpu) == torch.float32
    for has, expected in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda has=has: {"avx512_bf16": has})
        assert device.choose_dtype("model", 10**9, cpu) == expected
    assert device.choose_dtype("model", 10**9, torch.device("cuda")) == torch.float16
    assert "torch" in device.versions()
    assert device.half_of_memory() > 1 << 28


def test_a_description_may_ask_for_a_format(manager, parts):
    with manager.use(parts["model"].with_options(dtype="bfloat16")) as narrow, manager.use(parts["model"]) as wide:
        assert next(narrow.module.parameters()).dtype == torch.bfloat16
        a, b = narrow(X, T, COND), wide(X, T, COND)
        assert a.dtype == torch.float32
        assert (a - b).norm() / b.norm() < 0.05


def test_integers_keep_their_type():
    assert Place(torch.bfloat16).put(torch.zeros(1, dtype=torch.int64)).dtype == torch.int64


@pytest.mark.skipif(os.getuid() == 0, reason="root reads everything")
def test_an_unreadable_file_is_a_sentence(tmp_path):
    path = tiny.write_file(tmp_path / "models" / "checkpoints" / "a.safetensors")
    path.chmod(0)
    with pytest.raises(BadFile, match="Permission"):
        ModelManager(tmp_path / "models", tmp_path / "data").find("checkpoints", "a.safetensors")
