"""Tokenizers out of every file they come in, weights of prompts, and what these text encoders refuse."""

import json
import shutil
import struct
from dataclasses import replace

import pytest
import torch

from engine.diffusion.families.base import WHOLE, Source
from engine.diffusion.families.qwen_image import WORDS
from engine.diffusion.families.t5_text import T5Text
from engine.diffusion.families.tokenizer import byte_pairs, folder_of, line, unigram, unigram_of
from engine.diffusion.files import Header
from engine.diffusion.text import tokenise
from engine.errors import BadFile, BadInput
from tests.diffusion_models import modern
from tests.diffusion_models.test_modern_conventions import ADAPTERS, COND, FluxNetwork

TEXT = "a photo of the zebra,  on grass!"


def field(number, value):
    """One field of a protobuf message: bytes, or a number as four bytes."""
    data = struct.pack("<f", value) if isinstance(value, float) else bytes([len(value)]) + value
    return bytes([number << 3 | (5 if isinstance(value, float) else 2)]) + data


def piece_model():
    """SentencePiece's file of the tiny vocabulary, with a trainer's settings that nobody needs."""
    pieces = (field(1, field(1, piece.encode()) + field(2, score)) for piece, score in modern.vocabulary())
    return b"".join(pieces) + field(2, b"\x18\x01") + field(3, field(1, b"nmt_nfkc"))


def test_t5s_tokenizer_is_the_same_out_of_every_file(tmp_path):
    plain = modern.t5_tokenizer()
    plain.save_pretrained(tmp_path / "json")
    (tmp_path / "spm").mkdir()
    (tmp_path / "spm" / "spiece.model").write_bytes(piece_model())
    found = [unigram(tmp_path / "json"), unigram(tmp_path / "spm"), unigram_of(piece_model(), "a tensor")]
    expected = plain(TEXT, padding="max_length", max_length=24, truncation=True)
    for each in found:
        read = line(each, TEXT, 24, pad=0, end=(1,))
        assert read.ids[0].tolist() == expected.input_ids
        assert read.mask[0].tolist() == expected.attention_mask
    cut = line(found[0], TEXT, 4, pad=0, end=(1,))
    assert cut.ids[0].tolist() == plain(TEXT, max_length=4, truncation=True).input_ids


def test_qwens_tokenizer_is_the_same_out_of_every_file(tmp_path):
    plain = modern.qwen_tokenizer()
    plain.save_pretrained(tmp_path / "json")
    whole = json.loads((tmp_path / "json" / "tokenizer.json").read_text())
    apart = tmp_path / "apart"
    apart.mkdir()
    (apart / "vocab.json").write_text(json.dumps(whole["model"]["vocab"]))
    merges = [m if isinstance(m, str) else " ".join(m) for m in whole["model"]["merges"]]
    (apart / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]), "utf-8")
    added = {str(token["id"]): token for token in whole["added_tokens"]}
    (apart / "tokenizer_config.json").write_text(json.dumps({"added_tokens_decoder": added}))
    text = f"<|im_start|>user\n{TEXT} caf\u00e9 12's<|im_end|>"
    for folder in (tmp_path / "json", apart):
        assert byte_pairs(folder, WORDS).encode(text, add_special_tokens=False).ids == plain(text).input_ids


def changed(folder, change):
    plain = json.loads((folder / "tokenizer.json").read_text())
    change(plain)
    (folder / "tokenizer.json").write_text(json.dumps(plain))


DAMAGED = {
    "another kind": (lambda p: p["model"].update(type="WordPiece"), "of another kind"),
    "no vocabulary": (lambda p: p["model"].update(vocab=None), "of another kind|lacks its vocabulary"),
    "numbers as pieces": (lambda p: p["model"].update(vocab=[[1, 2], 3]), "damaged|lacks"),
    "a list": (lambda p: p["model"].update(vocab=[]), "damaged|lacks"),
}


@pytest.mark.parametrize("kind", ["t5", "qwen2"])
@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_tokenizers_get_their_sentence(tmp_path, name, kind):
    change, sentence = DAMAGED[name]
    (modern.t5_tokenizer() if kind == "t5" else modern.qwen_tokenizer()).save_pretrained(tmp_path)
    changed(tmp_path, change)
    with pytest.raises(BadFile, match=sentence):
        unigram(tmp_path) if kind == "t5" else byte_pairs(tmp_path, WORDS)


def test_tables_merges_and_added_tokens_are_checked(tmp_path):
    modern.t5_tokenizer().save_pretrained(tmp_path / "t5")
    changed(tmp_path / "t5", lambda p: p.update(normalizer={"precompiled_charsmap": "/////w=="}))
    with pytest.raises(BadFile, match="damaged, or not one of T5"):
        unigram(tmp_path / "t5")
    for change, sentence in (
        (lambda p: p["model"].update(merges=[["z", "no such"]]), "merges do not fit"),
        (lambda p: p["added_tokens"][0].update(id=9999), "out of place"),
    ):
        shutil.rmtree(tmp_path / "qwen", ignore_errors=True)
        modern.qwen_tokenizer().save_pretrained(tmp_path / "qwen")
        changed(tmp_path / "qwen", change)
        with pytest.raises(BadFile, match=sentence):
            byte_pairs(tmp_path / "qwen", WORDS)


@pytest.mark.parametrize("data", [b"\x0a\xff", b"\xff" * 12, b"\x0b\x00", piece_model()[:-3], b""])
def test_what_is_no_piece_model_gets_its_sentence(data):
    with pytest.raises(BadFile, match=r"not a SentencePiece model|not one of T5"):
        unigram_of(data, "x/spiece.model")


def test_a_folder_without_a_tokenizer_names_what_is_missing(tmp_path):
    with pytest.raises(BadFile, match=r"neither tokenizer.json nor spiece.model"):
        unigram(tmp_path)
    with pytest.raises(BadFile, match=r"vocab.json"):
        byte_pairs(tmp_path, WORDS)
    folder = Source(tmp_path, {}, {WHOLE: {"any": 1}})
    assert folder_of(folder, "tokenizer_2", "t5", "x") == tmp_path / "tokenizer_2"
    with pytest.raises(BadFile, match=r"tokenizer.json of x into the folder models/tokenizers/t5"):
        folder_of(Source(tmp_path / "a.safetensors", {WHOLE: Header({})}), "tokenizer_2", "t5", "x")


def t5(tmp_path):
    modern.t5_tokenizer().save_pretrained(tmp_path)
    return T5Text(modern.networks("flux dev")["text_encoder_2"], unigram(tmp_path), 16)


def test_a_weight_moves_the_states_of_its_words(tmp_path):
    text = t5(tmp_path)
    plain, empty = (text.condition(prompt).tokens for prompt in ("the zebra on grass", ""))
    weighed = text.condition("the (zebra:1.5) on grass").tokens
    expected = plain.clone()
    expected[:, 1] = empty[:, 1] + 1.5 * (plain[:, 1] - empty[:, 1])  # the second token is the whole word
    assert torch.allclose(weighed, expected, atol=1e-6)
    assert torch.equal(text.condition("the embedding:rex zebra BREAK on grass").tokens, plain)


def test_what_is_for_clip_and_unets_is_refused(tmp_path):
    text = t5(tmp_path)
    with pytest.raises(BadInput, match="CLIP skip is for CLIP"):
        text.condition("a", skip=2)
    with pytest.raises(BadInput, match="without words apart, unlike CLIP"):
        tokenise(text, "a")
    x, times = torch.zeros(1, 16, 4, 4), torch.tensor([500.0])
    for key, what in (("attention", "edits of attention"), ("controls", "ControlNet"), ("concat", "second picture")):
        steered = type(COND)(COND.tokens, COND.pooled, extra={key: (torch.ones(1),)})
        with pytest.raises(BadInput, match=f"takes no {what}"):
            ADAPTERS["flux"](x, times, steered)
    with pytest.raises(BadInput, match="reads text 8 wide, the conditioning is 5 wide"):
        ADAPTERS["flux"](x, times, type(COND)(torch.zeros(1, 3, 5)))
    with pytest.raises(BadInput, match="16 channels; 4 came"):
        ADAPTERS["flux"](x[:, :4], times, COND)
    with pytest.raises(BadInput, match="known by its family"):
        ADAPTERS["flux"].configured({"prediction": "v"})
    pooling = replace(ADAPTERS["flux"], module=FluxNetwork())
    pooling.module.config.pooled_projection_dim = 768
    with pytest.raises(BadInput, match="needs a pooled text state"):
        pooling(x, times, COND)
