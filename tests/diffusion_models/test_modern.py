"""Families with transformers: recognised, and the same numbers as diffusers' own pipelines on the same weights."""

import diffusers
import pytest
import torch
from diffusers import EulerDiscreteScheduler, FlowMatchEulerDiscreteScheduler
from diffusers.loaders import single_file_utils

from engine.diffusion import families, schedules
from engine.diffusion.families.base import open_source
from engine.diffusion.families.load import Place
from engine.diffusion.families.names import renamed
from engine.diffusion.noise import NoiseSource
from engine.diffusion.sample import sample
from engine.types import Conditioning, Guider, Latent, Model, Noise, Sampler, Weights
from tests.diffusion_models import modern

pytestmark = pytest.mark.filterwarnings("ignore")  # pipelines warn of much that is not ours
PROMPT, NEGATIVE, SEED, SCALE = "a photo of a zebra on the grass", "blurry, dark", 5, 4.0
MODEL = Model("any", Weights("checkpoints", "x", "0"))
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """Return sources(kind, layout), each written once."""
    root, made = tmp_path_factory.mktemp("modern"), {}

    def of(kind, layout):
        if (kind, layout) not in made:
            path = root / layout / kind
            if layout == "folder":
                modern.write_folder(path, kind)
            else:
                family = families.get(modern.KINDS[kind].family)
                names = family.names(modern.networks(kind)["transformer"].config)
                path = modern.write_file(path.with_suffix(".safetensors"), kind, names)
            made[kind, layout] = open_source(path)
        return made[kind, layout]

    return of


def parts(sources, kind, layout):
    """Build the parts; an autoencoder that no single file has out of the folder."""
    source, folder = sources(kind, layout), sources(kind, "folder")
    family, _ = families.recognise(source)
    assert family.name == modern.KINDS[kind].family
    vae = source if "vae" in family.parts(source) else folder
    return [family.build(s, part, Place()) for part, s in (("model", source), ("clip", source), ("vae", vae))]


def distance(found, expected):
    assert float(expected.std()) > 0.01
    return float((found - expected).norm() / expected.norm())


class Told(FlowMatchEulerDiscreteScheduler):
    """A scheduler that takes the flow times it was told, whatever a pipeline wants."""

    def set_timesteps(self, num_inference_steps=None, device=None, sigmas=None, mu=None, timesteps=None):
        super().set_timesteps(sigmas=self.told)


class ToldSigmas(EulerDiscreteScheduler):
    """The same for a network that predicts noise: it takes the sigmas and timesteps it was told."""

    def set_timesteps(self, num_inference_steps=None, device=None, sigmas=None, timesteps=None):
        self.num_inference_steps = num_inference_steps
        self.sigmas, self.timesteps = self.told
        self._step_index = self._begin_index = None


def pipeline(kind, model, sigmas):
    """Make diffusers' pipeline of the plain networks, on our noise levels."""
    flow = model.prediction == "flow"
    scheduler = Told() if flow else ToldSigmas()
    timesteps = [model.levels.timestep(float(s)) for s in sigmas[:-1]]
    scheduler.told = times(sigmas) if flow else (sigmas.float(), torch.tensor(timesteps))
    made = getattr(diffusers, modern.KINDS[kind].pipeline)(
        **modern.networks(kind), **modern.tokenizers(kind), scheduler=scheduler
    )
    made.set_progress_bar_config(disable=True)
    return made


def times(sigmas):
    """Flow times of our sigmas, but the last."""
    return (sigmas / (1 + sigmas))[:-1].tolist()


@pytest.mark.parametrize("layout", ["folder", "file"])
@pytest.mark.parametrize("kind", modern.KINDS)
def test_a_picture_is_that_of_the_pipeline(sources, kind, layout):
    model, clip, vae = parts(sources, kind, layout)
    noise = NoiseSource.of(SEED, 1).initial(torch.zeros(1, model.channels, modern.SIDE, modern.SIDE))
    sigmas = schedules.get("simple")(model.levels, modern.STEPS)
    flow = model.prediction == "flow"
    begun = noise * times(sigmas)[0] if flow else noise  # ours begin at 0.9999 of the way to pure noise
    pixels = modern.SIDE * vae.factor
    given = {"prompt": PROMPT, "negative_prompt": NEGATIVE, "height": pixels, "width": pixels, "output_type": "pt"}
    out = pipeline(kind, model, sigmas)(
        **given, **modern.KINDS[kind].call(begun, SCALE), num_inference_steps=modern.STEPS, return_dict=False
    )[0]
    expected = out.reshape(-1, *out.shape[-3:])[0].movedim(0, -1)  # of a video the first frame
    against = clip.configured(modern.KINDS[kind].negative)
    conds = {role: Conditioning((reader.condition(text),)) for role, reader, text in
             (("positive", clip, PROMPT), ("negative", against, NEGATIVE))}  # fmt: skip
    guider = Guider("cfg", MODEL, conds, {"scale": SCALE})
    latent = Latent(torch.zeros_like(noise), vae.factor)
    done = sample(model, guider, Sampler("euler"), sigmas, latent, noise=Noise(SEED))
    assert distance(vae.decode(done.latent.samples)[0], expected) < TOLERANCE


ENCODED = {
    "sd3": lambda pipe: pipe.encode_prompt(PROMPT, None, None)[::2],
    "flux dev": lambda pipe: pipe.encode_prompt(PROMPT)[:2],
    "qwen_image": lambda pipe: pipe.encode_prompt(PROMPT)[:1],
    "wan": lambda pipe: pipe.encode_prompt(PROMPT, max_sequence_length=512)[:1],
}


@pytest.mark.parametrize("kind", ENCODED)
def test_text_and_autoencoder_are_those_of_the_pipeline(sources, kind):
    model, clip, vae = parts(sources, kind, "file")
    pipe = pipeline(kind, model, schedules.get("simple")(model.levels, 1))
    cond, (tokens, *pooled) = clip.condition(PROMPT), ENCODED[kind](pipe)
    mask = cond.extra.get("mask", torch.ones(cond.tokens.shape[:2]))
    assert distance(cond.tokens * mask[:, :, None], tokens) < TOLERANCE
    assert all(distance(cond.pooled, expected) < TOLERANCE for expected in pooled)
    pixels = torch.rand(1, 4 * vae.factor, 2 * vae.factor, 3, generator=torch.Generator().manual_seed(1))
    plain, frames = modern.networks(kind)["vae"], (slice(None), slice(None), *[None] * (kind in ("qwen_image", "wan")))
    raw = plain.encode((pixels.movedim(-1, 1) * 2 - 1)[frames]).latent_dist.mode()
    if kind in ("qwen_image", "wan"):
        mean, deviation = (torch.tensor(getattr(plain.config, f"latents_{n}")) for n in ("mean", "std"))
        expected = (raw[:, :, 0] - mean[:, None, None]) / deviation[:, None, None]
    else:
        expected = (raw - plain.config.shift_factor) * plain.config.scaling_factor
    assert distance(vae.encode(pixels), expected) < TOLERANCE


CONVERTERS = {
    "wan": single_file_utils.convert_wan_transformer_to_diffusers,
    "sd3": single_file_utils.convert_sd3_transformer_checkpoint_to_diffusers,
    "sana": single_file_utils.convert_sana_transformer_to_diffusers,
    "z_image": single_file_utils.convert_z_image_transformer_checkpoint_to_diffusers,
}


@pytest.mark.parametrize("kind", CONVERTERS)
def test_names_are_those_of_the_converter(sources, kind):
    source, plain = sources(kind, "file"), modern.networks(kind)["transformer"].state_dict()
    prefix = modern.KINDS[kind].prefixes["transformer"]
    converted = CONVERTERS[kind](source.tensors("", lambda key: key.startswith(prefix)))
    assert converted.keys() == plain.keys()
    assert all(torch.equal(converted[key], plain[key]) for key in plain)


def test_flux_names_are_those_of_the_converter(sources):
    """Theirs knows one width, 3072; it cuts rows alone, so that one column of that height is enough."""
    family, times = families.get("flux"), 3072 // 128
    source, plain = sources("flux dev", "file"), modern.networks("flux dev")["transformer"]
    prefix = modern.KINDS["flux dev"].prefixes["transformer"]
    keys = [k.removeprefix(prefix) for k in source.single if k.startswith(prefix)]
    tall = {k: torch.randn(times * source.single[prefix + k].shape[0], 1) for k in keys}
    ours = renamed(tall, family.names(plain.config), family.leaves)
    converted = single_file_utils.convert_flux_transformer_checkpoint_to_diffusers(dict(tall))
    assert ours.keys() == converted.keys() == plain.state_dict().keys()
    assert all(torch.equal(converted[key], ours[key]) for key in ours)
