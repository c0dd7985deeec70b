"""Tokenizers of language-model text encoders, out of the files that people have them in.

Read are `tokenizer.json`, SentencePiece's `spiece.model` and `vocab.json` with `merges.txt`: vocabularies are taken out
and checked, since the library raises bare exceptions, and built into the pipeline that the model was trained with.
"""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Regex, Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import BPE, Unigram
from torch import Tensor

from engine.diffusion.families.base import Source
from engine.diffusion.files import read_config
from engine.diffusion.text import EMBEDDING, parse
from engine.errors import BadFile

FOLDER = "tokenizers"  # in the models folder, for files that come without one
LEVELS_UP = 4  # of folders above a file in which that folder is looked for
VOCABULARY_MAX = 64 << 20  # bytes
PIECE = "spiece_model"  # a tensor in which some files carry their tokenizer
SPACE = "\u2581"  # SentencePiece's
PAD, END, UNKNOWN = "<pad>", "</s>", "<unk>"
BEGIN = "<bos>"  # Gemma's
FLAGS = ("special", "normalized", "lstrip", "rstrip", "single_word")  # of an added token


@dataclass(frozen=True)
class Line:
    """A prompt as one line of tokens. `ids`: (1, L); `mask`: (1, L), 1 = a token, 0 = padding; `weights`: (1, L, 1)."""

    ids: Tensor
    mask: Tensor
    weights: Tensor


def folder_of(source: Source, component: str, name: str, origin: str) -> Path:
    """Return where a tokenizer's files lie: in a diffusers folder, or in `tokenizers/name` beside or above a file.

    BadFile says which file to put where; `origin` is where they are published.
    """
    if source.configs:
        return source.path / component
    places = [base / FOLDER / name for base in source.path.parents[:LEVELS_UP]]
    found = next((place for place in places if place.is_dir()), None)
    if found is None:
        raise BadFile(
            f"The text encoder needs its tokenizer, which is not shipped. Put the tokenizer.json of {origin} into the "
            f"folder models/{FOLDER}/{name}, or load the model from a diffusers folder.", field="file",
        )  # fmt: skip
    return found


# SentencePiece -------------------------------------------------------------------------------------------------------


def unigram(folder: Path) -> Tokenizer:
    """Load T5's kind of tokenizer, a Unigram model (Kudo 2018, arXiv 1804.10959) that ends a text with `</s>`."""
    if (folder / "tokenizer.json").is_file():
        plain = read_config(folder / "tokenizer.json", limit=VOCABULARY_MAX)
        return _unigram(*_from_json(plain, folder.name), folder.name)
    try:
        with (folder / "spiece.model").open("rb") as file:
            data = file.read(VOCABULARY_MAX)
    except OSError as error:
        raise BadFile(f"{folder.name} holds neither tokenizer.json nor spiece.model: {error.strerror}.") from error
    return unigram_of(data, f"{folder.name}/spiece.model")


def unigram_of(data: bytes, name: str) -> Tokenizer:
    """Make a Unigram tokenizer of the bytes of SentencePiece's model file."""
    try:
        fields = list(_fields(data))
        pieces = [dict(_fields(value)) for number, value in fields if number == 1]
        vocabulary = [(p[1].decode(), struct.unpack("<f", p[2])[0] if 2 in p else 0.0) for p in pieces]
        rules = dict(next((list(_fields(value)) for number, value in fields if number == 3), []))
    except (KeyError, ValueError, IndexError, AttributeError, TypeError, struct.error) as error:
        raise BadFile(f"{name} is not a SentencePiece model: {error}.") from error
    return _unigram(vocabulary, rules.get(2, b""), name)


def _from_json(plain: dict[str, Any], name: str) -> tuple[list[tuple[str, float]], bytes]:
    """Take a Unigram vocabulary, and the table of characters that are written alike, out of a tokenizer.json."""
    match plain.get("model"):
        case {"type": "Unigram", "vocab": list(vocabulary)}:
            pass
        case _:
            raise BadFile(f"The tokenizer.json in {name} is of another kind than this model's (Unigram).")
    if not all(isinstance(v, list) and len(v) == 2 and isinstance(v[0], str) for v in vocabulary):
        raise BadFile(f"The tokenizer.json in {name} has a damaged vocabulary.")
    rule = plain.get("normalizer") or {}
    rules = [rule, *rule.get("normalizers", [])] if isinstance(rule, dict) else []
    table = next((r["precompiled_charsmap"] for r in rules if r.get("precompiled_charsmap")), "")
    try:
        return [(piece, float(score)) for piece, score in vocabulary], base64.b64decode(table, validate=True)
    except (TypeError, ValueError, binascii.Error) as error:
        raise BadFile(f"The tokenizer.json in {name} is damaged: {error}.") from error


def _unigram(vocabulary: list[tuple[str, float]], characters: bytes, name: str) -> Tokenizer:
    places = {piece: i for i, (piece, _) in enumerate(vocabulary)}
    trie = struct.unpack("<I", characters[:4])[0] if len(characters) >= 4 else -1
    if not {PAD, END, UNKNOWN} <= places.keys() or (characters and (trie % 4 or not 0 <= trie <= len(characters) - 4)):
        raise BadFile(f"The tokenizer {name} is damaged, or not one of T5.")
    made = Tokenizer(Unigram(vocabulary, unk_id=places[UNKNOWN], byte_fallback=False))
    if characters:
        made.normalizer = normalizers.Precompiled(characters)
    spaces = pre_tokenizers.Metaspace(replacement=SPACE, prepend_scheme="always", split=True)
    made.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), spaces])
    made.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in (PAD, END, UNKNOWN)])
    return made


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """Yield (number, value) of a protobuf message: bytes of what has a length or four bytes, else whole numbers."""
    position = 0
    while position < len(data):
        tag, position = _varint(data, position)
        match tag & 7:
            case 0:
                value: Any
                value, position = _varint(data, position)
            case 1 | 5 as kind:
                size = 8 if kind == 1 else 4
                value, position = data[position : position + size], position + size
            case 2:
                size, position = _varint(data, position)
                value, position = data[position : position + size], position + size
            case kind:
                raise ValueError(f"a field of kind {kind}")
        if position > len(data):
            raise ValueError("it is cut off")
        yield tag >> 3, value


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        value |= (byte & 127) << shift
        position, shift = position + 1, shift + 7
        if byte < 128:
            return value, position


# Byte pairs ----------------------------------------------------------------------------------------------------------


def byte_pairs(folder: Path, pattern: str) -> Tokenizer:
    """Load a tokenizer of byte pairs (Radford et al. 2019, GPT-2) on NFC text, which `pattern` cuts into words."""
    if (folder / "tokenizer.json").is_file():
        return _byte_pairs(*_pairs_from_json(folder), pattern, folder.name)
    vocabulary = read_config(folder / "vocab.json", limit=VOCABULARY_MAX)
    settings = read_config(folder / "tokenizer_config.json")
    try:
        lines = (folder / "merges.txt").read_text("utf-8").split("\n")
    except (OSError, ValueError) as error:
        raise BadFile(f"{folder.name}/merges.txt cannot be read: {error}.") from error
    merges = [line for line in lines if line.strip() and not line.startswith("#version")]
    decoder = settings.get("added_tokens_decoder")
    decoder = decoder if isinstance(decoder, dict) else {}
    added = [{**v, "id": int(k)} for k, v in decoder.items() if k.isdecimal() and isinstance(v, dict)]
    return _byte_pairs(vocabulary, merges, added, pattern, folder.name)


def _byte_pairs(vocabulary: Any, merges: Any, added: list[Any], pattern: str, name: str) -> Tokenizer:
    """Build it of a vocabulary, merges (texts or pairs) and added tokens `{"id", "content", "special"}`."""
    pairs = _checked(vocabulary, merges, name)
    made = Tokenizer(BPE(vocab=vocabulary, merges=pairs, fuse_unk=False, byte_fallback=False))
    made.normalizer = normalizers.NFC()
    words = pre_tokenizers.Split(Regex(pattern), behavior="isolated", invert=False)
    made.pre_tokenizer = pre_tokenizers.Sequence([words, pre_tokenizers.ByteLevel(False, use_regex=False)])
    known = [t for t in added if isinstance(t, dict) and isinstance(t.get("content"), str) and type(t.get("id")) is int]
    for token in sorted(known, key=lambda t: t["id"]):  # each takes the next number
        made.add_tokens([AddedToken(token["content"], special=bool(token.get("special")), normalized=False)])
        if made.token_to_id(token["content"]) != token["id"]:
            raise BadFile(f"The tokenizer in {name} is damaged: its token {token['content'][:20]!r} is out of place.")
    return made


def spaced_pairs(folder: Path) -> Tokenizer:
    """Load Gemma's kind of tokenizer out of a tokenizer.json: pairs of letters, where a space is one, else of bytes."""
    vocabulary, merges, added = _pairs_from_json(folder)
    pairs = _checked(vocabulary, merges, folder.name)
    if not {BEGIN, UNKNOWN} <= vocabulary.keys():
        raise BadFile(
            f"The tokenizer in {folder.name} lacks {BEGIN} or {UNKNOWN}: it is of another kind than this model's."
        )
    made = Tokenizer(BPE(vocab=vocabulary, merges=pairs, unk_token=UNKNOWN, fuse_unk=True, byte_fallback=True))
    made.normalizer = normalizers.Replace(" ", SPACE)
    made.pre_tokenizer = pre_tokenizers.Split(" ", behavior="merged_with_previous")
    known = [t for t in added if isinstance(t, dict) and t.get("content") in vocabulary]
    made.add_tokens([AddedToken(t["content"], **{flag: bool(t.get(flag)) for flag in FLAGS}) for t in known])
    return made


def _pairs_from_json(folder: Path) -> tuple[Any, Any, list[Any]]:
    """Take vocabulary, merges and added tokens out of a tokenizer.json."""
    plain = read_config(folder / "tokenizer.json", limit=VOCABULARY_MAX)
    model, added = plain.get("model"), plain.get("added_tokens") or []
    if not isinstance(model, dict) or model.get("type") != "BPE" or not isinstance(added, list):
        raise BadFile(f"The tokenizer.json in {folder.name} is of another kind than this model's (BPE).")
    return model.get("vocab"), model.get("merges"), added


def _checked(vocabulary: Any, merges: Any, name: str) -> list[tuple[str, str]]:
    """Return merges (texts or pairs) as pairs; BadFile if they do not fit their vocabulary."""
    if not isinstance(vocabulary, dict) or not isinstance(merges, list):
        raise BadFile(f"The tokenizer in {name} lacks its vocabulary or merges.")
    pairs = [tuple(m.split(" ") if isinstance(m, str) else m) for m in merges if isinstance(m, str | list)]
    whole = all(isinstance(i, int) and i >= 0 for i in vocabulary.values())
    if not whole or not all(len(m) == 2 and {*m, "".join(m)} <= vocabulary.keys() for m in pairs):
        raise BadFile(f"The tokenizer in {name} is damaged: its merges do not fit its vocabulary.")
    return [(left, right) for left, right in pairs]


# Lines ---------------------------------------------------------------------------------------------------------------


def line(tokenizer: Tokenizer, prompt: str, length: int, *, pad: int, end: Sequence[int] = ()) -> Line:
    """Read a prompt with its weights (`engine.diffusion.text`) as `length` tokens, cut off or padded, `end` at its end.

    A chunk's beginning, `BREAK`, and learnt words are spaces here: these encoders read one text.
    """
    phrases = [(EMBEDDING.sub(" ", phrase.text or " "), phrase.weight) for phrase in parse(prompt)]
    text = "".join(part for part, _ in phrases)
    edges, place = [], 0
    for part, weight in phrases:
        place += len(part)
        edges.append((place, weight))
    found = tokenizer.encode(text, add_special_tokens=False)
    room = length - len(end)
    weights = [next((w for e, w in edges if last <= e), 1.0) for _, last in found.offsets[:room]]
    ids = [*found.ids[:room], *end]
    fill = length - len(ids)
    return Line(
        torch.tensor([[*ids, *[pad] * fill]]),
        torch.tensor([[1] * len(ids) + [0] * fill]),
        torch.tensor([*weights, *[1.0] * (length - len(weights))])[None, :, None],
    )
