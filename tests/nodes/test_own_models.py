"""Ready-made workflows on people's own models: tiny random files of every family in their place."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine import pictures
from engine.jobs.execute import Engine
from engine.settings import ROOT, Settings
from tests.diffusion_models import modern
from tests.nodes.test_ready_made import with_few_steps

SIDE = 32  # pixels, where a model's own size would take long


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    root = tmp_path_factory.mktemp("own")
    for kind in modern.KINDS:
        modern.write_folder(root / "models" / "diffusers" / kind, kind)
    places = {name: root / name for name in ("models", "data", "output")}
    made = Engine(Settings(**{f"{name}_dir": path for name, path in places.items()}, custom_nodes=()))
    yield made
    made.close()


@pytest.mark.filterwarnings("ignore")  # transformers warn of tiny models
@pytest.mark.parametrize("kind", modern.KINDS)
def test_text_to_image(engine: Engine, kind: str) -> None:
    """Nothing but the loader and the size is another."""
    plain = with_few_steps(json.loads(Path(ROOT / "nodes/basics/text_to_image.json").read_text()))
    plain["nodes"]["loader"] = {"type": "load_diffusers", "inputs": {"folder": kind}}
    plain["nodes"]["latent"]["inputs"] |= {"width": SIDE, "height": SIDE}
    result = engine.run(plain)
    assert [str(problem) for problem in result.problems] == []
    (ref,) = (ref for ui in result.ui.values() for part in ui if part["ui"] == "images" for ref in part["files"])
    pixels = pictures.decode(engine.files.open(ref["digest"])[0].read_bytes()).rgb
    assert pixels.shape == (SIDE, SIDE, 3)
    assert pixels.std() > 0.01
