"""The patches of a MODEL of v1 classes, laid over a network for the length of a call."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from engine.compat.v1_values import Live
from engine.types import Overlay

if TYPE_CHECKING:
    from engine.diffusion.attention import Hook, Layer
    from engine.diffusion.overlay import Call

POINTS = {
    "attn1_patch": ("inputs", False), "attn2_patch": ("inputs", True),
    "attn1_output_patch": ("projected", False), "attn2_output_patch": ("projected", True),
}  # fmt: skip
REPLACED = {"attn1": False, "attn2": True}
UP = "output_block_patch"


@dataclass(frozen=True)
class Patches(Live, Overlay):
    """The patches of a MODEL, as functions of this worker."""

    def over(self, network: Any) -> Any:
        """Return the network with the patches in place."""
        from engine.diffusion.attention import Hook
        from engine.diffusion.overlay import Call, Overlaid

        options, call = self.content, Call()
        patches = options["transformer_options"].get("patches", {})
        hooks = [
            Hook(POINTS[name][0], _hooked(patch, call, options), _only(POINTS[name][1]))  # type: ignore[arg-type]
            for name, listed in patches.items() if name in POINTS for patch in listed
        ]  # fmt: skip
        for name, places in options["transformer_options"].get("patches_replace", {}).items():
            for place, patch in places.items():
                hooks += _replacing(_hooked(patch, call, options), REPLACED[name], place)
        up = tuple(_meeting(patch, options) for patch in patches.get(UP, ()))
        wrapper = options.get("model_function_wrapper")
        around = None if wrapper is None else _around(wrapper, options)
        has_cfg = options.get("sampler_cfg_function") or options.get("sampler_post_cfg_function")
        return Overlaid(network, call, tuple(hooks), around, _combine(options, network) if has_cfg else None, up)


def copied(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of options whose dicts and lists are its own."""
    return {
        k: copied(v) if isinstance(v, dict) else list(v) if isinstance(v, list) else copy.copy(v)
        for k, v in options.items()
    }


def _only(cross: bool) -> Callable[[Layer], bool]:
    return lambda layer: layer.cross is cross


def _hooked(patch: Callable[..., Any], call: Call, options: Mapping[str, Any]) -> Callable[..., Any]:
    def hook(layer: Layer, first: Any, *others: Any) -> Any:
        width = first.shape[-1]
        extra = {
            **options["transformer_options"],
            "block": block_of(layer.name),
            "n_heads": layer.heads,
            "dim_head": width // layer.heads,
            "original_shape": list(call.shape),
            "activations_shape": [call.shape[0], width, *layer.size],
            "cond_or_uncond": list(call.parts),
            "sigmas": call.sigma,
        }
        return patch(first, *others, extra)

    return hook


def _replacing(hook: Callable[..., Any], cross: bool, place: tuple[Any, ...]) -> list[Hook]:
    """Return the hooks that keep q, k and v (B, heads, L, d) of an attention, and give its results for them."""
    from engine.diffusion.attention import Hook

    kept: list[Any] = []

    def wants(layer: Layer) -> bool:
        whole = (*block_of(layer.name), int(layer.name.partition("transformer_blocks.")[2].partition(".")[0] or 0))
        return layer.cross is cross and whole[: len(place)] == place

    def keep(layer: Layer, *parts: Any) -> tuple[Any, ...]:
        kept[:] = [part.transpose(1, 2).flatten(2) for part in parts]  # to (B, L, heads d)
        return parts

    return [Hook("qkv", keep, wants), Hook("out", lambda layer, out: hook(layer, *kept), wants)]


def _meeting(patch: Callable[..., Any], options: Mapping[str, Any]) -> Callable[..., Any]:
    def change(number: int, main: Any, skip: Any) -> tuple[Any, Any]:
        main, skip = patch(main, skip, {**options["transformer_options"], "block": ("output", number)})
        return main, skip

    return change


def block_of(name: str) -> tuple[str, int]:
    """Return the block of an attention layer as ComfyUI counts them: three to a resolution of Stable Diffusion's U-Net.

    `down_blocks.1.attentions.0...` is ("input", 4), `up_blocks.1.attentions.2...` ("output", 5).
    """
    parts = name.split(".")
    numbers = [int(p) for p in parts[:4] if p.isdecimal()] + [0, 0]
    match parts[0]:
        case "down_blocks":
            return "input", 3 * numbers[0] + numbers[1] + 1
        case "up_blocks":
            return "output", 3 * numbers[0] + numbers[1]
    return "middle", 0


def _around(wrapper: Callable[..., Any], options: Mapping[str, Any]) -> Callable[..., Any]:
    def around(denoise: Callable[..., Any], x: Any, sigma: Any, cond: Any, call: Call) -> Any:
        def apply_model(x: Any, t: Any, **c: Any) -> Any:
            return denoise(x, t)

        transformer = {**options["transformer_options"], "cond_or_uncond": list(call.parts), "sigmas": sigma}
        c = {"c_crossattn": cond.tokens, "transformer_options": transformer}
        return wrapper(apply_model, {"input": x, "timestep": sigma, "c": c, "cond_or_uncond": list(call.parts)})

    return around


def _combine(options: Mapping[str, Any], network: Any) -> Callable[..., Any]:
    """Return guidance as the patches want it. Predictions are denoised latents, `cond` and `uncond` x minus them."""

    def combine(x: Any, sigma: float, c: Any, u: Any, scale: float) -> Any:
        level = x.new_full((len(x),), sigma)
        told = {
            "cond": x - c, "uncond": x - u, "cond_scale": scale, "timestep": level, "input": x, "sigma": level,
            "cond_denoised": c, "uncond_denoised": u, "model": network, "model_options": options,
        }  # fmt: skip
        function = options.get("sampler_cfg_function")
        guided = u + scale * (c - u) if function is None else x - function(told)
        for after in options.get("sampler_post_cfg_function", []):
            guided = after({**told, "denoised": guided, "cond": c, "uncond": u})
        return guided

    return combine
