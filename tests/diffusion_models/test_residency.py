"""Held weights: the same numbers resident, streamed, patched and under gradients; pages that come back."""

import copy

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from engine.diffusion import pages, residency
from engine.diffusion.families.load import Place, assign
from engine.diffusion.residency import HeldConv2d, HeldEmbedding, HeldLinear
from tests.diffusion_models.fake_device import FakeDevice

SIDE = 256  # squared, the smallest weight that is held


class Net(nn.Module):
    """One layer of each kind."""

    def __init__(self):
        super().__init__()
        self.table, self.linear = nn.Embedding(SIDE, SIDE), nn.Linear(SIDE, SIDE)
        self.conv, self.small = nn.Conv2d(SIDE, SIDE, 3, padding=1), nn.Linear(4, 4)

    def forward(self, x):
        return self.conv(self.linear(x).transpose(1, 2)[..., None]).float()


def made(tmp_path, place):
    """The network of a half-precision file, and a plain one of the same numbers."""
    plain = Net().requires_grad_(False)
    save_file({k: v.half() for k, v in plain.state_dict().items()}, tmp_path / "net.safetensors")
    weights = load_file(tmp_path / "net.safetensors")
    plain.load_state_dict({k: v.float() for k, v in weights.items()})
    with torch.device("meta"):
        net = Net()
    return assign(net, weights, place, "net"), plain.eval()


def close(a, b, tolerance):
    return float((a - b).norm() / b.norm()) < tolerance


PLACES = [(Place(), 1e-5), (Place(torch.bfloat16), 0.02), (Place(products=torch.bfloat16), 0.02)]


@pytest.mark.parametrize(("place", "tolerance"), PLACES)
def test_resident_and_streamed_give_the_same(tmp_path, place, tolerance):
    net, plain = made(tmp_path, place)
    x = torch.randn(2, 16, SIDE, dtype=place.dtype)
    assert [type(m) for m in (net.table, net.linear, net.conv, net.small)] == [
        HeldEmbedding, HeldLinear, HeldConv2d, nn.Linear,
    ]  # fmt: skip
    assert residency.limit(net, None) == sum(h.nbytes for h in residency.held_of(net))
    resident, expected = net(x), plain(x.float())
    assert close(resident, expected, tolerance)
    assert all(h.ready is not None for h in residency.held_of(net))
    assert residency.limit(net, 0) == 0
    assert all(h.ready is None for h in residency.held_of(net))
    assert close(net(x), expected, tolerance)
    assert torch.equal(net.table(torch.tensor([3])), plain.table(torch.tensor([3])).to(place.dtype))


def test_a_streamed_weight_is_cast_in_pieces_that_change_nothing(tmp_path, monkeypatch):
    net, _ = made(tmp_path, Place(torch.bfloat16))
    residency.limit(net, 0)
    x = torch.randn(1, 8, SIDE).bfloat16()
    expected = net(x)
    monkeypatch.setattr(residency, "SLICE", 2 * SIDE * 60)  # 60 rows of the linear layer, 6 of the convolution
    with FakeDevice() as device:
        assert torch.equal(net(x), expected)
    assert device.largest <= residency.SLICE


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_stored_in_float8_it_takes_a_byte_a_weight(tmp_path, dtype):
    net, plain = made(tmp_path, Place(dtype, stored=torch.float8_e4m3fn))
    x = torch.randn(2, 16, SIDE)
    assert residency.limit(net, None) == net.linear.weight.numel() + net.conv.weight.numel()
    out = net(x.to(dtype))
    assert all(h.ready.dtype == torch.float8_e4m3fn and h.ready.nbytes == h.nbytes for h in residency.held_of(net))
    assert close(out, plain(x), 0.05)
    assert torch.equal(net(x.to(dtype)), out)
    residency.limit(net, 0)  # streamed from the file it is exact
    assert close(net(x.to(dtype)), plain(x), 0.02)


def test_rows_of_any_size_fill_the_range_of_float8(tmp_path):
    net, _ = made(tmp_path, Place(torch.float32, stored=torch.float8_e4m3fn))
    held = net.linear.held
    held.source = net.linear.weight.float() * torch.logspace(-6, 3, SIDE)[:, None]
    held.narrow()
    errors = (held.cast() - held.source).norm(dim=1) / held.source.norm(dim=1)
    assert float(errors.max()) < 0.04


def test_a_part_is_resident(tmp_path):
    net, _ = made(tmp_path, Place(torch.bfloat16))
    assert residency.limit(net, SIDE * SIDE * 2) == SIDE * SIDE * 2
    assert [h.resident for h in residency.held_of(net)] == [True, False]


def test_another_size_is_packed_anew(tmp_path):
    net, plain = made(tmp_path, Place(torch.bfloat16))
    for length in (8, 24, 8):
        x = torch.randn(1, length, SIDE)
        assert close(net(x.bfloat16()), plain(x), 0.02)
        assert net.conv.held.grid == (length, 1)


def test_replaced_and_changed_weights_are_seen(tmp_path):
    net, plain = made(tmp_path, Place(torch.bfloat16))
    x = torch.randn(1, 8, SIDE)
    net(x.bfloat16())
    net.linear._parameters["weight"] = nn.Parameter(plain.linear.weight * 2, requires_grad=False)
    plain.linear.weight *= 2
    assert close(net(x.bfloat16()), plain(x), 0.02)
    with torch.no_grad():
        net.conv.weight.mul_(3)
    plain.conv.weight *= 3
    assert close(net(x.bfloat16()), plain(x), 0.02)


def test_gradients_flow(tmp_path):
    net, plain = made(tmp_path, Place(torch.bfloat16))
    x = torch.randn(1, 8, SIDE)
    a, b = x.bfloat16().requires_grad_(), x.clone().requires_grad_()
    net(a).sum().backward()
    plain(b).sum().backward()
    assert close(a.grad.float(), b.grad, 0.05)


def test_a_copy_has_weights_of_its_own(tmp_path):
    net, plain = made(tmp_path, Place(torch.bfloat16))
    x = torch.randn(1, 8, SIDE)
    net(x.bfloat16())
    twin = copy.deepcopy(net)
    twin.linear.weight.zero_()
    assert close(net(x.bfloat16()), plain(x), 0.02)
    assert not close(twin(x.bfloat16()), plain(x), 0.02)


@pytest.mark.skipif(not pages.MAPS.exists(), reason="Linux tells which memory is a file")
def test_only_a_mapped_file_is_forgotten_and_it_comes_back(tmp_path):
    net, plain = made(tmp_path, Place(torch.bfloat16))
    spans = pages.mapped_files()
    assert net.linear.held.mapped
    assert not pages.lies_in(plain.linear.weight, spans)
    before = net.linear.weight.clone()
    assert pages.forget(net.linear.weight) > 0
    assert torch.equal(net.linear.weight, before)
