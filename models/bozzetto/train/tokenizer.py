"""The tokenizer files: CLIP's byte-level BPE, with a merge list under which the world's words are single tokens."""

import json
from itertools import pairwise
from pathlib import Path

from transformers import CLIPTokenizer

from models.bozzetto.scenes import vocabulary as words

LENGTH = 24  # tokens with start and end; the longest caption of the grammar has 24
_START, _END = "<|startoftext|>", "<|endoftext|>"
_LAST = "</w>"  # CLIP's mark of a word's last piece


def grammar_words() -> tuple[str, ...]:
    """Every word that should be one token, in a fixed order (grow at the end: the order decides the ids)."""
    phrases: list[str] = [
        *words.OBJECTS,
        *(words.plural(o) for o in words.OBJECTS),
        *words.COLOURS,
        *words.SIZES,
    ]
    for table in (words.STYLE_PREFIX, words.BACKGROUND_WORDS, words.RELATION_WORDS):
        phrases += [phrase for options in table.values() for phrase in options]
    phrases += [*words.STYLE_SUFFIX.values(), *words.COUNTS.values(), *words.FILLERS, *words.EXTRA_WORDS]
    listed = [word for phrase in phrases for word in phrase.split()]
    skip = {words.MULTI_TOKEN_WORD, words.plural(words.MULTI_TOKEN_WORD), "3d"}
    return tuple(dict.fromkeys(word for word in listed if word not in skip))


def _pieces(word: str, rank: dict[tuple[str, str], int]) -> list[str]:
    """Split a word as CLIP does: merge the pair of lowest rank until no pair is in the list."""
    parts = [*word[:-1], word[-1] + _LAST]
    while len(parts) > 1:
        known = [(rank[pair], i) for i, pair in enumerate(pairwise(parts)) if pair in rank]
        if not known:
            return parts
        _, i = min(known)
        parts[i : i + 2] = [parts[i] + parts[i + 1]]
    return parts


def _merges() -> list[tuple[str, str]]:
    """Merges that make every grammar word one token, and the deliberate word two ("butter", "fly")."""
    rank: dict[tuple[str, str], int] = {}
    for text in ("butter", "fly" + _LAST):
        letters = list(text.removesuffix(_LAST))
        letters[-1] += _LAST if text.endswith(_LAST) else ""
        while len(letters) > 1:
            rank.setdefault((letters[0], letters[1]), len(rank))
            letters[:2] = [letters[0] + letters[1]]
    for word in grammar_words():
        while len(parts := _pieces(word, rank)) > 1:
            rank[parts[0], parts[1]] = len(rank)
    return sorted(rank, key=lambda pair: rank[pair])


def _bytes_as_letters() -> list[str]:
    """The 256 printable stand-ins for bytes that CLIP's and GPT-2's vocabularies begin with."""
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [chr(b) for b in kept] + [chr(256 + i) for i in range(256 - len(kept))]


def build(folder: Path) -> CLIPTokenizer:
    """Write the tokenizer's files, and return it as loaded from them."""
    merges = _merges()
    letters = _bytes_as_letters()
    vocabulary = list(
        dict.fromkeys([*letters, *(c + _LAST for c in letters), *(a + b for a, b in merges), _START, _END])
    )
    special = {"bos_token": _START, "eos_token": _END, "unk_token": _END, "pad_token": _END}
    config = {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": LENGTH,
        **special,
        "do_lower_case": True,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({w: i for i, w in enumerate(vocabulary)}, ensure_ascii=False))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(" ".join(m) for m in merges) + "\n")
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1))
    (folder / "special_tokens_map.json").write_text(json.dumps(special, indent=1))
    return load(folder)


def load(folder: Path) -> CLIPTokenizer:
    """The tokenizer of a folder."""
    tokenizer: CLIPTokenizer = CLIPTokenizer.from_pretrained(folder)
    return tokenizer


def encode(tokenizer: CLIPTokenizer, texts: list[str]) -> list[list[int]]:
    """Token ids, padded and cut to `LENGTH`."""
    ids: list[list[int]] = tokenizer(texts, padding="max_length", max_length=LENGTH, truncation=True).input_ids
    return ids
