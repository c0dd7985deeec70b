"""Dual encoders are read as they are published, and sort pictures by how well a text fits them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

from engine.context import Context
from engine.diffusion.device import ModelManager
from engine.diffusion.families.clip_dual import DEVIATION, MEAN
from engine.diffusion.families.clip_text import CLIP_TOKENIZER
from engine.errors import BadFile, BadInput
from engine.types import Image, Mask
from models.bozzetto.encoder import embed_images, embed_texts
from models.bozzetto.scenes import START, render, sample
from nodes.editing.ranking import load_dual_encoder, rank_images

SMALL = "bozzetto/encoder.safetensors"
NOUNS = ("bus", "penguin", "tulip")
SIDES = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder with a tiny CLIP, as transformers writes it."""
    root = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    config = CLIPConfig(text_config={**SIDES, "hidden_act": "gelu"},
                        vision_config={**SIDES, "image_size": 48, "patch_size": 16}, projection_dim=24)  # fmt: skip
    CLIPModel(config).save_pretrained(root / "dual_encoders" / "tiny")
    return root


@pytest.fixture
def ctx(folder: Path, tmp_path: Path) -> Context:
    return Context(node="n", models=ModelManager(folder, tmp_path))


def scenes() -> np.ndarray:
    """Return pictures (3, 128, 128, 3) of one thing each, in the snow."""
    world = replace(START, backgrounds=("snow",), two_objects=0.0, several=0.0)
    return np.stack([render(sample(7, replace(world, objects=(noun,)))).image for noun in NOUNS])


def image(pictures: np.ndarray) -> Image:
    return Image(torch.from_numpy(pictures.astype(np.float32) / 255))


def test_the_small_encoder_is_the_one_that_the_measurements_use(ctx: Context) -> None:
    pictures, texts = scenes(), ["a bus in the snow", "three tulips"]
    with ctx.models.use(load_dual_encoder(ctx, SMALL)) as network:
        seen, read = network.pictures(image(pictures).pixels), network.texts(texts)
    assert np.abs(seen.numpy() - embed_images(pictures)).max() < 1e-5
    assert np.abs(read.numpy() - embed_texts(texts)).max() < 1e-5


@pytest.mark.parametrize("noun", NOUNS)
def test_the_picture_that_the_text_names_comes_first(ctx: Context, noun: str) -> None:
    pictures = image(scenes())
    ranked = rank_images(ctx, load_dual_encoder(ctx, SMALL), pictures, f"a {noun} in the snow")
    cosines = [y for _, y in ranked.scores.series["cosine"]]
    assert ranked.best == NOUNS.index(noun)
    assert torch.equal(ranked.image.pixels[0], pictures.pixels[ranked.best])
    assert cosines == sorted(cosines, reverse=True)


def test_a_whole_clip_gives_what_transformers_gives(ctx: Context, folder: Path) -> None:
    clip = CLIPModel.from_pretrained(folder / "dual_encoders" / "tiny").eval()
    pixels, texts = torch.rand(3, 48, 48, 3), ["a cat", "two dogs on grass"]
    ids = CLIPTokenizer.from_pretrained(CLIP_TOKENIZER)(texts, padding=True, return_tensors="pt").input_ids
    planes = (pixels - torch.tensor(MEAN)) / torch.tensor(DEVIATION)
    with torch.no_grad():
        wanted = (clip.get_image_features(pixel_values=planes.permute(0, 3, 1, 2)).pooler_output,
                  clip.get_text_features(input_ids=ids).pooler_output)  # fmt: skip
    with ctx.models.use(load_dual_encoder(ctx, "tiny/model.safetensors")) as network:
        made = network.pictures(pixels), network.texts(texts)
    for ours, theirs in zip(made, wanted, strict=True):
        assert (ours - torch.nn.functional.normalize(theirs, dim=-1)).abs().max() < 1e-5


def test_what_lies_outside_the_mask_does_not_count(ctx: Context) -> None:
    pictures = image(scenes()[:1].repeat(2, 0))
    pictures.pixels[1, :, :40] = 0
    mask = torch.zeros(1, 128, 128)
    mask[:, 60:100, 60:90] = 1
    encoder = load_dual_encoder(ctx, SMALL)
    (_, inside), (_, same) = rank_images(ctx, encoder, pictures, "a bus", Mask(mask)).scores.series["cosine"]
    (_, whole), (_, other) = rank_images(ctx, encoder, pictures, "a bus").scores.series["cosine"]
    assert inside == same
    assert whole != other


def test_what_cannot_be_ranked_is_refused(ctx: Context, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="nothing to look at"):
        rank_images(ctx, load_dual_encoder(ctx, SMALL), image(scenes()), "a bus", Mask(torch.zeros(1, 128, 128)))
    alone = tmp_path / "models" / "dual_encoders" / "a.safetensors"
    alone.parent.mkdir(parents=True)
    alone.write_bytes((folder / "dual_encoders" / "tiny" / "model.safetensors").read_bytes())
    bare = Context(node="n", models=ModelManager(tmp_path / "models", tmp_path))
    with pytest.raises(BadFile, match=r"config\.json is missing; put the one it was published with beside it"):
        load_dual_encoder(bare, "a.safetensors")
