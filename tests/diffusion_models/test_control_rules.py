"""What ControlNets, adapters and GLIGEN must not do, and what they say: one call of a tiny model each."""

from collections.abc import Callable

import pytest
import torch
from diffusers import ControlNetModel, T2IAdapter, UNet2DConditionModel
from torch import Tensor

from engine import codec
from engine.context import Context
from engine.diffusion import companions
from engine.diffusion.device import ModelManager
from engine.diffusion.guidance import predict
from engine.errors import BadFile, BadInput, OutOfMemory
from engine.types import Boxes, Conditioning, ControlNet, Image, Latent, Mask, Model
from nodes.basics.load import load_checkpoint
from nodes.basics.sampling import sample
from nodes.basics.text import encode_text
from nodes.control.controlnet import apply_controlnet, load_controlnet, load_controlnet_difference
from nodes.control.gligen import apply_gligen, load_gligen
from nodes.control.t2i_adapter import apply_adapter
from tests.diffusion_models import steering, tiny, zoo

CELLS, SIGMA = 8, 4.0
BOXES = Boxes(((0.1, 0.2, 0.5, 0.7),), ("a tree",))


@pytest.fixture(scope="module")
def ctx(tmp_path_factory: pytest.TempPathFactory) -> Context:
    root = tmp_path_factory.mktemp("control")
    for kind in ("sd1", "sdxl"):
        tiny.write_file(root / "checkpoints" / f"{kind}.safetensors", zoo.ldm_state(kind))
        tiny.write_file(root / "controlnet" / f"{kind}.safetensors", steering.controlnet_ldm(steering.controlnet(kind)))
    net, fresh = steering.controlnet(), ControlNetModel.from_unet(
        zoo.networks("sd1")["unet"], conditioning_embedding_out_channels=(16, 32)
    )  # fmt: skip
    files = {
        "diffusers": dict(net.state_dict()), "shuffle": dict(net.state_dict()), "fresh": dict(fresh.state_dict()),
        "bare": steering.controlnet_ldm(net, ""), "difference": difference(steering.controlnet_ldm(net)),
        "beside": {**steering.controlnet_ldm(net), **zoo.ldm_state("sd1")},
        "model": zoo.ldm_state("sd1"), "lora": {**steering.controlnet_ldm(net, ""), "lora_controlnet": torch.zeros(1)},
        "light": steering.adapter_theirs(steering.adapter("light_adapter")),
        "full": steering.adapter_theirs(steering.adapter()), "grey": dict(steering.adapter(colours=1).state_dict()),
        "xl": steering.adapter_theirs(steering.adapter("full_adapter_xl")),
        "full diffusers": dict(steering.adapter().state_dict()),
        "skep": {**steering.adapter_theirs(steering.adapter()), "body.0.skep.weight": torch.zeros(32, 32, 1, 1)},
    }  # fmt: skip
    for name, state in files.items():
        tiny.write_file(root / "controlnet" / f"{name}.safetensors", {k: v.contiguous() for k, v in state.items()})
    layers = steering.gligen_state()
    closed = {k: torch.zeros_like(v) if "alpha_" in k else v for k, v in layers.items()}
    pictures = {**layers, "position_net.null_image_feature": torch.zeros(64)}
    for name, state in {"open": layers, "closed": closed, "pictures": pictures}.items():
        tiny.write_file(root / "gligen" / f"{name}.safetensors", state)
    return Context(models=ModelManager(root, tmp_path_factory.mktemp("data")))


def difference(file: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return a ControlNet as its difference from the model's encoder, half of which would not be enough."""
    base = steering.zoo.unet_state(zoo.networks("sd1")["unet"], "control_model.")
    return {**{k: v - base[k] if k in base else v for k, v in file.items()}, "difference": torch.zeros(0)}


@pytest.fixture(scope="module")
def model(ctx: Context) -> Model:
    return load_checkpoint(ctx, "sd1.safetensors").model


@pytest.fixture(scope="module")
def prompts(ctx: Context) -> tuple[Conditioning, Conditioning]:
    clip = load_checkpoint(ctx, "sd1.safetensors").clip
    return encode_text(ctx, clip, "a cat"), encode_text(ctx, clip, "")


def hint(seed: int = 0, batch: int = 1, side: int = 2 * CELLS) -> Image:
    return Image(torch.rand(batch, side, side, 3, generator=torch.Generator().manual_seed(seed)))


def x(batch: int = 1) -> Tensor:
    return torch.randn(batch, 4, CELLS, CELLS, generator=torch.Generator().manual_seed(3)) * SIGMA


def net(ctx: Context, name: str = "sd1") -> ControlNet:
    return load_controlnet(ctx, f"{name}.safetensors")


def called(ctx: Context, model: Model, *groups: Conditioning, batch: int = 1, sigma: float = SIGMA) -> list[Tensor]:
    with ctx.models.use(model) as network:
        return predict(network.denoiser, x(batch), sigma, groups)


def steered(ctx: Context, prompts, name: str = "sd1", picture: Image | None = None, **options) -> Conditioning:
    return apply_controlnet(*prompts, net(ctx, name), picture or hint(), **options).positive


# Where nothing changes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{"strength": 0.0}, {"start": 0.9}, {"end": 0.1}])
@pytest.mark.parametrize("name", ["sd1", "full"])
def test_without_strength_or_outside_its_window_it_is_not_asked(
    ctx, model, prompts, name, options, monkeypatch: pytest.MonkeyPatch
) -> None:
    control = steered(ctx, prompts, name, **options)
    monkeypatch.setattr(ControlNetModel, "forward", None)
    monkeypatch.setattr(T2IAdapter, "forward", None)
    assert torch.equal(*called(ctx, model, control), *called(ctx, model, prompts[0]))


def test_a_fresh_controlnet_changes_nothing(ctx, model, prompts) -> None:
    found, plain = (called(ctx, model, c)[0] for c in (steered(ctx, prompts, "fresh"), prompts[0]))
    assert bool((found == plain).all())


def test_closed_gates_change_nothing_and_open_ones_do(ctx, model, prompts) -> None:
    clip = load_checkpoint(ctx, "sd1.safetensors").clip
    plain = called(ctx, model, prompts[0])[0]
    for name, same in (("closed", True), ("open", False)):
        layers = load_gligen(ctx, f"{name}.safetensors")
        told = apply_gligen(ctx, *prompts, layers, clip, BOXES, end=1.0).positive
        assert bool((called(ctx, model, told)[0] == plain).all()) is same
        later = apply_gligen(ctx, *prompts, layers, clip, BOXES, end=0.1).positive
        assert torch.equal(called(ctx, model, later)[0], plain)


def test_nothing_is_left_behind(ctx, model, prompts) -> None:
    clip = load_checkpoint(ctx, "sd1.safetensors").clip
    with ctx.models.use(model) as network:
        before = [name for name, _ in network.module.named_modules()], called(ctx, model, prompts[0])[0]
        layers = load_gligen(ctx, "open.safetensors")
        both = apply_gligen(ctx, steered(ctx, prompts), prompts[1], layers, clip, BOXES, end=1.0).positive
        assert not torch.equal(called(ctx, model, both)[0], before[1])
        assert [name for name, _ in network.module.named_modules()] == before[0]
    assert torch.equal(called(ctx, model, prompts[0])[0], before[1])


# How controls add up -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sd1", "full"])
def test_half_twice_is_once_in_any_order(ctx, model, prompts, name) -> None:
    half = steered(ctx, prompts, name, strength=0.5)
    twice = apply_controlnet(half, half, net(ctx, name), hint(), 0.5).positive
    (a,), (b,) = called(ctx, model, twice), called(ctx, model, steered(ctx, prompts, name))
    assert (a - b).abs().max() < 1e-5
    one = apply_controlnet(half, half, net(ctx, "diffusers"), hint(1), 0.3).positive
    first = steered(ctx, prompts, "diffusers", hint(1), strength=0.3)
    other = apply_controlnet(first, first, net(ctx, name), hint(), 0.5).positive
    assert (called(ctx, model, one)[0] - called(ctx, model, other)[0]).abs().max() < 1e-5


def test_two_windows_are_the_whole(ctx, model, prompts) -> None:
    early = steered(ctx, prompts, end=0.5)
    halves = apply_controlnet(early, early, net(ctx), hint(), 1.0, 0.5).positive
    with ctx.models.use(model) as network:
        border = network.levels.sigma_at(0.5)
    for sigma in (border * 1.01, border, border / 1.01):
        whole = called(ctx, model, steered(ctx, prompts), sigma=sigma)[0]
        assert torch.equal(called(ctx, model, halves, sigma=sigma)[0], whole)


def test_a_mask_keeps_residuals_inside() -> None:
    mask = torch.zeros(1, 16, 16)
    mask[:, :, :8] = 1
    control = companions.make_control(None, torch.zeros(1, 1, 1, 3), mask, scales=(0.5,))
    found = companions.Residuals((torch.ones(2, 3, 8, 8), torch.ones(2, 3, 4, 4)), (torch.ones(2, 3, 8, 8),) * 2)
    weighed = companions._weighed(found, control, torch.tensor([1.0, 0.25]))
    assert weighed.skips[0][:, 0, 0, 2].tolist() == [1, 0.25]
    assert float(weighed.skips[0][..., 5:].abs().max()) == float(weighed.skips[1][..., 3:].abs().max()) == 0
    assert [float(level[0, 0, 0, 0]) for level in weighed.levels] == [0.5, 1]


def test_finer_layers_follow_less_in_prompt_mode() -> None:
    control = companions.make_control(None, torch.zeros(1, 1, 1, 3), shallow=0.1)
    found = companions.Residuals((torch.ones(1, 1, 1, 1),) * 13)
    shares = torch.stack(companions._weighed(found, control, torch.ones(1)).skips).flatten()
    assert torch.allclose(shares, torch.logspace(-1, 0, 13))  # diffusers' guess mode; the authors' 0.825^(12 - i)
    assert torch.allclose(shares, 0.825 ** torch.arange(12.0, -1, -1), rtol=0.01)


def test_an_adapter_reads_its_picture_once_a_run(ctx, model, prompts, monkeypatch: pytest.MonkeyPatch) -> None:
    calls, forward = [], T2IAdapter.forward
    monkeypatch.setattr(T2IAdapter, "forward", lambda self, x: calls.append(1) or forward(self, x))
    both = apply_adapter(*prompts, net(ctx, "full"), hint())
    both = codec.settled(codec.encode(tuple(both)))  # as read back from the store: equal, not the same
    empty = Latent(torch.zeros(1, 4, CELLS, CELLS), 2)
    sample(ctx, model, *both, empty, 1, steps=2, cfg=3.0, sampler="heun", schedule="simple")
    assert len(calls) == 1


def test_prompts_that_share_a_picture_share_a_call(ctx, model, prompts, monkeypatch: pytest.MonkeyPatch) -> None:
    both = codec.settled(codec.encode(tuple(apply_controlnet(*prompts, net(ctx), hint()))))
    batches, forward = [], UNet2DConditionModel.forward

    def watched(self, sample, *args, **more):
        batches.append(len(sample))
        return forward(self, sample, *args, **more)

    monkeypatch.setattr(UNet2DConditionModel, "forward", watched)
    called(ctx, model, *both)
    called(ctx, model, *apply_controlnet(*prompts, net(ctx), hint(), mode="control"))
    assert batches == [2, 1, 1]


def test_each_of_a_batch_has_its_own_picture(ctx, model, prompts) -> None:
    pictures = hint(batch=2)
    together = called(ctx, model, steered(ctx, prompts, picture=pictures), batch=2)[0]
    for i in range(2):
        alone = called(ctx, model, steered(ctx, prompts, picture=Image(pictures.pixels[i : i + 1])), batch=2)[0]
        assert (together[i] - alone[i]).abs().max() < 1e-4
    with pytest.raises(BadInput, match=r"sd1.safetensors was given 3 pictures for a batch of 2; give one, or 2\."):
        called(ctx, model, steered(ctx, prompts, picture=hint(batch=3)), batch=2)


# Pictures ------------------------------------------------------------------------------------------------------------


def test_the_colours_of_maps_stay_and_what_does_not_fit_is_cut_around_the_centre() -> None:
    colours = torch.tensor([[0.0, 0.5, 1.0], [1.0, 0.25, 0.0]])
    wide = colours[torch.arange(30) % 2].expand(1, 10, 30, 3)
    made = companions.fitted(wide, 25, 25)
    assert made.shape == (1, 3, 25, 25)
    assert set(map(tuple, made[0].flatten(1).T.tolist())) == set(map(tuple, colours.tolist()))
    columns = torch.arange(30.0).expand(1, 10, 30)[..., None].expand(-1, -1, -1, 3)
    assert companions.fitted(columns, 10, 10)[0, 0, 0].tolist() == list(range(10, 20))


def test_a_grey_adapter_reads_the_mean_of_colours(ctx) -> None:
    picture = hint().pixels
    grey = picture.mean(-1, keepdim=True).expand(-1, -1, -1, 3)
    with ctx.models.use(net(ctx, "grey")) as network:
        for a, b in zip(network.prepared(picture, (8, 8)), network.prepared(grey, (8, 8)), strict=True):
            assert (a - b).abs().max() < 1e-6


def test_light_adapters_and_odd_sizes(ctx) -> None:
    with ctx.models.use(net(ctx, "light")) as network:
        found = network.prepared(hint(side=14).pixels, (7, 7))
    expected = steering.adapter("light_adapter")(hint(side=14).pixels.movedim(-1, 1))
    assert [f.shape[2] for f in found] == [7, 4]  # rounded up, as U-Nets do
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_shuffle_is_averaged_over_the_picture(ctx, model) -> None:
    call = companions.Call(x(), torch.tensor([500.0]), torch.zeros(1, 3, 64))
    with ctx.models.use(net(ctx, "shuffle")) as network:
        found = network.residuals(network.prepared(hint().pixels, (CELLS, CELLS)), torch.zeros(1).long(), call)
    assert {tuple(r.shape[2:]) for r in found.skips} == {(1, 1)}


# Files ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["diffusers", "bare", "beside", "difference"])
def test_every_layout_is_the_same_network(ctx, model, prompts, name) -> None:
    loaded = (
        load_controlnet_difference(ctx, model, "difference.safetensors") if name == "difference" else net(ctx, name)
    )
    found = called(ctx, model, apply_controlnet(*prompts, loaded, hint()).positive)[0]
    assert (found - called(ctx, model, steered(ctx, prompts))[0]).abs().max() < 1e-4


REFUSED: dict[str, tuple[Callable[[Context], object], str]] = {
    "a model": (lambda ctx: net(ctx, "model"), "holds model, clip, vae but not a ControlNet or T2I-Adapter"),
    "a difference": (lambda ctx: net(ctx, "difference"), "load it with Load ControlNet difference"),
    "a Control-LoRA": (lambda ctx: net(ctx, "lora"), r"lora_controlnet \(a Control-LoRA\)"),
    "an old adapter": (lambda ctx: net(ctx, "skep"), r"skep \(a layer on the way around a block\)"),
    "boxes with pictures": (lambda ctx: load_gligen(ctx, "pictures.safetensors"), "boxes with pictures"),
}


@pytest.mark.parametrize("which", REFUSED)
def test_other_files_are_refused_in_a_sentence(ctx: Context, which: str) -> None:
    load, sentence = REFUSED[which]
    with pytest.raises(BadFile, match=sentence):
        load(ctx)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("sdxl", "sdxl.safetensors steers another kind of model: it reads text 192 wide, the model text 64"),
        ("xl", "one of the two is made for Stable Diffusion XL"),
        ("light", "its levels are 32, 32 wide, the model's 32, 64"),
    ],
)
def test_what_was_made_for_another_family_is_refused(ctx, model, prompts, name, sentence) -> None:
    with pytest.raises(BadInput, match=sentence) as refused:
        called(ctx, model, steered(ctx, prompts, name))
    assert refused.value.field == "positive"


def test_inputs_that_cannot_be(ctx, prompts) -> None:
    clip, layers = load_checkpoint(ctx, "sd1.safetensors").clip, load_gligen(ctx, "open.safetensors")
    many = Boxes(BOXES.boxes * 31, BOXES.texts * 31)
    for apply, field in (
        (lambda: steered(ctx, prompts, start=0.5, end=0.5), "end"),
        (lambda: steered(ctx, prompts, mask=Mask(torch.ones(2, 4, 4))), "mask"),
        (lambda: apply_adapter(*prompts, net(ctx), hint()), "control"),
        (lambda: apply_gligen(ctx, *prompts, layers, clip, many), "boxes"),
        (lambda: apply_gligen(ctx, *prompts, layers, clip, Boxes(BOXES.boxes, (" ",))), "boxes"),
    ):
        with pytest.raises(BadInput) as refused:
            apply()
        assert refused.value.field == field


def test_boxes_of_another_family_are_refused(ctx, prompts) -> None:
    model, clip, _ = load_checkpoint(ctx, "sdxl.safetensors")
    words = encode_text(ctx, clip, "a cat")
    layers = load_gligen(ctx, "open.safetensors")
    with pytest.raises(BadInput, match="reads texts 64 wide, those of the boxes are 128 wide"):
        called(ctx, model, apply_gligen(ctx, words, words, layers, clip, BOXES).positive)
    small = load_checkpoint(ctx, "sd1.safetensors").clip
    with pytest.raises(BadInput, match="GLIGEN layers are those of another model"):
        called(ctx, model, apply_gligen(ctx, words, words, layers, small, BOXES).positive)


# Memory --------------------------------------------------------------------------------------------------------------


def test_the_model_is_streamed_where_there_is_not_room_for_both(
    ctx, model, prompts, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager, control = ctx.models, steered(ctx, prompts)
    expected = called(ctx, model, control)[0]
    offloaded, take = [], manager.shelf.take

    def short(key, build, working):
        if "control" in key and not offloaded:
            raise OutOfMemory("1 MB are needed.")
        return take(key, build, working)

    monkeypatch.setattr(manager.shelf, "take", short)
    monkeypatch.setattr(manager.shelf, "offload_unused", lambda: offloaded.append(1))
    assert torch.equal(called(ctx, model, control)[0], expected)
    assert offloaded == [1]
