"""Prompt syntax, chunks, word places, weights and learnt embeddings."""

import time

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.diffusion import text
from engine.diffusion.families.clip_text import CLIP_TOKENIZER, load_tokenizer
from engine.diffusion.text import encode, parse, tokenise
from engine.errors import BadFile, BadInput


class Fake:
    """A text encoder whose state at a place is (token id, place); letters are tokens, so words are easy to see."""

    length, width, begin, end, pad = 8, 2, 1, 2, 0
    vectors = staticmethod(text.no_embeddings)

    @property
    def encoders(self):
        return (self,)

    def pieces(self, prompt):
        return [(ord(c), i, i + 1) for i, c in enumerate(prompt) if not c.isspace()]

    def encode(self, ids, injected, skip):
        places = torch.arange(self.length).expand(ids.shape)
        states = torch.stack([ids, places], -1).float() / (skip or 1)
        for place, vector in injected.items():
            states[place] = vector
        return states, states[:, -1]


def weights_of(prompt):
    return [(p.text, round(p.weight, 4)) for p in parse(prompt)]


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a cat", [("a cat", 1)]),
        ("a (cat:1.3) b", [("a ", 1), ("cat", 1.3), (" b", 1)]),
        ("(a) ((b)) [c]", [("a", 1.1), (" ", 1), ("b", 1.21), (" ", 1), ("c", 0.9091)]),
        ("(a (b:2) c:0.5)", [("a ", 0.5), ("b", 1.0), (" c", 0.5)]),
        ("(a:-1)", [("a", -1)]),
        ("(a: .5 )", [("a", 0.5)]),
        (r"\(a\) \[b\] \\", [("(a) [b] \\", 1)]),
        ("a BREAK b", [("a ", 1), (None, 1), (" b", 1)]),
        ("BREAKFAST", [("BREAKFAST", 1)]),
        ("a:b 3:4", [("a:b 3:4", 1)]),
        ("a) b]", [("a b", 1)]),
        ("(a", [("a", 1)]),
        ("", []),
    ],
)
def test_the_syntax(prompt, expected):
    assert weights_of(prompt) == expected


def test_absurd_weights_are_refused():
    with pytest.raises(BadInput, match="outside"):
        parse("(a:1e9)") and parse("(a:1000)")


def test_brackets_without_end_are_refused_at_once():
    started = time.perf_counter()
    with pytest.raises(BadInput, match="100 brackets"):
        parse("(a" * 50_000)
    assert parse("(a) " * 25_000)
    assert time.perf_counter() - started < 10


@given(st.text(alphabet="ab()[]:\\ .12BREAK,\n", max_size=60))
def test_any_text_is_a_prompt(prompt):
    try:
        phrases = parse(prompt)
    except BadInput:
        return
    assert all(p.text is None or p.text for p in phrases)
    plain = "".join(p.text or "" for p in phrases)
    assert set(plain) <= set(prompt)


def test_words_are_placed_and_never_cut_at_a_chunk():
    tokens = tokenise(Fake(), "abc defg hi")
    assert [w.text for w in tokens.words] == ["abc", "defg", "hi"]
    assert tokens.ids == (
        (1, *map(ord, "abc"), 2, 0, 0, 0),
        (1, *map(ord, "defghi"), 2),
    )
    assert tokens.words[1].positions == (9, 10, 11, 12)
    joined = [i for row in tokens.ids for i in row]
    for word in tokens.words:
        assert "".join(chr(joined[p]) for p in word.positions) == word.text


def test_a_word_longer_than_a_chunk_is_cut():
    tokens = tokenise(Fake(), "x abcdefghij")
    assert [w.text for w in tokens.words] == ["x", "abcdefghij", "abcdefghij"]
    assert [len(w.positions) for w in tokens.words] == [1, 6, 4]


def test_a_break_begins_a_chunk_and_an_empty_prompt_is_one():
    assert len(tokenise(Fake(), "a BREAK b").ids) == 2
    assert tokenise(Fake(), "").ids == ((1, 2, 0, 0, 0, 0, 0, 0),)
    with pytest.raises(BadInput, match="at most 64 chunks"):
        tokenise(Fake(), "abcdef " * 65)


def test_a_weight_scales_the_distance_from_the_empty_prompt():
    plain, empty = encode(Fake(), "ab").tokens, encode(Fake(), "").tokens
    heavy = encode(Fake(), "a(b:1.5)").tokens
    assert torch.equal(heavy[:, 1], plain[:, 1])
    assert torch.allclose(heavy[:, 2], empty[:, 2] + 1.5 * (plain[:, 2] - empty[:, 2]))
    assert torch.equal(encode(Fake(), "a(b:0)").tokens[:, 2], empty[:, 2])
    assert torch.equal(encode(Fake(), "(ab:1.0)").tokens, plain)


def test_long_prompts_join_their_chunks():
    encoded = encode(Fake(), "abcdef ghijkl mn")
    assert encoded.tokens.shape == (1, 24, 2)
    assert torch.equal(encoded.tokens[:, :8], encode(Fake(), "abcdef").tokens)
    assert torch.equal(encoded.pooled, encode(Fake(), "abcdef").pooled)


def test_learnt_embeddings_take_their_places():
    network = Fake()
    network.vectors = {"dog": [torch.zeros(1, 3), torch.tensor([[7.0, 7.0], [8.0, 8.0]])]}.__getitem__
    tokens = tokenise(network, "a (embedding:dog:1.5), b")
    assert [w.text for w in tokens.words] == ["a", "embedding:dog", ",", "b"]
    assert tokens.words[1].positions == (2, 3)
    assert tokens.weights[0][2:4] == (1.5, 1.5)
    assert [w.text for w in tokenise(network, "embedding:dog.").words] == ["embedding:dog", "."]
    states = encode(network, "a embedding:dog").tokens
    assert states[0, 2:4].tolist() == [[7, 7], [8, 8]]
    network.vectors = lambda name: [torch.zeros(1, 3)]
    with pytest.raises(BadInput, match="3 wide, the text encoder 2"):
        tokenise(network, "embedding:dog")
    with pytest.raises(BadInput, match="no embeddings"):
        tokenise(Fake(), "embedding:dog")


def test_clips_own_words_are_grouped_from_their_pieces():
    class Real(Fake):
        length = 77
        tokenizer = load_tokenizer(CLIP_TOKENIZER)

        def pieces(self, prompt):
            found = self.tokenizer(prompt, add_special_tokens=False, return_offsets_mapping=True)
            return [(i, a, b) for i, (a, b) in zip(found["input_ids"], found["offset_mapping"], strict=True)]

    tokens = tokenise(Real(), "A photo of a sfumatofied zebra, 1999!")
    assert [w.text for w in tokens.words] == ["A", "photo", "of", "a", "sfumatofied", "zebra", ",", "1999", "!"]
    assert len(tokens.words[4].positions) > 1
    assert tokens.ids[0][1] == 320


def test_a_folder_without_a_tokenizer_is_a_sentence(tmp_path):
    ends = '"<|startoftext|>": 3, "<|endoftext|>": 4'
    for vocabulary, merges, sentence in (
        (None, None, "vocab.json cannot be read"),
        ("[1, 2", "x", "not valid JSON"),
        ("{" + ends + "}", None, "merges.txt cannot be read"),
        ("{" + ends + ', "a": 0}', "#\na b", "do not fit"),
        ('{"a": "x", ' + ends + "}", "#", "do not fit"),
        ('{"a": 0}', "#", "start and end"),
    ):
        for name, content in (("vocab.json", vocabulary), ("merges.txt", merges)):
            (tmp_path / name).unlink(missing_ok=True)
            if content is not None:
                (tmp_path / name).write_text(content)
        with pytest.raises(BadFile, match=sentence):
            load_tokenizer(tmp_path)
