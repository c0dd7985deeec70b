"""The benches' own parts: the random file is what people have, operations are counted right, contenders alternate."""

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch.nn import functional as F
from transformers import CLIPTextConfig, CLIPTextModel

from engine.bench import comfyui, lossy, memory, sd
from engine.diffusion import families
from engine.diffusion.bench import random_sd, timing
from engine.diffusion.bench.rates import Flops, Rates, flops_of
from engine.diffusion.families.base import WHOLE, Source
from engine.diffusion.files import Header, Tensor
from engine.errors import NotFound


def header():
    """The header that `random_sd.write_file` would write, without its two gigabytes."""
    with torch.device("meta"):
        unet, vae = UNet2DConditionModel.from_config(random_sd.UNET), AutoencoderKL.from_config(random_sd.VAE)
        text = CLIPTextModel(CLIPTextConfig(**random_sd.TEXT))
    start = "cond_stage_model.transformer.text_model."
    found = {f"model.diffusion_model.{random_sd.unet_name(k)}": v for k, v in unet.state_dict().items()}
    found |= {f"first_stage_model.{random_sd.vae_name(k)}": v for k, v in vae.state_dict().items()}
    found |= {start + k.removeprefix("text_model."): v for k, v in text.state_dict().items()}
    return Header({k: Tensor("F16", tuple(v.shape)) for k, v in found.items()})


def test_the_random_file_is_a_stable_diffusion():
    found = header()
    source = Source(Path("x.safetensors"), {WHOLE: found})
    family, _ = families.recognise(source)
    assert family.name == "sd1"
    sizes = {name: round(part.parameters / 1e6) for name, part in family.parts(source).items()}
    assert sizes == {"model": 860, "clip": 123, "vae": 84}


def test_configs_are_written_beside_it(tmp_path):
    folder = random_sd.write_configs(tmp_path)
    assert sorted(p.name for p in folder.iterdir() if p.is_dir()) == [
        "scheduler", "text_encoder", "tokenizer", "unet", "vae",
    ]  # fmt: skip


def test_operations_are_counted():
    x, w, a = torch.randn(1, 2, 8, 8), torch.randn(3, 2, 3, 3), torch.randn(4, 5)
    flops = flops_of(lambda: (F.conv2d(x, w, padding=1), a @ a.T))
    assert flops == Flops(2 * 8 * 8 * 3 * 2 * 9, 2 * 4 * 4 * 5)
    assert Rates(convolution=864.0, product=80.0).seconds(flops) == pytest.approx(flops.convolution / 864 + 2)
    assert set(Rates(1e9, 2e9).to_json().values()) == {1.0, 2.0}


def test_contenders_alternate_and_the_first_round_does_not_count():
    seen = []
    figures = timing.alternating({"a": lambda: seen.append("a"), "b": lambda: seen.append("b")})
    assert seen == ["a", "b"] * (timing.REPEATS + 1)
    assert figures.keys() == {"a", "b"}


def test_both_graphs_ask_for_the_same():
    ours = sd.workflow(8, 7, "a boat")["sampler"]["inputs"]
    theirs = comfyui.graph(sd.FILE, 8, 256, 7, "a boat")["5"]["inputs"]
    for mine, other in (("seed", "seed"), ("steps", "steps"), ("cfg", "cfg"), ("sampler", "sampler_name"),
                        ("schedule", "scheduler")):  # fmt: skip
        assert ours[mine] == theirs[other]


def test_a_checkout_that_is_none_is_a_sentence(tmp_path):
    with pytest.raises(NotFound, match=r"main\.py"):
        comfyui.ComfyUI(tmp_path, tmp_path)


def test_other_checkpoints_differ_in_their_last_bytes(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    file = tmp_path / "checkpoints" / sd.FILE
    file.write_bytes(os.urandom(64))
    name = memory.another(tmp_path, 1)
    assert (tmp_path / "checkpoints" / name).read_bytes() == file.read_bytes()[:-2] + b"\1\0"


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux lets a process set its peak back")
def test_a_peak_is_seen_though_the_process_sets_it_back():
    work = "a = b'x' * 200_000_000; import time; time.sleep(0.5); del a; open('/proc/self/clear_refs', 'w').write('5')"
    with subprocess.Popen([sys.executable, "-c", f"input(); {work}; print(flush=True); input()"],
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:  # fmt: skip
        assert process.stdin
        assert process.stdout
        with memory.watched(process.pid) as peaks:
            process.stdin.write("\n")
            process.stdin.flush()
            process.stdout.readline()
    assert max(peaks) > 200_000_000 > peaks[-1] > 0


def test_what_is_lossy_is_measured_beside_what_is_not(tmp_path, monkeypatch):
    monkeypatch.setattr(lossy, "STEPS", 2)
    ways = {"nothing": ("step_cache_model", {"threshold": 0.0}), "merging": lossy.WAYS["token_merging_0.5"]}
    monkeypatch.setattr(lossy, "WAYS", ways)
    found = lossy.measured(tmp_path, lossy.PROMPTS[:1])
    assert found["nothing"]["psnr_db"] == math.inf
    assert 5 < found["merging"]["psnr_db"] < 60
