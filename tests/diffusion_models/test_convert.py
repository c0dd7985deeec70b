"""Pickles become safetensors in a process of their own, or are refused with a sentence; nothing in them runs."""

import collections
import os
import pickle
import sys
import types

import pytest
import torch
from safetensors.torch import load_file

from engine.cli import models
from engine.cli.parser import make_parser
from engine.diffusion import convert as converting
from engine.errors import BadFile, BadInput


class Runs:
    """What a hostile pickle does: call something while it is read."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


def read_here(monkeypatch):
    """Do in this process what the other one does, so that many kinds are quick; one test starts the real one."""

    def here(source, part):
        said = converting.main(str(source), str(part))
        if "refused" in said:
            raise BadFile(said["refused"])
        return said

    monkeypatch.setattr(converting, "_in_its_own_process", here)


def test_the_command_converts_in_a_process_of_its_own(tmp_path, capsys):
    shared = torch.arange(6.0)
    state = {"a": shared[:3], "b": shared, "half": torch.ones(2, dtype=torch.bfloat16), "step": 7}
    torch.save({"state_dict": state, "epoch": 1}, tmp_path / "old.ckpt")
    assert models.main(make_parser().parse_args(["models", "convert", str(tmp_path / "old.ckpt")])) == 0
    assert "3 tensors, left out: step" in capsys.readouterr().out
    read = load_file(tmp_path / "old.safetensors")
    assert {k: v.tolist() for k, v in read.items()} == {"a": [0, 1, 2], "b": [0, 1, 2, 3, 4, 5], "half": [1, 1]}
    assert read["half"].dtype == torch.bfloat16
    assert sorted(p.name for p in tmp_path.iterdir()) == ["old.ckpt", "old.safetensors"]


def test_embeddings_and_first_checkpoints(tmp_path, monkeypatch):
    read_here(monkeypatch)
    vectors = torch.randn(3, 8)
    torch.save({"string_to_token": {"*": 265}, "string_to_param": {"*": vectors}, "name": "x"}, tmp_path / "word.pt")
    converting.convert(tmp_path / "word.pt", tmp_path / "out.safetensors")
    assert torch.equal(load_file(tmp_path / "out.safetensors")["emb_params"], vectors)
    module = types.ModuleType("pytorch_lightning.callbacks.model_checkpoint")
    module.ModelCheckpoint = type("ModelCheckpoint", (), {"__module__": module.__name__})
    for name in ("pytorch_lightning", "pytorch_lightning.callbacks", module.__name__):
        monkeypatch.setitem(sys.modules, name, module)
    torch.save({"callbacks": {module.ModelCheckpoint: {"best": 1}}, "state_dict": {"a": vectors}}, tmp_path / "v1.ckpt")
    assert converting.convert(tmp_path / "v1.ckpt")["tensors"] == 1


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.ckpt", b"", "could not be read"),
        ("a.ckpt", b"PK\x03\x04 cut off", "could not be read"),
        ("a.pt", b"plain text, no pickle", "could not be read|refused"),
        ("a.pt", pickle.dumps([1, 2]), "could not be read|refused|no weights"),
        ("a.pt", {"a": 1}, "no weights by name"),
        ("a.pt", [torch.zeros(1)], "no weights by name"),
        ("a.pt", {"a": collections.Counter("ab")}, "no weights by name|refused"),
        ("a.pt", {"string_to_param": {}}, "no weights by name"),
        ("a.bin", {"a": torch.zeros(2, 2).to_sparse()}, "no weights|refused|read"),
    ],
)
def test_what_holds_no_weights_is_a_sentence(tmp_path, monkeypatch, name, content, sentence):
    read_here(monkeypatch)
    if isinstance(content, bytes):
        (tmp_path / name).write_bytes(content)
    else:
        torch.save(content, tmp_path / name)
    with pytest.raises(BadFile, match=sentence) as error:
        converting.convert(tmp_path / name)
    assert len(error.value.message) < 400
    assert [p.name for p in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("zipped", [True, False])
def test_a_hostile_pickle_runs_nothing(tmp_path, monkeypatch, zipped):
    read_here(monkeypatch)
    mark = tmp_path / "ran"
    torch.save({"a": torch.zeros(1), "b": Runs(mark)}, tmp_path / "bad.ckpt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(BadFile, match=r"refused: it wants .*mkdir.* may run code"):
        converting.convert(tmp_path / "bad.ckpt")
    (tmp_path / "raw.pt").write_bytes(pickle.dumps(Runs(mark)))
    with pytest.raises(BadFile, match=r"refused|could not be read"):
        converting.convert(tmp_path / "raw.pt")
    assert not mark.exists()


def test_requests_that_make_no_sense(tmp_path, monkeypatch):
    (tmp_path / "a.safetensors").touch()
    torch.save({"a": torch.zeros(1)}, tmp_path / "a.ckpt")
    for path, target, kind, sentence in (
        (tmp_path / "a.safetensors", None, BadInput, "nothing else is converted"),
        (tmp_path / "a.ckpt", None, BadInput, "is there already"),
        (tmp_path / "gone.ckpt", None, BadFile, "no such file"),
    ):
        with pytest.raises(kind, match=sentence):
            converting.convert(path, target)
    monkeypatch.setattr(converting.shutil, "disk_usage", lambda path: types.SimpleNamespace(free=1))
    with pytest.raises(BadInput, match="no room"):
        converting.convert(tmp_path / "a.ckpt", tmp_path / "b.safetensors")


def test_a_process_that_dies_or_hangs_is_a_sentence(tmp_path, monkeypatch):
    torch.save({"a": torch.zeros(1)}, tmp_path / "a.ckpt")
    for program, seconds, sentence in (
        ("import os; os.abort()", 60, "ended with -6"), ("import time; time.sleep(60)", 2, "within"),
    ):  # fmt: skip
        monkeypatch.setattr(converting.sys, "executable", tmp_path / "python")
        (tmp_path / "python").write_text(f"#!/bin/sh\nexec {sys.orig_argv[0]} -c '{program}'\n")
        (tmp_path / "python").chmod(0o755)
        monkeypatch.setattr(converting, "SECONDS", seconds)
        with pytest.raises(BadFile, match=sentence):
            converting.convert(tmp_path / "a.ckpt")
