"""ControlNets, T2I-Adapters and GLIGEN: pictures equal those of diffusers' pipelines to 1e-4 relative, in float32.

Ours go through files and nodes, theirs through the networks themselves, on the same weights and noise.
"""

import pytest
import torch
from diffusers import StableDiffusionXLAdapterPipeline
from diffusers.pipelines.deprecated.stable_diffusion_gligen import StableDiffusionGLIGENPipeline

from engine.context import Context
from engine.diffusion.device import ModelManager
from engine.diffusion.noise import NoiseSource
from engine.types import Boxes, Conditioning, Image, Latent
from nodes.basics.load import load_checkpoint
from nodes.basics.sampling import sample
from nodes.basics.text import encode_text
from nodes.control.controlnet import apply_controlnet, load_controlnet
from nodes.control.gligen import apply_gligen, load_gligen
from tests.diffusion_models import steering, tiny, zoo
from tests.diffusion_models.test_pipelines import NEGATIVE, PROMPT, SCALE, SEED, SIDE, TOLERANCE, distance, pipeline

pytestmark = pytest.mark.filterwarnings("ignore")  # pipelines warn of much that is not ours
STEPS, CELLS = 8, SIDE // 2
KINDS = ("sd1", "sdxl")


@pytest.fixture(scope="module")
def ctx(tmp_path_factory) -> Context:
    root = tmp_path_factory.mktemp("steering")
    for kind in KINDS:
        tiny.write_file(root / "checkpoints" / f"{kind}.safetensors", zoo.ldm_state(kind))
        tiny.write_file(root / "controlnet" / f"{kind}.safetensors", steering.controlnet_ldm(steering.controlnet(kind)))
    second = steering.controlnet("sd1", 7)
    tiny.write_file(root / "controlnet" / "second.safetensors", dict(second.state_dict()))
    tiny.write_file(root / "controlnet" / "shuffle.safetensors", dict(second.state_dict()))
    for kind in steering.FOLDS:
        tiny.write_file(root / "t2i_adapter" / f"{kind}.safetensors", steering.adapter_theirs(steering.adapter(kind)))
    tiny.write_file(root / "gligen" / "boxes.safetensors", steering.gligen_state())
    tiny.write_file(root / "gligen" / "diffusers.safetensors", steering.gligen_state(ldm=False))
    return Context(models=ModelManager(root, tmp_path_factory.mktemp("data")))


def hint(seed: int = 0, batch: int = 1, side: int = SIDE) -> Image:
    return Image(torch.rand(batch, side, side, 3, generator=torch.Generator().manual_seed(seed)))


class Ours:
    """A tiny checkpoint with its prompts, sampled through nodes."""

    def __init__(self, ctx: Context, kind: str = "sd1") -> None:
        self.ctx = ctx
        self.model, self.clip, self.vae = load_checkpoint(ctx, f"{kind}.safetensors")
        self.prompts = tuple(encode_text(ctx, self.clip, text) for text in (PROMPT, NEGATIVE))

    def latents(self, positive: Conditioning, negative: Conditioning, batch: int = 1) -> torch.Tensor:
        empty = Latent(torch.zeros(batch, 4, CELLS, CELLS), 2)
        options = {"steps": STEPS, "cfg": SCALE, "sampler": "euler", "schedule": "simple"}
        return sample(self.ctx, self.model, positive, negative, empty, SEED, **options).samples

    def steered(self, file: str, picture: Image, *prompts: Conditioning, **options) -> torch.Tensor:
        control = load_controlnet(self.ctx, f"{file}.safetensors")
        return self.latents(*apply_controlnet(*(prompts or self.prompts), control, picture, **options))


def theirs(name: str, kind: str = "sd1", networks=None, **more) -> torch.Tensor:
    """Return the latents of one of diffusers' pipelines."""
    own = {key: more.pop(key) for key in ("controlnet", "adapter") if key in more}
    pipe = pipeline(name, kind, networks, **own)
    return run(pipe, **more)


def run(pipe, **more) -> torch.Tensor:
    noise = NoiseSource.of(SEED, 1).initial(torch.zeros(1, 4, CELLS, CELLS))
    done = pipe(
        prompt=PROMPT, negative_prompt=NEGATIVE, latents=noise, num_inference_steps=STEPS, guidance_scale=SCALE,
        output_type="latent", height=SIDE, width=SIDE, **more,
    )  # fmt: skip
    return done.images


def planes(image: Image) -> torch.Tensor:
    return image.pixels.movedim(-1, 1)


# ControlNet ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("strength", "start", "end"), [(0.6, 0.0, 1.0), (1.0, 0.25, 0.75)])
def test_one_controlnet(ctx: Context, strength: float, start: float, end: float) -> None:
    expected = theirs(
        "StableDiffusionControlNetPipeline", controlnet=steering.controlnet(), image=planes(hint()),
        controlnet_conditioning_scale=strength, control_guidance_start=start, control_guidance_end=end,
    )  # fmt: skip
    we = Ours(ctx)
    found = we.steered("sd1", hint(), strength=strength, start=start, end=end)
    assert distance(found, expected) < TOLERANCE
    assert distance(we.latents(*we.prompts), expected) > 100 * TOLERANCE


def test_two_controlnets_add_up(ctx: Context) -> None:
    expected = theirs(
        "StableDiffusionControlNetPipeline", controlnet=[steering.controlnet(), steering.controlnet("sd1", 7)],
        image=[planes(hint()), planes(hint(1))], controlnet_conditioning_scale=[0.7, 0.5],
    )  # fmt: skip
    we = Ours(ctx)
    first = apply_controlnet(*we.prompts, load_controlnet(ctx, "sd1.safetensors"), hint(), 0.7)
    assert distance(we.steered("second", hint(1), *first, strength=0.5), expected) < TOLERANCE


def test_the_controlnet_of_sdxl(ctx: Context) -> None:
    expected = theirs(
        "StableDiffusionXLControlNetPipeline", "sdxl", controlnet=steering.controlnet("sdxl"), image=planes(hint())
    )
    assert distance(Ours(ctx, "sdxl").steered("sdxl", hint()), expected) < TOLERANCE


def test_the_picture_alone_steers_in_guess_mode(ctx: Context) -> None:
    expected = theirs(
        "StableDiffusionControlNetPipeline", controlnet=steering.controlnet(), image=planes(hint()),
        controlnet_conditioning_scale=1.0, guess_mode=True,
    )  # fmt: skip
    assert distance(Ours(ctx).steered("sd1", hint(), mode="control"), expected) < TOLERANCE


# T2I-Adapter and GLIGEN ----------------------------------------------------------------------------------------------


def test_an_adapter(ctx: Context) -> None:
    expected = theirs(
        "StableDiffusionAdapterPipeline", adapter=steering.adapter(), image=planes(hint()),
        adapter_conditioning_scale=0.8,
    )  # fmt: skip
    we = Ours(ctx)
    assert distance(we.steered("full_adapter", hint(), strength=0.8), expected) < TOLERANCE
    assert distance(we.latents(*we.prompts), expected) > 100 * TOLERANCE


def test_the_adapter_of_sdxl(ctx: Context) -> None:
    large = hint(side=8 * CELLS)  # half the latent's grid, of which each cell is folded from 16 x 16 pixels
    parts = pipeline("StableDiffusionXLPipeline", "sdxl").components
    pipe = StableDiffusionXLAdapterPipeline(
        **parts, adapter=steering.adapter("full_adapter_xl"), force_zeros_for_empty_prompt=False
    )
    pipe.set_progress_bar_config(disable=True)
    expected = run(pipe, image=planes(large))
    assert distance(Ours(ctx, "sdxl").steered("full_adapter_xl", large), expected) < TOLERANCE


@pytest.mark.parametrize(("file", "end"), [("boxes", 0.5), ("diffusers", 1.0)])
def test_gligen(ctx: Context, file: str, end: float) -> None:
    corners, phrases = [[0.1, 0.2, 0.6, 0.9], [0.5, 0.0, 1.0, 0.4]], ["a zebra", "a tree"]
    networks = {**zoo.networks("sd1"), "unet": steering.gated()}
    parts = pipeline("StableDiffusionPipeline", "sd1", networks).components
    del parts["image_encoder"]
    pipe = StableDiffusionGLIGENPipeline(**parts, requires_safety_checker=False)
    pipe.set_progress_bar_config(disable=True)
    expected = run(pipe, gligen_phrases=phrases, gligen_boxes=corners, gligen_scheduled_sampling_beta=end)
    we = Ours(ctx)
    boxes = Boxes(tuple((x, y, u - x, v - y) for x, y, u, v in corners), tuple(phrases))
    found = we.latents(
        *apply_gligen(ctx, *we.prompts, load_gligen(ctx, f"{file}.safetensors"), we.clip, boxes, end=end)
    )
    assert distance(found, expected) < TOLERANCE
    assert distance(we.latents(*we.prompts), expected) > 100 * TOLERANCE
