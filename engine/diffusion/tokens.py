"""The words and tokens of a prompt as a model's tokenizer cuts them, without loading the text encoder: for editors."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from engine.diffusion import text
from engine.diffusion.families.clip_text import CLIP_TOKENIZER, ClipText, load_tokenizer
from engine.diffusion.library import Library
from engine.errors import BadFile, NotFound


class TokenReader(ClipText):
    """A tokenizer alone: it tells words apart and encodes nothing."""

    @property
    def length(self) -> int:
        """Tokens per chunk, begin and end included."""
        return int(self.tokenizer.model_max_length)


def words_of(library: Library, kind: str, name: str, prompt: str) -> dict[str, Any]:
    """Return each word of a prompt with its tokens, how many tokens all take, and how many one chunk has room for."""
    reader = _reader(_tokenizer_of(library, kind, name))
    tokens = text.tokenise(reader, prompt)
    ids = [id_ for row in tokens.ids for id_ in row]
    words = [
        {"text": word.text, "tokens": [reader.tokenizer.decode([ids[p]]).strip() for p in word.positions]}
        for word in tokens.words
    ]
    count = sum(len(word.positions) for word in tokens.words)
    return {"words": words, "count": count, "room": reader.length - 2, "chunks": len(tokens.ids)}


def _tokenizer_of(library: Library, kind: str, name: str) -> Path:
    """Return the folder of a model's tokenizer; every single file of Stable Diffusion was trained with CLIP's."""
    path = library.paths(kind).get(name)
    if path is None:
        raise NotFound(f"There is no {name[:80]!r} among the {kind}.")
    beside = path / "tokenizer"
    if path.is_dir() and not (beside / "vocab.json").is_file():
        raise BadFile(f"{name} brings no tokenizer that is read here.")
    return beside if path.is_dir() else CLIP_TOKENIZER


@lru_cache(maxsize=4)
def _reader(folder: Path) -> TokenReader:
    return TokenReader(None, load_tokenizer(folder))
