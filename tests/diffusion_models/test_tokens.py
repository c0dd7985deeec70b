"""Words and tokens for editors: the true tokenizer, no network loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.diffusion.device import EMBEDDED
from engine.diffusion.library import Library
from engine.diffusion.tokens import words_of
from engine.errors import BadFile, NotFound


@pytest.fixture
def library(tmp_path: Path) -> Library:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "own.safetensors").write_bytes(b"")
    (tmp_path / "diffusers" / "other").mkdir(parents=True)
    (tmp_path / "diffusers" / "other" / "model_index.json").write_text("{}")
    return Library(tmp_path, tmp_path, embedded=EMBEDDED)


def test_a_checkpoint_is_read_with_clips_own_tokens(library: Library) -> None:
    read = words_of(library, "checkpoints", "own.safetensors", "a (photorealistic:1.2) zebra, BREAK at night")
    words = {word["text"]: word["tokens"] for word in read["words"]}
    assert words["photorealistic"] == ["photo", "realistic"]
    assert words["zebra"] == ["zebra"]
    assert (read["room"], read["chunks"]) == (75, 2)
    assert read["count"] == sum(map(len, words.values()))


def test_the_embedded_model_has_a_window_of_its_own(library: Library) -> None:
    read = words_of(library, "embedded", "bozzetto", "a red car on a beach")
    assert [word["text"] for word in read["words"]] == ["a", "red", "car", "on", "a", "beach"]
    assert (read["count"], read["room"]) == (6, 22)


def test_what_cannot_be_read_is_a_sentence(library: Library) -> None:
    with pytest.raises(NotFound, match="among the checkpoints"):
        words_of(library, "checkpoints", "none", "")
    with pytest.raises(BadFile, match="no tokenizer"):
        words_of(library, "diffusers", "other", "")


def test_the_picture_that_people_put_beside_weights(library: Library, tmp_path: Path) -> None:
    assert library.picture("checkpoints", "own.safetensors") is None
    for name in ("own.jpg", "own.preview.png"):
        (tmp_path / "checkpoints" / name).write_bytes(b"")
        assert library.picture("checkpoints", "own.safetensors") == tmp_path / "checkpoints" / name
    with pytest.raises(NotFound):
        library.picture("checkpoints", "../own")
