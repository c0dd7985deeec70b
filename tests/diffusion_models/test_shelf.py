"""The executor: networks within a budget, whole or streamed, with what their work really took remembered."""

from types import SimpleNamespace

import pytest
import torch

from engine.diffusion.backends import Backend, best_device
from engine.diffusion.families.load import Place
from engine.diffusion.shelf import Baked, Shelf, bake
from engine.diffusion.working import MARGIN, WorkingMemory
from engine.errors import OutOfMemory
from engine.memory import Drop, Keep, Load, Offload, Stream
from tests.diffusion_models.test_residency import SIDE, close, made

PLACE = Place(torch.bfloat16)
LINEAR, CONV = 2 * SIDE * SIDE, 2 * SIDE * SIDE * 9  # bytes of the ready forms
BASE = 10_000  # more than norms and biases take
X = torch.randn(1, 8, SIDE)


def network(tmp_path, name):
    folder = tmp_path / name
    folder.mkdir()
    return SimpleNamespace(module=made(folder, PLACE)[0])


@pytest.fixture
def shelf(tmp_path):
    def make(budget):
        return Shelf(budget, Backend(torch.device("cpu")), WorkingMemory(tmp_path / "data" / "working.sqlite"))

    return make


def kinds(shelf):
    return [type(action) for action in shelf.actions]


def test_what_fits_is_kept_and_what_does_not_makes_room(tmp_path, shelf):
    one = shelf(LINEAR + CONV + BASE)
    for key, expected in (("a", [Load]), ("a", [Keep]), ("b", [Offload, Load]), ("a", [Offload, Load])):
        with one.take(key, lambda key=key: network(tmp_path, key), 0) as loaded:
            loaded.network.module(X.bfloat16())
        assert kinds(one) == expected
    assert len(one.loaded()) == 2  # offloading keeps the module, whose weights are its file


def test_what_is_larger_than_the_budget_is_streamed_with_the_same_numbers(tmp_path, shelf):
    ample, small = shelf(10 * CONV), shelf(CONV + LINEAR + BASE - 50_000)
    build = network(tmp_path, "a")
    with ample.take("a", lambda: build, 0) as loaded:
        expected = loaded.network.module(X.bfloat16())
    with small.take("a", lambda: build, 0) as loaded:
        assert close(loaded.network.module(X.bfloat16()), expected, 0.01)
        assert loaded.nbytes < small.budget
    assert kinds(small) == [Stream]
    with pytest.raises(OutOfMemory, match="are needed"), shelf(CONV // 2).take("a", lambda: build, 0):
        pass


def test_a_network_that_cannot_be_had_leaves_nothing(tmp_path, shelf):
    tiny = shelf(1000)
    with pytest.raises(OutOfMemory), tiny.take("a", lambda: network(tmp_path, "a"), 0):
        pass
    assert tiny.loaded() == ()


def test_what_is_in_use_is_streamed_when_memory_runs_out(tmp_path, shelf):
    ample = shelf(10 * CONV)
    with ample.take("a", lambda: network(tmp_path, "a"), 0) as a:
        with ample.take("b", lambda: network(tmp_path, "b"), 0):
            pass
        ample.offload_unused()
        assert ample.loaded() == (a,)
        assert a.resident == 0


def test_patches_are_baked_once_and_dropped_with_the_network(tmp_path, shelf):
    both = shelf(2 * (LINEAR + CONV + BASE))
    weight = torch.nn.Parameter(torch.zeros(SIDE, SIDE), requires_grad=False)
    with both.take("a", lambda: network(tmp_path, "a"), 0) as loaded:
        first = bake(loaded, "p", lambda: Baked({"w": weight}, ()))
        assert bake(loaded, "p", lambda: pytest.fail("baked again")).parameters is first.parameters
        assert bake(loaded, None, lambda: Baked({}, ())).parameters == {}
        assert loaded.patched == weight.nbytes
    with both.take("b", lambda: network(tmp_path, "b"), CONV):
        assert Offload("a") in both.actions
    assert not loaded.baked


def test_whole_networks_are_dropped_when_offloading_is_not_enough(tmp_path, shelf):
    one = shelf(LINEAR + CONV + BASE)
    with one.take("a", lambda: SimpleNamespace(module=torch.nn.Linear(SIDE, SIDE)), 0):
        pass
    with one.take("b", lambda: network(tmp_path, "b"), 0):
        assert kinds(one) == [Drop, Load]


@pytest.mark.skipif(Backend(torch.device("cpu")).peak() == 0, reason="this system does not tell peaks")
def test_what_work_took_is_measured_once_and_kept(tmp_path, shelf):
    one = shelf(1 << 30)
    with one.take("a", lambda: network(tmp_path, "a"), 1000):
        torch.ones(30 << 20).sum()  # 120 MB
    measured = one.working.bytes("a", 1000)
    assert 110e6 * MARGIN < measured < 250e6
    assert WorkingMemory(tmp_path / "data" / "working.sqlite").bytes("a", 1000) == measured
    assert one.working.bytes("a", 2000) == 2000
    with one.take("a", lambda: None, 1000):
        pass
    assert one.working.bytes("a", 1000) == measured


def test_a_backend_tells_its_room():
    cpu = Backend(torch.device("cpu"))
    assert cpu.room() > 1 << 20
    assert not cpu.accelerator
    cpu.free()
    assert best_device() == "cpu" or torch.accelerator.is_available()
