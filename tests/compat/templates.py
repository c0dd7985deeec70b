"""ComfyUI's own workflow templates, as two packages on PyPI hold them; fetched for these tests, never vendored."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

PACKAGES = ("comfyui-workflow-templates-media-image==0.3.0", "comfyui-workflow-templates-media-other==0.3.1")
SECONDS = 120
# Those that need no more than Stable Diffusion 1, 2 or XL, with what their checkpoints and files are.
CLASSIC = (
    "2_pass_pose_worship", "area_composition", "area_composition_square_area_for_subject", "controlnet_example",
    "default", "depth_controlnet", "embedding_example", "esrgan_example", "gligen_textbox_example",
    "hiresfix_esrgan_workflow", "hiresfix_latent_workflow", "image2image", "inpaint_example",
    "inpaint_model_outpainting", "latent_upscale_different_prompt_model", "lora", "lora_multiple",
    "mixing_controlnets", "sdxl_refiner_prompt_example", "sdxl_simple_example", "sdxlturbo_example",
)  # fmt: skip


def fetch(folder: Path) -> dict[str, Any] | None:
    """Return every template by name; None if they cannot be fetched."""
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(folder), *PACKAGES]
    try:
        done = subprocess.run(command, capture_output=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return None
    if done.returncode:
        return None
    found: dict[str, Any] = {}
    for wheel in sorted(folder.glob("*.whl")):
        with zipfile.ZipFile(wheel) as packed:
            names = [n for n in packed.namelist() if n.endswith(".json") and not Path(n).name.startswith("index.")]
            found |= {Path(name).stem: json.loads(packed.read(name)) for name in names}
    return found


FAMILIES = {"v2-1_768": "sd2 v", "512-inpainting": "sd1 inpaint", "sd_xl_refiner": "sdxl refiner", "sd_xl": "sdxl"}
PLACES = ("x", "y", "left", "top", "right", "bottom", "feathering")
SIDE, STEPS = 32, 2  # what pictures and runs are made small to


def models(folder: Path, prompt: dict[str, Any]) -> None:
    """Write random weights of the right family, tiny, under every name that a prompt loads."""
    from tests.diffusion_models import tiny, zoo

    for node in prompt.values():
        kind, inputs = node["class_type"], node["inputs"]
        if kind == "CheckpointLoaderSimple":
            name = inputs["ckpt_name"]
            family = next((f for start, f in FAMILIES.items() if name.startswith(start)), "sd1")
            _write(folder / "checkpoints" / name, lambda family=family: zoo.ldm_state(family))
        elif kind == "VAELoader":
            _write(folder / "vae" / inputs["vae_name"], lambda: tiny.vae_ldm_state(zoo.networks("sd1")["vae"]))
        elif kind == "LoraLoader":
            _write(folder / "loras" / inputs["lora_name"], _lora)
        elif kind == "UpscaleModelLoader":
            _write(folder / "upscale_models" / inputs["model_name"], _upscaler)
        elif kind == "ControlNetLoader":
            _write(folder / "controlnet" / inputs["control_net_name"], _controlnet)
        elif kind == "GLIGENLoader":
            _write(folder / "gligen" / inputs["gligen_name"], _gligen)
        elif kind == "CLIPTextEncode" and "embedding:SDA768" in str(inputs["text"]):
            _write(folder / "embeddings" / "SDA768.safetensors", _embedding)


def _write(path: Path, make: Any) -> None:
    from tests.diffusion_models.tiny import write_file

    if not path.is_file():
        write_file(path, make())


def _lora() -> dict[str, Any]:
    import torch

    stem = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
    return {f"{stem}.lora_down.weight": torch.randn(4, 64), f"{stem}.lora_up.weight": torch.randn(64, 4)}


def _embedding() -> dict[str, Any]:
    import torch

    return {"emb_params": torch.randn(2, 64)}


def _upscaler() -> dict[str, Any]:
    from tests.diffusion_models.test_upscale import weights

    return weights()


def _controlnet() -> dict[str, Any]:
    from tests.diffusion_models import steering

    return steering.controlnet_ldm(steering.controlnet())


def _gligen() -> dict[str, Any]:
    from tests.diffusion_models import steering

    return steering.gligen_state()


def small(prompt: dict[str, Any]) -> dict[str, Any]:
    """Return the prompt with small pictures and few steps, so that it can run in a test; its graph is unchanged."""
    for node in prompt.values():
        inputs = node["inputs"]
        steps = inputs.get("steps")
        for name, value in inputs.items():
            if name in ("width", "height") and isinstance(value, int):
                inputs[name] = max(16, value * SIDE // 512 // 16 * 16)
            elif name in PLACES and isinstance(value, int):
                inputs[name] = value * SIDE // 512
            elif name == "megapixels":
                inputs[name] = 0.01
            elif name in ("start_at_step", "end_at_step") and isinstance(steps, int) and value <= steps:
                inputs[name] = value * STEPS // steps
        if isinstance(steps, int):
            inputs["steps"] = min(steps, STEPS)
    return prompt


def pictures(folder: Path, prompt: dict[str, Any]) -> None:
    """Write a small picture, half of it see-through, under every name that a prompt reads."""
    import numpy as np
    from PIL import Image as Pil

    folder.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 255, (SIDE, SIDE, 4), np.uint8)
    pixels[:, : SIDE // 2, 3] = 255
    pixels[:, SIDE // 2 :, 3] = 0
    for node in prompt.values():
        if node["class_type"] in ("LoadImage", "LoadImageMask"):
            Pil.fromarray(pixels).save(folder / node["inputs"]["image"], "PNG")
