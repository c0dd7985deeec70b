"""`comfy_api.latest.ui`: what nodes show."""

from __future__ import annotations

from typing import Any

from engine.compat.shims.core_nodes import PreviewImage as _Preview
from engine.compat.shims.core_nodes import SaveImage as _Save


class SavedResult(dict[str, str]):
    """A file that is shown."""

    def __init__(self, filename: str, subfolder: str, type: Any) -> None:
        super().__init__(filename=filename, subfolder=subfolder, type=getattr(type, "value", type))


class SavedImages:
    """Pictures that are shown."""

    def __init__(self, results: list[Any], is_animated: bool = False) -> None:
        self.results, self.is_animated = results, is_animated

    def as_dict(self) -> dict[str, Any]:
        """Return them as the v1 protocol writes them."""
        return {"images": self.results, **({"animated": (True,)} if self.is_animated else {})}


class PreviewImage(SavedImages):
    """Pictures that are shown and not kept."""

    def __init__(self, image: Any, animated: bool = False, cls: Any = None, **kwargs: Any) -> None:
        super().__init__(_write(_Preview(), image, cls), animated)


class PreviewMask(PreviewImage):
    """Masks (B, H, W) that are shown and not kept."""

    def __init__(self, mask: Any, animated: bool = False, cls: Any = None, **kwargs: Any) -> None:
        super().__init__(mask.reshape(-1, *mask.shape[-2:], 1).expand(-1, -1, -1, 3), animated, cls)


class PreviewText:
    """A text that is shown."""

    def __init__(self, value: str, **kwargs: Any) -> None:
        self.value = value

    def as_dict(self) -> dict[str, Any]:
        """Return it as the v1 protocol writes it."""
        return {"text": (self.value,)}


class ImageSaveHelper:
    """Writes pictures."""

    @staticmethod
    def get_save_images_ui(images: Any, filename_prefix: str, cls: Any = None, **kwargs: Any) -> SavedImages:
        """Write pictures to the output folder and show them."""
        return SavedImages(_write(_Save(), images, cls, filename_prefix))


def _write(writer: _Save, images: Any, cls: Any, prefix: str = "ComfyUI") -> list[Any]:
    hidden = getattr(cls, "hidden", None)
    told = (getattr(hidden, "prompt", None), getattr(hidden, "extra_pnginfo", None))
    results: list[Any] = writer.save_images(images, prefix, *told)["ui"]["images"]
    return results
