"""`main.py thumbnails`: runs the ready-made workflows and keeps what the gallery shows of them beside each.

`method.before.webp` and `method.webp` are small pictures that the workflow itself made; `gallery.json` says for
every method of its folder what people have to bring, and how many seconds it took, with the model in memory and
nothing cached.
"""

from __future__ import annotations

import argparse
import copy
import importlib
import io
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image as Pil

from engine import examples
from engine.cli.app import FAILED
from engine.cli.parser import settings_of
from engine.cli.workflows import read
from engine.errors import BadFile, BadInput, SfumatoError
from engine.jobs.execute import Engine
from engine.node import NodeSpec
from engine.workflow import FORMAT, Link

SIDE = 256
BYTES_MAX = 12_000
QUALITIES = range(85, 0, -10)
SUFFIXES = {"before": ".before.webp", "after": ".webp"}
PAIR = "side_by_side"  # a picture that shows two: they are taken apart again
EMBEDDED, SHIPPED = "embedded", "bozzetto/"  # weights that come with Sfumato
WARM_UP = examples.SHIPPED / "basics" / "text_to_image.json"  # so that no time holds the loading of the model

Specs = Mapping[str, NodeSpec]


def main(args: argparse.Namespace) -> int:
    """Make the pictures and measure, of the files given or of all; what cannot be run is named, the rest goes on."""
    settings = settings_of(args)
    files = args.files or [path for path, _ in examples.found(settings)]
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        apart = replace(settings, data_dir=Path(folder), output_dir=Path(folder, "output"), cache="none")
        with closing(Engine(apart)) as engine:
            engine.run(read(WARM_UP), inputs={"sampler.steps": 1})
            for path in files:
                try:
                    print(f"{path}: {make(path, engine)}", flush=True)
                except SfumatoError as problem:
                    failed += 1
                    print(f"{path}: {problem.message}", file=sys.stderr, flush=True)
    return FAILED if failed else 0


def make(path: Path, engine: Engine) -> str:
    """Run the workflow at `path`, write its pictures and figures beside it, and say in a line what came of it."""
    plain = read(path)
    if plain.get("format") != FORMAT:
        raise BadInput("This is no workflow of Sfumato.")
    specs = engine.registry.specs
    shown = pictured(plain, specs)
    started = time.perf_counter()
    result = engine.run(with_pictures(plain, shown))
    seconds = time.perf_counter() - started
    if result.problems:
        raise BadFile(f"It cannot be pictured: {result.problems[0]}")
    sizes = []
    for which, suffix in SUFFIXES.items():
        beside = path.with_name(path.stem + suffix)
        beside.unlink(missing_ok=True)
        if which in shown:
            file = result.ui[name_of(which)][0]["files"][0]
            beside.write_bytes(small(engine.files.open(file["digest"])[0].read_bytes()))
            sizes.append(f"{which} {beside.stat().st_size / 1000:.1f} kB")
    needs = sorted(set(needed(plain, specs)))
    note(path, {"needs": needs, "seconds": round(seconds, 1), "threads": _threads()})
    return f"{seconds:.1f} s, {', '.join(sizes)}, needs {', '.join(needs) or 'nothing'}"


def pictured(plain: dict[str, Any], specs: Specs) -> dict[str, Link]:
    """Return the pictures to show, `before` and `after`, as outputs of nodes.

    `thumbnail` in the file says which; else the first picture that is saved, and the one that was loaded to be changed.
    """
    after = next((link for _, node, spec in known(plain, specs) if spec.output for link in _images(node, spec)), None)
    if after is None:
        raise BadInput(f"The workflow {plain.get('name')!r} saves no picture.")
    loaded = (
        Link(name, output.name)
        for name, node, spec in known(plain, specs)
        for output in spec.outputs
        if "IMAGE" in output.types and "a picture" in brought(name, node, spec)
    )
    before = next(loaded, None)
    if _maker(plain, after)["type"] == PAIR:
        before, after = _part(plain, after, "a"), _part(plain, after, "b")
    found = {"before": before, "after": after} | {k: Link(*said) for k, said in plain.get("thumbnail", {}).items()}
    return {which: link for which, link in found.items() if link}


def known(plain: dict[str, Any], specs: Specs) -> Iterator[tuple[str, dict[str, Any], NodeSpec]]:
    """Give the nodes of a workflow with their types; those that are subgraphs have none."""
    return ((k, node, specs[node["type"]]) for k, node in plain["nodes"].items() if node["type"] in specs)


def _images(node: dict[str, Any], spec: NodeSpec) -> list[Link]:
    """Return the links of a node into inputs that take pictures."""
    given = (node["inputs"].get(i.name) for i in spec.inputs if "IMAGE" in i.types)
    return [Link(*said) for said in given if isinstance(said, list)]


def _maker(plain: dict[str, Any], link: Link) -> dict[str, Any]:
    node: dict[str, Any] = plain["nodes"][link.node]
    return node


def _part(plain: dict[str, Any], link: Link, side: str) -> Link:
    """Return what lies at side `a` or `b` of a picture of two, or of two of two."""
    while (maker := _maker(plain, link))["type"] == PAIR:
        link = Link(*maker["inputs"][side])
    return link


def with_pictures(plain: dict[str, Any], shown: dict[str, Link]) -> dict[str, Any]:
    """Return the workflow with a node more for each picture that is to be shown."""
    plain = copy.deepcopy(plain)
    for which, link in shown.items():
        plain["nodes"][name_of(which)] = {"type": "preview_image", "inputs": {"image": [link.node, link.output]}}
    return plain


def name_of(which: str) -> str:
    """Return the id of the node that shows a thumbnail."""
    return f"thumbnail_{which}"


def needed(plain: dict[str, Any], specs: Specs) -> Iterator[str]:
    """Give what people have to bring: pictures, masks, weights that are not embedded."""
    return (need for name, node, spec in known(plain, specs) for need in brought(name, node, spec))


def brought(name: str, node: dict[str, Any], spec: NodeSpec) -> Iterator[str]:
    """Give what a node reads from files; one that is called a mask, or gives nothing else, reads a mask."""
    for each in spec.file_inputs:
        file = node["inputs"].get(each.name, each.default) or ""
        if each.file == "input":
            is_mask = "mask" in f"{name} {file}" or all(output.type == "MASK" for output in spec.outputs)
            yield "a mask" if is_mask else "a picture"
        elif each.file != EMBEDDED and not file.startswith(SHIPPED):
            yield f"{each.file}: {file}"


def small(data: bytes) -> bytes:
    """Return a picture as WebP of at most 256 pixels and 12,000 bytes."""
    with Pil.open(io.BytesIO(data)) as whole:
        picture = whole.convert("RGB")
    picture.thumbnail((SIDE, SIDE))
    for quality in QUALITIES:
        buffer = io.BytesIO()
        picture.save(buffer, "WEBP", quality=quality, method=6)
        if buffer.tell() <= BYTES_MAX:
            break
    return buffer.getvalue()


def note(path: Path, taken: dict[str, Any]) -> None:
    """Write down what a workflow takes, among those of its folder."""
    kept = path.with_name(examples.MEASURED)
    methods = examples.read(kept) | {path.stem: taken}
    text = json.dumps(dict(sorted(methods.items())), indent=2)
    kept.write_text(text + "\n", "utf-8")


def _threads() -> int:
    threads: int = importlib.import_module("torch").get_num_threads()
    return threads
