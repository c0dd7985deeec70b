"""Random typed workflows for property tests: pure nodes, lists, lazy inputs, expansions, failures, effects, modes."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

# type -> its inputs by name: "int" or "list" or "latent" (a link or, for int, a value), or values to draw from
INPUTS: dict[str, dict[str, Any]] = {
    "const": {"value": range(-3, 15)},
    "inc": {"value": "int", "by": range(-2, 3)},
    "add": {"a": "int", "b": "int"},
    "parity": {"value": "int"},
    "count": {"n": range(4)},
    "total": {"values": "list"},
    "ends": {"values": "list"},
    "pick": {"which": "int", "a": "int", "b": "int"},
    "down": {"n": range(4)},
    "sevens_fail": {"value": "int"},
    "tensor": {"value": "int"},
    "double": {"latent": "latent"},
    "mean": {"latent": "latent"},
    "save": {"value": "int"},
}
LATENT = ("latent", "latent")
OUTPUT = {"count": ("int", "list"), "ends": ("high", "int"), "tensor": LATENT, "double": LATENT}
MODES = ("run", "run", "run", "run", "run", "run", "mute", "bypass")


@st.composite
def workflows(draw: st.DrawFn, *, modes: bool = True, failing: bool = True) -> dict[str, Any]:
    """Draw the nodes of a valid workflow of up to a dozen nodes, in an order that need not be topological."""
    made: dict[str, Any] = {}
    ports: dict[str, list[list[str]]] = {"int": [], "list": [], "latent": []}
    types = [t for t in INPUTS if failing or t != "sevens_fail"]
    for index in range(draw(st.integers(2, 12))):
        kind = draw(st.sampled_from([t for t in types if t not in ("double", "mean") or ports["latent"]]))
        name = f"n{index}"
        inputs = {field: _input(draw, wanted, ports) for field, wanted in INPUTS[kind].items()}
        made[name] = {"type": kind, "inputs": inputs}
        mode = draw(st.sampled_from(MODES)) if modes else "run"
        if mode != "run":
            made[name]["mode"] = mode
        port, carries = OUTPUT.get(kind, ("int", "int"))
        if kind != "save":
            ports[carries].append([name, port])
    order = draw(st.permutations(list(made)))
    return {name: made[name] for name in order}


def _input(draw: st.DrawFn, wanted: Any, ports: dict[str, list[list[str]]]) -> Any:
    if isinstance(wanted, range):
        return draw(st.sampled_from(wanted))
    links = ports[wanted] if wanted != "int" else ports["int"] + ports["list"]
    if wanted == "list":
        links = links + ports["int"]
    values = {"int": st.integers(-5, 15), "list": st.lists(st.integers(0, 9), max_size=3)}.get(wanted)
    if links and (values is None or draw(st.integers(0, 3))):
        return draw(st.sampled_from(links))
    return draw(values)  # type: ignore[arg-type]


@st.composite
def changes(draw: st.DrawFn, made: dict[str, Any]) -> tuple[str, dict[str, Any]] | None:
    """Draw a node and the workflow with one of that node's plain values changed; None if it has none."""
    places = [
        (name, field)
        for name, node in made.items()
        for field, value in node["inputs"].items()
        if isinstance(value, int) and node.get("mode", "run") == "run"
    ]
    if not places:
        return None
    name, field = draw(st.sampled_from(places))
    value = draw(st.integers(0, 3))
    return name, {**made, name: {**made[name], "inputs": {**made[name]["inputs"], field: value}}}


def descendants(made: dict[str, Any], name: str) -> set[str]:
    """Return a node and all that depend on it."""
    found = {name}
    while True:
        more = {n for n, node in made.items() for v in node["inputs"].values() if isinstance(v, list) and found & {*v}}
        if more <= found:
            return found
        found |= more


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(["n0", "int", "@"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@st.composite
def broken(draw: st.DrawFn) -> Any:
    """Draw what somebody may send as a workflow: a valid one with parts replaced, or any JSON."""
    if draw(st.booleans()):
        return draw(json_values)
    subgraphs = st.dictionaries(st.sampled_from("ab"), subgraph_bodies(), max_size=2)
    made: dict[str, Any] = {"nodes": draw(workflows()), "subgraphs": draw(subgraphs | json_values)}
    for name in draw(st.lists(st.sampled_from(list(made["nodes"])), max_size=3, unique=True)):
        node = made["nodes"][name]
        target = draw(st.sampled_from(["node", "type", "mode", "input", "link", "instance"]))
        if target == "node":
            made["nodes"][name] = draw(json_values)
        elif target in ("type", "mode"):
            node[target] = draw(json_values)
        elif target == "instance":
            made["nodes"][name] = {"type": f"subgraph:{draw(st.sampled_from('abc'))}", "inputs": {"p": ["n0", "int"]}}
        else:
            other = draw(json_values if target == "input" else st.sampled_from([[n, "int"] for n in made["nodes"]]))
            node["inputs"] = {**node["inputs"], draw(st.sampled_from([*node["inputs"], "x"])): other}
    return made


def subgraph_bodies() -> st.SearchStrategy[Any]:
    """Draw subgraphs, some of which contain each other."""
    inner = st.sampled_from(
        [
            {"type": "inc", "inputs": {"value": ["@", "p"]}},
            {"type": "subgraph:a", "inputs": {"p": ["@", "p"]}},
            {"type": "subgraph:b", "inputs": {"p": 1}},
            {"type": "save", "inputs": {"value": ["@", "q"]}},
        ]
    )
    return st.fixed_dictionaries(
        {
            "nodes": st.dictionaries(st.sampled_from(["x", "y"]), inner, max_size=2),
            "inputs": st.sampled_from([{}, {"p": 3}, {"p": None, "q": 2}]),
            "outputs": st.sampled_from([{}, {"int": ["x", "int"]}, {"int": ["@", "p"]}]),
        }
    )
