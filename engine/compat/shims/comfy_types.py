"""`comfy.comfy_types`: names of types, and base classes for the type checkers of packs."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, ClassVar, TypedDict


class IO(StrEnum):
    """The names of socket types."""

    STRING = "STRING"
    IMAGE = "IMAGE"
    MASK = "MASK"
    LATENT = "LATENT"
    BOOLEAN = "BOOLEAN"
    INT = "INT"
    FLOAT = "FLOAT"
    COMBO = "COMBO"
    CONDITIONING = "CONDITIONING"
    SAMPLER = "SAMPLER"
    SIGMAS = "SIGMAS"
    GUIDER = "GUIDER"
    NOISE = "NOISE"
    CLIP = "CLIP"
    CONTROL_NET = "CONTROL_NET"
    VAE = "VAE"
    MODEL = "MODEL"
    LORA_MODEL = "LORA_MODEL"
    LOSS_MAP = "LOSS_MAP"
    CLIP_VISION = "CLIP_VISION"
    CLIP_VISION_OUTPUT = "CLIP_VISION_OUTPUT"
    STYLE_MODEL = "STYLE_MODEL"
    GLIGEN = "GLIGEN"
    UPSCALE_MODEL = "UPSCALE_MODEL"
    AUDIO = "AUDIO"
    VIDEO = "VIDEO"
    WEBCAM = "WEBCAM"
    POINT = "POINT"
    FACE_ANALYSIS = "FACE_ANALYSIS"
    BBOX = "BBOX"
    SEGS = "SEGS"
    ANY = "*"
    PRIMITIVE = "STRING,FLOAT,INT,BOOLEAN"

    def __ne__(self, other: object) -> bool:
        return self.value != "*" and other != "*" and not str.__eq__(self, str(other))

    __hash__ = str.__hash__


class InputTypeDict(TypedDict, total=False):
    """What INPUT_TYPES returns."""

    required: dict[str, Any]
    optional: dict[str, Any]
    hidden: dict[str, Any]


class FileLocator(TypedDict):
    """A file that is shown."""

    filename: str
    subfolder: str
    type: str


class ComfyNodeABC:
    """Base of typed node classes."""

    DESCRIPTION: ClassVar[str]
    CATEGORY: ClassVar[str]
    FUNCTION: ClassVar[str]
    RETURN_TYPES: ClassVar[tuple[Any, ...]]


class CheckLazyMixin:
    """Asks for every lazy input."""

    def check_lazy_status(self, **kwargs: Any) -> list[str]:
        """Return the inputs that are not there yet."""
        return [name for name, value in kwargs.items() if value is None]


InputTypeOptions = HiddenInputTypeDict = dict[str, Any]
UnetWrapperFunction = UnetParams = UnetApplyFunction = UnetApplyConds = Any
