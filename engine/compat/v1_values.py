"""Values at the border: what ComfyUI's node classes hand to each other, and ours.

IMAGE is a tensor (B, H, W, C) there, MASK (B, H, W), LATENT a dict, CONDITIONING a list of `[tensor, dict]`. Types that
only packs know travel as `Foreign`. What cannot be written down at all travels as `Live`: it lasts as long as the
worker, and counts as gone afterwards, so that it is made again.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast
from weakref import WeakValueDictionary

from engine.codec import PLAIN, STORED
from engine.spec import holds
from engine.types import Blocked, Clip, Cond, Conditioning, Image, Latent, Mask, Model, Record, Sigmas, Vae, Value

NUMBERS = {"INT", "FLOAT", "STRING", "BOOLEAN"}
WINDOW = ("start_percent", "end_percent")
KEPT = "comfyui"  # where a condition's `extra` keeps keys that only packs know


class Box:
    """Holds an object that cannot be written down."""

    def __init__(self, content: Any) -> None:
        self.content = content


BOXES: WeakValueDictionary[str, Box] = WeakValueDictionary()


@dataclass(frozen=True)
class Live(Record):
    """An object of this worker by its token; reading one that is gone raises KeyError."""

    token: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "box", BOXES[self.token])

    @classmethod
    def of(cls, content: Any) -> Live:
        """Box an object. Every box has a token of its own: what depends on it runs again."""
        token = secrets.token_hex(16)
        box = BOXES[token] = Box(content)  # noqa: F841 - kept alive until the instance holds it
        return cls(token)

    @property
    def content(self) -> Any:
        """The object."""
        return cast(Box, self.__dict__["box"]).content


@dataclass(frozen=True)
class _Foreign(Value):
    """A value of a socket type that only packs know."""

    kind: str
    value: Any

    @property
    def socket(self) -> str:  # type: ignore[override]
        """The socket type that was declared for it."""
        return self.kind


Foreign = _Foreign  # the underscore keeps it out of the catalogue's socket types


@dataclass(frozen=True)
class LatentWith(Latent):
    """A latent with keys that only packs know."""

    extra: dict[str, Any] = field(default_factory=dict)


class ExecutionBlocker:
    """Given in place of a value: what needs it does not run. `message` is shown; None says nothing."""

    def __init__(self, message: str | None = None) -> None:
        self.message = message


# Ours to theirs ----------------------------------------------------------------------------------------------------


def to_v1(value: Any, wrap: Callable[[Any], Any]) -> Any:
    """Return a value as a v1 class wants it; tensors are copies, as classes may write on them.

    `wrap` makes the object that stands for a Model, Clip or Vae.
    """
    match value:
        case Image():
            return value.pixels.clone()
        case Mask():
            return value.values.clone()
        case Latent():
            return latent_dict(value)
        case Conditioning():
            return [_pair(cond) for cond in value.conds]
        case Sigmas():
            return value.values.float()
        case Model() | Clip() | Vae():
            return wrap(value)
        case Foreign():
            return unpacked(value.value)
    return value.clone() if _is_tensor(value) else value


def latent_dict(latent: Latent) -> dict[str, Any]:
    """Return a latent as a dict with `samples` (B, C, h, w) in the model's own scale."""
    plain: dict[str, Any] = {"samples": latent.samples.clone()}
    if latent.mask is not None:
        plain["noise_mask"] = latent.mask[:, None].clone()  # (B, h, w) -> (B, 1, h, w)
    if latent.seeds is not None:
        plain["batch_index"] = list(latent.seeds)
    if latent.factor != 8:
        plain["downscale_ratio_spacial"] = latent.factor
    return plain | (unpacked(latent.extra) if isinstance(latent, LatentWith) else {})


def _pair(cond: Cond) -> list[Any]:
    plain: dict[str, Any] = {} if cond.pooled is None else {"pooled_output": cond.pooled.clone()}
    plain |= {} if cond.strength == 1 else {"strength": cond.strength}
    plain |= {} if cond.mask is None else {"mask": cond.mask.clone()}
    if cond.area is not None:
        x, y, width, height = cond.area
        plain["area"] = ("percentage", height, width, y, x)
    if (cond.start, cond.end) != (0.0, 1.0):
        plain |= dict(zip(WINDOW, (cond.start, cond.end), strict=True))
    more = unpacked(cond.extra.get(KEPT, {}))
    rest = {k: v for k, v in cond.extra.items() if k != KEPT}
    return [cond.tokens.clone(), {**plain, **more, **({"sfumato": Live.of(rest)} if rest else {})}]


# Theirs to ours ----------------------------------------------------------------------------------------------------


def from_v1(raw: Any, kind: str, seen: Mapping[int, str] = {}) -> Any:
    """Return what a v1 class gave for an output of socket type `kind` as a value of ours.

    `seen`: ids of the objects that the class was given, with their types: they name what a wildcard output holds.
    """
    if isinstance(raw, ExecutionBlocker):
        return Blocked(raw.message or "")
    if raw is None or isinstance(raw, Value):
        return raw
    described = getattr(raw, "sfumato", None)
    if isinstance(described, Value):  # a Model, Clip or Vae that went through a pack
        return described
    if kind == "ANY":
        kind = seen.get(id(raw)) or _guessed(raw)
    first = next((k for k in kind.split("|") if k in READERS), kind.partition("|")[0])
    made = READERS[first](raw) if first in READERS else None
    if made is not None:
        return made
    return _number(raw, first) if first in NUMBERS else _other(raw, first)


def _other(raw: Any, kind: str) -> Any:
    return Foreign(kind, packed(raw))


def _number(raw: Any, kind: str) -> Any:
    plain = raw.item() if hasattr(raw, "item") and getattr(raw, "ndim", 1) == 0 else raw
    if kind == "INT" and isinstance(plain, float) and plain.is_integer():
        plain = int(plain)
    return plain if holds(frozenset({kind}), plain) else _other(raw, kind)


def _guessed(raw: Any) -> str:
    """Return what a value given for a wildcard most likely is."""
    if _is_tensor(raw):
        return "IMAGE" if raw.ndim == 4 and raw.shape[-1] in (1, 3, 4) else "MASK" if raw.ndim == 3 else "*"
    if isinstance(raw, dict) and _is_tensor(raw.get("samples")):
        return "LATENT"
    if isinstance(raw, list) and raw and isinstance(raw[0], (list, tuple)) and len(raw[0]) == 2:
        return "CONDITIONING" if _is_tensor(raw[0][0]) and isinstance(raw[0][1], dict) else "*"
    plain = {bool: "BOOLEAN", int: "INT", float: "FLOAT", str: "STRING"}
    return plain.get(type(raw), "*")


def image(raw: Any) -> Image | None:
    """Read IMAGE: (B, H, W, C), (H, W, C) or grey (B, H, W); grey becomes RGB, a fourth channel is kept."""
    if not _is_tensor(raw) or raw.ndim not in (3, 4):
        return None
    if raw.ndim == 3:
        raw = raw[None] if raw.shape[-1] in (1, 3, 4) else raw[..., None]
    pixels = raw.float()
    return Image(pixels.expand(*pixels.shape[:3], 3) if pixels.shape[-1] == 1 else pixels)


def mask(raw: Any) -> Mask | None:
    """Read MASK: (B, H, W), (H, W), or (B, 1, H, W)."""
    if not _is_tensor(raw) or raw.ndim not in (2, 3, 4):
        return None
    values = raw[None] if raw.ndim == 2 else raw[:, 0] if raw.ndim == 4 else raw
    return Mask(values.float())


def latent(raw: Any) -> Latent | None:
    """Read LATENT: `samples` with `noise_mask` at any size and `batch_index`; other keys are kept."""
    if not isinstance(raw, dict) or not _is_tensor(raw.get("samples")):
        return None
    samples = raw["samples"].float()
    given = raw.get("noise_mask")
    known = {"samples", "noise_mask", "batch_index", "downscale_ratio_spacial"}
    more = {k: packed(v) for k, v in raw.items() if k not in known and isinstance(k, str)}
    parts: dict[str, Any] = {
        "factor": int(raw.get("downscale_ratio_spacial", 8)),
        "mask": None if given is None else _cells(given, samples),
        "seeds": tuple(map(int, raw["batch_index"])) if raw.get("batch_index") is not None else None,
    }
    return LatentWith(samples, **parts, extra=more) if more else Latent(samples, **parts)


def _cells(given: Any, samples: Any) -> Any:
    """Bring a noise mask (h', w'), (B, h', w') or (B, 1, h', w') to the latent grid, (B, h, w)."""
    from torch.nn.functional import interpolate

    planes = given.float().reshape(-1, 1, *given.shape[-2:])
    return interpolate(planes, size=samples.shape[-2:], mode="bilinear")[:, 0].clamp(0, 1)


def conditioning(raw: Any) -> Conditioning | None:
    """Read CONDITIONING: a list of `[tokens (B, T, D), dict]`."""
    if not isinstance(raw, list) or not all(isinstance(p, (list, tuple)) and len(p) == 2 for p in raw):
        return None
    return Conditioning(tuple(_cond(tokens, dict(more)) for tokens, more in raw))


def _cond(tokens: Any, more: dict[str, Any]) -> Cond:
    cond = Cond(tokens, more.pop("pooled_output", None), float(more.pop("strength", 1.0)))
    start, end = (more.pop(name, default) for name, default in zip(WINDOW, (0.0, 1.0), strict=True))
    where = more.pop("mask", None)
    if where is not None:
        where = where[None] if where.ndim == 2 else where
        where = where * float(more.pop("mask_strength", 1.0))
    live = more.pop("sfumato", None)
    area = more.get("area")
    if area is not None and area[0] == "percentage":
        _, height, width, y, x = more.pop("area")
        area = (x, y, width, height)
    else:
        area = None
    extra = dict(live.content) if isinstance(live, Live) else {}
    kept = {k: packed(v) for k, v in more.items() if isinstance(k, str)}
    extra |= {KEPT: kept} if kept else {}
    return replace(cond, mask=where, area=area, start=float(start), end=float(end), extra=extra)


def sigmas(raw: Any) -> Sigmas | None:
    """Read SIGMAS: (steps + 1,), descending."""
    return Sigmas(raw.double()) if _is_tensor(raw) and raw.ndim == 1 else None


READERS: dict[str, Callable[[Any], Value | None]] = {
    "IMAGE": image, "MASK": mask, "LATENT": latent, "CONDITIONING": conditioning, "SIGMAS": sigmas,
}  # fmt: skip


# What cannot be written down ---------------------------------------------------------------------------------------


def packed(value: Any) -> Any:
    """Return a value that can be stored: parts that cannot be written down are boxed."""
    if value is None or type(value) in (*PLAIN, float, bytes) or isinstance(value, Record):
        return value
    if type(value) in (list, tuple):
        return type(value)(packed(v) for v in value)
    if type(value) is dict and all(isinstance(k, str) for k in value):
        return {k: packed(v) for k, v in value.items()}
    if _is_tensor(value) and str(value.dtype).removeprefix("torch.") in STORED and value.layout == _strided():
        return value
    return Live.of(value)


def unpacked(value: Any) -> Any:
    """Return the value that `packed` was given; tensors are copies."""
    if isinstance(value, Live):
        return value.content
    if isinstance(value, (list, tuple)):
        return type(value)(unpacked(v) for v in value)
    if isinstance(value, dict):
        return {k: unpacked(v) for k, v in value.items()}
    return value.clone() if _is_tensor(value) else value


def _strided() -> Any:
    import torch

    return torch.strided


def _is_tensor(value: Any) -> bool:
    return type(value).__module__.partition(".")[0] == "torch" and hasattr(value, "untyped_storage")
