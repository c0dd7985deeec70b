"""What packs import from `nodes`: ComfyUI's own classes, in terms of ours, and those that packs inherit from."""

from __future__ import annotations

import json
import random
import string
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from engine.compat.core_info import info_of
from engine.compat.graph import CURRENT
from engine.compat.shims import folder_paths
from engine.compat.shims.cli_args import args
from engine.compat.shims.hollow import absent
from engine.compat.v1_models import facade
from engine.compat.v1_spec import V1Class
from engine.compat.v1_values import from_v1, to_v1
from engine.errors import BadInput, Unavailable
from engine.registry import Registry
from engine.spec import NodeSpec
from engine.types import Saved

__all__ = [
    "EXTENSION_WEB_DIRS", "MAX_RESOLUTION", "NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS", "PreviewImage",
    "SaveImage", "common_ksampler",
]  # fmt: skip

MAX_RESOLUTION = 16384
NODE_CLASS_MAPPINGS: dict[str, Any] = {}
NODE_DISPLAY_NAME_MAPPINGS: dict[str, str] = {}
EXTENSION_WEB_DIRS: dict[str, str] = {}
PNG_LEVEL = 4
STEPS_MAX = 10_000
KSAMPLER_INPUTS = (
    "model", "seed", "steps", "cfg", "sampler_name", "scheduler", "positive", "negative", "latent", "denoise",
    "disable_noise", "start_step", "last_step", "force_full_denoise",
)  # fmt: skip
LISTED = {"crop": "crop_method"}  # what packs call the list of an input's choices, without its s


class CoreNode:
    """One of ComfyUI's own classes: any method of it calls our node of that name."""

    spec: ClassVar[NodeSpec]
    call: ClassVar[Callable[..., Any]]
    FUNCTION = "execute"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """Return its inputs."""
        sections: dict[str, Any] = info_of(cls.spec)["input"]
        return sections

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("_"):
            raise AttributeError(name)
        return self.execute

    def execute(self, *values: Any, **named: Any) -> Any:
        """Call our node with values of theirs; returns a tuple of theirs."""
        current = CURRENT.get()
        if current is None:
            raise Unavailable(f"{self.spec.id} can only be called while a node runs.")
        inputs = self.spec.inputs
        given = dict(zip([i.name for i in inputs], values, strict=False)) | named
        ours = {}
        for each in inputs:
            value = from_v1(given[each.name], each.type) if each.name in given else each.default
            if value is None and each.required:
                raise BadInput(f"{self.spec.id} needs {each.name}.", field=each.name)
            ours[each.name] = each.check(value)
        result = type(self).call(current.context, **ours)
        outputs = tuple(result) if hasattr(result, "_fields") else (result,)
        return tuple(to_v1(v, facade) for v in outputs if not isinstance(v, Saved))


def settle(registry: Registry) -> None:
    """Take the node classes that there are."""
    for name, spec in registry.specs.items():
        if spec.category.startswith("comfyui/") and name not in NODE_CLASS_MAPPINGS:
            body = {
                "spec": spec,
                "call": staticmethod(registry.functions[name]),
                "RETURN_TYPES": tuple(o.type for o in spec.outputs if o.type != Saved.socket),
                "RETURN_NAMES": tuple(o.name for o in spec.outputs if o.type != Saved.socket),
                "CATEGORY": spec.category,
                "OUTPUT_NODE": spec.output,
                **{f"{LISTED.get(i.name, i.name)}s": list(i.choices) for i in spec.inputs if i.choices},
            }
            NODE_CLASS_MAPPINGS[name] = type(name, (CoreNode,), body)
            NODE_DISPLAY_NAME_MAPPINGS[name] = spec.title


def settle_packs(classes: Mapping[str, V1Class]) -> None:
    """Take the classes of packs, which look each other up."""
    for name, each in classes.items():
        NODE_CLASS_MAPPINGS.setdefault(name, each.cls)
        NODE_DISPLAY_NAME_MAPPINGS.setdefault(name, each.title or name)


def common_ksampler(*values: Any, **named: Any) -> Any:
    """Sample as the class KSampler does; with steps named or without noise, as KSamplerAdvanced.

    Takes `KSAMPLER_INPUTS`, in this order or by name.
    """
    given = dict(zip(KSAMPLER_INPUTS, values, strict=False)) | named
    common = {name: given[name] for name in KSAMPLER_INPUTS[:8] if name != "seed"} | {"latent_image": given["latent"]}
    start, last, silent = given.get("start_step"), given.get("last_step"), given.get("disable_noise", False)
    if start is None and last is None and not silent:
        return NODE_CLASS_MAPPINGS["KSampler"]().execute(
            seed=given["seed"], denoise=given.get("denoise", 1.0), **common
        )
    return NODE_CLASS_MAPPINGS["KSamplerAdvanced"]().execute(
        noise_seed=given["seed"], add_noise="disable" if silent else "enable", start_at_step=start or 0,
        end_at_step=STEPS_MAX if last is None else last,
        return_with_leftover_noise="disable" if given.get("force_full_denoise") else "enable", **common,
    )  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in NODE_CLASS_MAPPINGS:
        return NODE_CLASS_MAPPINGS[name]
    if name[:1].isupper():  # a class that is not here; our own modules have small letters
        return absent(f"nodes.{name}", name)
    raise AttributeError(f"nodes has no {name!r} in Sfumato")


class SaveImage:
    """Writes pictures to the output folder, with the prompt and the workflow inside; packs inherit from it."""

    RETURN_TYPES = ()
    FUNCTION = "save_images"
    OUTPUT_NODE = True
    CATEGORY = "image"

    def __init__(self) -> None:
        self.output_dir = folder_paths.get_output_directory()
        self.type = "output"
        self.prefix_append = ""
        self.compress_level = PNG_LEVEL

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """Return its inputs."""
        return {
            "required": {"images": ("IMAGE",), "filename_prefix": ("STRING", {"default": "ComfyUI"})},
            "hidden": {"prompt": "PROMPT", "extra_pnginfo": "EXTRA_PNGINFO"},
        }

    def save_images(
        self, images: Any, filename_prefix: str = "ComfyUI", prompt: Any = None, extra_pnginfo: Any = None
    ) -> dict[str, Any]:
        """Write pictures (B, H, W, C) as PNG and show them."""
        from PIL import Image
        from PIL.PngImagePlugin import PngInfo

        height, width = images[0].shape[:2]
        prefix = filename_prefix + self.prefix_append
        folder, stem, number, subfolder, _ = folder_paths.get_save_image_path(prefix, self.output_dir, width, height)
        info = None if args.disable_metadata else PngInfo()
        for key, value in ({"prompt": prompt, **(extra_pnginfo or {})} if info else {}).items():
            if value is not None and info is not None:
                info.add_text(key, json.dumps(value))
        shown = []
        for index, pixels in enumerate(images):
            file = f"{stem.replace('%batch_num%', str(index))}_{number + index:05}_.png"
            picture = Image.fromarray((pixels.cpu().numpy() * 255.0).clip(0, 255).astype("uint8").squeeze())
            picture.save(Path(folder) / file, pnginfo=info, compress_level=self.compress_level)
            shown.append({"filename": file, "subfolder": subfolder, "type": self.type})
        return {"ui": {"images": shown}}


class PreviewImage(SaveImage):
    """Shows pictures without keeping them."""

    def __init__(self) -> None:
        super().__init__()
        self.output_dir = folder_paths.get_temp_directory()
        self.type = "temp"
        self.prefix_append = "_temp_" + "".join(random.choice(string.ascii_lowercase) for _ in range(5))
        self.compress_level = 1

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """Return its inputs."""
        return {
            "required": {"images": ("IMAGE",)},
            "hidden": {"prompt": "PROMPT", "extra_pnginfo": "EXTRA_PNGINFO"},
        }
