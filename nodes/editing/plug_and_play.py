"""Self-attention handed to an edit: Plug-and-Play (arXiv 2211.12572) and MasaCtrl (arXiv 2304.08465)."""

from __future__ import annotations

from typing import Annotated, Any

from engine.diffusion.alignment import positions_of
from engine.errors import BadInput
from engine.node import Range, Text, node
from engine.types import AttentionControl, AttentionPart, TokenMap
from nodes.basics._pixels import Fraction

DecoderLayer = Annotated[int, Range(0, 100)]


@node(category="editing/attention")
def mutual_self_attention(
    start: Fraction = 0.1,
    layer: DecoderLayer = 0,
    tokens: TokenMap | None = None,
    source_words: Annotated[str, Text(multiline=False)] = "",
    target_words: Annotated[str, Text(multiline=False)] = "",
    threshold: Fraction = 0.1,
) -> AttentionControl:
    """Let the edited picture look at the original's content: things keep their look, their pose may change (MasaCtrl).

    With words of both prompts, the thing looks at the thing alone and the background at the background.

    Args:
        start: Part of the steps after which it begins; before, the new layout forms.
        layer: Layer of the decoder from which on, 0 the coarsest; on Stable Diffusion 3 is what its authors take.
        tokens: Which words stand for which, to tell the thing from its background.
        source_words: Words of the thing in the original prompt, commas between them.
        target_words: Words of the thing in the edited prompt.
        threshold: How strongly a place must be looked at to be the thing, of the range.
    """
    options: dict[str, Any] = {"start": float(start), "layer": layer}
    if bool(source_words.strip()) != bool(target_words.strip()) or (source_words.strip() and tokens is None):
        raise BadInput("To tell a thing from its background give its words in both prompts, and the token map.",
                       field="source_words")  # fmt: skip
    if tokens is not None and source_words.strip():
        options |= {
            "source": positions_of(tokens.source, source_words, field="source_words"),
            "target": positions_of(tokens.target, target_words, field="target_words"), "threshold": float(threshold),
        }  # fmt: skip
    return AttentionControl((AttentionPart("mutual", options),))


@node(category="editing/attention", title="Plug-and-Play features")
def plug_and_play(
    features: Fraction = 0.8, self_attention: Fraction = 0.5, layer: DecoderLayer = 1
) -> AttentionControl:
    """Give the edited picture the structure of the original, and let the new prompt decide what it looks like.

    For other materials, styles and things in the same layout, also with prompts that share no words.

    Args:
        features: Part of the steps, from the noisiest on, in which one layer's features are the original's.
        self_attention: Part of the steps in which places look at each other as in the original.
        layer: That layer of the decoder, 0 the coarsest; self-attention is taken over from it on. On Stable Diffusion 1
            is what its authors take.
    """
    options = {"features_end": float(features), "self_end": float(self_attention), "layer": layer}
    return AttentionControl((AttentionPart("features", options),))
