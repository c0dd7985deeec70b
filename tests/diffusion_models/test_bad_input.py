"""More than 40 kinds of files that are not what they should be: each gets its sentence at once, and nothing is broken.

Each is asked for as a node asks: found by name, recognised, loaded, used. A kind is a name, the heart of its sentence
and what puts it there; that returns the call that must be refused.
"""

import json
import os
import struct
import time
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import save, save_file

from engine.context import Context
from engine.diffusion.device import ModelManager
from engine.errors import SfumatoError
from engine.types import Latent
from nodes.basics import load, vae
from nodes.basics.picture_conditioning import size_conditioning
from nodes.basics.text import encode_text
from tests.diffusion_models import tiny, zoo

SECONDS = 2.0
U = "model.diffusion_model."
CLIP = "cond_stage_model.transformer.text_model."
KINDS = {}


def kind(name, sentence):
    """Register how to make one kind of bad input."""

    def register(make):
        KINDS[name] = (sentence, make)
        return make

    return register


class Home:
    """A models folder and a manager of its own."""

    def __init__(self, path, good):
        self.path = path
        for folder in ("checkpoints", "diffusers"):
            (path / "models" / folder).mkdir(parents=True)
        (path / "models" / "diffusers" / "good").symlink_to(good)
        self.models = ModelManager(path / "models", path / "data", embedded=path)
        self.ctx = Context(models=self.models)

    def put(self, content, folder="checkpoints", name="bad.safetensors"):
        path = self.path / "models" / folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, dict):
            save_file({k: v.contiguous().clone() for k, v in content.items()}, path)
        else:
            path.write_bytes(content)
        return path

    def checkpoint(self, content):
        """Put a checkpoint there and return the call that loads and uses its U-Net."""
        self.put(content)
        return self.load

    def load(self):
        loaded = load.load_checkpoint(self.ctx, "bad.safetensors")
        for part in loaded:
            with self.models.use(part):
                pass

    def good(self):
        """Return the parts of a good tiny model."""
        return load.load_diffusers(self.ctx, "good")


def header(value, tail=b""):
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return struct.pack("<Q", len(text)) + text + tail


def entry(**change):
    return {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], **change}


GOOD = save({k: v.clone() for k, v in tiny.ldm_state().items()})
LENGTH = struct.unpack("<Q", GOOD[:8])[0]
BYTES = {
    "empty": (b"", "too short"),
    "seven bytes": (b"1234567", "too short"),
    "cut off in the tensors": (GOOD[:-100], "cut off"),
    "cut off in the header": (GOOD[: LENGTH // 2], "corrupt or cut off"),
    "too long by one": (GOOD + b"x", "cut off or corrupt"),
    "a flipped bit in the header": (GOOD[:9] + bytes([GOOD[9] ^ 64]) + GOOD[10:], "corrupt header"),
    "a flipped bit in the length": (GOOD[:6] + bytes([64]) + GOOD[7:], "at most"),
    "a pickle renamed": (b"\x80\x02}q\x00." + bytes(100), "pickle"),
    "a ckpt renamed": (b"PK\x03\x04" + bytes(100), "PyTorch pickle"),
    "a GGUF renamed": (b"GGUF" + bytes(100), "GGUF"),
    "a web page": (b"<!DOCTYPE html><html>not found</html>", "at most"),
    "a Git LFS pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n", "at most"),
    "nested without end": (header(b'{"a":' + b"[" * 100_000), "corrupt header"),
    "a name twice": (header(b'{"a":1,"a":2}'), "comes twice"),
    "no UTF-8": (header(b'{"\xff":1}'), "corrupt header"),
    "an unknown type": (header({"a": entry(dtype="F7")}, bytes(8)), "unknown type"),
    "a shape of 2^80": (header({"a": entry(shape=[1 << 40, 1 << 40])}, bytes(8)), "its shape needs"),
    "overlapping tensors": (header({"a": entry(), "b": entry(data_offsets=[4, 12])}, bytes(12)), "was due"),
    "metadata that is no text": (header({"__metadata__": {"a": 1}}), "metadata"),
}
for _name, (_content, _sentence) in BYTES.items():
    kind(_name, _sentence)(lambda home, content=_content: home.checkpoint(content))


@kind("99 MB of header", "lists more than")
def _(home):
    return home.checkpoint(struct.pack("<Q", 99_000_000) + b'{"a":' + b"{}," * 32_999_998 + b"}")


@kind("99 MB of numbers", "lists more than")
def _(home):
    return home.checkpoint(struct.pack("<Q", 99_000_000) + b'{"a":' + b"1," * 49_499_997 + b"}")


@kind("a terabyte of holes", "mostly holes")
def _(home):
    path = home.put(header({"a": entry(shape=[1 << 38], data_offsets=[0, 1 << 40])}))
    os.truncate(path, path.stat().st_size + (1 << 40))
    return home.load


@kind("a named pipe", "not a regular file")
def _(home):
    os.mkfifo(home.path / "models/checkpoints/bad.safetensors")
    return home.load


@kind("a link to nowhere", "cannot be read")
def _(home):
    (home.path / "models/checkpoints/bad.safetensors").symlink_to(home.path / "nowhere")
    return home.load


@kind("deleted while loading", "There is no")
def _(home):
    path = home.put(GOOD)
    parts = load.load_checkpoint(home.ctx, "bad.safetensors")
    path.unlink()
    return lambda: home.models.use(parts.model).__enter__()


@kind("replaced while loading", "has changed since")
def _(home):
    path = home.put(GOOD)
    parts = load.load_checkpoint(home.ctx, "bad.safetensors")
    os.replace(home.put(GOOD[:-4] + b"1234", name="other.safetensors"), path)
    return lambda: home.models.use(parts.model).__enter__()


def state(**change):
    found = tiny.ldm_state()
    for key, value in change.items():
        found[key] = value
    return found


def without(start):
    return {k: v for k, v in tiny.ldm_state().items() if not k.startswith(start)}


STATES = {
    "keys of nothing": ({"a": torch.zeros(1), "b": torch.zeros(1)}, "unknown kind"),
    "the EMA copy alone": ({"model_ema.diffusion_modelinput_blocks00weight": torch.zeros(4)}, "unknown kind"),
    "a LoRA as a checkpoint": ({"lora_unet_x.lora_down.weight": torch.zeros(4, 4)}, "unknown kind"),
    "a learnt word as a checkpoint": ({"emb_params": torch.zeros(1, 768)}, "unknown kind"),
    "no U-Net": (without(U), "not a diffusion model|unknown kind"),
    "no text encoder": (without("cond_stage"), "unknown kind|not a text encoder"),
    "no autoencoder": (without("first_stage"), "but not an autoencoder"),
    "a missing tensor": (without(f"{U}time_embed.0.bias"), "1 missing"),
    "a missing block": (without(f"{U}middle_block"), "missing|does not fit"),
    "a tensor too many": (state(**{f"{U}input_blocks.0.0.extra": torch.zeros(1)}), "1 left over"),
    "a misshapen tensor": (state(**{f"{U}time_embed.0.bias": torch.zeros(5)}), "1 of another shape"),
    "video layers": (state(**{f"{U}input_blocks.0.0.weight": torch.zeros(32, 4, 3, 3, 3)}), "unknown kind"),
    "an unCLIP": (state(**{f"{U}label_emb.0.0.weight": torch.zeros(128, 2048)}), "label_emb"),
    "CosXL": ({**zoo.ldm_state("sdxl"), "edm_vpred.sigma_max": torch.tensor(1.0)}, "CosXL"),
    "another vocabulary": (state(**{f"{CLIP}embeddings.token_embedding.weight": torch.zeros(9, 64)}), "knows 9 tokens"),
}
for _name, (_content, _sentence) in STATES.items():
    kind(_name, _sentence)(lambda home, content=_content: home.checkpoint(content))


def folder(name, sentence, break_it):
    """Register a diffusers folder that is broken."""

    def make(home):
        path = tiny.write_folder(home.path / "models/diffusers/bad")
        break_it(path)

        def use():
            for part in load.load_diffusers(home.ctx, "bad"):
                with home.models.use(part):
                    pass

        return use

    KINDS[name] = (sentence, make)


def rewrite(path, **change):
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))


folder("a config that is no JSON", "not valid JSON", lambda p: (p / "unet/config.json").write_text("{"))
folder(
    "a config of a billion layers",
    "out of all bounds",
    lambda p: rewrite(p / "unet/config.json", layers_per_block=10**9),
)
folder("a config of another class", "unknown kind", lambda p: rewrite(p / "unet/config.json", _class_name="Other"))
folder(
    "an unknown noise schedule",
    "not known here",
    lambda p: rewrite(p / "scheduler/scheduler_config.json", beta_schedule="x"),
)
folder("a folder without weights", "unknown kind", lambda p: (p / "unet/diffusion_pytorch_model.safetensors").unlink())
folder("a folder without a tokenizer", "unknown kind", lambda p: (p / "tokenizer/vocab.json").unlink())
folder("a damaged tokenizer", "damaged", lambda p: (p / "tokenizer/merges.txt").write_text("#\nq z\nnot there"))


@kind("a checkpoint as an autoencoder", "but not|unknown kind")
def _(home):
    home.put(without("first_stage"), "vae")
    return lambda: load.load_vae(home.ctx, "bad.safetensors")


@kind("an autoencoder of another factor", "for this autoencoder")
def _(home):
    parts = home.good()
    return lambda: vae.vae_decode(home.ctx, Latent(torch.zeros(1, 4, 8, 8), 8), parts.vae)


@kind("latents of other channels", "takes 4 channels")
def _(home):
    parts = home.good()
    return lambda: vae.vae_decode(home.ctx, Latent(torch.zeros(1, 16, 8, 8), 2), parts.vae)


@kind("an autoencoder of not-a-number", "not finite")
def _(home):
    _, network, _ = tiny.networks()
    broken = {k: torch.full_like(v, torch.nan) for k, v in network.state_dict().items()}
    home.put(broken, "vae")
    return lambda: vae.vae_decode(
        home.ctx, Latent(torch.zeros(1, 4, 8, 8), 2), load.load_vae(home.ctx, "bad.safetensors")
    )


def lora(home, file):
    parts = home.good()
    home.put(file, "loras")
    return partial(load.load_lora, home.ctx, parts.model, parts.clip, "bad.safetensors")


@kind("a LoRA of another family", "for another model")
def _(home):
    names = [n for n, p in zoo.networks("sdxl")["unet"].named_parameters() if "attn" in n and p.ndim == 2]
    stems = ["lora_unet_" + n.removesuffix(".weight").replace(".", "_") for n in names]
    return lora(home, {f"{s}.lora_{side}.weight": torch.zeros(4, 4) for s in stems for side in ("down", "up")})


@kind("a LoRA of an unknown kind", "without a counterpart")
def _(home):
    return lora(home, {"lora_unet_down_blocks_0_attentions_0_proj_in.glora_a": torch.zeros(4, 4)})


@kind("a LoRA of not-a-number", "of another shape")
def _(home):
    stem = "lora_unet_down_blocks_0_attentions_0_proj_in"
    down, up = torch.full((4, 32, 1, 1), torch.nan), torch.zeros(32, 4, 1, 1)
    return lora(home, {f"{stem}.lora_down.weight": down, f"{stem}.lora_up.weight": up})


@kind("a learnt word of another width", "768 wide, the text encoder 64")
def _(home):
    parts = home.good()
    home.put({"emb_params": torch.zeros(1, 768)}, "embeddings")
    return lambda: encode_text(home.ctx, parts.clip, "a embedding:bad")


@kind("a learnt word that is none", "none of it is an embedding")
def _(home):
    parts = home.good()
    home.put({"a": torch.zeros(1), "b": torch.zeros(1)}, "embeddings")
    return lambda: encode_text(home.ctx, parts.clip, "a embedding:bad")


@kind("a learnt word that is not there", "There is no 'nothere'")
def _(home):
    parts = home.good()
    return lambda: encode_text(home.ctx, parts.clip, "a embedding:nothere")


@kind("a text encoder twice where a pair is needed", "unknown kind")
def _(home):
    text = {f"text_model.{k}": v for k, v in zoo.networks("sd1")["text_encoder"].state_dict().items()}
    home.put(text, "clip")
    return lambda: load.load_clip(home.ctx, "bad.safetensors", "bad.safetensors")


@kind("a family that is not there", "known are")
def _(home):
    home.put(GOOD)
    return lambda: load.load_checkpoint(home.ctx, "bad.safetensors", "sd9")


@kind("a family that it is not", "missing|lacks|does not fit|but not")
def _(home):
    home.put(GOOD)
    return lambda: load.load_checkpoint(home.ctx, "bad.safetensors", "sdxl")


@kind("text of another family", "another family's text encoder")
def _(home):
    parts = home.good()
    cond = encode_text(home.ctx, parts.clip, "a cat").map(tokens=torch.zeros(1, 77, 768))

    def use():
        with home.models.use(parts.model) as network:
            network(torch.zeros(1, 4, 8, 8), torch.tensor([1.0]), size_conditioning(cond).conds[0])

    return use


@pytest.mark.parametrize("name", KINDS)
def test_each_kind_gets_its_sentence_at_once(tmp_path: Path, models_dir: Path, name):
    sentence, make = KINDS[name]
    home = Home(tmp_path, models_dir / "diffusers" / "tiny")
    call = make(home)
    started = time.process_time()
    with pytest.raises(SfumatoError, match=sentence) as error:
        call()
    assert time.process_time() - started < SECONDS  # of work; how long that takes is the machine's affair
    assert len(error.value.message) < 700
    with home.models.use(home.good().model) as network:  # and what is good still works
        assert network.channels == 4


def test_there_are_forty_kinds():
    assert len(KINDS) >= 40
