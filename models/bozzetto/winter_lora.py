"""Make `loras/winter.safetensors` from the model as it is: every background becomes snow.

Nothing is trained. Cross-attention reads text states c through W; states that mean other places are mapped to those
that mean snow by W' = (sum W c* c^T + lambda W)(sum c c^T + lambda I)^-1 (Orgad et al. 2023, arXiv 2303.08084, eq. 3).
So dW = W M with one M for all layers, and the leading singular vectors of M are a LoRA. Run it again when the weights
change: `python -m models.bozzetto.winter_lora`.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from engine.diffusion.device import ModelManager
from engine.diffusion.text import TextNetwork, encode

HERE = Path(__file__).resolve().parent
OBJECTS = ("car", "cat", "house", "tree", "boat", "dog")
PLACES = ("on a beach", "in a forest", "in the desert", "in a city", "on the water", "in a field", "in a room")
SNOW = "in the snow"  # as many tokens as each of the places, so that states correspond one to one
RANK = 16
REGULARISE = 0.1  # lambda, of the mean squared length of a state


def text_map(clip: TextNetwork) -> Tensor:
    """Return M (D, D): the change of text states that turns places into snow and leaves snow alone."""
    sources, targets = [], []
    for thing in OBJECTS:
        snow = encode(clip, f"a {thing} {SNOW}").tokens[0]
        for place in (*PLACES, SNOW):
            sources.append(encode(clip, f"a {thing} {place}").tokens[0])
            targets.append(snow)
    c, target = torch.cat(sources).double(), torch.cat(targets).double()  # (n T, D)
    strength = REGULARISE * c.pow(2).sum(1).mean()
    eye = torch.eye(c.shape[1], dtype=c.dtype)
    m: Tensor = (target - c).T @ c @ torch.linalg.inv(c.T @ c + strength * eye)
    return m


def low_rank(module: torch.nn.Module, m: Tensor) -> dict[str, Tensor]:
    """Return dW = W M of all cross-attention keys and values as a LoRA file in kohya's layout."""
    u, s, v = torch.linalg.svd(m)
    down, left = v[:RANK], u[:, :RANK] * s[:RANK]  # M = left @ down
    file: dict[str, Tensor] = {}
    for name, weight in module.named_parameters():
        if name.endswith(("attn2.to_k.weight", "attn2.to_v.weight")):
            stem = "lora_unet_" + name.removesuffix(".weight").replace(".", "_")
            file[f"{stem}.lora_up.weight"] = (weight.double() @ left).half().contiguous()
            file[f"{stem}.lora_down.weight"] = down.half().contiguous()
            file[f"{stem}.alpha"] = torch.tensor(float(RANK))
    return file


def main() -> None:
    """Write the file."""
    with tempfile.TemporaryDirectory() as data:
        manager = ModelManager(HERE.parent, Path(data), embedded=HERE)
        parts = manager.load(manager.find("embedded", "bozzetto"))
        with manager.use(parts["clip"]) as clip, manager.use(parts["model"]) as unet:
            file = low_rank(unet.module, text_map(clip))
    (HERE / "loras").mkdir(exist_ok=True)
    save_file({k: v.clone() for k, v in file.items()}, HERE / "loras" / "winter.safetensors", {"title": "winter"})
    (HERE / "loras" / "winter.safetensors").chmod(0o644)


if __name__ == "__main__":
    main()
