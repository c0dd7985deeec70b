"""Every node that is found, built in or in a pack: help, bounds, catalogue, and calls with any plain input."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from engine import codec, pictures
from engine.errors import SfumatoError
from engine.node import PYTHON_TYPES, InputSpec, Lazy, NodeSpec, OutputSpec
from engine.registry import Registry, load
from engine.settings import Settings
from engine.types import Cond, Conditioning, Latent, Noise, Sampler, Sigmas, Value
from tests.nodes.support import context, random_image, random_mask

# What a test can make without a model; nodes that need more are called by the tests of the diffusion library.
SAMPLES: Mapping[str, Any] = {
    "IMAGE": random_image(2, 16, 24),
    "MASK": random_mask(1, 16, 24),
    "LATENT": Latent(torch.randn(2, 4, 4, 6, generator=torch.Generator().manual_seed(1))),
    "CONDITIONING": Conditioning((Cond(torch.ones(1, 3, 2), torch.ones(1, 2)),)),
    "NOISE": Noise(7),
    "SIGMAS": Sigmas(torch.tensor([3.0, 1.0, 0.0], dtype=torch.float64)),
    "SAMPLER": Sampler("euler"),
    "JSON": {"x": 0, "y": 0, "width": 8, "height": 8},
    "ANY": 3.5,
    "BOOLEAN": True,
    "STRING": "a b",
    "INT": 1,
    "FLOAT": 0.5,
}


@cache
def registry() -> Registry:
    return load(Settings(custom_nodes=(Path(__file__).parents[2] / "custom_nodes",)))


SPECS = list(registry().specs.values())
each = pytest.mark.parametrize("spec", SPECS, ids=lambda s: s.id)


def test_every_pack_loads() -> None:
    assert registry().failed == {}
    assert registry().specs["posterize"].pack == "example"


@each
def test_every_input_has_help(spec: NodeSpec) -> None:
    assert spec.doc.strip().partition("\n")[0].endswith(".")
    assert [i.name for i in spec.inputs if len(i.help) < 5 or not i.help.endswith(".")] == []


@each
def test_names_can_be_written_in_a_workflow(spec: NodeSpec) -> None:
    names = [spec.id, *(i.name for i in spec.inputs), *(o.name for o in spec.outputs)]
    theirs = spec.category.startswith("comfyui/")  # these have the names that ComfyUI gave them
    assert theirs or all(name.isidentifier() and name == name.lower() for name in names)
    assert len({o.name for o in spec.outputs}) == len(spec.outputs)
    assert spec.category


@each
def test_defaults_pass_their_own_check(spec: NodeSpec) -> None:
    for given in spec.inputs:
        if given.default is not None and not given.list:
            assert given.check(given.default) == given.default


@each
def test_numbers_are_bounded(spec: NodeSpec) -> None:
    for given in spec.inputs:
        if given.types <= {"INT", "FLOAT"}:
            assert given.low is not None
            assert given.high is not None
            assert given.low < given.high
            for outside in (given.low - 1, given.high + 1):
                with pytest.raises(SfumatoError):
                    given.check(int(outside) if given.types == {"INT"} else float(outside))


@each
def test_the_catalogue_gives_the_node_back(spec: NodeSpec) -> None:
    assert NodeSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


@each
def test_calls_give_what_is_declared_the_same_each_time(spec: NodeSpec, tmp_path: Path) -> None:
    if any((i.required and not i.types & SAMPLES.keys()) or i.file not in (None, "input") for i in spec.inputs):
        pytest.skip("needs a model: called by the tests of the diffusion library")
    (tmp_path / "a.png").write_bytes(pictures.encode(random_image().pixels[0].numpy()))
    for everything in (False, True):
        inputs = {i.name: _value(i, everything) for i in spec.inputs}
        before = _digest(inputs)
        first, second = (_outcome(spec, inputs, tmp_path) for _ in range(2))
        assert first == second
        assert _digest(inputs) == before


def _value(spec: InputSpec, everything: bool) -> Any:
    """Return a value that the input takes: its default, or (`everything`) its lowest number or a sample of its type."""
    value = "a.png" if spec.file else spec.default
    if spec.types <= {"INT", "FLOAT"} and (everything or value is None):
        value = spec.low if spec.types == {"FLOAT"} else int(spec.low or 0)
    if value is None and (everything or spec.required):
        value = spec.choices[0] if spec.choices else SAMPLES.get(min(spec.types & SAMPLES.keys(), default=""))
    if spec.list and value is not None:
        return [value, value]
    return Lazy(lambda: value) if spec.lazy else value


def _digest(inputs: dict[str, Any]) -> str:
    return codec.encode([v for v in inputs.values() if not isinstance(v, Lazy)]).digest


def _outcome(spec: NodeSpec, inputs: dict[str, Any], folder: Path) -> list[str]:
    """Call a node and return its values' digests, or its refusal; anything else is a failure."""
    try:
        value = registry().functions[spec.id](context(folder), **inputs)
    except SfumatoError as error:
        return ["refused", error.message]
    values = tuple(value) if hasattr(value, "_fields") else (value,) if spec.outputs else ()
    assert len(values) == len(spec.outputs)
    for output, given in zip(spec.outputs, values, strict=True):
        assert all(_is_of(v, output) for v in (given if output.list else [given])), output
    return [] if spec.effect else [codec.encode(v).digest for v in values]


def _is_of(value: Any, output: OutputSpec) -> bool:
    names = output.type.split("|")
    if "ANY" in names:
        return True
    if isinstance(value, Value):
        return value.socket in names
    kinds = tuple(kind for name in names for kind in PYTHON_TYPES.get(name, ()))
    return isinstance(value, kinds) and ("BOOLEAN" in names or not isinstance(value, bool))
