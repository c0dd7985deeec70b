"""Marks in the initial noise: rings in its spectrum, or bits in its signs. Inversion finds them again.

Tree-Ring: Wen et al. 2023, arXiv 2305.20030. Gaussian Shading: Yang et al. 2024, arXiv 2404.04956. The published ring
key is no spectrum of real noise, so that half of it is lost when laid in; here it is real and symmetric and survives.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from engine.errors import BadInput
from engine.types import Noise

ALL = -1  # channels


@dataclass(frozen=True)
class RingKey:
    """Rings of radius up to `radius` around DC in the spectrum of a channel, one real value each, from `seed`.

    `channel` -1 puts rings of their own into every channel: what one is too weak for, all together show.
    """

    seed: int
    channel: int = 0
    radius: int = 3

    def singles(self, channels: int) -> tuple[RingKey, ...]:
        """Return the key of each channel that carries rings."""
        if self.channel == ALL:
            return tuple(replace(self, seed=self.seed + c, channel=c) for c in range(channels))
        if not 0 <= self.channel < channels:
            raise BadInput(f"The latent has {channels} channels; {self.channel} is none of them.", field="channel")
        return (self,)


def _frequencies(h: int, w: int) -> tuple[Tensor, Tensor]:
    """Return the row (h, 1) and column (1, w) of each frequency, fftshifted; DC is 0, 0."""
    return torch.arange(h)[:, None] - h // 2, torch.arange(w)[None] - w // 2


def ring_of(h: int, w: int, radius: int) -> Tensor:
    """Return the ring index (h, w) of each frequency, fftshifted, -1 outside; symmetric about DC."""
    if not 1 <= radius < min(h, w) / 2:
        raise BadInput(f"Rings of radius {radius} do not fit a latent of {w} x {h} cells.", field="radius")
    y, x = _frequencies(h, w)
    distance = (y**2 + x**2).sqrt().round().long()
    return torch.where(distance <= radius, distance, -1)


def spectrum(key: RingKey, h: int, w: int) -> tuple[Tensor, Tensor]:
    """Return where the key lies (h, w) bool, and its values (h, w): N(0, 1) per ring in units of sqrt(h w)."""
    ring = ring_of(h, w, key.radius)
    values = torch.randn(key.radius + 1, generator=torch.Generator().manual_seed(key.seed), dtype=torch.float64)
    return ring >= 0, values[ring.clamp_min(0)] * math.sqrt(h * w)


def lay_rings(eps: Tensor, key: RingKey) -> Tensor:
    """Put the key into the noise (B, C, h, w); other channels and frequencies stay."""
    out = eps.clone()
    for one in key.singles(eps.shape[1]):
        where, values = spectrum(one, *eps.shape[-2:])
        f = _shifted(eps[:, one.channel])
        f = torch.where(where, values.to(f), f)
        laid = torch.fft.ifft2(torch.fft.ifftshift(f, dim=(-2, -1))).real
        out[:, one.channel] = laid.to(eps)
    return out


def _shifted(plane: Tensor) -> Tensor:
    shifted: Tensor = torch.fft.fftshift(torch.fft.fft2(plane.double()), dim=(-2, -1))
    return shifted


@dataclass(frozen=True)
class Found:
    """Distance from the key, the chance of as small a one without a mark (`p`), and the bits read, if any."""

    distance: float
    p: float
    bits: str = ""


def find_rings(z: Tensor, key: RingKey, *, magnitudes: bool = False) -> Found:
    """Look for rings in one inverted noise (1, C, h, w) in unit variance.

    Section 3.3 divides by the variance of the very coefficients that are looked at, since no picture inverts to a flat
    spectrum. Of |y - key|^2 nothing is left then but the cosine of y and the key, whose chance in plain noise is known
    exactly. Each channel has a variance of its own, each conjugate pair counts once. `magnitudes` compares sizes
    alone, which turns and flips leave as they are.
    """
    h, w = z.shape[-2:]
    y, x = _frequencies(h, w)
    seen, wanted, distances = [], [], []
    for one in key.singles(z.shape[1]):
        where, values = spectrum(one, h, w)
        f = _shifted(z[0, one.channel])
        distances.append(((f.abs() - values.abs()) if magnitudes else (f - values))[where].abs().mean())
        half = where & ((y > 0) | ((y == 0) & (x > 0)))
        centre = f[h // 2, w // 2].real[None], values[h // 2, w // 2][None]
        part = torch.cat([f[half].real, f[half].imag, centre[0] / math.sqrt(2)])
        seen.append(part / part.square().mean().sqrt().clamp_min(1e-30))
        wanted.append(torch.cat([values[half], torch.zeros_like(values[half]), centre[1] / math.sqrt(2)]))
    distance = float(torch.stack(distances).mean() / math.sqrt(h * w))
    if magnitudes:
        return Found(distance, math.nan)
    a, b = torch.cat(seen), torch.cat(wanted)
    return Found(distance, cosine_chance(float(torch.cosine_similarity(a, b, 0)), len(a)))


def cosine_chance(cosine: float, n: int) -> float:
    """Return P(C >= cosine) of the cosine of a direction with a random one in n dimensions, n >= 3.

    The share of a sphere within an angle: the integral of sin^(n - 2) up to it, over that up to pi.
    """
    angle = math.acos(max(-1.0, min(1.0, cosine)))
    nodes = torch.linspace(0, 1, 20_001, dtype=torch.float64)
    near, far = (torch.trapezoid((end * nodes).sin().clamp_min(0) ** (n - 2), nodes) * end for end in (angle, math.pi))
    return min(1.0, float(near / far))


@dataclass(frozen=True)
class ShadingKey:
    """A message of bits (`0101...`), repeated over the latent and hidden by a stream from `secret` and `nonce`."""

    message: str
    secret: str
    nonce: int = 0

    def __post_init__(self) -> None:
        if not self.message or set(self.message) - {"0", "1"}:
            raise BadInput("The message is written in 0 and 1.", field="message")

    @property
    def bits(self) -> Tensor:
        """The message (n,) bool."""
        return torch.tensor([c == "1" for c in self.message])


def _stream(key: ShadingKey, count: int) -> Tensor:
    """Return `count` bits of keyed BLAKE2b in counter mode."""
    secret, data = hashlib.blake2b(key.secret.encode(), digest_size=64).digest(), bytearray()
    while len(data) * 8 < count:
        block = f"{key.nonce}/{len(data)}".encode()
        data += hashlib.blake2b(block, key=secret).digest()
    octets = torch.frombuffer(data, dtype=torch.uint8)
    return ((octets[:, None] >> torch.arange(8)) & 1).flatten()[:count].bool()


def shade(eps: Tensor, key: ShadingKey) -> Tensor:
    """Give each cell of the noise (B, C, h, w) the sign of its message bit under the stream: still unit Gaussian.

    Picture k of a batch has the nonce + k, so that no two share their signs and each can be read alone.
    """
    bits, per = key.bits, eps[0].numel()
    if len(bits) > per:
        raise BadInput(f"The latent has room for {per} bits, the message has {len(bits)}.", field="message")
    told = bits.repeat(-(-per // len(bits)))[:per]
    streams = torch.stack([_stream(replace(key, nonce=key.nonce + k), per) for k in range(len(eps))])
    sign = (told ^ streams).to(eps.dtype) * 2 - 1  # (B, C h w)
    return eps.abs() * sign.reshape(eps.shape)


def read_shading(z: Tensor, key: ShadingKey) -> Found:
    """Read the message of one inverted noise (1, C, h, w) by a soft vote over its copies.

    `p`: chance that so many bits of random ones agree with the message; `distance`: the share that disagrees.
    """
    bits, flat = key.bits, z[0].double().flatten()
    stream = _stream(key, len(flat)).double() * 2 - 1
    vote = torch.zeros(len(bits), dtype=torch.float64)
    vote.index_add_(0, torch.arange(len(flat)) % len(bits), -flat * stream)
    got = vote > 0
    agree, n = int((got == bits).sum()), len(bits)
    tail = sum(math.comb(n, i) for i in range(agree, n + 1)) / 2**n
    return Found(1 - agree / n, tail, "".join("1" if b else "0" for b in got.tolist()))


KEYS: Mapping[str, type[RingKey | ShadingKey]] = {"rings": RingKey, "shading": ShadingKey}


def key_of(noise: Noise) -> RingKey | ShadingKey:
    """Return the key that a noise recipe carries."""
    if noise.kind not in KEYS:
        raise BadInput(
            f"Noise of the kind {noise.kind!r} carries no mark that is known here: give ring noise or shaded noise.",
            field="noise",
        )
    return KEYS[noise.kind](**noise.options)


def marked(noise: Noise, eps: Tensor) -> Tensor:
    """Return unit noise (B, C, h, w) with the mark that a noise recipe asks for; `gaussian` has none."""
    if noise.kind == "gaussian":
        return eps
    key = key_of(noise)
    return lay_rings(eps, key) if isinstance(key, RingKey) else shade(eps, key)
