"""GLIGEN: layers between a U-Net's self- and cross-attention that read boxes with a text each.

Li et al. 2023, arXiv 2301.07093. They are read from a file of their own, or from a whole model's, with LDM's or
diffusers' names, and stand in the U-Net while it is called. The form with boxes and texts is read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.models.attention import GatedSelfAttentionDense
from diffusers.models.embeddings import GLIGENTextBoundingboxProjection
from torch import Tensor, nn

from engine.diffusion.families import ldm, shapes
from engine.diffusion.families.base import WHOLE, Part, Reason, Source, Verdict
from engine.diffusion.families.load import Place, assign, on_meta
from engine.diffusion.files import Header
from engine.diffusion.patches import Report
from engine.errors import BadFile, BadInput

PREFIXES = (ldm.UNET, "")
POSITION, FUSER = "position_net.", ".fuser."
NULL_TEXT, NULL_BOX, LAST = (f"{POSITION}{n}" for n in ("null_positive_feature", "null_position_feature",
                                                        "linears.4.weight"))  # fmt: skip
BOXES = 30  # tokens that the layers were trained with; those without a box are learnt ones
SIDES = 4
VARIANTS = {
    f"{POSITION}null_image_feature": "boxes with pictures",
    f"{POSITION}null_person_feature": "keypoints",
    f"{POSITION}pos_embedding": "maps",
}


class Layers(nn.Module):
    """What reads boxes (`position_net`), and `fusers` by the path of their block, with `-` for `.`."""

    def __init__(self, text: int, frequencies: int, out: int, widths: Mapping[str, int]) -> None:
        super().__init__()
        self.position_net = GLIGENTextBoundingboxProjection(text, out, fourier_freqs=frequencies)
        heads = shapes.SD1_HEADS  # of every model that such layers were trained for
        self.fusers = nn.ModuleDict({
            path: GatedSelfAttentionDense(width, out, heads, width // heads) for path, width in widths.items()
        })  # fmt: skip


@dataclass(frozen=True, eq=False)
class Gligen:
    """The layers, ready to stand in a U-Net."""

    module: Layers
    reports: tuple[Report, ...] = ()

    def configured(self, options: Mapping[str, Any]) -> Gligen:
        """Return itself: it has no settings."""
        return self

    @property
    def text_width(self) -> int:
        """Width of the texts that it reads, each a prompt's pooled state."""
        return int(self.module.position_net.positive_len)

    def padded(self, boxes: Tensor, texts: Tensor, there: Tensor, dtype: torch.dtype) -> dict[str, Tensor]:
        """Return what the layers read: boxes (B, 30, 4) as two corners, texts (B, 30, D), masks (B, 30).

        From boxes (B, n, 4) as left, top, width and height, texts (B, n, D), and `there` (B, n), 0 = no box.
        """
        missing = BOXES - boxes.shape[1]
        corners = torch.cat([boxes[..., :2], boxes[..., :2] + boxes[..., 2:]], -1)
        filled = {"boxes": corners, "positive_embeddings": texts, "masks": there}
        device = self.module.position_net.null_position_feature.device
        pads = {"boxes": (0, 0, 0, missing), "positive_embeddings": (0, 0, 0, missing), "masks": (0, missing)}
        return {name: nn.functional.pad(t, pads[name]).to(device, dtype) for name, t in filled.items()}

    @contextmanager
    def standing_in(self, unet: nn.Module) -> Iterator[None]:
        """Let the layers be part of a U-Net while the block runs."""
        names = dict(getattr(unet, "names_elsewhere", ()))
        with ExitStack() as stack:
            stack.enter_context(_child(unet, "position_net", self.module.position_net))
            for path, fuser in self.module.fusers.items():
                block = _block(unet, ldm.renamed(path.replace("-", "."), names), fuser)
                stack.enter_context(_child(block, "fuser", fuser))
            yield


def _block(unet: nn.Module, path: str, fuser: nn.Module) -> nn.Module:
    """Return the block that a fuser stands in; BadInput if there is none, or it is of another width."""
    try:
        block = unet.get_submodule(path)
    except AttributeError:
        block = None
    if block is None or block.attn1.query_dim != fuser.attn.query_dim:  # type: ignore[union-attr]
        raise BadInput("The GLIGEN layers are those of another model: they fit Stable Diffusion 1.x.", field="positive")
    return block


@contextmanager
def _child(parent: nn.Module, name: str, child: nn.Module) -> Iterator[None]:
    """Let `child` be a submodule for a while, in the place of one of that name."""
    before = parent._modules.get(name)
    parent._modules[name] = child
    try:
        yield
    finally:
        if before is None:
            del parent._modules[name]
        else:
            parent._modules[name] = before


class GligenLayers:
    """The family object; see `base.Family`."""

    name = "gligen"
    title = "GLIGEN"
    order = 4  # before Stable Diffusion, whose whole model may be in the file

    def recognise(self, source: Source) -> Verdict:
        """Look for what reads boxes, and for the layers between those of attention."""
        header = source.single
        start = _start(header)
        signs = {
            NULL_TEXT: f"{start}{NULL_TEXT}" in header,
            NULL_BOX: f"{start}{NULL_BOX}" in header,
            "fuser.alpha_attn in transformer blocks": bool(_widths(header)),
        }
        return Verdict.of(self.name, signs, {f"{k} ({what})": f"{start}{k}" in header for k, what in VARIANTS.items()})

    def card(self, source: Source) -> tuple[Reason, ...]:
        """Return family, text width and number of layers, with their reasons."""
        text, _, _ = _sizes(source.single)
        return (
            Reason("family", self.title, "; ".join(self.recognise(source).found)),
            Reason("reads", "boxes with texts", "names of position_net"),
            Reason("text width", text, NULL_TEXT),
            Reason("layers", len(_widths(source.single)), "fusers in the file"),
        )

    def parts(self, source: Source) -> dict[str, Part]:
        """Return the one part there is."""
        kept = (entry.size for key, entry in source.single.items() if POSITION in key or FUSER in key)
        return {"gligen": Part(sum(kept))}

    def build(self, source: Source, part: str, place: Place) -> Gligen:
        """Build the layers at `place`."""
        widths, (text, frequencies, out) = _widths(source.single), _sizes(source.single)
        config = {"text": text, "out": out, "frequencies": frequencies}
        module = on_meta(lambda: Layers(text, frequencies, out, widths), config, "GLIGEN layers")
        tensors = source.tensors(WHOLE, lambda key: POSITION in key or FUSER in key)
        start = _start(source.single)
        weights = {_name(key.removeprefix(start)): tensor for key, tensor in tensors.items()}
        return Gligen(assign(module, weights, place, "GLIGEN layers"))


def _start(header: Header) -> str:
    return next((p for p in PREFIXES if f"{p}{NULL_BOX}" in header), "")


def _name(key: str) -> str:
    """Return a key's name in `Layers`."""
    path, found, rest = key.partition(FUSER)
    return f"fusers.{path.replace('.', '-')}.{rest}" if found else key


def _widths(header: Header) -> dict[str, int]:
    """Return the width of every block that has a fuser, by its path with `-` for `.`."""
    end, start = f"{FUSER}linear.weight", _start(header)
    found = {k.removeprefix(start).removesuffix(end): entry for k, entry in header.items() if k.endswith(end)}
    return {path.replace(".", "-"): entry.shape[0] for path, entry in found.items() if len(entry.shape) == 2}


def _sizes(header: Header) -> tuple[int, int, int]:
    """Return the width of texts, the number of frequencies and the width of what boxes become."""
    start = _start(header)
    text, box, last = (shapes.header_shape(header, start + key) for key in (NULL_TEXT, NULL_BOX, LAST))
    if len(text) != 1 or len(box) != 1 or len(last) != 2 or box[0] % (2 * SIDES):
        raise BadFile("The layers that read boxes (position_net) follow no regular plan; the file is damaged.")
    return text[0], box[0] // (2 * SIDES), last[0]


FAMILY = GligenLayers()
