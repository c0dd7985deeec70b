"""Fitting a model or a prompt to pictures: the denoising loss, and what can be learnt by it.

Every step looks at a picture under several noise levels, one in each equal part of them, so that steps differ little;
which levels and which noise follows from seed and step. The network stays in evaluation mode: dropout is off.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from engine.diffusion import patch_ops, patches
from engine.diffusion.denoiser import Denoiser
from engine.diffusion.levels import Levels
from engine.diffusion.noise import derived
from engine.diffusion.optimise import Desk, Learnt, Parameters, optimise
from engine.errors import BadInput
from engine.types import Cond, Patch

Scope = Literal["lora", "attention", "full"]
MEASURED = 12  # looks that the curve is measured at
KEPT_WEIGHT = 100.0  # of the background against the edit
LEARNING = 32  # bytes a weight: itself, its gradient, two moments, the changed one, and what half-done work keeps


@dataclass(frozen=True)
class Looks:
    """Noise levels and noise: `sigmas` (n,) float64, `noise` (n, C, h, w)."""

    sigmas: Tensor
    noise: Tensor


@dataclass(frozen=True)
class Lesson:
    """How long, how fast and from which seed; `batch` looks a step."""

    steps: int
    rate: float
    batch: int
    seed: int


def looks(levels: Levels, like: Tensor, count: int, seed: int, step: int) -> Looks:
    """Return what step `step` looks at: one level in each of `count` equal parts, with noise of its own."""
    random = torch.Generator().manual_seed(derived(seed, "look", step))
    within = torch.rand(count, generator=random, dtype=torch.float64)
    ks = (torch.arange(count) + within) / count * levels.count
    sigmas = levels.sigmas(max(1.0, k) for k in ks.tolist())
    return Looks(sigmas, torch.randn(count, *like.shape[1:], generator=random).to(like))


def denoising_error(denoiser: Denoiser, x0: Tensor, cond: Cond, at: Looks) -> Tensor:
    """Return the mean squared error of eps on one picture x0 (1, C, h, w); eps - eps_hat = (D(x) - x0) / sigma."""
    sigmas = at.sigmas.to(x0)[:, None, None, None]
    out = denoiser(x0 + sigmas * at.noise, at.sigmas, cond)
    return ((out - x0) / sigmas).square().mean()


def fit_embedding(
    denoiser: Denoiser, x0: Tensor, target: Cond, desk: Desk, lesson: Lesson, *, keep_begin: bool = True
) -> tuple[Cond, Learnt]:
    """Find token states (1, T, D), from those of `target` on, under which the model knows the picture.

    Kawar et al. 2022, arXiv 2210.09276, eq. 2, with the model frozen. `keep_begin` leaves the first token as it is.
    """
    kept = target.tokens[:1, : int(keep_begin)]

    def cond(parameters: Parameters) -> Cond:
        return replace(target, tokens=torch.cat([kept, parameters["tokens"]], 1))

    start = {"tokens": target.tokens[:1, int(keep_begin) :]}
    learnt = _fitted(start, lambda p: (denoiser, cond(p)), x0, denoiser.levels, desk, lesson)
    return cond(learnt.parameters), learnt


def fit_weights(
    network: Any, x0: Tensor, cond: Cond, desk: Desk, lesson: Lesson, *, scope: Scope = "lora", rank: int = 4
) -> tuple[Patch, Learnt]:
    """Find a change of the network's weights under which it knows the picture by `cond`; the weights are not touched.

    Kawar et al. 2022, arXiv 2210.09276, section 3.2. `network`: a U-Net of the families, with patches on it or not.
    """
    weights = _weights(network, scope)
    change = _low_rank(weights, rank, lesson.seed) if scope == "lora" else _differences(weights)

    def learner(parameters: Parameters) -> tuple[Denoiser, Cond]:
        deltas = change.deltas(parameters)
        changed = {n: (w.detach().float() + deltas[n]).to(w.dtype) for n, w in weights.items()}
        return replace(network, patched=partial(_laid, network, changed)).denoiser, cond

    learnt = _fitted(change.start, learner, x0, network.denoiser.levels, desk, lesson)
    tensors = {change.name(name): p for name, p in learnt.parameters.items()}
    return Patch(change.kind, "unet", 1.0, tensors=tensors), learnt


def learning_bytes(network: Any, scope: Scope) -> int:
    """Return what learning the weights of a scope takes besides calls of the network; a lora is thin."""
    return 0 if scope == "lora" else LEARNING * sum(w.numel() for w in _weights(network, scope).values())


def _weights(network: Any, scope: Scope) -> dict[str, nn.Parameter]:
    with network.patched():
        weights = {name: p for name, p in network.module.named_parameters() if _wanted(name, p, scope)}
    if not weights:
        raise BadInput("This model has no weights in that scope.", field="scope")
    return weights


def _fitted(
    start: Parameters, of: Callable[[Parameters], tuple[Denoiser, Cond]], x0: Tensor, levels: Levels, desk: Desk,
    lesson: Lesson,
) -> Learnt:  # fmt: skip
    fixed = looks(levels, x0, MEASURED, lesson.seed, -1)

    def loss(parameters: Parameters, step: int) -> Tensor:
        denoiser, cond = of(parameters)
        return denoising_error(denoiser, x0, cond, looks(levels, x0, lesson.batch, lesson.seed, step))

    def measure(parameters: Parameters) -> float:
        denoiser, cond = of(parameters)
        return float(denoising_error(denoiser, x0, cond, fixed))

    return optimise(start, loss, desk, steps=lesson.steps, rate=lesson.rate, measure=measure)


@dataclass(frozen=True)
class _Change:
    """A change of weights: where it starts, the difference that parameters stand for, and their names in a patch."""

    kind: str
    start: dict[str, Tensor]
    deltas: Callable[[Parameters], Mapping[str, Tensor]]
    name: Callable[[str], str] = str


def _differences(weights: Mapping[str, nn.Parameter]) -> _Change:
    return _Change("delta", {name: torch.zeros_like(w, dtype=torch.float32) for name, w in weights.items()}, dict)


def _low_rank(weights: Mapping[str, nn.Parameter], rank: int, seed: int) -> _Change:
    """LoRA: up (out, r) starts at 0, down (r, in) at random (Hu et al. 2021, arXiv 2106.09685, section 4.1)."""
    start: dict[str, Tensor] = {}
    for i, (name, w) in enumerate(weights.items()):
        random = torch.Generator().manual_seed(derived(seed, "lora", i))
        stem, r = name.removesuffix(".weight"), min(rank, *w.shape)
        start[f"{stem}.lora_A.weight"] = (torch.randn(r, w.shape[1], generator=random) / r).to(w.device)
        start[f"{stem}.lora_B.weight"] = torch.zeros(w.shape[0], r, device=w.device)

    def deltas(parameters: Parameters) -> dict[str, Tensor]:
        stems = {name: name.removesuffix(".weight") for name in weights}
        return {
            name: patch_ops.low_rank(
                {"down": parameters[f"{s}.lora_A.weight"], "up": parameters[f"{s}.lora_B.weight"]}, weights[name]
            ) for name, s in stems.items()
        }  # fmt: skip

    return _Change("lora", start, deltas, lambda name: f"unet.{name}")


def _wanted(name: str, parameter: nn.Parameter, scope: Scope) -> bool:
    attention = ".attn" in name
    return {"lora": attention and name.endswith(".weight") and parameter.ndim == 2, "attention": attention,
            "full": parameter.is_floating_point()}[scope]  # fmt: skip


@contextlib.contextmanager
def _laid(network: Any, changed: Mapping[str, Any]) -> Iterator[None]:
    """Put changed weights over the network's own and its patches while it is called."""
    with network.patched(), patches.swapped(network.module, changed):
        yield


def refit_decoder(
    vae: Any, latent: Tensor, edited: Tensor, original: Tensor, mask: Tensor, desk: Desk, *, steps: int, rate: float,
    mode: Literal["weights", "latent"],
) -> tuple[Tensor, Learnt]:  # fmt: skip
    """Decode one latent (1, C, h, w) so that what lies outside a mask is the original, and the inside as it was.

    Avrahami et al. 2023, arXiv 2206.02779, section 3.3: |m (D - edited)|^2 + 100 |(1 - m)(D - original)|^2 over the
    decoder's weights, or over the latent; pictures (1, H, W, 3), `mask` (1, H, W). The autoencoder is not touched.
    """
    inside = mask[..., None]
    with vae.patched():
        weights = {n: p for n, p in vae.module.named_parameters() if n.startswith(("decoder.", "post_quant_conv."))}
    start = {"latent": latent} if mode == "latent" else _differences(weights).start

    def decode(parameters: Parameters) -> Tensor:
        if mode == "latent":
            return vae.decode(parameters["latent"])  # type: ignore[no-any-return]
        changed = {n: (w.detach().float() + parameters[n]).to(w.dtype) for n, w in weights.items()}
        return replace(vae, patched=partial(_laid, vae, changed)).decode(latent)  # type: ignore[no-any-return]

    def loss(parameters: Parameters, step: int = 0) -> Tensor:
        out = decode(parameters)
        within, without = (inside * (out - edited)).square().mean(), ((1 - inside) * (out - original)).square().mean()
        return within + KEPT_WEIGHT * without

    learnt = optimise(start, loss, desk, steps=steps, rate=rate, measure=lambda p: float(loss(p)))
    with torch.no_grad():
        return decode(learnt.parameters), learnt
