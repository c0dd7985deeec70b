"""ComfyUI's templates: all open, all come back, the classic ones run on tiny random models of their families."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from engine import graph, workflow
from engine.compat.api_format import from_api
from engine.compat.export import to_api
from engine.compat.ui_format import from_ui
from engine.jobs.execute import Engine
from engine.settings import Settings
from tests.compat import templates
from tests.compat.test_files import specs

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    fetched = templates.fetch(tmp_path_factory.mktemp("templates"))
    if fetched is None:
        pytest.skip("The templates could not be fetched: there is no network, or no package registry.")
    return fetched


def test_all_of_them_open(found: dict[str, Any]) -> None:
    assert len(found) == 74
    for name, plain in found.items():
        opened, report = from_ui(plain, specs())
        assert workflow.parse(json.loads(json.dumps(opened.to_json()))) == opened, name
        assert not {e.type for e in report.nodes.values() if e.state == "unknown"} & specs().keys()


def test_all_of_them_come_back_as_the_same_prompt(found: dict[str, Any]) -> None:
    for name, plain in found.items():
        prompt, _ = to_api(from_ui(plain, specs())[0], specs())
        again, _ = to_api(from_api(prompt, specs())[0], specs())
        assert again == prompt, name


@pytest.mark.parametrize("name", templates.CLASSIC)
def test_the_classic_ones_run_to_the_end(found: dict[str, Any], name: str, tmp_path: Path) -> None:
    opened, report = from_ui(found[name], specs())
    assert list(report.sentences()) == []
    graph.build(opened, specs())
    prompt = templates.small(to_api(opened, specs())[0])
    settings = Settings(data_dir=tmp_path / "data", models_dir=tmp_path / "models", output_dir=tmp_path / "output")
    templates.models(settings.models_dir, prompt)
    templates.pictures(settings.data_dir / "input", prompt)
    with closing(Engine(settings)) as engine:
        plain = from_api(prompt, engine.registry.specs)[0].to_json()
        result = engine.run(plain)
    assert [str(p) for p in result.problems] == []
    assert result.state == "done"
    assert list(settings.output_dir.rglob("*.png"))  # in a folder, if the file's prefix names one
