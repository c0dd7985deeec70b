"""Values to bytes and back: what comes out is what went in, and equal values have equal digests."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine import codec
from engine.errors import BadFile, BadInput, Unavailable
from engine.types import Cond, Conditioning, Image, Latent, Noise, Record

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(
            st.text(max_size=3) | st.sampled_from(["$", "$t", "$d", "$tuple", "$value"]), inner, max_size=3
        )
    ),
    max_leaves=10,
)


@given(plain)
def test_plain_values_come_back_with_type_and_order(value: Any) -> None:
    """Tuples stay tuples, keys keep their order, and no key can pretend to be one of the codec's."""
    encoded = codec.encode(value)
    again = codec.decode(encoded.skeleton, ())
    assert repr(again) == repr(value)
    assert codec.digest_of(again) == encoded.digest


def test_numbers_that_json_lacks_come_back() -> None:
    values = codec.decode(codec.encode([math.inf, -math.inf, math.nan]).skeleton, ())
    assert values[:2] == [math.inf, -math.inf]
    assert math.isnan(values[2])


@pytest.mark.parametrize("kind", [torch.float32, torch.float64, torch.int64, torch.bool, torch.uint16, torch.complex64])
@pytest.mark.parametrize("shape", [(), (0, 3), (2, 3)])
def test_tensors_come_back(tmp_path: Path, kind: torch.dtype, shape: tuple[int, ...]) -> None:
    """Through a file, with type and shape."""
    tensor = torch.ones(shape).to(kind)
    encoded = codec.encode({"a": tensor})
    codec.write_file(tmp_path / "v", encoded)
    again = codec.read_file(tmp_path / "v", encoded.digest)["a"]
    assert (again.dtype, again.shape, torch.equal(again, tensor)) == (kind, tensor.shape, True)
    array = codec.read_file(tmp_path / "v", encoded.digest, framework="numpy")["a"]
    assert isinstance(array, np.ndarray)


def test_arrays_come_back_as_read_only_arrays(tmp_path: Path) -> None:
    """Whatever their byte order and layout; numpy has no count of changes, so changing one is refused."""
    array = np.arange(6, dtype=">f4").reshape(2, 3).T
    encoded = codec.encode([array, np.array(2.0)])
    codec.write_file(tmp_path / "v", encoded)
    for value, zero in (codec.settled(encoded), codec.read_file(tmp_path / "v", encoded.digest)):
        assert isinstance(value, np.ndarray)
        assert (value.tolist(), zero.shape) == (array.tolist(), ())
        with pytest.raises(ValueError, match="read-only"):
            value[0] = 1


def test_tensors_are_settled() -> None:
    """No gradient, no inference mode, short floats as float32, views of something larger copied; else shared."""
    whole = torch.ones(100)
    with torch.inference_mode():
        inferred = torch.ones(2)
    conjugated = torch.ones(2, dtype=torch.complex64).conj()
    short, grad = torch.ones(2, dtype=torch.bfloat16), torch.ones(2, requires_grad=True)
    given = codec.encode([grad, inferred, short, whole[:2], whole, conjugated])
    grad, inferred, short, view, same, _ = codec.settled(given)
    assert not grad.requires_grad
    assert not inferred.is_inference()
    assert short.dtype == torch.float32
    assert view.untyped_storage().nbytes() == 8
    assert same.data_ptr() == whole.data_ptr()


def test_value_types_come_back(tmp_path: Path) -> None:
    """Nested dataclasses too; their tensors are found in order."""
    value = Conditioning((Cond(torch.ones(1, 2, 3), extra={"k": torch.zeros(1)}, area=(0.0, 0.0, 1.0, 1.0)),))
    encoded = codec.encode(value)
    codec.write_file(tmp_path / "v", encoded)
    again = codec.read_file(tmp_path / "v", encoded.digest)
    assert isinstance(again.conds[0], Cond)
    assert again.conds[0].area == (0.0, 0.0, 1.0, 1.0)
    assert [t.shape for t in codec.tensors_of([again, 3])] == [(1, 2, 3), (1,)]
    assert encoded.nbytes == len(encoded.skeleton) + 28


def test_equal_digests_mean_equal_values() -> None:
    """Shape, type, value and class all count."""
    values = [
        Image(torch.zeros(1, 2, 2, 3)), Image(torch.zeros(1, 2, 3, 2)), Latent(torch.zeros(1, 2, 2, 3)),
        Image(torch.zeros(1, 2, 2, 3, dtype=torch.float64)), Noise(1), Noise(2),
        {"a": 1}, {"a": 1.0}, [1], (1,), "1", 1,
    ]  # fmt: skip
    assert len({codec.digest_of(v) for v in values}) == len(values)
    assert codec.digest_of(Noise(1)) == codec.digest_of(Noise(1, "gaussian", {}))


def deep(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (object(), "A object cannot travel"),
        ({1: 2}, "needs text keys"),
        (deep(5000), "nested too deeply"),
        (torch.zeros(2, dtype=torch.complex128), "A tensor of complex128"),
        (torch.zeros(2, 2).to_sparse(), "This tensor cannot be stored"),
        (torch.zeros(2, device="meta"), "This tensor cannot be stored"),
        (np.array(["a"]), "An array of <U1"),
    ],
)
def test_what_cannot_be_stored_is_refused(value: Any, sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        codec.encode(value)


def test_a_damaged_file_is_noticed(tmp_path: Path) -> None:
    """Another content, no file at all, not a safetensors file, one without a value."""
    encoded = codec.encode(torch.ones(3))
    path = tmp_path / "v"
    codec.write_file(path, encoded)
    with pytest.raises(BadFile, match="has changed"):
        codec.read_file(path, "0" * 64)
    path.write_bytes(b"nothing")
    with pytest.raises(BadFile, match="cannot be read"):
        codec.read_file(path, encoded.digest)
    codec.safetensors.numpy.save_file({}, path)
    with pytest.raises(BadFile, match="cannot be read"):
        codec.read_file(path, encoded.digest)


def test_a_type_that_has_changed_or_gone_is_told_apart() -> None:
    """A changed type makes the value worthless; a missing pack may come back."""

    @dataclass(frozen=True)
    class Local(Record):
        number: int = 0
        extra: dict[str, int] = field(default_factory=dict)

    skeleton = codec.encode(Local(3)).skeleton
    assert codec.decode(skeleton, ()) == Local(3)
    with pytest.raises(BadFile, match="no longer fits"):
        codec.decode(skeleton.replace(b"number", b"amount"), ())
    with pytest.raises(Unavailable, match="Install its pack"):
        codec.decode(skeleton.replace(b"Local", b"Other"), ())


def test_canonical_json_sorts_keys() -> None:
    assert codec.canonical({"b": 1, "a": "ü"}) == '{"a":"ü","b":1}'.encode()
