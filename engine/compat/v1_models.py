"""MODEL, CLIP and VAE as v1 classes touch them for common uses; each stands for a description of ours (`sfumato`).

What is there: clones, attention patches and replacements, patches on the way up, the wrapper around the network,
functions in place of and after guidance;
tokens, encoding and clip skip; encoding and decoding pictures. What is not says so. See docs/comfyui.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from engine.compat.graph import CURRENT
from engine.compat.v1_patches import POINTS, REPLACED, UP, Patches, copied
from engine.compat.v1_values import from_v1, to_v1
from engine.errors import BadInput, Unavailable
from engine.types import Clip, Conditioning, Model, Vae

OPTION = "comfyui"


@contextmanager
def network(described: Any) -> Iterator[Any]:
    """Give the network behind a description, within the call under way."""
    current = CURRENT.get()
    if current is None:
        raise Unavailable("Models can only be used while a node runs.")
    with current.context.models.use(described) as loaded:
        yield loaded


def facade(described: Model | Clip | Vae) -> Any:
    """Return the object that stands for a description in v1 classes."""
    match described:
        case Model():
            return V1Model(described)
        case Clip():
            return V1Clip(described)
    return V1Vae(described)


class _Facade:
    """Says plainly what it does not have."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise AttributeError(f"{type(self).__name__} has no {name!r} in Sfumato; docs/comfyui.md lists what it has")


# MODEL ----------------------------------------------------------------------------------------------------------------


class V1Model(_Facade):
    """MODEL: patches collect in `model_options`; a clone's do not touch the original's."""

    def __init__(self, described: Model, options: dict[str, Any] | None = None) -> None:
        laid = described.options.get(OPTION)
        self._described = described
        self._given = laid.content if isinstance(laid, Patches) else None
        self.model_options = options or copied(self._given or {"transformer_options": {}})
        self.load_device = self.offload_device = _device()
        self.parent: V1Model | None = None

    @property
    def sfumato(self) -> Model:
        """The description, with what was patched laid over it."""
        if self.model_options == (self._given or {"transformer_options": {}}):
            return self._described
        laid: Model = self._described.with_options(**{OPTION: Patches.of(copied(self.model_options))})
        return laid

    @property
    def model(self) -> V1Model:
        """The network's own attributes are asked here."""
        return self

    def clone(self) -> V1Model:
        """Return a copy that can be patched alone."""
        twin = V1Model(self._described, copied(self.model_options))
        twin.parent = self
        return twin

    def is_clone(self, other: Any) -> bool:
        """Say whether another MODEL has the same weights."""
        return isinstance(other, V1Model) and other._described.weights == self._described.weights

    def set_model_patch(self, patch: Callable[..., Any], name: str) -> None:
        """Add a patch by its place."""
        if name not in (*POINTS, UP):
            raise BadInput(f"A patch at {name!r} is not supported; {', '.join((*POINTS, UP))} are.")
        self.model_options["transformer_options"].setdefault("patches", {}).setdefault(name, []).append(patch)

    def set_model_attn1_patch(self, patch: Callable[..., Any]) -> None:
        """Change what goes into self-attention: (q, k, v, extra_options) -> q, k, v, before the projections."""
        self.set_model_patch(patch, "attn1_patch")

    def set_model_attn2_patch(self, patch: Callable[..., Any]) -> None:
        """Change what goes into cross-attention: (q, k, v, extra_options) -> q, k, v, before the projections."""
        self.set_model_patch(patch, "attn2_patch")

    def set_model_attn1_output_patch(self, patch: Callable[..., Any]) -> None:
        """Change what comes out of self-attention: (out, extra_options) -> out."""
        self.set_model_patch(patch, "attn1_output_patch")

    def set_model_attn2_output_patch(self, patch: Callable[..., Any]) -> None:
        """Change what comes out of cross-attention: (out, extra_options) -> out."""
        self.set_model_patch(patch, "attn2_output_patch")

    def set_model_patch_replace(
        self, patch: Callable[..., Any], name: str, block_name: str, number: int, transformer_index: int | None = None
    ) -> None:
        """Put a function in the place of attention `name` (attn1, attn2) of one block, or of one transformer of it."""
        if name not in REPLACED:
            raise BadInput(f"A replacement of {name!r} is not supported; {', '.join(REPLACED)} are.")
        place = (block_name, number) if transformer_index is None else (block_name, number, transformer_index)
        options = self.model_options["transformer_options"].setdefault("patches_replace", {})
        options.setdefault(name, {})[place] = patch

    def set_model_attn1_replace(
        self, patch: Callable[..., Any], block_name: str, number: int, transformer_index: int | None = None
    ) -> None:
        """Replace self-attention: (q, k, v, extra_options) -> out, each (B, L, D), between the projections."""
        self.set_model_patch_replace(patch, "attn1", block_name, number, transformer_index)

    def set_model_attn2_replace(
        self, patch: Callable[..., Any], block_name: str, number: int, transformer_index: int | None = None
    ) -> None:
        """Replace cross-attention: (q, k, v, extra_options) -> out, each (B, L, D), between the projections."""
        self.set_model_patch_replace(patch, "attn2", block_name, number, transformer_index)

    def set_model_output_block_patch(self, patch: Callable[..., Any]) -> None:
        """Change what meets on the way up: (h, hsp, transformer_options) -> h, hsp."""
        self.set_model_patch(patch, UP)

    def set_model_unet_function_wrapper(self, unet_wrapper_function: Callable[..., Any]) -> None:
        """Wrap the network: (apply_model, {"input", "timestep", "c", "cond_or_uncond"}) -> the denoised latent."""
        self.model_options["model_function_wrapper"] = unet_wrapper_function

    def set_model_sampler_cfg_function(
        self, sampler_cfg_function: Callable[..., Any], disable_cfg1_optimization: bool = False
    ) -> None:
        """Replace guidance: a dict of predictions -> x minus the denoised latent."""
        self.model_options["sampler_cfg_function"] = sampler_cfg_function
        self.model_options["disable_cfg1_optimization"] = disable_cfg1_optimization

    def set_model_sampler_post_cfg_function(
        self, post_cfg_function: Callable[..., Any], disable_cfg1_optimization: bool = False
    ) -> None:
        """Act on the guided prediction: a dict with `denoised` -> the denoised latent."""
        self.model_options.setdefault("sampler_post_cfg_function", []).append(post_cfg_function)

    def model_dtype(self) -> Any:
        """Return the number format of the latents."""
        import torch

        return torch.float32

    def get_model_object(self, name: str) -> Any:
        """Return `model_sampling`; other objects are not to be had."""
        return getattr(self, name)

    @property
    def model_sampling(self) -> ModelSampling:
        """The noise schedule."""
        return ModelSampling(self._described)


@dataclass(frozen=True)
class ModelSampling:
    """The noise schedule of a MODEL."""

    described: Model

    @property
    def sigma_max(self) -> float:
        """The highest noise level."""
        with network(self.described) as loaded:
            return float(loaded.levels.sigma_max)

    @property
    def sigma_min(self) -> float:
        """The lowest noise level."""
        with network(self.described) as loaded:
            return float(loaded.levels.sigma_min)

    def percent_to_sigma(self, percent: float) -> float:
        """Return the noise level at a part of sampling."""
        if percent <= 0:
            return 999999999.9
        with network(self.described) as loaded:
            return 0.0 if percent >= 1 else float(loaded.levels.sigma_at(percent))

    def timestep(self, sigma: Any) -> Any:
        """Return the timesteps of noise levels."""
        import torch

        with network(self.described) as loaded:
            return torch.tensor([loaded.levels.timestep(float(s)) for s in sigma.reshape(-1)]).reshape(sigma.shape)


# CLIP -----------------------------------------------------------------------------------------------------------------


class Tokens(dict[str, Any]):
    """Tokens with their weights, which remember the prompt that they came from."""

    text: str = ""


class V1Clip(_Facade):
    """CLIP: tokens of a prompt and what they mean."""

    def __init__(self, described: Clip) -> None:
        self.sfumato = described
        self.load_device = _device()

    def clone(self) -> V1Clip:
        """Return a copy."""
        return V1Clip(self.sfumato)

    def clip_layer(self, layer_idx: int) -> None:
        """Read prompts from an earlier layer: -1 is the last."""
        self.sfumato = self.sfumato.with_options(skip=max(1, -int(layer_idx)))

    def tokenize(self, text: str, return_word_ids: bool = False, **kwargs: Any) -> Tokens:
        """Return the prompt's tokens, each with its weight, in chunks."""
        from engine.diffusion.text import tokenise

        with network(self.sfumato) as loaded:
            read = tokenise(loaded, text)
        tokens = Tokens(
            l=[list(zip(ids, weights, strict=True)) for ids, weights in zip(read.ids, read.weights, strict=True)]
        )
        tokens.text = text
        return tokens

    def encode_from_tokens(self, tokens: Any, return_pooled: bool = False, return_dict: bool = False) -> Any:
        """Return the states (1, T, D) of tokens, with the pooled state if asked for."""
        cond, more = self._pairs(tokens)[0]
        pooled = more.get("pooled_output")
        if return_dict:
            return {"cond": cond, "pooled_output": pooled}
        return (cond, pooled) if return_pooled else cond

    def encode_from_tokens_scheduled(self, tokens: Any, **kwargs: Any) -> list[Any]:
        """Return the tokens as CONDITIONING."""
        return self._pairs(tokens)

    def encode(self, text: str) -> Any:
        """Return the states of a prompt."""
        return self.encode_from_tokens(self.tokenize(text))

    def _pairs(self, tokens: Any) -> list[Any]:
        if not isinstance(tokens, Tokens):
            raise BadInput("Sfumato encodes prompts, not tokens that a node has put together by itself.")
        with network(self.sfumato) as loaded:
            cond = loaded.condition(tokens.text, skip=self.sfumato.options.get("skip"))
        pairs: list[Any] = to_v1(Conditioning((cond,)), facade)
        return pairs


# VAE ------------------------------------------------------------------------------------------------------------------


class V1Vae(_Facade):
    """VAE: pictures (B, H, W, C) to latents (B, C, h, w) and back."""

    def __init__(self, described: Vae) -> None:
        self.sfumato = described
        self.device = self.output_device = _device()

    @property
    def downscale_ratio(self) -> int:
        """Pixels per latent cell."""
        return int(self.sfumato.options["factor"])

    def spacial_compression_encode(self) -> int:
        """Return pixels per latent cell."""
        return self.downscale_ratio

    spacial_compression_decode = spacial_compression_encode

    def encode(self, pixel_samples: Any) -> Any:
        """Return the latents of pictures; sides that cannot be divided are cut."""
        return self._encode(pixel_samples, 0)

    def decode(self, samples_in: Any, vae_options: Any = None) -> Any:
        """Return the pictures of latents."""
        return self._decode(samples_in, 0)

    def encode_tiled(self, pixel_samples: Any, tile_x: int = 512, tile_y: int = 512, **kwargs: Any) -> Any:
        """Return the latents of pictures, a tile at a time."""
        return self._encode(pixel_samples, max(64, int(tile_x)))

    def decode_tiled(self, samples: Any, tile_x: int = 64, tile_y: int = 64, **kwargs: Any) -> Any:
        """Return the pictures of latents, a tile at a time; tiles count latent cells."""
        return self._decode(samples, max(64, int(tile_x) * self.downscale_ratio))

    def _encode(self, pixels: Any, tile: int) -> Any:
        rgb = from_v1(pixels, "IMAGE").pixels[..., :3]
        height, width = (side // self.downscale_ratio * self.downscale_ratio for side in rgb.shape[1:3])
        with network(self.sfumato) as loaded:
            return loaded.encode(rgb[:, :height, :width], tile=tile)

    def _decode(self, samples: Any, tile: int) -> Any:
        with network(self.sfumato) as loaded:
            return loaded.decode(samples.float(), tile=tile)


def _device() -> Any:
    import torch

    return torch.device("cpu")
