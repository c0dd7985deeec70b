"""From a workflow to a graph: what is wanted, mute and bypass, subgraphs, and a sentence for all that is wrong."""

from __future__ import annotations

from typing import Any

import pytest

from engine import flatten, graph, workflow
from engine.errors import WorkflowInvalid
from engine.graph import Graph
from engine.workflow import Link
from tests.engine.lab import Lab, nodes

SPECS = Lab().registry.specs


def build(plain: Any, **options: Any) -> Graph:
    return graph.build(workflow.parse(plain), SPECS, **options)


def problems(plain: Any, **options: Any) -> list[str]:
    with pytest.raises(WorkflowInvalid) as caught:
        build(plain, **options)
    return [str(p) for p in caught.value.problems]


def test_every_problem_is_reported_at_once() -> None:
    """Unknown types, inputs, nodes and outputs, wrong types and values: each with its node and field."""
    plain = nodes(
        a=("inc", {"value": "text", "bi": 3}),
        b=("incc", {}),
        c=("inc", {"value": ["a", "integer"], "by": ["d", "int"]}),
        d=("mean", {"latent": ["a", "int"]}),
        e=("double", {"latent": 3}),
        f=("add", {"a": ["b", "int"], "b": 10**400}),
        g=("inc", {}),
        h=("inc", {"value": ["nowhere", "int"]}),
        i=("save", {"value": ["save", "int"]}),
    )
    found = problems(plain, whole=True)
    for expected in (
        "[bad_input] node a, input value: value needs INT, got str 'text'.",
        "[unknown_input] node a, input bi: Inc has no input 'bi'. Did you mean 'by'?",
        "[unknown_type] node b: There is no node type 'incc'. Did you mean 'inc",
        "[unknown_output] node c, input value: Inc (a) has no output 'integer'; it has: int.",
        "[bad_type] node d, input latent: latent got INT from a, needs LATENT. Connect another output.",
        "[bad_input] node e, input latent: latent needs LATENT from another node: connect it.",
        "[bad_input] node f, input b: b needs a value from -1e+09 to 1e+09, got int beyond all bounds.",
        "[missing_input] node g, input value: Inc needs value (INT): connect it or give a value.",
        "[unknown_node] node h, input value: value is linked to node 'nowhere', which does not exist.",
    ):
        assert any(sentence.startswith(expected) for sentence in found), expected


def test_a_node_without_outputs_or_hint_is_named() -> None:
    """The sentence says so where there is nothing to connect to, and no near name."""
    specs = {**SPECS, "quiet": SPECS["inc"].__class__("quiet", "Quiet", "lab", 1, "No outputs.", (), ())}
    plain = workflow.parse(nodes(q=("quiet", {}), a=("inc", {"value": ["q", "x"]}), z=("zzzzzz", {})))
    with pytest.raises(WorkflowInvalid) as caught:
        graph.build(plain, specs, whole=True)
    assert "it has: none." in str(caught.value)
    assert "Is its node pack installed?" in str(caught.value)


def test_only_what_is_wanted_is_checked() -> None:
    """A half-drawn branch does not stop the rest; `whole` reports it."""
    plain = nodes(a=("const", {}), b=("inc", {}))
    assert list(build(plain, wanted=["a"]).nodes) == ["a"]
    assert len(problems(plain, whole=True)) == 1


def test_nodes_that_show_something_are_wanted_by_default() -> None:
    """Without any, the nodes that nothing depends on; in a cycle, all."""
    plain = nodes(a=("const", {}), b=("inc", {"value": ["a", "int"]}))
    assert build(plain).wanted == ("b",)
    assert build({**plain, **nodes(s=("save", {"value": ["a", "int"]}))}).wanted == ("s",)


def test_a_wanted_node_must_exist_and_not_be_muted() -> None:
    """The sentence tells the two apart."""
    plain = nodes(a=("const", {}, "mute"), b=("const", {}))
    assert "node a: The wanted node is muted, or needs something muted." in problems(plain, wanted=["a"])[0]
    assert "does not exist" in problems(plain, wanted=["c"])[0]


def test_a_workflow_without_nodes_is_refused() -> None:
    assert problems({"nodes": {}}) == ["[empty] The workflow has no nodes to run."]


def test_a_cycle_is_shown_by_its_path() -> None:
    """A long one is shortened."""
    short = nodes(a=("inc", {"value": ["b", "int"]}), b=("inc", {"value": ["a", "int"]}), c=("const", {}))
    assert problems(short, whole=True) == [
        "[cycle] node a: These nodes wait for each other: a <- b <- a. Remove one of the links."
    ]
    ring = nodes(**{f"n{i}": ("inc", {"value": [f"n{(i + 1) % 40}", "int"]}) for i in range(40)})
    assert " <- ... <- " in problems(ring)[0]
    tail = nodes(t=("inc", {"value": ["a", "int"]}), **{n: ("inc", w["inputs"]) for n, w in short.items() if n != "c"})
    assert "a <- b <- a" in problems(tail)[0]


def test_a_cycle_through_a_lazy_input_is_one_too() -> None:
    """It would wait for itself as soon as it is asked for."""
    plain = nodes(p=("pick", {"which": 0, "a": ["i", "int"], "b": 1}), i=("inc", {"value": ["p", "int"]}))
    assert "[cycle]" in problems(plain)[0]


def test_hints_stop_after_some_problems() -> None:
    """Finding near names takes time, so a thousand mistakes do not get a thousand hints."""
    plain = nodes(**{f"n{i}": ("incc", {}) for i in range(50)})
    assert sum("Did you mean" in p for p in problems(plain)) == flatten.HINTS_MAX


def test_literal_lists_and_optional_inputs() -> None:
    """A single value for a list becomes a list of one; what is not given holds its default; null means not given."""
    plain = nodes(a=("total", {"values": 3}), b=("total", {"values": [1, 2]}), c=("inc", {"value": 1, "by": None}))
    made = build(plain, whole=True).nodes
    assert (made["a"].inputs, made["b"].inputs) == ({"values": [3]}, {"values": [1, 2]})
    assert made["c"].inputs == {"value": 1, "by": 1}
    assert "values needs INT, got str 'x'" in problems(nodes(a=("total", {"values": ["x"]})))[0]


def test_unions_and_conversions_fit() -> None:
    """A number goes into a float or a text, a union into what shares a member, ANY everywhere."""
    fitting = [("FLOAT", "INT"), ("STRING", "INT"), ("IMAGE|MASK", "MASK"), ("ANY", "IMAGE"), ("IMAGE", "ANY")]
    assert all(flatten.fits(*pair) for pair in fitting)
    assert not flatten.fits("INT", "FLOAT")
    assert "Insert 'vae_encode' between them" in problems_of_types()


def problems_of_types() -> str:
    plain = workflow.parse(nodes(a=("tensor", {"value": 1}), b=("mean", {"latent": ["a", "latent"]})))
    specs = dict(SPECS)
    image = SPECS["tensor"].outputs[0].__class__("latent", "IMAGE")
    specs["tensor"] = SPECS["tensor"].__class__(**{**vars_of(SPECS["tensor"]), "outputs": (image,)})
    with pytest.raises(WorkflowInvalid) as caught:
        graph.build(plain, specs)
    return str(caught.value)


def vars_of(spec: Any) -> dict[str, Any]:
    return {name: getattr(spec, name) for name in spec.__dataclass_fields__}


# Mute and bypass


def test_muting_takes_dependents_along_unless_the_input_is_optional() -> None:
    """`inc.by` has a default, `inc.value` has not."""
    plain = nodes(
        m=("const", {}, "mute"),
        optional=("inc", {"value": 1, "by": ["m", "int"]}),
        needs=("inc", {"value": ["m", "int"], "by": ["m", "int"]}),
        after=("inc", {"value": ["needs", "int"]}),
        unknown=("nothing", {"x": ["m", "int"]}),
    )
    made = build(plain).nodes
    assert list(made) == ["optional"]
    assert made["optional"].inputs == {"value": 1, "by": 1}


def test_a_bypassed_node_hands_on_the_input_of_its_type() -> None:
    """Through several of them too; a value goes on as well as a link."""
    plain = nodes(
        a=("const", {}),
        b=("inc", {"value": ["a", "int"]}, "bypass"),
        c=("add", {"a": ["b", "int"], "b": 5}, "bypass"),
        d=("inc", {"value": ["c", "int"]}),
        e=("inc", {"value": 4}, "bypass"),
        f=("inc", {"value": ["e", "int"]}),
    )
    made = build(plain, whole=True).nodes
    assert made["d"].inputs["value"] == Link("a", "int")
    assert made["f"].inputs["value"] == 4


def test_a_bypassed_node_without_a_fitting_input_leaves_a_gap() -> None:
    """Its user says that the input is missing; a bypassed node of unknown type is still unknown."""
    plain = nodes(a=("tensor", {"value": 1}, "bypass"), b=("mean", {"latent": ["a", "latent"]}))
    assert "[missing_input] node b, input latent: Mean needs latent (LATENT)" in problems(plain)[0]
    unknown = nodes(a=("nothing", {}, "bypass"), b=("inc", {"value": ["a", "int"]}))
    assert "[unknown_type] node a" in problems(unknown)[0]


def test_bypassed_nodes_in_a_ring_end() -> None:
    """Following links through them does not go on for ever."""
    plain = nodes(
        a=("inc", {"value": ["b", "int"]}, "bypass"), b=("inc", {"value": ["a", "int"]}, "bypass"),
        c=("inc", {"value": ["a", "int"]}),
    )  # fmt: skip
    assert "which does not exist" in problems(plain)[0]


# Subgraphs

TWICE = {
    "nodes": nodes(x=("inc", {"value": ["@", "p"]}), y=("add", {"a": ["x", "int"], "b": ["@", "q"]})),
    "inputs": {"p": None, "q": 10},
    "outputs": {"int": ["y", "int"]},
}


def with_subgraph(made: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"nodes": made, "subgraphs": {"twice": TWICE, **more}}


def test_a_subgraph_is_replaced_by_its_nodes() -> None:
    """Ports become links and defaults; ids are prefixed by the instance's."""
    made = build(with_subgraph(nodes(s=("subgraph:twice", {"p": 1}), t=("inc", {"value": ["s", "int"]})))).nodes
    assert made["t"].inputs["value"] == Link("s/y", "int")
    assert made["s/y"].inputs == {"a": Link("s/x", "int"), "b": 10}
    assert made["s/x"].inputs["value"] == 1


def test_a_wanted_subgraph_stands_for_what_it_gives_and_shows() -> None:
    """Nodes behind its outputs, and nodes in it that save."""
    saves = {"nodes": nodes(k=("save", {"value": 1}), l=("const", {})), "inputs": {}, "outputs": {}}
    plain = with_subgraph(nodes(s=("subgraph:twice", {"p": 1}), k=("subgraph:saves", {})), saves=saves)
    assert build(plain, wanted=["s", "k"]).wanted == ("s/y", "k/k")
    plain["nodes"]["s"]["mode"] = "bypass"
    assert "does not exist" in problems(plain, wanted=["s"])[0]


def test_subgraphs_nest() -> None:
    """An instance may lie in a subgraph, and hand its port on."""
    outer = {
        "nodes": nodes(i=("subgraph:twice", {"p": ["@", "p"]})),
        "inputs": {"p": 0},
        "outputs": {"int": ["i", "int"], "same": ["@", "p"]},
    }
    plain = nodes(o=("subgraph:outer", {"p": 7}), t=("add", {"a": ["o", "int"], "b": ["o", "same"]}))
    made = build(with_subgraph(plain, outer=outer)).nodes
    assert made["o/i/x"].inputs["value"] == 7
    assert made["t"].inputs == {"a": Link("o/i/y", "int"), "b": 7}


def test_subgraphs_that_cannot_be_unfolded_are_named() -> None:
    """Unknown ones, ones that contain themselves, unknown ports."""
    loop = {"nodes": nodes(i=("subgraph:loop", {})), "inputs": {}, "outputs": {}}
    plain = nodes(a=("subgraph:twise", {}), b=("subgraph:loop", {}), c=("subgraph:twice", {"p": 1, "z": 2}))
    found = "\n".join(problems(with_subgraph(plain, loop=loop), whole=True))
    assert "'twise' is not in this file. Did you mean 'twice'?" in found
    assert "'loop' contains itself." in found
    assert "[unknown_input] node c, input z: Subgraph 'twice' has no port 'z'." in found


def test_a_small_file_cannot_unfold_without_end() -> None:
    """Thirty subgraphs of two instances each would be a billion nodes; a hundred in each other would be too deep."""

    def each_in_the_one_before(depth: int, *names: str) -> dict[str, Any]:
        bodies = {f"s{i}": {"nodes": {name: {"type": f"subgraph:s{i + 1}"} for name in names}} for i in range(depth)}
        return {"nodes": nodes(a=("subgraph:s0", {})), "subgraphs": {**bodies, f"s{depth}": {"nodes": {}}}}

    assert "makes this more than 20000 nodes" in problems(each_in_the_one_before(30, "a", "b"))[0]
    assert "nested more than 64 deep" in problems(each_in_the_one_before(100, "a"))[0]


def test_muting_an_instance_mutes_all_in_it() -> None:
    made = nodes(s=("subgraph:twice", {"p": 1}, "mute"), t=("inc", {"value": ["s", "int"]}), u=("const", {}))
    plain = with_subgraph(made)
    assert list(build(plain, whole=True).nodes) == ["u"]


def test_bypassing_an_instance_bypasses_it_as_a_whole() -> None:
    """The port of the output's name goes on, else the first of its type as the nodes inside know it."""
    through = {
        "nodes": nodes(
            a=("mean", {"latent": ["@", "latent"]}), b=("add", {"a": ["a", "int"], "b": ["@", "number"]}),
            c=("nothing", {"x": ["@", "number"]}), d=("subgraph:twice", {"p": 1}),
        ),
        "inputs": {"latent": None, "number": 3, "unused": 1},
        "outputs": {"int": ["b", "int"], "other": ["d", "int"], "latent": ["zz", "latent"]},
    }  # fmt: skip
    plain = nodes(
        l=("tensor", {"value": 1}), n=("const", {}),
        s=("subgraph:through", {"latent": ["l", "latent"], "number": ["n", "int"]}, "bypass"),
        t=("inc", {"value": ["s", "int"]}), m=("mean", {"latent": ["s", "latent"]}),
        o=("mean", {"latent": ["s", "other"]}),
    )  # fmt: skip
    made = build(with_subgraph(plain, through=through), whole=True).nodes
    assert made["t"].inputs["value"] == Link("n", "int")
    assert made["m"].inputs["latent"] == made["o"].inputs["latent"] == Link("l", "latent")
    assert not any(name.startswith("s/") for name in made)


def test_modes_inside_a_subgraph_hold() -> None:
    """A node bypassed in the file's subgraph is bypassed in every instance."""
    body = {**TWICE, "nodes": {**TWICE["nodes"], "x": {**TWICE["nodes"]["x"], "mode": "bypass"}}}
    made = build({"nodes": nodes(s=("subgraph:t", {"p": 5})), "subgraphs": {"t": body}}, wanted=["s"]).nodes
    assert made["s/y"].inputs == {"a": 5, "b": 10}
