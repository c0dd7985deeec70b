"""Whatever comes in: an answer of ours, never a 5xx."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.web.fakes import CATALOGUE, WORKFLOW, Served, serving
from web.app import ROUTES
from web.routing import Route

NUMBERS = st.integers() | st.floats() | st.sampled_from([2**53, 2**63, -1, 0, 10**19, 10**400])
WORDS = st.sampled_from(["n", "s", "n.value", "..", "\0", "/", "@", "subgraph:x"])
TEXT = st.text(st.characters(), max_size=12) | WORDS
LEAF = st.none() | st.booleans() | NUMBERS | TEXT
JSON = st.recursive(LEAF, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3))
LINK = st.tuples(st.sampled_from(["n", "s", "x"]), st.sampled_from(["int", "saved", ""])).map(list)
NODE = st.fixed_dictionaries(
    {"type": st.sampled_from(["number", "show", "subgraph:g", "x"]) | JSON},
    optional={"inputs": st.dictionaries(st.sampled_from(["value", "x"]), LINK | JSON, max_size=2) | JSON, "mode": JSON},
)
NODES = st.dictionaries(st.sampled_from(["n", "s", "t"]), NODE, max_size=3)
GROUP = st.fixed_dictionaries({"nodes": NODES | JSON}, optional={"inputs": JSON, "outputs": JSON})
GROUPS = st.dictionaries(st.just("g"), GROUP)
FLOW = st.fixed_dictionaries({"nodes": NODES}, optional={"subgraphs": GROUPS, "format": JSON})
SHAPED = st.fixed_dictionaries(
    {"workflow": FLOW | JSON},
    optional={
        "inputs": st.dictionaries(st.sampled_from(["n.value", "s.value", "x"]), LINK | JSON, max_size=2) | JSON,
        "outputs": st.lists(TEXT, max_size=2) | JSON,
        "priority": NUMBERS,
        "idempotency_key": TEXT,
        "client": TEXT,
        "name": TEXT,
    },
)
PRINTABLE = st.text(st.characters(exclude_categories=["C"]), max_size=12)
CURSORS = ["history", "queue", "output", "input", "0_0_0", "9" * 18 + "_0_0", "-1", "1", "__"]
EXAMPLES = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
CHANGING = [route for route in ROUTES if route.body]
ASKING = [route for route in ROUTES if route.query and route.method == "GET"]


class Target:
    """A served application with a job and a document in it, to throw requests at."""

    def __init__(self, runner: asyncio.Runner, served: Served) -> None:
        self._runner = runner
        self._served = served
        self.statuses: Counter[int] = Counter()
        self._job = runner.run(served.submit())["id"]
        made = runner.run(served.json("POST", "/api/workflows", status=201, json={"name": "a", "workflow": WORKFLOW}))
        self._document = made["id"]

    def ask(self, route: Route, **given: Any) -> None:
        path = route.path.replace("{job}", self._job).replace("{document}", self._document)
        self._runner.run(self._ask(route.method, path, given))

    async def _ask(self, method: str, path: str, given: dict[str, Any]) -> None:
        headers = {"Content-Type": "application/json", "If-Match": '"1"'}
        async with self._served.client.request(method, path, headers=headers, **given) as answer:
            text = await answer.text()
            self.statuses[answer.status] += 1
            assert answer.status < 500, f"{method} {path} {given}: {text}"
            assert answer.status < 400 or json.loads(text).keys() == {"error"}


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with asyncio.Runner() as runner:
        serve = serving(tmp_path_factory.mktemp("fuzz"), kept=CATALOGUE)
        yield Target(runner, runner.run(serve.__aenter__()))
        runner.run(serve.__aexit__(None, None, None))


@EXAMPLES
@given(st.sampled_from(CHANGING), SHAPED | JSON)
def test_bodies(target: Target, route: Route, body: Any) -> None:
    target.ask(route, data=json.dumps(body))


@EXAMPLES
@given(FLOW)
def test_workflows(target: Target, flow: Any) -> None:
    for route in CHANGING:
        fields = route.body.model_fields
        if "workflow" in fields:
            target.ask(route, data=json.dumps({"workflow": flow} | ({"name": "x"} if "name" in fields else {})))


@EXAMPLES
@given(st.sampled_from(ASKING), st.data())
def test_queries(target: Target, route: Route, data: st.DataObject) -> None:
    names = st.sampled_from(sorted(set(route.query.model_fields) - {"wait"})) | PRINTABLE
    query = data.draw(st.dictionaries(names, PRINTABLE | st.integers().map(str) | st.sampled_from(CURSORS), max_size=4))
    target.ask(route, params=query)


def test_the_requests_were_of_all_kinds(target: Target) -> None:
    assert {200, 201, 400} <= target.statuses.keys()
    assert target.statuses[200] + target.statuses[201] > 50
