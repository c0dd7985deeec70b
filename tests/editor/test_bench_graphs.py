"""The graphs of `bench editor`: of the size asked for, whole, and the same for both editors."""

from __future__ import annotations

from typing import Any

import pytest

from engine.bench.editor_graphs import definitions, foreign, graph
from engine.registry import load
from engine.settings import Settings


@pytest.fixture(scope="module")
def specs() -> dict[str, Any]:
    return {spec["id"]: spec for spec in load(Settings()).catalogue("")["nodes"]}


@pytest.mark.parametrize("size", [1, 50, 500])
def test_a_graph_has_its_size_and_the_links_between_its_nodes(size: int, specs: dict[str, Any]) -> None:
    plain = graph(size)
    assert len(plain["nodes"]) == len(plain["layout"]["nodes"]) == size
    theirs = foreign(plain, specs)
    assert len(theirs["nodes"]) == size
    names = list(plain["nodes"])
    sockets = {(node["id"], place): socket for node in theirs["nodes"] for place, socket in enumerate(node["inputs"])}
    told = {
        (names[target - 1], sockets[target, place]["name"]): [names[source - 1], slot]
        for _, source, slot, target, place, _ in theirs["links"]
    }
    assert told == {
        (name, key): [value[0], outputs(plain, specs, value[0]).index(value[1])]
        for name, node in plain["nodes"].items()
        for key, value in node["inputs"].items()
        if isinstance(value, list) and value[0] in plain["nodes"]
    }


def test_values_stand_in_the_order_of_the_definition(specs: dict[str, Any]) -> None:
    sampler = next(node for node in foreign(graph(7), specs)["nodes"] if node["type"] == "sample")
    written = [name for name, kind in definitions(specs)["sample"]["input"]["required"].items() if kind[0] not in TYPES]
    assert dict(zip(written, sampler["widgets_values"], strict=True))["steps"] == 20


TYPES = {"MODEL", "CONDITIONING", "LATENT"}


def outputs(plain: dict[str, Any], specs: dict[str, Any], name: str) -> list[str]:
    return [output["name"] for output in specs[plain["nodes"][name]["type"]]["outputs"]]
