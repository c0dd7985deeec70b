"""The planner: least recently used goes first, pinned stays, what cannot fit is said in bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import OutOfMemory
from engine.memory import Evict, Keep, Load, Resident, Wanted, plan


def test_the_least_recently_used_goes_first_and_no_more_than_needed():
    there = [Resident("new", 40, 9), Resident("old", 40, 1), Resident("middle", 10, 5)]
    assert plan(there, Wanted("x", 30), 100) == (Evict("old"), Load("x"))
    assert plan(there, Wanted("x", 10), 100) == (Load("x"),)
    assert plan(there, Wanted("old", 40, working=20), 100) == (Evict("middle"), Keep("old"))


def test_what_cannot_fit_names_bytes():
    there = [Resident("pinned", 60_000_000, 1, pinned=True)]
    with pytest.raises(OutOfMemory, match="50 MB are needed, 40 MB of the budget of 100 MB"):
        plan(there, Wanted("x", 50_000_000), 100_000_000)


residents = st.lists(
    st.tuples(st.integers(0, 20), st.integers(0, 50), st.booleans()), max_size=8, unique_by=lambda r: r[0]
)


@given(residents, st.integers(0, 25), st.integers(0, 60), st.integers(0, 30), st.integers(0, 150))
def test_a_plan_fits_the_budget_or_nothing_would(entries, key, nbytes, working, budget):
    there = [Resident(k, n, used, pinned) for used, (k, n, pinned) in enumerate(entries)]
    own = next((r.nbytes for r in there if r.key == key), nbytes)
    fixed = sum(r.nbytes for r in there if r.pinned and r.key != key)
    try:
        actions = plan(there, Wanted(key, own, working), budget)
    except OutOfMemory:
        assert fixed + own + working > budget
        return
    evicted = {a.key for a in actions if isinstance(a, Evict)}
    assert not evicted & {r.key for r in there if r.pinned}
    assert key not in evicted
    kept = sum(r.nbytes for r in there if r.key not in evicted and r.key != key)
    assert kept + own + working <= budget
    assert isinstance(actions[-1], Keep if key in {r.key for r in there} else Load)
