"""CLIP with both of its sides, in transformers' layout: a file of weights with its `config.json` beside it.

The config is needed, since no shape says which activation a network was trained with. A tokenizer beside the file is
taken; without one it is the tokenizer that all published CLIPs share.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPVisionConfig

from engine.diffusion.families.base import WHOLE, Part, Reason, Source, Verdict
from engine.diffusion.families.clip_text import CLIP_TOKENIZER, SIZES, TOKENS, load_tokenizer
from engine.diffusion.families.dual_encoder import Colour, DualNetwork
from engine.diffusion.families.load import Place, assign, check_config, number, on_meta, whole
from engine.diffusion.files import read_config
from engine.errors import BadFile

CONFIG = "config.json"
VISION_SIZES = (
    "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "image_size", "patch_size",
    "num_channels", "projection_dim",
)  # fmt: skip
PROJECTION = 512  # width of the common space where a config does not say it
MEAN: Colour = (0.48145466, 0.4578275, 0.40821073)  # of CLIP's training pictures
DEVIATION: Colour = (0.26862954, 0.26130258, 0.27577711)
WHAT = "dual encoder"
UNREAD = "position_ids"


class ClipDual:
    """The family object; see `base.Family`."""

    name = "clip_dual"
    title = "CLIP with both sides"
    order = 3  # before text encoders, since it holds one

    def recognise(self, source: Source) -> Verdict:
        """Look for both sides and what maps them into one space."""
        header = source.single
        signs = ("text_model.final_layer_norm.weight", "vision_model.post_layernorm.weight", "text_projection.weight",
                 "visual_projection.weight")  # fmt: skip
        return Verdict.of(self.name, {sign: sign in header for sign in signs}, {})

    def card(self, source: Source) -> tuple[Reason, ...]:
        """Return family, sizes and activation, with their reasons."""
        config = _config(source.path)
        vision, text = config.vision_config, config.text_config
        return (
            Reason("family", self.title, "; ".join(self.recognise(source).found)),
            Reason("reads", f"{vision.image_size} x {vision.image_size}, {vision.patch_size} a patch", CONFIG),
            Reason("space", config.projection_dim, CONFIG),
            Reason("activation", f"{text.hidden_act}, {vision.hidden_act}", CONFIG),
        )

    def parts(self, source: Source) -> dict[str, Part]:
        """Return the one part there is; BadFile if no config says how to build it."""
        _config(source.path)
        return {"dual": Part(source.single.size)}

    def build(self, source: Source, part: str, place: Place) -> DualNetwork:
        """Build both sides at `place`."""
        config = _config(source.path)
        module: Any = on_meta(lambda: CLIPModel(config), {}, WHAT)
        tensors = source.tensors(WHOLE, lambda key: not key.endswith(UNREAD))
        assign(module, tensors, place, WHAT)
        for side in (module.text_model.embeddings, module.vision_model.embeddings):
            positions = torch.arange(side.position_ids.shape[1], device=place.device).expand((1, -1))
            side.register_buffer("position_ids", positions, persistent=False)  # no file carries it
        return DualNetwork(
            module,
            lambda planes: module.get_image_features(pixel_values=planes).pooler_output,
            lambda ids: module.get_text_features(input_ids=ids).pooler_output,
            load_tokenizer(_tokenizer(source.path)),
            whole(vars(config.vision_config), "image_size", 224),
            whole(vars(config.text_config), "max_position_embeddings", 77),
            MEAN,
            DEVIATION,
        )


def _tokenizer(file: Path) -> Path:
    return file.parent if (file.parent / "vocab.json").is_file() else CLIP_TOKENIZER


def _config(file: Path) -> CLIPConfig:
    """Read what shapes the network from the config beside its file."""
    if not (file.parent / CONFIG).is_file():
        raise BadFile(
            f"{file.name} is a CLIP whose {CONFIG} is missing; put the one it was published with beside it.",
            field="file",
        )
    plain = read_config(file.parent / CONFIG)
    text, vision = _table(plain, "text_config"), _table(plain, "vision_config")
    return CLIPConfig(
        text_config=_side(text, CLIPTextConfig, SIZES) | {k: int(number(text, k, getattr(CLIPTextConfig, k)))
                                                          for k in TOKENS},
        vision_config=_side(vision, CLIPVisionConfig, VISION_SIZES),
        projection_dim=whole(plain, "projection_dim", PROJECTION),
    )  # fmt: skip


def _table(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = config.get(name)
    return found if isinstance(found, dict) else {}


def _side(config: Mapping[str, Any], kind: Any, sizes: tuple[str, ...]) -> dict[str, Any]:
    """Return sizes, activation and epsilon of one side; transformers' own defaults are those of its config class."""
    found: dict[str, Any] = {name: whole(config, name, getattr(kind, name)) for name in sizes}
    check_config(found, WHAT)
    found["hidden_act"] = str(config.get("hidden_act", kind.hidden_act))
    found["layer_norm_eps"] = number(config, "layer_norm_eps", kind.layer_norm_eps)
    return found


FAMILY = ClipDual()
