"""The conditional U-Net as the network contract F(x_in, c_noise, cond), built from a config and a state dict."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from engine.diffusion import attention, companions, levels
from engine.diffusion.companions import Call, Companions, Grounding
from engine.diffusion.denoiser import Denoiser, Prediction, in_halves
from engine.diffusion.families import ldm
from engine.diffusion.families.load import Place, assign, number, on_meta, whole
from engine.diffusion.levels import Levels
from engine.diffusion.patches import Report
from engine.diffusion.relief import relieved
from engine.errors import BadFile, BadInput
from engine.types import Cond

PREDICTIONS: dict[str, Prediction] = {"epsilon": "eps", "v_prediction": "v", "sample": "x0"}
GROUNDING = "grounding"  # in `Cond.extra`
MEASURED = "measured"  # instead of one of those: find out by asking the network
TIME_IDS = (5, 6)  # numbers that tell of sizes: SDXL's refiner reads a score in the target's place
AESTHETIC = 6.0  # the score that the refiner is asked for
PROBE_LEVEL, PROBE_CELLS = 0.5, 16


@dataclass(frozen=True, eq=False)
class UNet:
    """A text-conditioned U-Net. `channels` of its input are the latent; the rest comes from `cond.extra["concat"]`.

    `preview`: factors (C + 1, 3) from latent channels to colours; `patched` puts patched weights in during a call;
    `factor`: pixels per latent cell. `cond.extra["attention"]` brings attention hooks, `cond.extra["sizes"]` (B, 7) the
    original height and width, top and left of the crop, target height and width, and an aesthetic score, which SDXL
    and its refiner read; without it, a picture that was made as large as the latent is. `extra["controls"]` (see
    `companions`) and `extra["grounding"]` (see `_grounded`) need networks beside this one: `companions` opens them.
    """

    module: Any  # UNet2DConditionModel, which has no types
    levels: Levels
    prediction: Prediction
    factor: int = 8
    preview: Tensor | None = None
    patched: Callable[[], AbstractContextManager[None]] = nullcontext
    reports: tuple[Report, ...] = ()
    companions: Companions | None = None

    @property
    def channels(self) -> int:
        """Channels of the latent that it denoises."""
        return int(self.module.config.out_channels)

    def configured(self, options: Mapping[str, Any]) -> UNet:
        """Return this network with what a Model's options say in place of its file: `prediction`, `zero_snr`."""
        if not options.keys() & {"prediction", "zero_snr"}:
            return self
        prediction: Prediction = options.get("prediction", self.prediction)
        if not options.get("zero_snr"):
            return replace(self, prediction=prediction)
        return replace(self, prediction=prediction, levels=self.levels.zero_terminal())

    @property
    def denoiser(self) -> Denoiser:
        """The network as D(x, sigma, cond) -> x0."""
        return Denoiser(self, self.levels, self.prediction)

    def __call__(self, x: Tensor, c_noise: Tensor, cond: Cond) -> Tensor:
        """Predict from x (B, C, h, w) at timesteps c_noise (B,) under a condition with B rows."""
        self._check(x, cond)
        whole = partial(self._predict, x, c_noise, cond)
        paired = "attention" in cond.extra  # hooks may look from one half of the batch to the other
        smaller = () if paired or len(x) == 1 else (partial(in_halves, self, x, c_noise, cond),)
        out: Tensor = relieved(whole, *smaller)
        return out

    def _predict(self, x: Tensor, c_noise: Tensor, cond: Cond) -> Tensor:
        parameter = self.module.conv_in.weight
        extra = cond.extra
        joined = torch.cat([x, extra["concat"].to(x)], 1) if "concat" in extra else x
        run = attention.Run(tuple(extra.get("attention", ())), (x.shape[2], x.shape[3]))
        seen = x.to(parameter), c_noise.to(parameter.device), cond.tokens.to(parameter)
        call = Call(*seen, self._added(x, cond))
        steered = self._steered(call, extra.get(companions.CONTROLS, ()))
        with self.patched(), self._grounded(call, extra.get(GROUNDING)) as grounding:
            out: Tensor = self.module(
                joined.to(parameter),
                call.timesteps,
                call.tokens,
                cross_attention_kwargs={"run": run, **grounding},
                added_cond_kwargs=call.added,
                return_dict=False,
                **steered,
            )[0]
        return out.to(x)

    def _steered(self, call: Call, controls: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Return what controls add to this call, by the names of diffusers' arguments."""
        if not controls:
            return {}
        found = companions.residuals(controls, call, self.levels, self._beside(), self.module.config)
        return {} if found is None else {
            "down_block_additional_residuals": found.skips[:-1] or None,
            "mid_block_additional_residual": found.skips[-1] if found.skips else None,
            "down_intrablock_additional_residuals": list(found.levels) or None,  # diffusers empties the list
        }  # fmt: skip

    @contextmanager
    def _grounded(self, call: Call, given: Mapping[str, Any] | None) -> Iterator[dict[str, Any]]:
        """Let layers that read boxes stand in the U-Net, and give what they read, while the block runs.

        `given`: the `grounding`, `boxes` (B, n, 4) as left, top, width and height, `texts` (B, n, D), pooled, and
        `there` (B, n), 0 = no box. The rows of a call are all of one level.
        """
        if not given or not bool(companions.within(0, given["grounding"].end, call.timesteps[:1], self.levels)):
            yield {}
            return
        grounding: Grounding = given["grounding"]
        layers = self._beside().network(grounding.net, call.x.dtype)
        boxes, texts, there = (given[name] for name in ("boxes", "texts", "there"))
        if texts.shape[-1] != layers.text_width:
            raise BadInput(
                f"{grounding.net.weights.name} reads texts {layers.text_width} wide, those of the boxes are "
                f"{texts.shape[-1]} wide: they come from another family's text encoder.", field="positive",
            )  # fmt: skip
        h, w = (side * self.factor for side in call.x.shape[2:])
        boxes = boxes / boxes.new_tensor([w, h, w, h]) if grounding.pixels else boxes
        with layers.standing_in(self.module):
            yield {"gligen": layers.padded(boxes, texts, there, call.x.dtype)}

    def _beside(self) -> Companions:
        if self.companions is None:
            raise BadInput("This network was opened alone; ControlNets and the like need `Models.use`.")
        return self.companions

    def _added(self, x: Tensor, cond: Cond) -> dict[str, Tensor] | None:
        """Return SDXL's added embeddings: the pooled text, and sizes (Podell et al. 2023, arXiv 2307.01952, 2.2)."""
        config = self.module.config
        if config.addition_embed_type != "text_time":
            return None
        width, step = int(config.projection_class_embeddings_input_dim), int(config.addition_time_embed_dim)
        pooled = cond.pooled
        count = 0 if pooled is None else (width - pooled.shape[-1]) // step
        if pooled is None or count not in TIME_IDS or pooled.shape[-1] + count * step != width:
            raise BadInput("The model needs a pooled text state, as its own text encoders give; this has another.")
        height, wide = x.shape[2] * self.factor, x.shape[3] * self.factor
        own = x.new_tensor([[height, wide, 0, 0, height, wide, AESTHETIC]])
        sizes = cond.extra.get("sizes", own).expand(len(x), 7)
        chosen = sizes[:, :6] if count == 6 else sizes[:, [0, 1, 2, 3, 6]]
        weight = self.module.conv_in.weight
        return {"text_embeds": pooled.to(weight), "time_ids": chosen.to(weight)}

    def _check(self, x: Tensor, cond: Cond) -> None:
        wanted, came = int(self.module.config.in_channels), x.shape[1]
        if "concat" in cond.extra:
            came += cond.extra["concat"].shape[1]
        if x.shape[1] != self.channels or came != wanted:
            hint = " It is an inpainting or editing model: give it its picture." if wanted > self.channels else ""
            raise BadInput(f"The model takes {wanted} channels, {self.channels} of them latent; {came} came.{hint}")
        width = int(self.module.config.cross_attention_dim)
        if cond.tokens.shape[-1] != width:
            raise BadInput(
                f"The model reads text {width} wide, the conditioning is {cond.tokens.shape[-1]} wide: "
                "it comes from another family's text encoder."
            )


def build_unet(
    config: Mapping[str, Any],
    weights: Mapping[str, Tensor],
    schedule: Mapping[str, Any],
    place: Place,
    *,
    factor: int = 8,
) -> UNet:
    """Build the U-Net of `config` around `weights` (diffusers keys), with the noise schedule of `schedule`."""
    module = on_meta(lambda: UNet2DConditionModel.from_config(dict(config)), config, "U-Net")
    assign(module, weights, place, "U-Net")
    attention.install(module)
    module.names_elsewhere = tuple(ldm.unet_names(config))  # for patches
    prediction = str(schedule.get("prediction_type", "epsilon"))
    if prediction == MEASURED:
        unet = UNet(module, levels_of(schedule), "eps", factor)
        return replace(unet, prediction=measured_prediction(unet))
    if prediction not in PREDICTIONS:
        raise BadFile(f"The scheduler config predicts {prediction!r}; known: {', '.join(PREDICTIONS)}.")
    return UNet(module, levels_of(schedule), PREDICTIONS[prediction], factor)


def measured_prediction(unet: UNet) -> Prediction:
    """Return eps or v, by what the network makes of pure noise at the noisiest level.

    There eps is the input itself, so that input and output correlate at nearly 1; v = alpha eps - sigma x0 is nearly
    -x0, which the input knows nothing of.
    """
    config = unet.module.config
    noise = torch.randn(1, unet.channels, PROBE_CELLS, PROBE_CELLS, generator=torch.Generator().manual_seed(0))
    cond = Cond(torch.zeros(1, 1, int(config.cross_attention_dim)))
    more = int(config.in_channels) - unet.channels
    if more:
        cond = replace(cond, extra={"concat": noise.new_zeros(1, more, PROBE_CELLS, PROBE_CELLS)})
    with torch.no_grad():
        out = unet(noise, torch.tensor([unet.levels.count - 1.0]), cond)
    correlation = torch.corrcoef(torch.stack([noise.flatten(), out.flatten().to(noise)]))[0, 1]
    return "eps" if float(correlation) > PROBE_LEVEL else "v"


def levels_of(schedule: Mapping[str, Any]) -> Levels:
    """Read the noise schedule from a diffusers scheduler config; Stable Diffusion's where it is silent."""
    zero = bool(schedule.get("rescale_betas_zero_snr", False))
    count = whole(schedule, "num_train_timesteps", 1000)
    ends = {"start": number(schedule, "beta_start", 0.00085), "end": number(schedule, "beta_end", 0.012)}
    if schedule.get("trained_betas") is not None:
        return levels.from_betas(torch.tensor(schedule["trained_betas"], dtype=torch.float64), zero_terminal=zero)
    match schedule.get("beta_schedule", "scaled_linear"):
        case "scaled_linear":
            return levels.scaled_linear(count, **ends, zero_terminal=zero)
        case "linear":
            return levels.linear(count, **ends, zero_terminal=zero)
        case "squaredcos_cap_v2":
            return levels.cosine(count)
        case other:
            raise BadFile(f"The scheduler config names the noise schedule {other!r}, which is not known here.")
