"""The `parameters` text that A1111's web UI and its kin write into pictures, as a text-to-image graph of our nodes.

prompt, on one line or many
Negative prompt: ...
Steps: 20, Sampler: DPM++ 2M Karras, CFG scale: 7, Seed: 1, Size: 512x768, Model: name, Clip skip: 2, ...
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from engine.compat.report import Report
from engine.workflow import Link, Workflow, WorkflowNode

PAIR = re.compile(r'\s*([A-Za-z][\w \-/]*):\s*("(?:\\.|[^\\"])*"|[^,]*)(?:,|$)')
NEGATIVE = "Negative prompt:"
LORA = re.compile(r"<lora:([^:>]+)(?::(-?[\d.]+))?(?::[^>]*)?>")
SCHEDULED = re.compile(r"\[[^\[\]]*:[^\[\]]*\d[^\[\]]*\]")
SAMPLERS = {
    "euler": "euler", "euler a": "euler_ancestral", "heun": "heun", "lms": "lms", "dpm2": "dpm_2",
    "dpm2 a": "dpm_2_ancestral", "dpm++ 2s a": "dpmpp_2s_ancestral", "dpm++ 2m": "dpmpp_2m", "dpm++ sde": "dpmpp_sde",
    "dpm++ 2m sde": "dpmpp_2m_sde", "dpm++ 3m sde": "dpmpp_3m_sde", "ddim": "ddim", "unipc": "uni_pc", "lcm": "lcm",
}  # fmt: skip
SCHEDULES = {
    "karras": "karras", "exponential": "exponential", "uniform": "normal", "sgm uniform": "sgm_uniform",
    "simple": "simple", "normal": "normal", "ddim": "ddim_uniform", "beta": "beta", "kl optimal": "kl_optimal",
}  # fmt: skip
USED = {"Steps", "Sampler", "Schedule type", "CFG scale", "Seed", "Size", "Model", "Clip skip", "Denoising strength",
        "Hires upscale", "Hires steps", "Hires upscaler", "Hires resize", "Model hash", "Version"}  # fmt: skip
SIZE = re.compile(r"(\d{1,5})\s*x\s*(\d{1,5})")
COLUMN = 320


@dataclass
class Parameters:
    """What the text says."""

    prompt: str
    negative: str
    settings: dict[str, str] = field(default_factory=dict)

    def number(self, name: str, otherwise: float) -> float:
        """Return a setting as a number."""
        try:
            return float(self.settings.get(name, otherwise))
        except ValueError:
            return otherwise


def is_parameters(text: str) -> bool:
    """Say whether a text looks like `parameters`."""
    return "Steps:" in text and "Seed:" in text


def read(text: str) -> Parameters:
    """Take the text apart: prompts, then the settings of its last line."""
    lines = text.strip().splitlines()
    last = lines.pop() if lines and len(PAIR.findall(lines[-1])) >= 3 else ""
    prompt, _, negative = "\n".join(lines).partition(NEGATIVE)
    settings = {name.strip(): value.strip().strip('"') for name, value in PAIR.findall(last)}
    return Parameters(prompt.strip(), negative.strip(), settings)


def from_parameters(text: str) -> tuple[Workflow, Report]:
    """Return the graph that makes such a picture; not quite the same, as noise and prompt weights are ours."""
    told = read(text)
    report = Report("a1111")
    builder = _Builder(told)
    if SCHEDULED.search(told.prompt + told.negative):
        report.remarks.append("Prompts that change while sampling ([a:b:0.5]) are read as plain text.")
    unused = sorted(told.settings.keys() - USED)
    if unused:
        report.remarks.append(f"Not read: {', '.join(unused)[:300]}.")
    report.remarks += builder.remarks
    for name, node in builder.nodes.items():
        report.add(name, node.type)
    places = {name: {"x": COLUMN * i, "y": 0} for i, name in enumerate(builder.nodes)}
    return Workflow(builder.nodes, rest={"name": "Text to image", "layout": {"nodes": places}}), report


class _Builder:
    """Builds the graph node by node."""

    def __init__(self, told: Parameters) -> None:
        self.told, self.remarks = told, list[str]()
        self.nodes: dict[str, WorkflowNode] = {}
        self._load()
        self._prompts()
        self._sample()
        self._save()

    def _add(self, name: str, kind: str, **inputs: Any) -> None:
        self.nodes[name] = WorkflowNode(kind, inputs)

    def _load(self) -> None:
        """Load the checkpoint and the LoRAs that the prompt names."""
        model = self.told.settings.get("Model", "")
        if model:
            self._add("loader", "load_checkpoint", file=f"{model}.safetensors")
        else:
            self._add("loader", "load_embedded")
            self.remarks.append("The text names no model; the embedded one takes its place.")
        self.model, self.clip = Link("loader", "model"), Link("loader", "clip")
        for number, (name, strength) in enumerate(LORA.findall(self.told.prompt), 1):
            amount = float(strength) if re.fullmatch(r"-?\d+\.?\d*|-?\.\d+", strength) else 1.0
            self._add(f"lora_{number}", "load_lora", model=self.model, clip=self.clip, file=f"{name}.safetensors",
                      strength_model=amount, strength_clip=amount)  # fmt: skip
            self.model, self.clip = Link(f"lora_{number}", "model"), Link(f"lora_{number}", "clip")
        skip = int(self.told.number("Clip skip", 1))
        if skip > 1:
            self._add("clip_skip", "clip_skip", clip=self.clip, layer=min(skip, 32))
            self.clip = Link("clip_skip", "clip")

    def _prompts(self) -> None:
        self._add("prompt", "encode_text", clip=self.clip, text=LORA.sub("", self.told.prompt).strip())
        self._add("negative", "encode_text", clip=self.clip, text=self.told.negative)

    def _sample(self) -> None:
        told = self.told
        size = SIZE.fullmatch(told.settings.get("Size", "")) or SIZE.fullmatch("512x512")
        width, height = (int(side) // 8 * 8 for side in size.groups()) if size else (512, 512)
        self._add("latent", "empty_latent", model=self.model, width=width, height=height, batch=1)
        sampler, schedule = self._sampler()
        steps = min(max(int(told.number("Steps", 20)), 1), 1000)
        common = {
            "model": self.model, "positive": Link("prompt", "conditioning"),
            "negative": Link("negative", "conditioning"),
            "seed": abs(int(told.number("Seed", 0))) % 2**53, "cfg": told.number("CFG scale", 7.0), "sampler": sampler,
            "schedule": schedule,
        }  # fmt: skip
        self._add("sampler", "sample", **common, latent=Link("latent", "latent"), steps=steps, strength=1.0)
        self.latent = Link("sampler", "latent")
        factor = told.number("Hires upscale", 0)
        if factor > 1:
            self._add("enlarge", "scale_latent", latent=self.latent, factor=min(factor, 8.0), method="bilinear")
            more = int(told.number("Hires steps", 0)) or steps
            self._add("refine", "sample", **common, latent=Link("enlarge", "latent"), steps=min(more, 1000),
                      strength=min(max(told.number("Denoising strength", 0.5), 0.0), 1.0))  # fmt: skip
            self.latent = Link("refine", "latent")

    def _sampler(self) -> tuple[str, str]:
        """Return our names of sampler and schedule; older texts have the schedule at the end of the sampler's name."""
        name = self.told.settings.get("Sampler", "Euler").lower()
        schedule = self.told.settings.get("Schedule type", "").lower()
        for ending in ("karras", "exponential"):
            if name.endswith(" " + ending):
                name, schedule = name.removesuffix(" " + ending), ending
        if name not in SAMPLERS:
            self.remarks.append(f"There is no sampler {name[:60]!r} here; euler takes its place.")
        return SAMPLERS.get(name, "euler"), SCHEDULES.get(schedule, "normal")

    def _save(self) -> None:
        self._add("decode", "vae_decode", latent=self.latent, vae=Link("loader", "vae"))
        self._add("save", "save_image", image=Link("decode", "image"))
