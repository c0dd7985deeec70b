"""The glue: equal to a scheduler's own loop, backgrounds kept, cancelled and broken runs said so."""

import pytest
import torch
from diffusers import DDIMScheduler, EulerDiscreteScheduler

from engine.diffusion import schedules
from engine.diffusion.noise import NoiseSource
from engine.diffusion.sample import Watch, sample, working_bytes
from engine.errors import BadInput, Cancelled, NotFinite
from engine.types import Cond, Conditioning, Guider, Latent, Noise, Sampler
from tests.diffusion_models import tiny

POS, NEG = torch.randn(2, 1, 77, 64, generator=torch.Generator().manual_seed(0))
BETAS = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "clip_sample": False}


@pytest.fixture(scope="module")
def network(models_dir, tmp_path_factory, parts):
    from engine.diffusion.device import ModelManager

    with ModelManager(models_dir, tmp_path_factory.mktemp("d")).use(parts["model"]) as found:
        yield found


def guider(parts, scale=3.0, **options):
    conds = {"positive": Conditioning((Cond(POS),)), "negative": Conditioning((Cond(NEG),))}
    return Guider("cfg", parts["model"], conds, {"scale": scale, **options})


def empty(batch=2, **more):
    return Latent(torch.zeros(batch, 4, 8, 8), 2, **more)


def sigmas_of(network, steps, name="simple"):
    return schedules.get(name)(network.denoiser.levels, steps)


def eps_of(unet, x, t, scale=3.0):
    """Classifier-free guidance as everybody writes it."""
    both = unet(torch.cat([x, x]), t, torch.cat([NEG.expand(len(x), -1, -1), POS.expand(len(x), -1, -1)])).sample
    negative, positive = both.chunk(2)
    return negative + scale * (positive - negative)


@pytest.mark.filterwarnings("ignore::DeprecationWarning:diffusers")
def test_euler_equals_diffusers_euler(network, parts):
    scheduler = EulerDiscreteScheduler(
        **{k: v for k, v in BETAS.items() if k != "clip_sample"}, timestep_spacing="trailing"
    )
    scheduler.set_timesteps(6)
    unet, _, _ = tiny.networks()
    noise = NoiseSource.of(5, 2).initial(torch.zeros(2, 4, 8, 8))
    x = noise * scheduler.sigmas[0]
    for t in scheduler.timesteps:
        x = scheduler.step(eps_of(unet, scheduler.scale_model_input(x, t), t), t, x).prev_sample
    out = sample(network, guider(parts), Sampler("euler"), scheduler.sigmas.double(), empty(), noise=Noise(5))
    assert torch.allclose(out.latent.samples, x, atol=1e-5 * float(x.abs().max()))


def test_ddim_equals_diffusers_ddim(network, parts):
    scheduler = DDIMScheduler(**BETAS, timestep_spacing="trailing", set_alpha_to_one=True)
    scheduler.set_timesteps(5)  # divides 1000, so that its steps meet
    unet, _, _ = tiny.networks()
    levels = network.denoiser.levels
    sigmas = torch.tensor([levels.sigma(int(t) + 1) for t in scheduler.timesteps] + [0.0], dtype=torch.float64)
    start = NoiseSource.of(5, 2).initial(torch.zeros(2, 4, 8, 8)) * float(sigmas[0])
    x = start / (1 + float(sigmas[0]) ** 2) ** 0.5
    for t in scheduler.timesteps:
        x = scheduler.step(eps_of(unet, x, t), t, x).prev_sample
    out = sample(network, guider(parts), Sampler("ddim"), sigmas, empty(), noise=Noise(5))
    assert torch.allclose(out.latent.samples, x, atol=1e-5 * float(x.abs().max()))
    assert torch.equal(out.latent.samples, out.denoised.samples)


def test_a_sample_of_a_batch_is_the_sample_alone(network, parts):
    sigmas = sigmas_of(network, 3)
    both = sample(network, guider(parts), Sampler("euler_ancestral"), sigmas, empty(), noise=Noise(5)).latent.samples
    sampled = sample(network, guider(parts), Sampler("euler_ancestral"), sigmas, empty(1, seeds=(1,)), noise=Noise(5))
    alone = sampled.latent.samples
    assert torch.allclose(both[1:], alone, atol=1e-5 * float(alone.abs().max()))


def test_two_halves_are_the_whole(network, parts):
    sigmas, g = sigmas_of(network, 6), guider(parts)
    whole = sample(network, g, Sampler("euler"), sigmas, empty(), noise=Noise(1)).latent.samples
    first = sample(network, g, Sampler("euler"), sigmas[:4], empty(), noise=Noise(1)).latent
    second = sample(network, g, Sampler("euler"), sigmas[3:], first, noise=None).latent.samples
    assert torch.equal(whole, second)


def test_the_background_is_kept_at_the_level_after_each_step(network, parts):
    clean = torch.randn(2, 4, 8, 8)
    mask = torch.zeros(1, 8, 8)
    mask[:, :4] = 1
    mask[:, 4] = 0.25
    sigmas = sigmas_of(network, 4)
    eps = NoiseSource.of(2, 2).initial(clean)
    seen = []

    class Spy:
        channels, preview = network.channels, None

        @property
        def denoiser(self):
            inner = network.denoiser

            class Recorder:
                levels, prediction, sigma_data = inner.levels, inner.prediction, inner.sigma_data
                combine = inner.combine

                def each(self, x, sigma, conds):
                    seen.append((x.clone(), float(sigma)))
                    return inner.each(x, sigma, conds)

            return Recorder()

    latent = Latent(clean, 2, mask=mask)
    out = sample(Spy(), guider(parts), Sampler("euler"), sigmas, latent, noise=Noise(2))
    assert [s for _, s in seen] == pytest.approx(sigmas[:-1].tolist())
    for x, sigma in seen:
        assert torch.allclose(x[:, :, 5:], (clean + sigma * eps)[:, :, 5:], atol=1e-5)
    assert torch.equal(out.latent.samples[:, :, 5:], clean[:, :, 5:])
    assert torch.equal(out.denoised.samples[:, :, 5:], clean[:, :, 5:])
    assert not torch.allclose(out.latent.samples[:, :, :4], clean[:, :, :4])
    everything = sample(network, guider(parts), Sampler("euler"), sigmas, Latent(clean, 2), noise=Noise(2))
    ones = sample(
        network, guider(parts), Sampler("euler"), sigmas, Latent(clean, 2, mask=torch.ones(1, 8, 8)), noise=Noise(2)
    )
    assert torch.equal(everything.latent.samples, ones.latent.samples)


def test_a_mask_of_another_size_is_scaled(network, parts):
    clean, mask = torch.randn(1, 4, 8, 8), torch.zeros(1, 16, 16)
    mask[:, :8] = 1
    out = sample(
        network, guider(parts), Sampler("euler"), sigmas_of(network, 2), Latent(clean, 2, mask=mask), noise=Noise(0)
    )
    assert torch.equal(out.latent.samples[:, :, 6:], clean[:, :, 6:])


def test_no_step_returns_the_latent(network, parts):
    latent = Latent(torch.randn(1, 4, 8, 8), 2)
    out = sample(network, guider(parts), Sampler("dpmpp_2m"), torch.zeros(1), latent, noise=Noise(0))
    assert torch.equal(out.latent.samples, latent.samples)
    assert torch.equal(out.denoised.samples, latent.samples)


def test_progress_and_previews_are_reported(network, parts):
    steps, pictures = [], []
    watch = Watch(lambda *step: steps.append(step), lambda: len(pictures) < 2, pictures.append)
    sample(network, guider(parts), Sampler("heun"), sigmas_of(network, 3), empty(), noise=Noise(0), watch=watch)
    assert steps == [(0, 3), (1, 3), (2, 3), (3, 3)]
    assert [p.shape for p in pictures] == [(8, 8, 3)] * 2


def test_cancelling_stops_between_steps(network, parts):
    steps = []

    def progress(done, total):
        steps.append(done)
        if done == 2:
            raise Cancelled("stop")

    with pytest.raises(Cancelled):
        sample(
            network,
            guider(parts),
            Sampler("euler"),
            sigmas_of(network, 6),
            empty(),
            noise=Noise(0),
            watch=Watch(progress),
        )
    assert steps == [0, 1, 2]


def test_numbers_that_are_not_finite_name_the_step(network, parts):
    bad = Guider("cfg", parts["model"], {k: Conditioning((Cond(v.tokens * torch.nan),)) for k, c in
                 guider(parts).conds.items() for v in c.conds}, {"scale": 2.0})  # fmt: skip
    with pytest.raises(NotFinite, match="Step 1 of 3"):
        sample(network, bad, Sampler("euler"), sigmas_of(network, 3), empty(), noise=Noise(0))


def test_guidance_of_one_is_the_positive_alone(network, parts):
    sigmas = sigmas_of(network, 2)
    conds = {"positive": Conditioning((Cond(POS),))}
    alone = sample(
        network, Guider("conditional", parts["model"], conds), Sampler("euler"), sigmas, empty(), noise=Noise(0)
    )
    one = sample(network, guider(parts, scale=1.0), Sampler("euler"), sigmas, empty(), noise=Noise(0))
    assert torch.equal(alone.latent.samples, one.latent.samples)


def test_a_noisy_latent_cannot_be_masked(network, parts):
    masked = Latent(torch.randn(1, 4, 8, 8), 2, mask=torch.ones(1, 8, 8))
    with pytest.raises(BadInput, match="take the mask off"):
        sample(network, guider(parts), Sampler("euler"), sigmas_of(network, 2), masked, noise=None)


def test_unknown_noise_is_a_sentence(network, parts):
    with pytest.raises(BadInput, match="kind 'blue'"):
        sample(network, guider(parts), Sampler("euler"), torch.ones(2), empty(), noise=Noise(0, "blue"))


def test_a_latent_of_another_model_is_a_sentence(network, parts):
    with pytest.raises(BadInput, match="16 channels, the model works on 4"):
        sample(
            network, guider(parts), Sampler("euler"), torch.ones(2), Latent(torch.zeros(1, 16, 8, 8)), noise=Noise(0)
        )


def test_memory_grows_with_the_picture():
    assert working_bytes(empty(4)) == 4 * working_bytes(empty(1))
