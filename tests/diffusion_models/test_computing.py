"""How calls are carried out: kernels that were asked for run, replayed calls read what they are given, all else is as
ever. What only a GPU has, a fake device stands for."""

from dataclasses import replace

import pytest
import torch

from engine.context import Context
from engine.diffusion import computing, residency
from engine.diffusion.attention import Hook
from engine.diffusion.backends import Backend
from engine.diffusion.computing import AttentionKernel, Compiled, Graph, Graphed, Payback
from engine.diffusion.families.load import Place
from engine.errors import BadInput
from engine.types import Cond, Conditioning, Latent
from nodes.basics import speed
from tests.diffusion_models.fake_device import FakeDevice, RecordingBackend
from tests.diffusion_models.test_residency import SIDE, made
from tests.diffusion_models.test_step_cache import COND, OTHER, T, X

CPU = torch.device("cpu")


@pytest.fixture
def unet(manager, parts):
    with manager.use(parts["model"]) as network, torch.no_grad():
        yield network


class Seen(FakeDevice):
    """Which operations were asked for."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names = {*getattr(self, "names", ()), func.__name__}
        return super().__torch_dispatch__(func, types, args, kwargs)


@pytest.mark.parametrize("kernel", Backend(CPU).kernels)
def test_attention_by_the_kernel_that_was_asked_for(unet, kernel):
    with Seen() as seen:
        out = AttentionKernel(kernel).over(unet)(X, T, COND)
    assert any("flash" in name for name in seen.names) == (kernel == "flash")
    assert torch.allclose(out, unet(X, T, COND), atol=1e-5)


def test_a_kernel_that_is_not_there_is_a_sentence(unet):
    with pytest.raises(BadInput, match="'cudnn' is not there on cpu: it has flash, math"):
        AttentionKernel("cudnn").over(unet)(X, T, COND)


@pytest.fixture
def graphed(unet):
    return Graphed(unet, RecordingBackend(CPU))


def test_a_replayed_call_reads_what_it_is_given(unet, graphed):
    for x, t, cond in ((X, T, COND), (X + 1, T / 2, COND), (X, T, OTHER)):
        assert torch.allclose(graphed(x, t, cond), unet(x, t, cond), atol=1e-5)
    assert graphed.backend.recordings == 1


def test_what_was_returned_stays(graphed):
    first = graphed(X, T, COND)
    before = first.clone()
    graphed(-X, T, COND)
    assert torch.equal(first, before)


def test_another_shape_and_other_weights_are_recorded_anew(unet, graphed):
    graphed(X, T, COND)
    wide = torch.cat([X, X], 3)
    assert torch.allclose(graphed(wide, T, COND), unet(wide, T, COND), atol=1e-5)
    weight = unet.module.conv_out.weight
    unet.module.conv_out._parameters["weight"] = torch.nn.Parameter(2 * weight, requires_grad=False)
    try:
        assert torch.allclose(graphed(wide, T, COND), unet(wide, T, COND), atol=1e-5)
    finally:
        unet.module.conv_out._parameters["weight"] = weight
    assert graphed.backend.recordings == 3


def test_hooks_and_streamed_weights_are_called_as_ever(unet, graphed, monkeypatch):
    hooked = replace(COND, extra={"attention": (Hook("out", lambda layer, out: out * 0),)})
    assert torch.equal(graphed(X, T, hooked), unet(X, T, hooked))
    monkeypatch.setattr(residency, "addresses", lambda module: None)
    assert torch.equal(graphed(X, T, COND), unet(X, T, COND))
    assert graphed.backend.recordings == 0


def test_without_graphs_nothing_is_recorded(unet):
    plain = Graph().over(unet)
    assert not plain.backend.records
    assert torch.equal(plain(X, T, COND), unet(X, T, COND))
    assert not plain.recorded


def test_only_resident_weights_have_addresses(tmp_path):
    net, _ = made(tmp_path, Place(torch.bfloat16))
    assert residency.device_of(net) == CPU
    assert residency.addresses(net) is None
    net(torch.randn(1, 8, SIDE).bfloat16())
    assert residency.addresses(net) is not None
    residency.limit(net, 0)
    assert residency.addresses(net) is None


@pytest.fixture
def compiles(monkeypatch):
    """Count what is compiled, and run it as it is."""
    seen = []
    monkeypatch.setattr(torch, "compile", lambda call: seen.append(call) or call)
    monkeypatch.setattr(computing, "_compiled", {})
    return seen


def test_equal_blocks_are_compiled_once_and_for_the_call_alone(unet, compiles):
    network = Compiled().over(unet)
    for _ in range(2):
        assert torch.equal(network(X, T, COND), unet(X, T, COND))
    assert len(compiles) == 1
    assert all(m._compiled_call_impl is None for m in unet.module.modules())


def test_packed_weights_are_left_out_of_what_is_compiled(tmp_path):
    net, _ = made(tmp_path, Place(torch.bfloat16))
    x = torch.randn(1, 8, SIDE).bfloat16()
    with torch.no_grad():
        expected = net(x)
        assert torch.equal(torch.compile(net, backend="eager")(x), expected)


def test_when_compiling_pays():
    assert Payback(0.5, 0.4, 40.0).calls == 400
    assert str(Payback(0.5, 0.4, 40.0)).endswith("instead of 0.500 s: it pays after 400 calls.")
    assert Payback(0.5, 0.6, 40.0).calls is None
    assert "does not pay" in str(Payback(0.5, 0.6, 40.0))


def test_the_nodes_lay_it_over_the_model(manager, parts, compiles):
    ctx, model = Context(models=manager), parts["model"]
    compiled, report = speed.compile_model(ctx, model, Conditioning((Cond(COND.tokens[:1]),)), Latent(X[:1]))
    assert "Compiling took" in report
    for laid in (compiled, speed.attention_kernel(model, "math"), speed.cuda_graph(model)):
        with manager.use(model) as plain, manager.use(laid) as network, torch.no_grad():
            assert type(network) is not type(plain)
            a, b = (net.denoiser(X, 1.0, COND) for net in (network, plain))
            assert torch.allclose(a, b, atol=1e-5)


def test_number_formats_are_those_of_the_network(manager, parts):
    model = speed.number_formats(parts["model"], "bfloat16", "float8")
    assert model.options.items() >= {"dtype": "bfloat16", "storage": "float8"}.items()
    with manager.use(model) as network, manager.use(speed.number_formats(model)) as plain, torch.no_grad():
        assert network.module.conv_in.weight.dtype == torch.bfloat16
        assert plain.module.conv_in.weight.dtype == torch.float32
        a, b = network(X, T, COND), plain(X, T, COND)
        assert 0 < float((a - b).norm() / b.norm()) < 0.05
