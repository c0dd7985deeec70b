"""The planner: least regret goes first, pinned stays, the too large is streamed, what cannot fit is said in bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import OutOfMemory
from engine.memory import Drop, Keep, Load, Offload, Resident, Stream, Wanted, chance_of, plan


def test_the_least_recently_used_goes_first_and_no_more_than_needed():
    there = [Resident("new", 40, 9), Resident("old", 40, 1), Resident("middle", 10, 5)]
    assert plan(there, Wanted("x", 30), 100) == (Drop("old"), Load("x"))
    assert plan(there, Wanted("x", 10), 100) == (Load("x"),)
    assert plan(there, Wanted("old", 40, working=20), 100) == (Drop("middle"), Keep("old"))


def test_what_is_missed_least_goes_first():
    slow, likely = Resident("slow", 40, 1, reload_s=9), Resident("likely", 40, 2, reload_s=1, chance=0.9)
    rare = Resident("rare", 40, 3, reload_s=2, chance=0.1)
    assert plan([slow, likely, rare], Wanted("x", 60), 120) == (Drop("rare"), Drop("likely"), Load("x"))


def test_what_lies_in_a_file_is_offloaded_before_it_is_dropped():
    there = [Resident("a", 50, 1, offloaded=10), Resident("b", 10, 2, offloaded=10)]
    assert plan(there, Wanted("x", 40), 60 + 20) == (Offload("a"), Load("x"))
    assert plan(there, Wanted("x", 70), 80) == (Offload("a"), Drop("a"), Load("x"))
    assert plan(there, Wanted("x", 80), 80) == (Offload("a"), Drop("a"), Drop("b"), Load("x"))


def test_what_is_larger_than_the_budget_is_streamed():
    pinned = Resident("pinned", 20, 1, pinned=True)
    assert plan([pinned], Wanted("x", 200, working=10, least=30), 100) == (Stream("x", 70),)
    assert plan([], Wanted("x", 200, least=30), 30) == (Stream("x", 30),)
    with pytest.raises(OutOfMemory):
        plan([pinned], Wanted("x", 200, working=60, least=30), 100)


def test_what_was_streamed_is_loaded_whole_when_there_is_room():
    assert plan([Resident("x", 30, 1)], Wanted("x", 50), 60) == (Load("x"),)


def test_what_cannot_fit_names_bytes():
    there = [Resident("pinned", 60_000_000, 1, pinned=True)]
    with pytest.raises(OutOfMemory, match="50 MB are needed, 40 MB of the budget of 100 MB"):
        plan(there, Wanted("x", 50_000_000), 100_000_000)


def test_chance_rises_with_use_and_fades_with_age():
    assert chance_of(5, 0) > chance_of(1, 0) > chance_of(1, 3)


residents = st.lists(
    st.tuples(
        st.integers(0, 20), st.integers(0, 50), st.booleans(), st.none() | st.integers(0, 60), st.floats(0, 9)
    ),
    max_size=8,
    unique_by=lambda r: r[0],
)  # fmt: skip


@given(residents, st.integers(0, 25), st.integers(0, 60), st.integers(0, 30), st.integers(0, 150), st.booleans())
def test_a_plan_fits_the_budget_or_nothing_would(entries, key, nbytes, working, budget, streams):
    there = [Resident(k, n, i, pin, regret, offloaded=off) for i, (k, n, pin, off, regret) in enumerate(entries)]
    least = nbytes // 2 if streams else None
    pinned = sum(r.nbytes for r in there if r.pinned and r.key != key)
    try:
        actions = plan(there, Wanted(key, nbytes, working, least), budget)
    except OutOfMemory:
        assert pinned + (nbytes if least is None else least) + working > budget
        return
    left = {r.key: r.nbytes for r in there if r.key != key}
    for action in actions[:-1]:
        assert not next(r for r in there if r.key == action.key).pinned
        stays = next(r for r in there if r.key == action.key).offloaded
        left[action.key] = stays if isinstance(action, Offload) else 0
    last = actions[-1]
    own = last.resident if isinstance(last, Stream) else nbytes
    assert sum(left.values()) + own + working <= budget
    assert last.key == key
    if isinstance(last, Stream):
        assert least is not None
        assert least <= last.resident < nbytes
