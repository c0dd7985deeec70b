"""ComfyUI's files: prompts, workflow files of 0.4 and 1, pictures that hold one, and A1111's text."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image as Pil
from PIL import PngImagePlugin

from engine import graph, workflow
from engine.compat.a1111 import from_parameters
from engine.compat.api_format import from_api
from engine.compat.convert import is_foreign, open_file, opened
from engine.compat.export import to_api
from engine.compat.report import Report
from engine.compat.ui_format import from_ui
from engine.compat.widgets import Slot, aligned
from engine.errors import BadFile
from engine.node import NodeSpec
from engine.pictures import embedded_parameters
from engine.registry import load
from engine.settings import Settings
from engine.workflow import Link, Workflow

PROMPT: dict[str, Any] = {
    "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "sub\\a.safetensors"}},
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a cat", "clip": ["4", 1]}, "_meta": {"title": "Prompt"}},
    "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 512, "height": 512, "batch_size": 1}},
    "3": {"class_type": "KSampler", "inputs": {
        "seed": 7, "steps": 20, "cfg": 8, "sampler_name": "euler", "scheduler": "normal", "denoise": 1,
        "model": ["4", 0], "positive": ["6", 0], "negative": ["6", 0], "latent_image": ["5", 0]}},
    "8": {"class_type": "VAEDecode", "inputs": {"samples": ["3", 0], "vae": ["4", 2]}},
    "9": {"class_type": "SaveImage", "inputs": {"images": ["8", 0], "filename_prefix": "x"}},
}  # fmt: skip
PARAMETERS = (
    "a red car <lora:winter:0.7>, [x:y:0.5]\nsecond line\nNegative prompt: blur\n"
    "Steps: 20, Sampler: DPM++ 2M Karras, CFG scale: 7.5, Seed: 42, Size: 512x768, Model: foo, "
    'TI hashes: "a: b, c: d", '
    "Clip skip: 2, Denoising strength: 0.4, Hires upscale: 2"
)


@cache
def specs() -> Mapping[str, NodeSpec]:
    return load(Settings()).specs


def node(id: Any, type: str, values: Any = (), inputs: Any = (), outputs: int = 1, **more: Any) -> dict[str, Any]:
    """A node of a workflow file; `inputs` are (name, link) or (name, link, widget)."""
    listed = [
        {"name": i[0], "type": "*", "link": i[1]} | ({"widget": {"name": i[2]}} if len(i) > 2 else {}) for i in inputs
    ]
    made = {"id": id, "type": type, "inputs": listed, "outputs": [{"name": "o", "type": "*"}] * outputs, "pos": [1, 2]}
    return made | {"widgets_values": values} | more


def read(nodes: list[Any], links: list[Any] = [], **more: Any) -> tuple[Workflow, Report]:  # noqa: B006
    return from_ui({"nodes": nodes, "links": links, "version": 0.4} | more, specs())


# Prompts -------------------------------------------------------------------------------------------------------------


def test_a_prompt_becomes_a_workflow_that_is_valid() -> None:
    found, report = from_api(PROMPT, specs())
    assert found.nodes["3"].inputs["latent_image"] == Link("5", "latent")
    assert found.nodes["8"].inputs["vae"] == Link("4", "vae")
    assert found.nodes["4"].inputs["ckpt_name"] == "sub/a.safetensors"
    assert found.rest["layout"]["nodes"]["6"]["title"] == "Prompt"
    assert found.rest["layout"]["nodes"]["9"]["x"] > found.rest["layout"]["nodes"]["3"]["x"]
    assert list(report.sentences()) == []
    assert graph.build(found, specs()).wanted == ("9",)


def test_a_prompt_comes_back_as_it_was() -> None:
    plain = PROMPT | {"4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "a.safetensors"}}}
    again, _ = to_api(from_api(plain, specs())[0], specs())
    assert again == plain


def test_values_are_coerced_bounded_and_told() -> None:
    inputs = {"steps": 20.7, "cfg": "7.5", "denoise": 3, "seed": 2**64 - 1, "sampler_name": "dpm_fast", "other": 1}
    found, report = from_api({"1": {"class_type": "KSampler", "inputs": inputs}}, specs())
    kept = found.nodes["1"].inputs
    assert (kept["steps"], kept["cfg"], kept["denoise"], kept["seed"]) == (20, 7.5, 1.0, 2**64 - 1)
    assert kept["sampler_name"] == "dpm_fast"
    assert "other" not in kept
    assert report.nodes["1"].state == "changed"
    assert [s.partition(" ")[0] for s in report.nodes["1"].remarks] == ["denoise", "sampler_name"]


def test_an_unknown_class_keeps_its_values_and_links() -> None:
    plain = {"1": {"class_type": "Mystery", "inputs": {"a": [1, 2, 3], "b": {"__value__": ["x", 0]}}},
             "2": {"class_type": "Mystery", "inputs": {"c": ["1", 3]}}}  # fmt: skip
    found, report = from_api(plain, specs())
    assert found.nodes["2"].inputs["c"] == Link("1", "3")
    assert found.nodes["1"].inputs == {"a": [1, 2, 3], "b": ["x", 0]}
    assert report.in_state("unknown") == ["1", "2"]
    again, _ = to_api(found, specs())
    assert again["2"] == plain["2"]
    assert again["1"]["inputs"]["b"] == {"__value__": ["x", 0]}


def test_ids_that_we_cannot_have_are_mapped() -> None:
    found, report = from_api(
        {"a/b": {"class_type": "X"}, "a_b": {"class_type": "X"}, "@": {"class_type": "X"}}, specs()
    )
    assert report.ids == {"a_b_2": "a/b", "a_b": "a_b", "node": "@"}
    assert workflow.parse(found.to_json()) == found


# Workflow files ------------------------------------------------------------------------------------------------------


def test_reroutes_and_primitives_and_notes() -> None:
    nodes = [
        node(1, "LoadImage", ["a.png", "image"]),
        node(2, "Reroute", inputs=[("", 10)]),
        node(3, "PrimitiveNode", [2.5, "fixed"]),
        node(4, "ImageScaleBy", ["lanczos", 1.0], [("image", 11), ("scale_by", 12, "scale_by")]),
        node(5, "MarkdownNote", ["# Hello"]),
        node("s", "SetNode", ["name"], [("IMAGE", 13)]),
        node("g", "GetNode", ["name"]),
        node(6, "SaveImage", ["x"], [("images", 14)]),
    ]
    links = [[10, 1, 0, 2, 0, "IMAGE"], [11, 2, 0, 4, 0, "*"], [12, 3, 0, 4, 1, "FLOAT"], [13, 4, 0, "s", 0, "IMAGE"],
             [14, "g", 0, 6, 0, "IMAGE"]]  # fmt: skip
    found, report = read(nodes, links)
    assert found.nodes["4"].inputs == {"upscale_method": "lanczos", "scale_by": 2.5, "image": Link("1", "image")}
    assert found.nodes["5"].type == "note"
    assert found.nodes["5"].inputs == {"text": "# Hello"}
    assert found.nodes["6"].inputs["images"] == Link("4", "image")
    assert found.nodes.keys() == {"1", "4", "5", "6"}
    assert list(report.sentences()) == []


def test_muted_and_bypassed() -> None:
    nodes = [
        node(1, "LoadImage", ["a.png", "image"]),
        node(2, "ImageInvert", [], [("image", 1)], mode=4),
        node(3, "SaveImage", ["x"], [("images", 2)], mode=2),
        node(4, "Mystery", [], [("i", 3)], mode=4),
        node(5, "SaveImage", ["x"], [("images", 4)]),
    ]
    links = [[1, 1, 0, 2, 0, "IMAGE"], [2, 2, 0, 3, 0, "IMAGE"], [3, 2, 0, 4, 0, "*"], [4, 4, 0, 5, 0, "*"]]
    found, _ = read(nodes, links)
    assert (found.nodes["2"].mode, found.nodes["3"].mode) == ("bypass", "mute")
    assert found.nodes["5"].inputs["images"] == Link("2", "image")  # past the unknown one, which stays to be seen
    assert found.nodes["4"].inputs["i"] == Link("2", "image")
    prompt, _ = to_api(found, specs())
    assert prompt["5"]["inputs"]["images"] == ["1", 0]
    assert "3" not in prompt


def test_links_as_objects_and_places_as_objects() -> None:
    links = [{"id": 1, "origin_id": 1, "origin_slot": 0, "target_id": 2, "target_slot": 0, "type": "IMAGE"}]
    nodes = [node(1, "LoadImage", ["a.png"], pos={"0": 5.2, "1": 6}, title="Mine", flags={"collapsed": True}),
             node(2, "PreviewImage", [], [("images", 1)])]  # fmt: skip
    found, _ = read(nodes, links, version=1, groups=[{"title": "G", "bounding": [0, 0, 10, 20]}, {"title": "bad"}])
    assert found.nodes["2"].inputs["images"] == Link("1", "image")
    assert found.rest["layout"]["nodes"]["1"] == {"x": 5, "y": 6, "title": "Mine", "collapsed": True}
    assert found.rest["layout"]["frames"] == {"group_1": {"x": 0, "y": 0, "width": 10, "height": 20, "title": "G"}}


def test_named_values_and_what_is_not_known_of_them() -> None:
    found, report = read([node(1, "SaveImage", {"filename_prefix": "a", "old": 1}), node(2, "Mystery", [1, "b"])])
    assert found.nodes["1"].inputs == {"filename_prefix": "a"}
    assert found.nodes["2"].inputs == {"widgets_values": [1, "b"]}
    assert report.in_state("unknown") == ["2"]


def test_links_to_what_is_gone_are_told() -> None:
    found, report = read([node(1, "SaveImage", ["x"], [("images", 1), ("gone", 2)])], [[1, 99, 0, 1, 0, "IMAGE"]])
    assert "images" not in found.nodes["1"].inputs
    assert report.nodes["1"].state == "changed"


KSAMPLER = ("seed", "steps", "cfg", "sampler_name", "scheduler", "denoise")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([5, "randomize", 20, 8, "euler", "normal", 1], (5, 20, 8, "euler", "normal", 1)),
        ([5, 20, 8, "euler", "normal", 1], (5, 20, 8, "euler", "normal", 1)),  # before seeds had a mode
        ([5, "fixed", 20, 8.5, "dpmpp_2m", "karras"], (5, 20, 8.5, "dpmpp_2m", "karras", None)),  # no denoise yet
        ([5, True, 20, 8, "euler", "normal", 1], (5, 20, 8, "euler", "normal", 1)),  # "randomize" was once a boolean
        ([5, "increment", 20, 8, "euler", "normal", 1, "more"], (5, 20, 8, "euler", "normal", 1)),
    ],
)
def test_widget_values_find_their_names(values: list[Any], expected: tuple[Any, ...]) -> None:
    found, _ = read([node(1, "KSampler", values)])
    assert tuple(found.nodes["1"].inputs.get(name) for name in KSAMPLER) == expected


def test_widgets_turned_into_inputs_keep_their_place() -> None:
    inputs = [("model", None), ("seed", 1, "seed"), ("steps", None, "steps")]
    found, _ = read([node(1, "KSampler", [5, "fixed", 30, 8, "euler", "normal", 1], inputs)], [])
    assert found.nodes["1"].inputs["steps"] == 30


@given(st.lists(st.sampled_from([1, 1.5, "a", True, None, "fixed", "image"]), max_size=8))
def test_alignment_loses_and_invents_nothing(values: list[Any]) -> None:
    slots = [Slot("a", "INT"), Slot("b", "FLOAT"), Slot("c", "STRING"), Slot("seed", "INT")]
    found = aligned(slots, values)
    assert [n for n in ("a", "b", "c", "seed") if n in found.values] == list(found.values)  # in order
    kept = [*found.values.values(), *found.left]
    assert len(kept) <= len(values)
    assert all(any(k is v for v in values) for k in kept)


# Subgraphs -----------------------------------------------------------------------------------------------------------


def subgraph_file(mode: int = 0) -> dict[str, Any]:
    inner = [
        node(5, "ImageScaleBy", ["area", 1.5], [("image", 1), ("scale_by", 2, "scale_by")]),
        node(6, "ImageInvert", [], [("image", 3)]),
    ]

    def wire(key: int, source: int, slot: int, target: int, into: int) -> dict[str, Any]:
        return {"id": key, "origin_id": source, "origin_slot": slot, "target_id": target, "target_slot": into}

    body = {
        "id": "uuid-1", "name": "Scale and/or invert", "nodes": inner,
        "inputs": [{"name": "image", "type": "IMAGE"}, {"name": "scale_by", "type": "FLOAT"}],
        "outputs": [{"name": "IMAGE", "type": "IMAGE"}],
        "links": [wire(1, -10, 0, 5, 0), wire(2, -10, 1, 5, 1), wire(3, 5, 0, 6, 0), wire(4, 6, 0, -20, 0)],
    }  # fmt: skip
    nodes = [node(1, "LoadImage", ["a.png", "image"]), node(12, "uuid-1", [2.0], [("image", 1)], mode=mode),
             node(9, "SaveImage", ["x"], [("images", 2)])]  # fmt: skip
    links = [[1, 1, 0, 12, 0, "IMAGE"], [2, 12, 0, 9, 0, "IMAGE"]]
    return {"nodes": nodes, "links": links, "definitions": {"subgraphs": [body]}}


def test_a_subgraph_stays_one_and_unfolds_to_their_ids() -> None:
    found, report = from_ui(subgraph_file(), specs())
    assert list(report.sentences()) == []
    assert found.nodes["12"].type == "subgraph:Scale and_or invert"
    assert found.subgraphs["Scale and_or invert"].inputs == {"image": None, "scale_by": 1.5}
    assert found.nodes["12"].inputs == {"scale_by": 2.0, "image": Link("1", "image")}
    prompt, _ = to_api(found, specs())
    assert prompt["12:5"]["inputs"] == {"upscale_method": "area", "scale_by": 2.0, "image": ["1", 0]}
    assert prompt["9"]["inputs"]["images"] == ["12:6", 0]
    assert graph.build(workflow.parse(json.loads(json.dumps(found.to_json()))), specs()).wanted == ("9",)


def test_a_bypassed_subgraph_hands_its_picture_on() -> None:
    prompt, _ = to_api(from_ui(subgraph_file(mode=4), specs())[0], specs())
    assert prompt["9"]["inputs"]["images"] == ["1", 0]


# Group nodes ---------------------------------------------------------------------------------------------------------


def group_file(mode: int = 0, values: Any = (2.0, "bilinear", 3.0), **config: Any) -> dict[str, Any]:
    """A group of two nodes that scale and one that inverts; its second output is used inside and leads out too."""

    def inner(kind: str, values: Any, pos: list[int]) -> dict[str, Any]:
        return {"id": -1, "type": kind, "pos": pos, "mode": 0, "widgets_values": values, "size": [10, 10],
                "inputs": [{"name": "image", "type": "IMAGE", "link": None}],
                "outputs": [{"name": "IMAGE", "type": "IMAGE", "links": []}]}  # fmt: skip

    group = {
        "nodes": [inner("ImageScaleBy", ["area", 1.5], [50, 60]), inner("ImageScaleBy", ["area", 1.5], [80, 60]),
                  inner("ImageInvert", [], [90, 70])],
        "links": [[None, 0, 0, 0, 1, "IMAGE"], [1, 0, 2, 0, 4, "IMAGE"]],
        "external": [[1, 0, "IMAGE"]], "config": config,
    }  # fmt: skip

    def ends(side: str, names: Any, links: Any) -> dict[str, Any]:
        return {side: [{"name": n, "type": "IMAGE", "link": k} for n, k in zip(names, links, strict=True)]}

    outer = {"id": 28, "type": "workflow>both", "pos": [100, 200], "mode": mode, "widgets_values": list(values)}
    outer |= ends("inputs", ("image", "ImageScaleBy image"), (1, 2))
    outer |= ends("outputs", ("IMAGE", "ImageScaleBy IMAGE", "ImageInvert IMAGE"), (None, None, None))
    nodes = [node(1, "LoadImage", ["a.png", "image"]), node(2, "LoadImage", ["b.png", "image"]), outer,
             node(9, "SaveImage", ["x"], [("images", 3)]), node(10, "SaveImage", ["y"], [("images", 4)])]  # fmt: skip
    links = [
        [1, 1, 0, 28, 0, "IMAGE"],
        [2, 2, 0, 28, 1, "IMAGE"],
        [3, 28, 0, 9, 0, "IMAGE"],
        [4, 28, 2, 10, 0, "IMAGE"],
    ]
    return {"nodes": nodes, "links": links, "extra": {"groupNodes": {"both": group}}, "version": 0.4}


def test_a_group_node_is_unfolded() -> None:
    found, report = from_ui(group_file(values=("lanczos", 2.0, "bilinear", 3.0)), specs())
    assert list(report.sentences()) == []
    inside = {name: dict(each.inputs) for name, each in found.nodes.items() if name.startswith("28:")}
    assert inside == {
        "28:0": {"image": Link("1", "image"), "upscale_method": "lanczos", "scale_by": 2.0},
        "28:1": {"image": Link("2", "image"), "upscale_method": "bilinear", "scale_by": 3.0},
        "28:2": {"image": Link("28:1", "image")},
    }
    assert found.nodes["9"].inputs["images"] == Link("28:0", "image")
    assert found.nodes["10"].inputs["images"] == Link("28:2", "image")
    layout = found.rest["layout"]
    assert (layout["nodes"]["28:0"]["x"], layout["nodes"]["28:2"]["y"]) == (100, 210)
    assert layout["frames"] == {"group_1": {"x": 100, "y": 140, "width": 50, "height": 80, "title": "both"}}


def test_hidden_widgets_of_a_group_keep_their_own_values() -> None:
    found, _ = from_ui(group_file(**{"0": {"input": {"upscale_method": {"visible": False}}}}), specs())
    scales = [(found.nodes[n].inputs["upscale_method"], found.nodes[n].inputs["scale_by"]) for n in ("28:0", "28:1")]
    assert scales == [("area", 2.0), ("bilinear", 3.0)]


def test_a_muted_group_takes_its_nodes_along_and_a_bypassed_one_is_led_around() -> None:
    muted, _ = from_ui(group_file(mode=2), specs())
    assert {muted.nodes[f"28:{i}"].mode for i in range(3)} == {"mute"}
    past, _ = from_ui(group_file(mode=4), specs())
    assert past.nodes["9"].inputs["images"] == Link("1", "image")


# Nothing refuses to open ---------------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-20, 20) | st.floats(allow_nan=True) | st.sampled_from(["KSampler", "a"]),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.sampled_from(
        ["id", "type", "mode", "inputs", "outputs", "link", "name", "visible", "input", "widget",
         "widgets_values", "pos", "nodes", "links",
         "definitions", "subgraphs", "groups", "bounding", "properties", "proxyWidgets", "class_type", "title", "0"]),
        inner, max_size=6),
    max_leaves=30,
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(nodes=st.lists(JSON, max_size=4), links=JSON, bodies=JSON)
def test_whatever_lies_in_a_workflow_file_it_opens(nodes: Any, links: Any, bodies: Any) -> None:
    group = {"id": 7, "type": "workflow/a", "inputs": bodies, "outputs": bodies, "widgets_values": links}
    groups = {"a": {"nodes": nodes, "links": links, "external": bodies, "config": bodies}}
    plain = {"nodes": [*nodes, group], "links": links, "extra": {"groupNodes": groups}}
    plain |= {"definitions": {"subgraphs": bodies}}
    found = opened(plain, specs())
    assert workflow.parse(found.workflow.to_json()).nodes.keys() == found.workflow.nodes.keys()
    to_api(found.workflow, specs())
    json.dumps(found.report.to_json())


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.text(max_size=5), st.fixed_dictionaries({"class_type": st.just("KSampler"), "inputs": JSON})
                       | JSON, max_size=4))  # fmt: skip
def test_whatever_lies_in_a_prompt_it_opens(plain: dict[str, Any]) -> None:
    found, report = from_api(plain, specs())
    workflow.parse(found.to_json())
    assert report.nodes.keys() == found.nodes.keys()


@given(st.binary(max_size=60))
def test_other_bytes_are_refused_with_a_sentence(data: bytes) -> None:
    with contextlib.suppress(json.JSONDecodeError, UnicodeDecodeError, RecursionError):
        assume(not isinstance(json.loads(data.decode()), dict))
    with pytest.raises(BadFile, match=r"\.$"):
        open_file(data, specs())


# Files ---------------------------------------------------------------------------------------------------------------


def picture(form: str, **texts: str) -> bytes:
    image, buffer = Pil.fromarray(np.zeros((4, 4, 3), np.uint8)), io.BytesIO()
    if form == "PNG":
        info = PngImagePlugin.PngInfo()
        for key, text in texts.items():
            info.add_text(key, text)
        image.save(buffer, "PNG", pnginfo=info)
        return buffer.getvalue()
    exif = Pil.Exif()
    if "workflow" in texts:
        exif[0x010F] = f"workflow:{texts['workflow']}"
    if "prompt" in texts:
        exif[0x0110] = f"prompt:{texts['prompt']}"
    if "parameters" in texts:
        exif.get_ifd(0x8769)[0x9286] = b"UNICODE\0" + texts["parameters"].encode("utf-16-be")
    image.save(buffer, form, exif=exif)
    return buffer.getvalue()


@pytest.mark.parametrize("form", ["PNG", "WEBP"])
def test_pictures_give_the_drawn_workflow_or_else_the_prompt(form: str) -> None:
    drawn = json.dumps(subgraph_file())
    both = open_file(picture(form, prompt=json.dumps(PROMPT), workflow=drawn), specs())
    assert both.report.source == "comfyui-ui"
    only = open_file(picture(form, prompt=json.dumps(PROMPT)), specs())
    assert only.workflow.nodes.keys() == PROMPT.keys()


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
def test_pictures_give_a1111s_text(form: str) -> None:
    found = open_file(picture(form, parameters=PARAMETERS), specs())
    assert found.report.source == "a1111"
    with pytest.raises(BadFile, match="no workflow"):
        open_file(picture(form), specs())


def test_a_comment_of_another_kind_is_read_or_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    image, buffer, exif = Pil.new("RGB", (4, 4)), io.BytesIO(), Pil.Exif()
    exif.get_ifd(0x8769)[0x9286] = b"ASCII\0\0\0" + PARAMETERS.encode()
    image.save(buffer, "JPEG", exif=exif)
    assert embedded_parameters(buffer.getvalue()) == PARAMETERS

    def broken(self: Pil.Exif, tag: int) -> Any:
        raise OSError("broken")

    monkeypatch.setattr(Pil.Exif, "get_ifd", broken)
    assert embedded_parameters(buffer.getvalue()) is None


def test_bodies_of_requests_hold_workflows_too() -> None:
    assert opened({"prompt": PROMPT, "client_id": "x"}, specs()).report.source == "comfyui-api"
    body = {"prompt": PROMPT, "extra_data": {"extra_pnginfo": {"workflow": subgraph_file()}}}
    assert is_foreign(body)
    assert opened(body, specs()).report.source == "comfyui-ui"
    ours = {"format": "sfumato/1", "nodes": {"a": {"type": "note"}}}
    assert not is_foreign(ours)
    assert opened(ours, specs()).report.to_json()["counts"] == {"imported": 1, "changed": 0, "unknown": 0}


# A1111 ---------------------------------------------------------------------------------------------------------------


def test_a1111s_text_becomes_a_valid_graph() -> None:
    found, report = from_parameters(PARAMETERS)
    values = {name: dict(n.inputs) for name, n in found.nodes.items()}
    assert values["loader"] == {"file": "foo.safetensors"}
    assert values["lora_1"]["strength_model"] == 0.7
    assert values["clip_skip"] == {"clip": Link("lora_1", "clip"), "layer": 2}
    assert values["prompt"]["text"] == "a red car , [x:y:0.5]\nsecond line"
    assert values["negative"]["text"] == "blur"
    assert (values["latent"]["width"], values["latent"]["height"]) == (512, 768)
    sampler = values["sampler"]
    assert (sampler["sampler"], sampler["schedule"], sampler["cfg"], sampler["seed"]) == ("dpmpp_2m", "karras", 7.5, 42)
    assert values["refine"]["strength"] == 0.4
    assert graph.build(found, specs()).wanted == ("save",)
    assert [r.partition(":")[0] for r in report.remarks] == [
        "Prompts that change while sampling ([a", "Not read",
    ]  # fmt: skip


def test_a1111s_text_with_next_to_nothing() -> None:
    found, report = from_parameters("Steps: x, Seed: -1, Sampler: Nobody knows")
    assert found.nodes["loader"].type == "load_embedded"
    assert found.nodes["sampler"].inputs["sampler"] == "euler"
    assert found.nodes["sampler"].inputs["steps"] == 20
    assert len(report.remarks) == 2
    assert graph.build(found, specs()).wanted == ("save",)


# Out -----------------------------------------------------------------------------------------------------------------


def test_our_own_nodes_go_out_as_theirs() -> None:
    found, _ = from_parameters("a cat\nSteps: 20, Seed: 1, Model: m, Size: 64x64, Sampler: Euler")
    prompt, report = to_api(found, specs())
    assert prompt["sampler"]["class_type"] == "KSampler"
    assert prompt["sampler"]["inputs"]["latent_image"] == ["latent", 0]
    assert prompt["decode"]["inputs"]["vae"] == ["loader", 2]
    assert "model" not in prompt["latent"]["inputs"]
    assert report.in_state("unknown") == []
    again, _ = from_api(prompt, specs())
    assert graph.build(again, specs()).wanted == ("save",)
    lonely, told = to_api(Workflow({"a": workflow.WorkflowNode("solid_mask")}), specs())
    assert told.in_state("unknown") == ["a"]
    assert lonely["a"]["class_type"] == "solid_mask"
