import pytest

from engine.errors import Unavailable
from engine.events import Event, StepDone, StepPreview, StepProgress
from engine.jobs import emit as emit_module
from engine.jobs.emit import GROUP_S, GroupedEmit
from tests.jobs.conftest import Clock


class Sink:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock = Clock()
        self.groups: list[list[Event]] = []
        self.frames: list[tuple[dict, bytes]] = []
        self.full = False
        monkeypatch.setattr(emit_module.time, "monotonic", self.clock)
        self.emit = GroupedEmit(self.commit, lambda head, blob: self.frames.append((head, blob)))

    def commit(self, events: list[Event]) -> None:
        if self.full:
            raise Unavailable("disk full")
        self.groups.append(list(events))


@pytest.fixture
def sink(monkeypatch: pytest.MonkeyPatch) -> Sink:
    return Sink(monkeypatch)


def quick(node: str = "n", seconds: float = 0.001) -> StepDone:
    return StepDone(node, "t", "key", seconds, "new")


def test_quick_steps_share_a_commit(sink: Sink) -> None:
    for _ in range(3):
        sink.emit(quick())
        sink.clock.now += GROUP_S / 2 - 0.001
    assert sink.groups == []
    sink.emit(quick())
    assert [len(group) for group in sink.groups] == [4]


def test_a_slow_step_is_committed_at_once_with_those_before_it(sink: Sink) -> None:
    first, slow = quick(), quick(seconds=0.5)
    sink.emit(first)
    sink.emit(slow)
    assert sink.groups == [[first, slow]]


def test_the_timer_commits_what_no_event_follows(sink: Sink) -> None:
    sink.emit(quick())
    sink.emit.flush_if_due()
    assert sink.groups == []
    sink.clock.now += GROUP_S
    sink.emit.flush_if_due()
    sink.emit.flush()
    assert len(sink.groups) == 1


def test_a_failed_commit_loses_nothing(sink: Sink) -> None:
    sink.full = True
    with pytest.raises(Unavailable):
        sink.emit(quick(seconds=1))
    assert sink.emit.pending() == (quick(seconds=1),)
    sink.full = False
    sink.emit.flush()
    assert sink.groups == [[quick(seconds=1)]]
    assert sink.emit.pending() == ()


def test_previews_travel_beside_the_ledger(sink: Sink) -> None:
    sink.emit(StepPreview("n", "image/webp", b"picture"))
    assert sink.frames == [({"kind": "step_preview", "node": "n", "media": "image/webp"}, b"picture")]
    assert sink.emit.pending() == ()


def test_progress_is_thinned_but_its_end_is_told(sink: Sink) -> None:
    for done in range(1, 101):
        sink.emit(StepProgress("n", done, 100))
        sink.clock.now += 1 / 512
    assert [head["done"] for head, _ in sink.frames] == [1, 27, 53, 79, 100]
