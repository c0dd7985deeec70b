"""The tokenizer: one token a word, one deliberate exception, and nothing that it cannot encode."""

import pytest

from models.bozzetto.scenes import WIDE, captions, sample
from models.bozzetto.scenes import vocabulary as words
from models.bozzetto.train import tokenizer


@pytest.fixture(scope="module")
def tokens(tmp_path_factory):
    return tokenizer.build(tmp_path_factory.mktemp("tokenizer"))


def test_words_are_single_tokens(tokens):
    split = [w for w in tokenizer.grammar_words() if len(tokens(w).input_ids) != 3]
    assert split == []


def test_the_deliberate_word_is_two_tokens(tokens):
    assert tokens.tokenize(words.MULTI_TOKEN_WORD) == ["butter", "fly</w>"]


def test_captions_fit(tokens):
    longest = max(len(tokens(text).input_ids) for seed in range(400) for text in captions(sample(seed, WIDE), 3))
    assert 15 < longest <= tokenizer.LENGTH


def test_any_text_can_be_encoded(tokens):
    ids = tokenizer.encode(tokens, ["Zebra, façade & 世界 " * 20, ""])
    assert [len(row) for row in ids] == [tokenizer.LENGTH] * 2
    assert tokens.decode(tokens("a red car").input_ids, skip_special_tokens=True).strip() == "a red car"
