"""Write trained parts as diffusers folders: EMA weights, fp16 safetensors, ready for any loader."""

import json
import shutil
from pathlib import Path

import torch
from diffusers import AutoencoderDC, UNet2DConditionModel
from torch import nn
from transformers import CLIPTextModel

from models.bozzetto import paths
from models.bozzetto.encoder.network import WEIGHTS as ENCODER
from models.bozzetto.judge.read import WEIGHTS as JUDGE
from models.bozzetto.pictures import to_tensor
from models.bozzetto.scenes import START, scene
from models.bozzetto.train import state
from models.bozzetto.train.autoencoder import build as build_autoencoder
from models.bozzetto.train.unet import fresh, scheduler

INDEX = {
    "_class_name": "StableDiffusionPipeline", "_diffusers_version": "0.42.1", "requires_safety_checker": False,
    "safety_checker": [None, None], "feature_extractor": [None, None], "image_encoder": [None, None],
    "scheduler": ["diffusers", "DDIMScheduler"], "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"], "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderDC"],
}  # fmt: skip


@torch.no_grad()
def put_ema(model: nn.Module, name: str) -> int:
    """Fill a model with the EMA weights of a run's checkpoint; returns the step."""
    saved = state.load(state.run_dir(name) / "state.pt")
    for p, value in zip(model.parameters(), saved["ema"], strict=True):
        p.copy_(value)
    return int(saved["step"])


@torch.no_grad()
def freeze_autoencoder() -> AutoencoderDC:
    """Write the autoencoder for the U-Net's training, with the scale that makes its latents' spread 1."""
    net = build_autoencoder().eval()
    put_ema(net, "autoencoder")
    z = torch.cat(
        [
            net.encode(to_tensor([scene(300_000_000 + 16 * k + i, START).image for i in range(16)])).latent
            for k in range(16)
        ]
    )
    net.register_to_config(scaling_factor=round(1 / float(z.std()), 5))
    net.save_pretrained(state.run_dir("autoencoder") / "vae")
    return net


def write(
    target: Path, *, text: CLIPTextModel, unet: UNet2DConditionModel, vae: AutoencoderDC, tokenizer: Path
) -> None:
    """Write the components in diffusers' layout, weights in fp16; `tokenizer` is the folder of its files."""
    for part, name in ((text, "text_encoder"), (unet, "unet"), (vae, "vae")):
        part.half().save_pretrained(target / name)
        config = target / name / "config.json"
        kept = {k: v for k, v in json.loads(config.read_text()).items() if k != "_name_or_path"}  # a machine's path
        config.write_text(json.dumps(kept, indent=2, sort_keys=True) + "\n")
    scheduler().save_pretrained(target / "scheduler")
    (target / "tokenizer").mkdir(exist_ok=True)
    for file in tokenizer.iterdir():
        shutil.copyfile(file, target / "tokenizer" / file.name)
    (target / "model_index.json").write_text(json.dumps(INDEX, indent=1) + "\n")


def export(target: Path = paths.HERE) -> None:
    """Write the model as it is trained so far (EMA weights), and the judge and dual encoder when they are there."""
    parts = fresh()
    step = put_ema(parts, "unet")
    vae = AutoencoderDC.from_pretrained(state.run_dir("autoencoder") / "vae", low_cpu_mem_usage=False)
    write(target, text=parts.text, unet=parts.unet, vae=vae, tokenizer=state.run_dir("text") / "tokenizer")
    for name, file in (("judge", JUDGE), ("encoder", ENCODER)):
        if (trained := state.run_dir(name) / file.name).exists():
            (target / name).mkdir(exist_ok=True)
            shutil.copyfile(trained, target / name / file.name)
    state.say(f"wrote {target} from step {step}")
