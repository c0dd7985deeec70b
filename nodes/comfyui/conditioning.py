"""Prompts, and where, when and how strongly they hold."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Annotated, Any, Literal

import torch

from engine.context import Context
from engine.diffusion.text import tokenise
from engine.errors import BadInput
from engine.node import Range
from engine.types import Clip, Cond, Conditioning, Mask, Patch
from nodes.basics import conditioning as ours
from nodes.basics.text import encode_text
from nodes.comfyui._core import Border, Long, Part, Side, core

Weight = Annotated[float, Range(0, 10, 0.01)]
SUFFIX = ".safetensors"
PICKLED = re.compile(r"\.(pt|bin)$")  # files that are never read: the same name as safetensors takes their place
EMBEDDING = re.compile(r"\bembedding:([^\s,()\[\]:]*[^\s,()\[\]:.;!?])")
CELL = 8  # pixels per cell in which ComfyUI keeps areas


@core("CLIPTextEncode", "conditioning", "CLIP Text Encode (Prompt)")
def clip_text_encode(ctx: Context, text: Long, clip: Clip) -> Conditioning:
    """Turn a prompt into what the model understands. `embedding:name` is a learnt word in models/embeddings."""
    return encode_text(ctx, _with_embeddings(ctx, clip, text), _round_only(text))


@core("ConditioningCombine", "conditioning", "Conditioning (Combine)")
def conditioning_combine(conditioning_1: Conditioning, conditioning_2: Conditioning) -> Conditioning:
    """Let two prompts hold together: the model is asked for each, and the answers are averaged.

    Args:
        conditioning_1: First prompt.
        conditioning_2: Second prompt.
    """
    return ours.combine_conditioning(conditioning_1, conditioning_2)


@core("ConditioningAverage", "conditioning")
def conditioning_average(
    conditioning_to: Conditioning, conditioning_from: Conditioning, conditioning_to_strength: Part = 1.0
) -> Conditioning:
    """Mix two prompts into one between them.

    Args:
        conditioning_to: The prompt at strength 1.
        conditioning_from: The prompt at strength 0.
        conditioning_to_strength: Share of the first.
    """
    a, b = (_padded(c, conditioning_to, conditioning_from) for c in (conditioning_to, conditioning_from))
    return ours.average_conditioning(a, Conditioning(b.conds[:1]), 1 - conditioning_to_strength)


@core("ConditioningConcat", "conditioning", "Conditioning (Concat)")
def conditioning_concat(conditioning_to: Conditioning, conditioning_from: Conditioning) -> Conditioning:
    """Join two prompts to one long one.

    Args:
        conditioning_to: The prompt that comes first.
        conditioning_from: The prompt whose words are added; the first of several.
    """
    return ours.concat_conditioning(conditioning_to, Conditioning(conditioning_from.conds[:1]))


@core("ConditioningSetArea", "conditioning", "Conditioning (Set Area)")
def conditioning_set_area(
    conditioning: Conditioning, width: Side = 64, height: Side = 64, x: Border = 0, y: Border = 0,
    strength: Weight = 1.0,
) -> Conditioning:  # fmt: skip
    """Let a prompt hold in a rectangle of the picture only, given in pixels."""
    cells = tuple(max(least, side // CELL) for side, least in ((x, 0), (y, 0), (width, 1), (height, 1)))
    return _mapped(conditioning, extra={"area_cells": cells}, area=None, strength=strength)


@core("ConditioningSetAreaPercentage", "conditioning", "Conditioning (Set Area with Percentage)")
def conditioning_set_area_percentage(
    conditioning: Conditioning, width: Part = 1.0, height: Part = 1.0, x: Part = 0.0, y: Part = 0.0,
    strength: Weight = 1.0,
) -> Conditioning:  # fmt: skip
    """Let a prompt hold in a rectangle of the picture only, given in fractions of it.

    Args:
        width: Width as a fraction.
        height: Height as a fraction.
        x: Left edge as a fraction.
        y: Upper edge as a fraction.
    """
    return _mapped(ours.set_area(conditioning, x, y, width, height), strength=strength)


@core("ConditioningSetAreaStrength", "conditioning")
def conditioning_set_area_strength(conditioning: Conditioning, strength: Weight = 1.0) -> Conditioning:
    """Set how strongly a prompt counts next to the others it is combined with."""
    return _mapped(conditioning, strength=strength)


@core("ConditioningSetMask", "conditioning", "Conditioning (Set Mask)")
def conditioning_set_mask(
    conditioning: Conditioning, mask: Mask, strength: Weight = 1.0,
    set_cond_area: Literal["default", "mask bounds"] = "default",
) -> Conditioning:  # fmt: skip
    """Let a prompt hold where a mask says.

    Args:
        set_cond_area: Read and left aside: the model always sees the whole picture.
    """
    return _mapped(ours.set_conditioning_mask(conditioning, Mask(mask.values[:1])), strength=strength)


@core("ConditioningSetTimestepRange", "advanced/conditioning")
def conditioning_set_timestep_range(conditioning: Conditioning, start: Part = 0.0, end: Part = 1.0) -> Conditioning:
    """Let a prompt hold during a part of sampling only.

    Args:
        start: Where it begins to hold; 0 is the noisiest.
        end: Where it ends.
    """
    if start >= end:
        raise BadInput(f"start must be less than end, got {start:g} and {end:g}.", field="start")
    return ours.set_time_range(conditioning, start, end)


@core("ConditioningZeroOut", "advanced/conditioning")
def conditioning_zero_out(conditioning: Conditioning) -> Conditioning:
    """Replace a prompt's meaning by zeros."""
    return ours.zero_out(conditioning)


@core("CLIPTextEncodeSDXL", "advanced/conditioning")
def clip_text_encode_sdxl(
    ctx: Context, clip: Clip, width: Border = 1024, height: Border = 1024, crop_w: Border = 0, crop_h: Border = 0,
    *, target_width: Border = 1024, target_height: Border = 1024, text_g: Long = "", text_l: Long = "",
) -> Conditioning:  # fmt: skip
    """Encode a prompt for SDXL with the sizes it is told of.

    Args:
        width: Width of the picture it pretends to be made from.
        height: Height of it.
        crop_w: Pixels it pretends to be cropped at the left.
        crop_h: Pixels at the top.
        target_width: Width of the result it is told of.
        target_height: Height of it.
        text_g: The prompt for the larger encoder.
        text_l: The prompt for the smaller one.
    """
    sizes = (height, width, crop_h, crop_w, target_height, target_width, 6.0)
    return _sized(_two_texts(ctx, clip, text_l, text_g), sizes)


@core("CLIPTextEncodeSDXLRefiner", "advanced/conditioning")
def clip_text_encode_sdxl_refiner(
    ctx: Context, ascore: Annotated[float, Range(0, 1000)] = 6.0, width: Border = 1024, height: Border = 1024,
    text: Long = "", *, clip: Clip,
) -> Conditioning:  # fmt: skip
    """Encode a prompt for SDXL's refiner, with the aesthetic score that is asked for.

    Args:
        ascore: The aesthetic score.
    """
    return _sized(clip_text_encode(ctx, text, clip), (height, width, 0, 0, height, width, ascore))


@core("CLIPTextEncodeSD3", "advanced/conditioning")
def clip_text_encode_sd3(
    ctx: Context, clip: Clip, clip_l: Long = "", clip_g: Long = "", t5xxl: Long = "",
    empty_padding: Literal["none", "empty_prompt"] = "none",
) -> Conditioning:  # fmt: skip
    """Encode a prompt for Stable Diffusion 3, each encoder its own.

    Args:
        clip_l: The prompt for the smaller CLIP.
        clip_g: The prompt for the larger CLIP.
        t5xxl: The prompt for T5.
        empty_padding: Read and left aside: an empty text is an empty prompt.
    """
    (short,) = _two_texts(ctx, clip, clip_l, clip_g).conds
    (long,) = clip_text_encode(ctx, t5xxl, clip).conds
    *clips, before = (_rows(ctx, clip, text) for text in (clip_l, clip_g, t5xxl))
    tokens = torch.cat([short.tokens[:, : max(clips)], long.tokens[:, before:]], 1)  # (1, 77 k, D) and (1, T, D)
    return Conditioning((replace(short, tokens=tokens),))


@core("CLIPTextEncodeFlux", "advanced/conditioning/flux")
def clip_text_encode_flux(
    ctx: Context, clip: Clip, clip_l: Long = "", t5xxl: Long = "", guidance: Annotated[float, Range(0, 100, 0.1)] = 3.5
) -> Conditioning:
    """Encode a prompt for Flux: CLIP gives its gist, T5 its words.

    Args:
        clip_l: The prompt for CLIP.
        t5xxl: The prompt for T5.
        guidance: How strongly the prompt pulls, as the model was taught to imitate.
    """
    gist, words = (clip_text_encode(ctx, text, clip).conds[0] for text in (clip_l, t5xxl))
    return flux_guidance(Conditioning((replace(words, pooled=gist.pooled),)), guidance)


@core("FluxDisableGuidance", "advanced/conditioning/flux")
def flux_disable_guidance(conditioning: Conditioning) -> Conditioning:
    """Tell a model nothing of guidance."""
    conds = (replace(c, extra={k: v for k, v in c.extra.items() if k != "guidance"}) for c in conditioning.conds)
    return Conditioning(tuple(conds))


@core("FluxGuidance", "advanced/conditioning/flux")
def flux_guidance(conditioning: Conditioning, guidance: Annotated[float, Range(0, 100, 0.1)] = 3.5) -> Conditioning:
    """Tell a distilled model how strongly the prompt pulls.

    Args:
        guidance: The strength it was taught to imitate.
    """
    return _mapped(conditioning, extra={"guidance": guidance})


def _mapped(conditioning: Conditioning, *, extra: dict[str, Any] | None = None, **changes: Any) -> Conditioning:
    conds = (replace(c, extra={**c.extra, **(extra or {})}, **changes) for c in conditioning.conds)
    return Conditioning(tuple(conds))


def _sized(conditioning: Conditioning, sizes: tuple[float, ...]) -> Conditioning:
    """Tell SDXL of sizes: (original height, width, crop top, left, target height, width, aesthetic score)."""
    return _mapped(conditioning, extra={"sizes": torch.tensor([sizes])})


def _two_texts(ctx: Context, clip: Clip, text_l: str, text_g: str) -> Conditioning:
    """Read a text with the first of two CLIPs and another with the second, whose states (1, T, D) are side by side.

    The shorter one is filled up with chunks of the empty prompt.
    """
    if text_l == text_g:
        return clip_text_encode(ctx, text_g, clip)
    first, second, empty = (clip_text_encode(ctx, text, clip).conds[0] for text in (text_l, text_g, ""))
    with ctx.models.use(clip) as network:
        width, length = int(network.width), int(network.length)
    rows = [_rows(ctx, clip, text) for text in (text_l, text_g)]
    longest = max(rows)
    fill = empty.tokens[:, :length].repeat(1, longest // length, 1)  # (1, longest, D)
    left, right = (torch.cat([c.tokens[:, :n], fill[:, n:]], 1) for c, n in zip((first, second), rows, strict=True))
    others = (first if rows[0] == longest else second).tokens[:, longest:]  # states of no CLIP
    tokens = torch.cat([torch.cat([left[..., :width], right[..., width:]], -1), others], 1)
    pooled = second.pooled
    if first.pooled is not None and pooled is not None and len(others[0]):  # SD3 is told both, SDXL the second's
        pooled = torch.cat([first.pooled[:, :width], pooled[:, width:]], -1)
    return Conditioning((replace(second, tokens=tokens, pooled=pooled),))


def _rows(ctx: Context, clip: Clip, text: str) -> int:
    """Return how many of a prompt's states are CLIP's."""
    with ctx.models.use(_with_embeddings(ctx, clip, text)) as network:
        return len(tokenise(network, _round_only(text)).ids) * int(network.length)


def _padded(conditioning: Conditioning, *others: Conditioning) -> Conditioning:
    """Give conditions the length of the longest among `others`, filled with zeros."""
    longest = max(c.tokens.shape[1] for other in others for c in other.conds)

    def fill(cond: Cond) -> Cond:
        more = longest - cond.tokens.shape[1]
        return replace(
            cond, tokens=torch.nn.functional.pad(cond.tokens, (0, 0, 0, more))
        )  # (B, T, D) -> (B, longest, D)

    return Conditioning(tuple(fill(c) for c in conditioning.conds))


def _with_embeddings(ctx: Context, clip: Clip, text: str) -> Clip:
    """Teach the encoder the learnt words that a prompt names; the engine knows them by a node, ComfyUI by the name."""
    known = {p.options.get("name") for p in clip.patches if p.kind == "embedding"}
    for name in dict.fromkeys(EMBEDDING.findall(text)):
        if name not in known:
            weights = ctx.models.find("embeddings", PICKLED.sub("", name).removesuffix(SUFFIX) + SUFFIX)
            clip = clip.patched(Patch("embedding", "text", 1.0, weights, options={"name": name}))
    return clip


def _round_only(text: str) -> str:
    """Escape square brackets, which weigh words in our prompts and are plain characters in theirs."""
    return text.replace("[", "\\[").replace("]", "\\]")
