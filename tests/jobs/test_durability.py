import pytest

from engine.bench import durability


@pytest.mark.slow
def test_nothing_is_lost_seen_twice_or_done_again_when_processes_are_killed() -> None:
    figures = durability.run(kills=6)
    assert figures["kills"] >= 6
    assert figures["acknowledged"] >= 1
    assert (figures["lost"], figures["visible_twice"], figures["finished_steps_rerun"]) == (0, 0, 0)
    assert figures["steps_called"] >= figures["steps_finished"] > 0
