"""Saved workflows: revisions, conflicts, what is kept."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from engine.documents import REVISIONS_KEPT, Documents
from engine.errors import BadInput, Conflict, NotFound
from tests.web.fakes import WORKFLOW, Served


@pytest.fixture
def documents(tmp_path: Path) -> Iterator[Documents]:
    ticks = count(1)
    documents = Documents(tmp_path / "workflows.sqlite3", clock=lambda: float(next(ticks)))
    yield documents
    documents.close()


def test_a_save_makes_a_revision(documents: Documents) -> None:
    first = documents.create(" Boat ", {"nodes": {}})
    assert (first.name, first.revision) == ("Boat", 1)
    second = documents.save(first.id, revision=1, workflow=WORKFLOW)
    assert (second.name, second.revision, second.workflow) == ("Boat", 2, WORKFLOW)
    third = documents.save(first.id, revision=2, name="Ship")
    assert (third.name, third.revision, third.workflow) == ("Ship", 3, WORKFLOW)
    assert documents.get(first.id, 1).workflow == {"nodes": {}}
    assert [r.revision for r in documents.revisions(first.id)] == [3, 2, 1]


def test_a_save_without_a_change_makes_none(documents: Documents) -> None:
    first = documents.create("Boat", WORKFLOW)
    assert documents.save(first.id, revision=1, name="Boat", workflow=dict(WORKFLOW)) == first


def test_an_old_revision_is_a_conflict(documents: Documents) -> None:
    document = documents.create("Boat", WORKFLOW).id
    documents.save(document, revision=1, name="Ship")
    for revision in (0, 1, 3):
        with pytest.raises(Conflict, match="at revision 2"):
            documents.save(document, revision=revision, name="Raft")
        with pytest.raises(Conflict):
            documents.delete(document, revision=revision)
        with pytest.raises(Conflict):
            documents.restore(document, 1, revision=revision)
    assert documents.get(document).name == "Ship"


def test_of_many_saves_at_once_one_wins(documents: Documents) -> None:
    document = documents.create("Boat", WORKFLOW).id

    def save(number: int) -> bool:
        try:
            return bool(documents.save(document, revision=1, name=f"Boat {number}"))
        except Conflict:
            return False

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(save, range(16))) == 1
    assert documents.get(document).revision == 2


def test_an_earlier_revision_comes_back_on_top(documents: Documents) -> None:
    document = documents.create("Boat", {"nodes": {}}).id
    documents.save(document, revision=1, name="Ship", workflow=WORKFLOW)
    restored = documents.restore(document, 1, revision=2)
    assert (restored.name, restored.revision, restored.workflow) == ("Boat", 3, {"nodes": {}})
    assert documents.get(document, 2).workflow == WORKFLOW


def test_the_last_revisions_are_kept(documents: Documents) -> None:
    document = documents.create("0", WORKFLOW).id
    for revision in range(1, REVISIONS_KEPT + 10):
        documents.save(document, revision=revision, name=str(revision))
    kept = [r.revision for r in documents.revisions(document)]
    assert len(kept) == REVISIONS_KEPT
    assert kept[0] == REVISIONS_KEPT + 10
    with pytest.raises(NotFound, match="no longer kept"):
        documents.get(document, 1)


def test_lists_and_deletion(documents: Documents) -> None:
    one, two, three = [documents.create(name, WORKFLOW).id for name in ("same", "same", "other")]
    documents.save(one, revision=1, name="newer")
    assert [d.id for d in documents.list()] == [one, three, two]
    assert [d.id for d in documents.list(limit=1, offset=1)] == [three]
    documents.delete(one, revision=2)
    assert [d.id for d in documents.list()] == [three, two]
    for call in (documents.get, documents.revisions):
        with pytest.raises(NotFound):
            call(one)
    with pytest.raises(NotFound):
        documents.save(one, revision=2, name="x")


@pytest.mark.parametrize("name", ["", "   ", "x" * 201])
def test_names_are_bounded(documents: Documents, name: str) -> None:
    with pytest.raises(BadInput):
        documents.create(name, WORKFLOW)


def test_they_outlive_the_process(tmp_path: Path) -> None:
    path = tmp_path / "workflows.sqlite3"
    one = Documents(path)
    made = one.create("Boat", WORKFLOW)
    one.close()
    two = Documents(path)
    assert two.get(made.id) == made
    two.close()


async def test_over_http(served: Served) -> None:
    async def call(method: str, path: str = "", *, match: str | None = None, status: int = 200, **body: Any) -> Any:
        headers = {"If-Match": match} if match is not None else {}
        return await served.json(method, f"/api/workflows{path}", status=status, headers=headers, json=body or None)

    made = await call("POST", status=201, name="Boat", workflow=WORKFLOW)
    place = f"/{made['id']}"
    answer = await served.client.get(f"/api/workflows{place}")
    assert answer.headers["ETag"] == '"1"'
    saved = await call("PUT", place, match=answer.headers["ETag"], name="Ship")
    assert saved["revision"] == 2
    assert (await call("PUT", place, match='"1"', status=409, name="Raft"))["error"]["code"] == "conflict"
    assert (await call("PUT", place, status=428, name="Raft"))["error"]["code"] == "revision_missing"
    for wrong in ("*", '"x"', '"1", "2"', "9" * 30):
        await call("PUT", place, match=wrong, status=428, name="Raft")
    assert [r["name"] for r in await call("GET", f"{place}/revisions")] == ["Ship", "Boat"]
    assert (await call("GET", f"{place}?revision=1"))["name"] == "Boat"
    await call("GET", f"{place}?revision=7", status=404)
    assert (await call("POST", f"{place}/restore", match='W/"2"', revision=1))["revision"] == 3
    assert [d["id"] for d in await call("GET")] == [made["id"]]
    await call("DELETE", place, match='"3"', status=204)
    await call("GET", place, status=404)
