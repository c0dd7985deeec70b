"""`comfy_api.latest.io`: the declarative node protocol (v3), for the parts that packs use."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import Any, ClassVar

COMMON = {"tooltip": "tooltip", "lazy": "lazy", "raw_link": "rawLink", "advanced": "advanced", "display_name": "label"}
OPTIONS = {
    "default": "default", "min": "min", "max": "max", "step": "step", "round": "round", "multiline": "multiline",
    "placeholder": "placeholder", "dynamic_prompts": "dynamicPrompts", "label_on": "label_on", "label_off": "label_off",
    "options": "options", "control_after_generate": "control_after_generate", "display_mode": "display",
    "socketless": "socketless", "force_input": "forceInput", "image_folder": "image_folder", "remote": "remote",
    "widget_type": "widgetType",
}  # fmt: skip


class _Texts(StrEnum):
    """Texts by name."""


class Hidden(_Texts):
    """What a node may be told beside its inputs."""

    unique_id = "UNIQUE_ID"
    prompt = "PROMPT"
    extra_pnginfo = "EXTRA_PNGINFO"
    dynprompt = "DYNPROMPT"
    auth_token_comfy_org = "AUTH_TOKEN_COMFY_ORG"
    api_key_comfy_org = "API_KEY_COMFY_ORG"


class NumberDisplay(_Texts):
    """How a number is shown."""

    number = "number"
    slider = "slider"


class FolderType(_Texts):
    """A folder of files."""

    input = "input"
    output = "output"
    temp = "temp"


class UploadType(_Texts):
    """What may be uploaded to a combo."""

    image = "image_upload"
    audio = "audio_upload"
    video = "video_upload"
    model = "file_upload"


class Input:
    """One input: its name, whether it may be left out, and its options as the v1 protocol writes them."""

    io_type: Any = "*"

    def __init__(self, id: str, display_name: str | None = None, optional: bool = False, **options: Any) -> None:
        self.id, self.optional = id, optional
        upload = options.pop("upload", None)
        extra = options.pop("extra_dict", None) or {}
        known = {**COMMON, **OPTIONS}
        self.options = {known[k]: _text(v) for k, v in options.items() if k in known and v is not None}
        self.options |= {_text(upload): True} if upload else {}
        self.options |= {"display_name": display_name} if display_name else {}
        self.options |= extra

    def config(self) -> tuple[Any, dict[str, Any]]:
        """Return `(type, options)`."""
        return self.io_type, self.options

    def flat(self) -> Iterator[Input]:
        """Give the inputs that it stands for: itself."""
        yield self

    def take(self, values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
        """Take what belongs to it out of values by flat name, and return it as the node is given it."""
        name = prefix + self.id
        return {self.id: values.pop(name)} if name in values else {}

    def named(self, id: str, *, optional: bool) -> Input:
        """Return the same input under another name."""
        twin = copy.copy(self)
        twin.id, twin.optional = id, optional
        return twin


class Output:
    """One output."""

    io_type: Any = "*"

    def __init__(
        self, id: str | None = None, display_name: str | None = None, tooltip: str | None = None,
        is_output_list: bool = False, **options: Any,
    ) -> None:  # fmt: skip
        self.id, self.display_name, self.tooltip, self.is_output_list = id, display_name, tooltip, is_output_list


class ComfyTypeIO:
    """A socket type with its Input and Output."""

    io_type: ClassVar[str] = "*"
    Input: ClassVar[type[Input]] = Input
    Output: ClassVar[type[Output]] = Output


ComfyType = ComfyTypeIO


def Custom(io_type: str) -> type[ComfyTypeIO]:
    """Return a socket type by its name."""
    made = (
        type(f"{io_type}Input", (Input,), {"io_type": io_type}),
        type(f"{io_type}Output", (Output,), {"io_type": io_type}),
    )
    return type(io_type, (ComfyTypeIO,), {"io_type": io_type, "Input": made[0], "Output": made[1]})


Boolean, Int, Float, String = Custom("BOOLEAN"), Custom("INT"), Custom("FLOAT"), Custom("STRING")
Image, Mask, Latent, Conditioning = Custom("IMAGE"), Custom("MASK"), Custom("LATENT"), Custom("CONDITIONING")
Model, Clip, Vae, ControlNet = Custom("MODEL"), Custom("CLIP"), Custom("VAE"), Custom("CONTROL_NET")
Sampler, Sigmas, Noise, Guider = Custom("SAMPLER"), Custom("SIGMAS"), Custom("NOISE"), Custom("GUIDER")
ClipVision, ClipVisionOutput = Custom("CLIP_VISION"), Custom("CLIP_VISION_OUTPUT")
StyleModel, Gligen, UpscaleModel = Custom("STYLE_MODEL"), Custom("GLIGEN"), Custom("UPSCALE_MODEL")
Audio, Video, SVG, Hooks = Custom("AUDIO"), Custom("VIDEO"), Custom("SVG"), Custom("HOOKS")
LoraModel, LossMap, Voxel, Mesh = Custom("LORA_MODEL"), Custom("LOSS_MAP"), Custom("VOXEL"), Custom("MESH")
AnyType, BBOX, SEGS, FlowControl = Custom("*"), Custom("BBOX"), Custom("SEGS"), Custom("FLOW_CONTROL")
MultiCombo, LatentOperation, Accumulation = Custom("COMBO"), Custom("LATENT_OPERATION"), Custom("ACCUMULATION")
Photomaker, Point, FaceAnalysis = Custom("PHOTOMAKER"), Custom("POINT"), Custom("FACE_ANALYSIS")
AudioEncoder, AudioEncoderOutput, Webcam = Custom("AUDIO_ENCODER"), Custom("AUDIO_ENCODER_OUTPUT"), Custom("WEBCAM")
TimestepsRange, HookKeyframes, ModelPatch = Custom("TIMESTEPS_RANGE"), Custom("HOOK_KEYFRAMES"), Custom("MODEL_PATCH")


class _ComboInput(Input):
    io_type = "COMBO"

    def __init__(self, id: str, options: Any = None, display_name: str | None = None, **more: Any) -> None:
        listed = [o.value for o in options] if isinstance(options, type) and issubclass(options, Enum) else options
        super().__init__(id, display_name, options=list(listed or ()), **more)


class Combo(Custom("COMBO")):  # type: ignore[misc]
    """A choice."""

    Input = _ComboInput


class MultiType:
    """An input that takes several types."""

    class Input(Input):
        """One of several types; an Input given as `id` lends its options."""

        def __init__(self, id: Any, types: Any, **options: Any) -> None:
            names = [t.io_type for t in types]
            if isinstance(id, Input):
                names.insert(0, id.io_type)
                super().__init__(id.id, optional=id.optional, extra_dict=id.options)
            else:
                super().__init__(id, **options)
            self.io_type = ",".join(dict.fromkeys(names))


class MatchType:
    """Inputs and outputs that share a type, whichever it is."""

    @dataclass(frozen=True)
    class Template:
        """The type that is shared."""

        template_id: str
        allowed_types: Any = None

    class Input(Input):
        """Takes the shared type."""

        def __init__(self, id: str, template: Any, **options: Any) -> None:
            super().__init__(id, **options)

    class Output(Output):
        """Gives the shared type."""

        def __init__(self, template: Any, **options: Any) -> None:
            super().__init__(**options)


class Autogrow:
    """An input that grows: as many of one kind as are connected; the node is given a dict of them."""

    Type = dict[str, Any]

    @dataclass
    class TemplatePrefix:
        """Inputs `prefix0`, `prefix1` and so on; `min` of them must be there."""

        input: Input
        prefix: str
        min: int = 1
        max: int = 10

        @property
        def names(self) -> list[str]:
            """The names of all."""
            return [f"{self.prefix}{number}" for number in range(self.max)]

    @dataclass
    class TemplateNames:
        """Inputs by these names; the first `min` of them must be there."""

        input: Input
        names: list[str]
        min: int = 1

    class Input(Input):
        """All inputs of a template, `id.name` each."""

        def __init__(self, id: str, template: Any, **options: Any) -> None:
            super().__init__(id, **options)
            self.template = template

        def flat(self) -> Iterator[Input]:
            """Give the inputs of the template."""
            for number, name in enumerate(self.template.names):
                least = number >= self.template.min
                yield self.template.input.named(f"{self.id}.{name}", optional=self.optional or least)

        def take(self, values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
            """Return a dict of those that are there."""
            found = {name: values.pop(f"{prefix}{self.id}.{name}", None) for name in self.template.names}
            return {self.id: {name: value for name, value in found.items() if value is not None}}


class DynamicCombo:
    """A choice that brings inputs of its own; the node is given a dict: what was chosen under `id`, and these."""

    @dataclass
    class Option:
        """One choice and its inputs."""

        key: str
        inputs: list[Any]

    class Input(Input):
        """The choice, and as `id.name` the inputs of all choices, as far as they are given."""

        io_type = "COMBO"

        def __init__(self, id: str, options: list[Any], display_name: str | None = None, **more: Any) -> None:
            super().__init__(id, display_name, options=[option.key for option in options], **more)
            self.chosen = {option.key: option.inputs for option in options}

        def flat(self) -> Iterator[Input]:
            """Give the choice, and each input once; one that differs from choice to choice takes anything."""
            yield self
            inner = [each for inputs in self.chosen.values() for given in inputs for each in given.flat()]
            for name in dict.fromkeys(each.id for each in inner):
                same = [each for each in inner if each.id == name]
                one = same[0] if len({str(each.config()) for each in same}) == 1 else Input(name)
                yield one.named(f"{self.id}.{name}", optional=True)

        def take(self, values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
            """Return the choice with its inputs; those of other choices are left out."""
            key = values.pop(prefix + self.id, None)
            found = {self.id: key}
            for each in self.chosen.get(key[0] if isinstance(key, list) else key, []):
                found |= each.take(values, f"{prefix}{self.id}.")
            for name in [name for name in values if name.startswith(f"{prefix}{self.id}.")]:
                del values[name]
            return {self.id: found}


@dataclass
class Schema:
    """All that a node declares."""

    node_id: str
    display_name: str | None = None
    category: str = "sd"
    inputs: list[Any] = field(default_factory=list)
    outputs: list[Any] = field(default_factory=list)
    hidden: list[Hidden] = field(default_factory=list)
    description: str = ""
    is_input_list: bool = False
    is_output_node: bool = False
    is_deprecated: bool = False
    is_experimental: bool = False
    is_dev_only: bool = False
    is_api_node: bool = False
    not_idempotent: bool = False
    enable_expand: bool = False
    accept_all_inputs: bool = False
    search_aliases: list[str] = field(default_factory=list)
    price_badge: Any = None
    essentials_category: str | None = None


class NodeOutput:
    """What a node gives: values in order, what it shows, a graph in their place, or a reason for none."""

    def __init__(
        self, *args: Any, ui: Any = None, expand: dict[str, Any] | None = None, block_execution: str | None = None
    ) -> None:
        self.args, self.ui, self.expand, self.block_execution = args, ui, expand, block_execution

    @property
    def result(self) -> tuple[Any, ...] | None:
        """The values, None if there are none."""
        return self.args or None


@dataclass
class HiddenHolder:
    """What a node is told beside its inputs."""

    unique_id: Any = None
    prompt: Any = None
    extra_pnginfo: Any = None
    dynprompt: Any = None
    auth_token_comfy_org: Any = None
    api_key_comfy_org: Any = None


class ComfyNode:
    """Base of nodes; `hidden` is set while one runs."""

    hidden: ClassVar[HiddenHolder] = HiddenHolder()

    @classmethod
    def define_schema(cls) -> Schema:
        """Return what the node declares."""
        raise NotImplementedError

    @classmethod
    def GET_SCHEMA(cls) -> Schema:
        """Return what the node declares."""
        return cls.define_schema()


def _text(value: Any) -> Any:
    return value.value if isinstance(value, Enum) else value
