"""The values that travel along links: frozen dataclasses, stored and digested by one codec (`engine.codec`).

Tensors are torch tensors on the CPU. This module names them for the type checker only and imports no torch.
Models travel as descriptions (which weights, which patches), never as networks: `ctx.models.use(model)` loads one.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from torch import Tensor


class Record:
    """Base of every dataclass that the codec can store."""


class Overlay(Record):
    """An option of a network that acts on it once it is loaded."""

    def over(self, network: Any) -> Any:
        """Return the network with this laid over it; nothing, unless a subclass knows better."""
        return network


class Value(Record):
    """Base of every value type. `socket` is the name shown on sockets; `color` the editor's hue for it."""

    socket: ClassVar[str] = "ANY"
    color: ClassVar[str] = "gray"


@dataclass(frozen=True)
class Image(Value):
    """Pictures. `pixels`: (B, H, W, 3) float32, 0..1, sRGB."""

    socket: ClassVar[str] = "IMAGE"
    color: ClassVar[str] = "blue"
    pixels: Tensor


@dataclass(frozen=True)
class Mask(Value):
    """Where to act. `values`: (B, H, W) float32, 0..1, 1 = edit."""

    socket: ClassVar[str] = "MASK"
    color: ClassVar[str] = "green"
    values: Tensor


@dataclass(frozen=True)
class Latent(Value):
    """Latents. `samples`: (B, C, h, w) float32, scaled to about unit variance; `factor`: pixels per latent cell.

    `mask`: (B, h, w) or None, 1 = regenerate; `seeds`: the batch index of each sample's noise, None = 0..B-1.
    """

    socket: ClassVar[str] = "LATENT"
    color: ClassVar[str] = "pink"
    samples: Tensor
    factor: int = 8
    mask: Tensor | None = None
    seeds: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Noise(Value):
    """A recipe of noise: CPU-generator noise from `seed`, the same on every device. See `engine.diffusion.noise`."""

    socket: ClassVar[str] = "NOISE"
    color: ClassVar[str] = "slate"
    seed: int
    kind: str = "gaussian"
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Sigmas(Value):
    """A noise schedule to walk down. `values`: (steps + 1,) float64, descending; ends in 0 unless stopped early."""

    socket: ClassVar[str] = "SIGMAS"
    color: ClassVar[str] = "lime"
    values: Tensor


@dataclass(frozen=True)
class Sampler(Value):
    """A sampler by name with its options, e.g. `euler_ancestral`, `{"eta": 1.0}`."""

    socket: ClassVar[str] = "SAMPLER"
    color: ClassVar[str] = "olive"
    name: str
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Weights(Record):
    """Where a network's parameters lie: models folder `kind`, the `name` listed there, the `digest` of its content.

    `more`: further files that belong to the same network, such as the second of a pair of text encoders.
    """

    kind: str
    name: str
    digest: str
    more: tuple[Weights, ...] = ()

    @property
    def all(self) -> tuple[Weights, ...]:
        """This file and those that belong to it."""
        return (self, *self.more)


@dataclass(frozen=True)
class Patch(Value):
    """A change of weights: a file (`weights`) or tensors made in this graph, at a strength per component.

    `kind`: how `tensors` or the file is read (`lora`, `delta`, ...); `strength` scales it; `component`: unet or text.
    """

    socket: ClassVar[str] = "PATCH"
    color: ClassVar[str] = "violet"
    kind: str
    component: str
    strength: float
    weights: Weights | None = None
    tensors: dict[str, Tensor] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _Network(Value):
    """A described network: family, weights, patches laid over it and per-use options."""

    family: str
    weights: Weights
    patches: tuple[Patch, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)

    def patched(self, *patches: Patch) -> Any:
        """Return the same network with more patches on top."""
        return replace(self, patches=self.patches + patches)

    def with_options(self, **options: Any) -> Any:
        """Return the same network with options set; None removes one."""
        return replace(self, options={k: v for k, v in (self.options | options).items() if v is not None})


@dataclass(frozen=True)
class Model(_Network):
    """The denoising network (a U-Net or transformer)."""

    socket: ClassVar[str] = "MODEL"
    color: ClassVar[str] = "purple"


@dataclass(frozen=True)
class Clip(_Network):
    """The text encoder or encoders with their tokenizers."""

    socket: ClassVar[str] = "CLIP"
    color: ClassVar[str] = "yellow"


@dataclass(frozen=True)
class Vae(_Network):
    """The autoencoder between pixels and latents."""

    socket: ClassVar[str] = "VAE"
    color: ClassVar[str] = "red"


@dataclass(frozen=True)
class Upscaler(_Network):
    """A network that makes pictures larger by a whole factor."""

    socket: ClassVar[str] = "UPSCALE_MODEL"
    color: ClassVar[str] = "indigo"


@dataclass(frozen=True)
class ControlNet(_Network):
    """A network that steers a denoising network by a picture: a ControlNet or a T2I-Adapter."""

    socket: ClassVar[str] = "CONTROL_NET"


@dataclass(frozen=True)
class Gligen(_Network):
    """Layers that tell a denoising network what stands where (GLIGEN)."""

    socket: ClassVar[str] = "GLIGEN"


@dataclass(frozen=True)
class DualEncoder(_Network):
    """Networks that put pictures and texts into one space, where the near ones belong together (CLIP)."""

    socket: ClassVar[str] = "DUAL_ENCODER"


@dataclass(frozen=True)
class Cond(Record):
    """One condition: text tokens and where, when and how strongly they hold.

    `tokens`: (B, T, D); `pooled`: (B, P) or None; `mask`: (1, H, W) in 0..1 or None; `area`: x, y, width, height as
    fractions, or None; `start`, `end`: its part of sampling in 0..1 (0 = noisiest); `extra`: what adapters add to it.
    """

    tokens: Tensor
    pooled: Tensor | None = None
    strength: float = 1.0
    mask: Tensor | None = None
    area: tuple[float, float, float, float] | None = None
    start: float = 0.0
    end: float = 1.0
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Conditioning(Value):
    """Conditions that hold together; several are averaged where they overlap."""

    socket: ClassVar[str] = "CONDITIONING"
    color: ClassVar[str] = "orange"
    conds: tuple[Cond, ...]

    def map(self, **changes: Any) -> Conditioning:
        """Return the conditions with the given fields replaced on each."""
        return Conditioning(tuple(replace(c, **changes) for c in self.conds))


@dataclass(frozen=True)
class Guider(Value):
    """How network calls combine into one prediction. `kind` names a guider of `engine.diffusion.guidance`.

    `conds`: conditioning by role (`positive`, `negative`, `middle`, ...); `options`: scales, rescale, windows.
    """

    socket: ClassVar[str] = "GUIDER"
    color: ClassVar[str] = "cyan"
    kind: str
    model: Model
    conds: dict[str, Conditioning]
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Trajectory(Value):
    """Latents kept along an inversion. `latents`: (N + 1, B, C, h, w), index = level k, 0 = clean; `sigmas`: (N + 1,).

    `origin` digests the model, so that a trajectory is never replayed on another one; `conditioning`: its prompt.
    """

    socket: ClassVar[str] = "TRAJECTORY"
    color: ClassVar[str] = "brown"
    latents: Tensor
    sigmas: Tensor
    factor: int
    origin: str
    conditioning: Conditioning | None = None


@dataclass(frozen=True)
class Blend(Value):
    """What is put back into a latent after each step, and where. `kind` names a blend of `engine.diffusion.blend`.

    `masks`: (S, B, h, w), 1 = edit, S stages that share the steps evenly; `latents`: clean content (B, C, h, w);
    `trajectory`: content kept at every level; `then`: blends that follow.
    """

    socket: ClassVar[str] = "BLEND"
    color: ClassVar[str] = "magenta"
    kind: str
    masks: Tensor | None = None
    latents: Tensor | None = None
    trajectory: Trajectory | None = None
    options: dict[str, Any] = field(default_factory=dict)
    then: tuple[Blend, ...] = ()


@dataclass(frozen=True)
class Heatmap(Value):
    """How strongly each latent cell takes part. `values`: (B, h, w) float32 >= 0, raw; `factor`: pixels per cell."""

    socket: ClassVar[str] = "HEATMAP"
    color: ClassVar[str] = "amber"
    values: Tensor
    factor: int = 8


@dataclass(frozen=True)
class Boxes(Value):
    """Where things are, lowest first. `boxes`: left, top, width, height in 0..1; `texts`: what is there, one each."""

    socket: ClassVar[str] = "BOXES"
    color: ClassVar[str] = "teal"
    boxes: tuple[tuple[float, float, float, float], ...]
    texts: tuple[str, ...]


@dataclass(frozen=True)
class Strokes(Value):
    """Lines drawn by hand: `points` (x, y), `colors` (r, g, b) in 0..1; `widths` in pixels, below 1 as parts."""

    socket: ClassVar[str] = "STROKES"
    color: ClassVar[str] = "coral"
    points: tuple[tuple[tuple[float, float], ...], ...]
    colors: tuple[tuple[float, float, float], ...]
    widths: tuple[float, ...]


@dataclass(frozen=True)
class TokenMap(Value):
    """How the tokens of a target prompt follow from those of a source prompt.

    `mapping`: (T, T), target map = source map @ mapping + own * target map; `own`: (T,). `source`, `target`: words and
    the positions of their tokens, in order.
    """

    socket: ClassVar[str] = "TOKEN_MAP"
    color: ClassVar[str] = "khaki"
    mapping: Tensor
    own: Tensor
    source: tuple[tuple[str, tuple[int, ...]], ...]
    target: tuple[tuple[str, tuple[int, ...]], ...]


@dataclass(frozen=True)
class AttentionPart(Record):
    """One change of attention. `kind` names an editor of `engine.diffusion.control`."""

    kind: str
    options: dict[str, Any] = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class AttentionControl(Value):
    """Changes of attention, made one after the other while sampling."""

    socket: ClassVar[str] = "ATTENTION_CONTROL"
    color: ClassVar[str] = "crimson"
    parts: tuple[AttentionPart, ...]


@dataclass(frozen=True)
class AttentionStore(Value):
    """Cross-attention of a run, averaged over heads, layers and steps, by grid size.

    `maps`: `16x16` -> (B, T, h, w), rows over T sum to 1; of a pair, the source prompt's rows come first.
    """

    socket: ClassVar[str] = "ATTENTION_STORE"
    color: ClassVar[str] = "coral"
    maps: dict[str, Tensor]
    factor: int = 8


@dataclass(frozen=True)
class FileRef(Value):
    """A file of the user's by content: an upload or a result. `digest` is its SHA-256, `name` what it was called."""

    socket: ClassVar[str] = "FILE"
    color: ClassVar[str] = "slate"
    digest: str
    name: str
    media: str = "application/octet-stream"


@dataclass(frozen=True)
class Plot(Value):
    """Curves to look at: `series` maps a name to its points (x, y)."""

    socket: ClassVar[str] = "PLOT"
    color: ClassVar[str] = "teal"
    series: dict[str, tuple[tuple[float, float], ...]]
    x_label: str = "step"
    y_label: str = "value"


@dataclass(frozen=True)
class Saved(Value):
    """Files that a node wrote for people, shown as `ui` (`images`, `text`, `plot`); `extra`: JSON for other clients."""

    socket: ClassVar[str] = "SAVED"
    color: ClassVar[str] = "slate"
    ui: str
    files: tuple[FileRef, ...] = ()
    text: str = ""
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Blocked(Value):
    """Stands where a node gave no value on purpose: whatever needs it is skipped, and `message` says why, once."""

    message: str = ""
