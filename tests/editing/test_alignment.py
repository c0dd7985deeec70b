"""Tokens are aligned, not words: what follows a word of another length still means itself."""

from __future__ import annotations

import pytest
import torch

from engine.diffusion.alignment import aligned, contained, positions_of, refined, replaced, token_map
from engine.errors import BadInput
from tests.editing.words import tokens


def words(text):
    return {w.text: w.positions for w in tokens(text).words}


@pytest.mark.parametrize(("a", "b"), [("a cat on grass", "a dog on grass"), ("red, blue", "blue, red")])
def test_a_swap_of_equal_lengths_is_a_permutation(a, b):
    mapping, own = replaced(tokens(a), tokens(b))
    assert torch.equal(mapping.sum(0), torch.ones(12))
    assert torch.equal(mapping.sum(1), torch.ones(12))
    assert not own.any()


@pytest.mark.parametrize(("a", "b"), [
    ("a cat on grass", "a butterfly on grass"), ("a butterfly on grass", "a cat on grass"),
    ("a strawberry on grass", "a butterfly on grass"),
])  # fmt: skip
def test_words_after_one_of_another_length_come_from_themselves(a, b):
    mapping, _ = replaced(tokens(a), tokens(b))
    torch.testing.assert_close(mapping.sum(1), torch.ones(12))
    for word in ("on", "grass"):
        (i,), (j,) = words(a)[word], words(b)[word]
        assert i != j
        assert mapping[i, j] == 1
        assert mapping[:, j].sum() == 1
    new, old = words(b), words(a)
    (first,) = (w for w in old if w not in ("a", "on", "grass"))
    (second,) = (w for w in new if w not in ("a", "on", "grass"))
    block = mapping[list(old[first])][:, list(new[second])]
    assert block.sum() == pytest.approx(len(old[first]))
    assert mapping[list(old[first])].sum() == pytest.approx(len(old[first]))


def test_attention_of_each_pixel_still_sums_to_one():
    probs = torch.softmax(torch.randn(5, 12, generator=torch.Generator().manual_seed(0)), 1)
    for b in ("a butterfly on grass", "a dog on grass"):
        mapping, _ = replaced(tokens("a cat on grass"), tokens(b))
        torch.testing.assert_close((probs @ mapping).sum(1), torch.ones(5))


def test_in_chunks_begins_and_ends_come_from_their_own():
    a, b = tokens("a cat BREAK on grass"), tokens("a butterfly BREAK on grass")
    mapping, _ = replaced(a, b)
    for begin, end, ended in ((0, 3, 5), (12, 15, 15)):
        assert mapping[begin, begin] == mapping[end, ended] == 1
        assert mapping[:, begin].sum() == mapping[:, ended].sum() == 1
    torch.testing.assert_close(mapping.sum(1), torch.ones(24))


def test_a_swap_needs_equally_many_words():
    with pytest.raises(BadInput, match="equally many words"):
        replaced(tokens("a cat"), tokens("a big cat"))


def test_refining_takes_what_is_common_and_leaves_the_rest_its_own():
    a, b = "a cat on grass", "a big butterfly cat on grass"
    mapping, own = refined(tokens(a), tokens(b))
    for word in ("a", "cat", "on", "grass"):
        (i,), (j,) = words(a)[word], words(b)[word]
        assert mapping[i, j] == 1
        assert own[j] == 0
    for j in (*words(b)["big"], *words(b)["butterfly"]):
        assert own[j] == 1
        assert mapping[:, j].sum() == 0
    assert bool(((mapping.sum(0) + own) == 1).all())


def test_padding_never_comes_from_words():
    mapping, _ = refined(tokens("a cat sits on green grass"), tokens("a cat"))
    fill = [p for p in range(12) if p > 4]
    sources = mapping[:, fill].argmax(0)
    assert int(sources.min()) >= 8
    long = tokens("a cat BREAK a cat sits on green grass with a red dog")
    mapping, _ = refined(long, tokens("a cat BREAK a cat"))
    assert not mapping[[p for w in long.words for p in w.positions]][:, range(16, 24)].any()


def test_refining_nothing_is_the_identity():
    mapping, own = refined(tokens("a cat"), tokens("a cat"))
    assert torch.equal(mapping, torch.eye(12))
    assert not own.any()


def test_the_best_alignment():
    assert aligned([1, 2, 3], [1, 9, 2, 3]) == [(0, 0), (2, 1), (3, 2)]
    assert aligned([1, 2], [3, 4]) == []
    assert aligned([], [1]) == []


def test_positions_by_word_and_phrase():
    found = tokens("a red cat and a red dog").words
    assert positions_of(found, "red", field="w") == (2, 6)
    assert positions_of(found, "red dog, cat", field="w") == (6, 7, 3)
    with pytest.raises(BadInput, match="'bird' is not in the prompt"):
        positions_of(found, "bird", field="w")


@pytest.mark.parametrize(("wanted", "positions"), [
    ("t-shirt", (3, 4, 5)), ("cake.", (7,)), ("'Cake'", (7,)), ("shirt, cake", (5, 7)), (".", (8,)), ("a", (1, 6)),
])  # fmt: skip
def test_words_are_found_by_their_letters_and_not_by_marks_beside_them(wanted, positions):
    assert positions_of(tokens("a red t-shirt a cake.").words, wanted, field="w") == positions


CASES = [
    ("a cat", "a big red cat", {"a": "a", "cat": "cat"}),
    ("an apple", "a green apple", {"an": "a", "apple": "apple"}),
    ("a pack of roses", "a pack of blue roses", {"pack": "pack", "of": "of", "roses": "roses"}),
    ("butterfly", "a red butterfly", {"butterfly": "butterfly"}),
    ("A Cat", "a cat on grass", {"A": "a", "Cat": "cat"}),
]


@pytest.mark.parametrize(("a", "b", "pairs"), CASES)
def test_a_prompt_is_found_inside_a_longer_one(a, b, pairs):
    found = dict(contained(tokens(a), tokens(b)))
    assert sorted(found) == list(range(12))
    assert found[0] == 0
    there = {k.lower(): v for k, v in words(b).items()}
    for word, partner in pairs.items():
        assert tuple(found[i] for i in {k.lower(): v for k, v in words(a).items()}[word.lower()]) == there[partner]
    last = max(p for places in words(a).values() for p in places)
    end = max(p for places in words(b).values() for p in places) + 1
    assert found[last + 1] == end
    assert max(found.values()) <= 11


@pytest.mark.parametrize(("a", "b"), [("a cat", "a dog"), ("cat red", "red cat"), ("a cat cat", "a cat")])
def test_a_missing_word_is_named(a, b):
    with pytest.raises(BadInput, match="lacks the word"):
        contained(tokens(a), tokens(b))


def test_prompts_of_other_lengths_in_chunks_are_refused():
    with pytest.raises(BadInput, match="whole chunk"):
        token_map(tokens("a cat"), tokens("a cat BREAK on grass"), "refine")
    with pytest.raises(BadInput, match="one chunk"):
        contained(tokens("a BREAK b"), tokens("a b"))
