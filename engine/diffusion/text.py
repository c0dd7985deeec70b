r"""Prompts: weights, breaks, chunks, embeddings by name, and where each word's tokens are.

Syntax (as people know it from A1111): `(word)` weighs 1.1, `((word))` 1.21, `[word]` 1/1.1, `(word:1.3)` 1.3, nested
ones multiply; `\(`, `\)`, `\[`, `\]` and `\\` are the characters themselves; `BREAK` in capitals begins a new chunk;
`embedding:name` stands for a learnt embedding. A prompt longer than the encoder's window is encoded in chunks whose
states are joined along the token axis.

A weight w acts on the encoder's states: state = empty + w (state - empty), where `empty` is the state of the empty
prompt at the same position, so that weight 0 takes a word out and the mean of the states is left alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from engine.errors import BadInput

CHUNKS_MAX = 64
WEIGHT_MAX = 100.0
NESTING_MAX = 100
STRESS = 1.1
Vectors = Callable[[str], Sequence[Tensor]]
"""name of an embedding -> its vectors (k, D) for each width D it was learnt for; NotFound if there is none."""


class TextNetwork(Protocol):
    """A text encoder as prompts need it; `families.clip_text.ClipText` is one.

    Several that read together (`families.clip_pair.ClipPair`) answer as their first, and have all as `encoders`.
    """

    @property
    def encoders(self) -> tuple[TextNetwork, ...]:
        """The encoders whose states are joined along their width; the pooled state is the last one's."""

    @property
    def length(self) -> int:
        """Tokens per chunk, with its begin and end."""

    @property
    def width(self) -> int:
        """Width of a token embedding."""

    @property
    def begin(self) -> int:
        """Id of the token that begins a chunk."""

    @property
    def end(self) -> int:
        """Id of the token that ends a chunk."""

    @property
    def pad(self) -> int:
        """Id of the token that fills a chunk."""

    @property
    def vectors(self) -> Vectors:
        """Learnt embeddings by name."""

    def pieces(self, text: str) -> list[tuple[int, int, int]]:
        """Return (token id, begin, end) for each token of `text`."""

    def encode(
        self, ids: Tensor, injected: Mapping[tuple[int, int], Tensor], skip: int | None
    ) -> tuple[Tensor, Tensor]:
        """Return states (N, L, D) and pooled states (N, P) for ids (N, L); `skip` None is the family's own layer."""


@dataclass(frozen=True)
class Phrase:
    """A stretch of prompt with one weight; `BREAK` is a phrase of its own, with `text` None."""

    text: str | None
    weight: float = 1.0


class Word(NamedTuple):
    """A word of a prompt and the positions of its tokens among all T tokens of the encoding."""

    text: str
    positions: tuple[int, ...]


@dataclass(frozen=True)
class Tokens:
    """A prompt in chunks. `ids` and `weights`: one row per chunk; `injected`: learnt embeddings by row and column."""

    ids: tuple[tuple[int, ...], ...]
    weights: tuple[tuple[float, ...], ...]
    injected: Mapping[tuple[int, int], Tensor]
    words: tuple[Word, ...]


@dataclass(frozen=True)
class Encoded:
    """A prompt's states: `tokens` (1, T, D), `pooled` (1, D) of its first chunk."""

    tokens: Tensor
    pooled: Tensor


def no_embeddings(name: str) -> Sequence[Tensor]:
    """Refuse every embedding."""
    raise BadInput(f"There are no embeddings here, so embedding:{name} means nothing.", field="text")


# Syntax --------------------------------------------------------------------------------------------------------------

_MARK = re.compile(r"\\[\\()\[\]]|[()\[\]]|:\s*([+-]?(?:\d+\.?\d*|\.\d+))\s*\)|\bBREAK\b|[^\\()\[\]:B]+|.", re.DOTALL)


def parse(prompt: str) -> tuple[Phrase, ...]:
    """Split a prompt into phrases of one weight. A bracket without its partner is taken as text would be: ignored."""
    phrases: list[Phrase] = []
    open_round: list[int] = []
    open_square: list[int] = []

    def scale(start: int, factor: float) -> None:
        for i in range(start, len(phrases)):
            if phrases[i].text is not None:
                phrases[i] = Phrase(phrases[i].text, phrases[i].weight * factor)

    for match in _MARK.finditer(prompt):
        mark = match[0]
        if len(open_round) + len(open_square) > NESTING_MAX:
            raise BadInput(f"More than {NESTING_MAX} brackets are open at once in the prompt.", field="text")
        if mark == "(":
            open_round.append(len(phrases))
        elif mark == "[":
            open_square.append(len(phrases))
        elif match[1] is not None and open_round:
            scale(open_round.pop(), _weight(match[1]))
        elif mark == ")" and open_round:
            scale(open_round.pop(), STRESS)
        elif mark == "]" and open_square:
            scale(open_square.pop(), 1 / STRESS)
        elif mark == "BREAK":
            phrases.append(Phrase(None))
        elif mark not in (")", "]"):
            phrases.append(Phrase(mark[1:] if len(mark) == 2 and mark[0] == "\\" else mark))
    return _merged(phrases)


def _weight(text: str) -> float:
    value = float(text)
    if abs(value) > WEIGHT_MAX:
        raise BadInput(f"The weight {text} is outside -{WEIGHT_MAX:g}..{WEIGHT_MAX:g}.", field="text")
    return value


def _merged(phrases: Sequence[Phrase]) -> tuple[Phrase, ...]:
    """Join neighbours of one weight, so that a word cut by an escape is one word again."""
    joined: list[Phrase] = []
    for phrase in phrases:
        last = joined[-1] if joined else None
        if last and last.text is not None and phrase.text is not None and last.weight == phrase.weight:
            joined[-1] = Phrase(last.text + phrase.text, phrase.weight)
        else:
            joined.append(phrase)
    return tuple(joined)


# Tokens --------------------------------------------------------------------------------------------------------------

EMBEDDING = re.compile(r"\bembedding:([^\s,()\[\]:]*[^\s,()\[\]:.;!?])")  # a full stop after it ends the sentence


@dataclass(frozen=True)
class _Unit:
    """What stays together where chunks are cut: the tokens of one word, or of one embedding."""

    text: str
    ids: tuple[int, ...]
    weight: float
    vectors: Tensor | None = None


def tokenise(network: TextNetwork, prompt: str) -> Tokens:
    """Turn a prompt into chunks of tokens; a word is cut only if it is longer than a chunk."""
    if not hasattr(network, "pieces"):
        raise BadInput("This text encoder reads a prompt as one text, without words apart, unlike CLIP.", field="clip")
    room = network.length - 2
    chunks: list[list[_Unit]] = [[]]
    for phrase in parse(prompt):
        if phrase.text is None:
            chunks.append([])
            continue
        for unit in _units(network, phrase):
            for piece in _cut(unit, room):
                if sum(len(u.ids) for u in chunks[-1]) + len(piece.ids) > room:
                    chunks.append([])
                chunks[-1].append(piece)
    if len(chunks) > CHUNKS_MAX:
        limit = f"{CHUNKS_MAX} chunks of {room} tokens"
        raise BadInput(f"The prompt takes {len(chunks)} chunks; at most {limit} are read. Shorten it.", field="text")
    return _laid_out(network, chunks)


def _units(network: TextNetwork, phrase: Phrase) -> list[_Unit]:
    units: list[_Unit] = []
    text, position = phrase.text or "", 0
    for match in EMBEDDING.finditer(text):
        units += _words(network, text[position : match.start()], phrase.weight)
        units.append(_embedded(network, match[1], network.vectors(match[1]), phrase.weight))
        position = match.end()
    return units + _words(network, text[position:], phrase.weight)


def _embedded(network: TextNetwork, name: str, found: Sequence[Tensor], weight: float) -> _Unit:
    fitting = [v for v in found if v.ndim == 2 and v.shape[1] == network.width]
    if not fitting:
        widths = " and ".join(str(v.shape[-1]) for v in found)
        raise BadInput(
            f"Embedding {name} is {widths} wide, the text encoder {network.width}: it is for another family.",
            field="text",
        )
    return _Unit(f"embedding:{name}", (network.begin,) * len(fitting[0]), weight, fitting[0])


def _words(network: TextNetwork, text: str, weight: float) -> list[_Unit]:
    """Group tokens into words: those that touch without a space between letters or digits."""
    units: list[_Unit] = []
    last_end = -1
    for id_, begin, end in network.pieces(text):
        touching = begin == last_end and text[begin - 1 : begin].isalnum() and text[begin : begin + 1].isalnum()
        if touching:
            previous = units[-1]
            units[-1] = _Unit(previous.text + text[begin:end], (*previous.ids, id_), weight)
        else:
            units.append(_Unit(text[begin:end], (id_,), weight))
        last_end = end
    return units


def _cut(unit: _Unit, room: int) -> list[_Unit]:
    if len(unit.ids) <= room:
        return [unit]
    cuts = [slice(i, i + room) for i in range(0, len(unit.ids), room)]
    vectors = unit.vectors
    return [replace(unit, ids=unit.ids[cut], vectors=None if vectors is None else vectors[cut]) for cut in cuts]


def _laid_out(network: TextNetwork, chunks: list[list[_Unit]]) -> Tokens:
    length = network.length
    ids: list[tuple[int, ...]] = []
    weights: list[tuple[float, ...]] = []
    injected: dict[tuple[int, int], Tensor] = {}
    words: list[Word] = []
    for row, units in enumerate(chunks):
        line, line_weights = [network.begin], [1.0]
        for unit in units:
            place = len(line)
            words.append(Word(unit.text, tuple(row * length + place + i for i in range(len(unit.ids)))))
            injected |= {} if unit.vectors is None else {(row, place + i): v for i, v in enumerate(unit.vectors)}
            line += unit.ids
            line_weights += [unit.weight] * len(unit.ids)
        fill = length - len(line)
        ids.append((*line, network.end, *[network.pad] * (fill - 1)))
        weights.append((*line_weights, *[1.0] * fill))
    return Tokens(tuple(ids), tuple(weights), injected, tuple(words))


# Encoding ------------------------------------------------------------------------------------------------------------


def encode(network: TextNetwork, prompt: str, *, skip: int | None = None) -> Encoded:
    """Encode a prompt. `skip`: which layer from the end gives the states, 1 = the last, None = the family's own."""
    parts = [_encode(encoder, prompt, skip) for encoder in network.encoders]
    lengths = {part.tokens.shape[1] for part in parts}
    if len(lengths) > 1:
        raise BadInput("An embedding takes more tokens in one text encoder than in the other; shorten the prompt.")
    return Encoded(torch.cat([part.tokens for part in parts], -1), parts[-1].pooled)


def _encode(network: TextNetwork, prompt: str, skip: int | None) -> Encoded:
    tokens = tokenise(network, prompt)
    states, pooled = network.encode(torch.tensor(tokens.ids), tokens.injected, skip)
    weights = torch.tensor(tokens.weights)[:, :, None]  # (N, L, 1)
    if bool((weights != 1).any()):
        empty, _ = network.encode(torch.tensor(tokenise(network, "").ids), {}, skip)  # (1, L, D)
        states = torch.where(weights == 1, states, empty + weights * (states - empty))
    joined = states.reshape(1, -1, states.shape[-1])  # (N, L, D) -> (1, N L, D)
    return Encoded(joined, pooled[:1])
