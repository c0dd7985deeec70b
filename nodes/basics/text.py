"""Prompts into conditioning."""

from __future__ import annotations

from typing import Annotated

from engine.context import Context
from engine.diffusion import text as prompts
from engine.node import Range, Text, node
from engine.types import Clip, Conditioning


@node(category="text")
def encode_text(ctx: Context, clip: Clip, text: Annotated[str, Text()] = "") -> Conditioning:
    r"""Turn a prompt into what the model understands.

    `(word:1.3)` weighs a word, `(word)` is 1.1 and `[word]` 1/1.1; a backslash makes the next bracket plain. `BREAK`
    begins a new chunk, `embedding:name` stands for a learnt word. Long prompts are read in chunks.

    Args:
        clip: The text encoder.
        text: The prompt.
    """
    with ctx.models.use(clip) as network:
        return Conditioning((network.condition(text, skip=clip.options.get("skip")),))


@node(category="text", title="CLIP skip")
def clip_skip(clip: Clip, layer: Annotated[int, Range(1, 32)] = 2) -> Clip:
    """Read prompts from an earlier layer of the text encoder, as some models were trained.

    Args:
        clip: The text encoder.
        layer: 1 is the last layer, 2 the one before it.
    """
    skipped: Clip = clip.with_options(skip=layer)
    return skipped


@node(category="text")
def plain_reading(clip: Clip) -> Clip:
    """Read prompts without the instruction that a model puts before them, as SANA's own pipeline does negative ones.

    Args:
        clip: The text encoder; one without an instruction stays as it is.
    """
    plain: Clip = clip.with_options(instructed=False)
    return plain


@node(category="text")
def inspect_tokens(ctx: Context, clip: Clip, text: Annotated[str, Text()] = "") -> str:
    """Show how a prompt is cut into words and tokens, and with which weights.

    Args:
        clip: The text encoder.
        text: The prompt.
    """
    with ctx.models.use(clip) as network:
        tokens = prompts.tokenise(network, text)
    length = len(tokens.ids[0])
    lines = [f"{len(tokens.words)} words in {len(tokens.ids)} chunk(s) of {length} tokens"]
    for word in tokens.words:
        row, column = divmod(word.positions[0], length)
        ids = ", ".join(str(tokens.ids[p // length][p % length]) for p in word.positions)
        places = ", ".join(map(str, word.positions))
        lines.append(f"{word.text}: token {ids} at {places}, weight {tokens.weights[row][column]:.3g}")
    return "\n".join(lines)
