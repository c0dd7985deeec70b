"""The modules that packs import: files stay in their folders, pictures keep their proportions, progress is told."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from engine.compat.graph import CURRENT, Current, GraphBuilder, add_graph_prefix
from engine.compat.shims import comfy_types, folder_paths, model_management, node_helpers, utils
from engine.context import Context
from engine.errors import BadFile, BadInput, Cancelled, Unavailable
from engine.events import Event, StepProgress
from engine.settings import Settings
from tests.compat.v1_lab import V1Lab


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    made = Settings(data_dir=tmp_path / "data", output_dir=tmp_path / "out", models_dir=tmp_path / "models")
    for folder in (tmp_path / "data" / "input", tmp_path / "out", tmp_path / "models" / "loras" / "sub"):
        folder.mkdir(parents=True)
    folder_paths.settle(made, None)
    return made


@pytest.fixture
def events() -> Iterator[list[Event]]:
    told: list[Event] = []
    before = CURRENT.set(Current(Context("7", emit=told.append), "7"))
    yield told
    CURRENT.reset(before)


def test_names_do_not_lead_out_of_their_folder(settings: Settings) -> None:
    (settings.data_dir / "input" / "cat.png").write_bytes(b"x")
    assert Path(folder_paths.get_annotated_filepath("cat.png")).read_bytes() == b"x"
    assert folder_paths.exists_annotated_filepath("cat.png [input]")
    assert not folder_paths.exists_annotated_filepath("cat.png [output]")
    for bad in ("../../secret", "/etc/passwd", "a/../../b [output]"):
        assert not folder_paths.exists_annotated_filepath(bad)
        with pytest.raises(BadInput):
            folder_paths.get_annotated_filepath(bad)
    with pytest.raises(BadInput):
        folder_paths.get_save_image_path("../x", folder_paths.get_output_directory())


def test_weights_are_listed_and_found(settings: Settings) -> None:
    file = settings.models_dir / "loras" / "sub" / "a.safetensors"
    file.write_bytes(b"")
    (file.parent / "notes.txt").write_bytes(b"")
    assert folder_paths.get_filename_list("loras") == ["sub/a.safetensors"]
    assert folder_paths.get_full_path("loras", "sub/a.safetensors") == str(file)
    assert folder_paths.get_full_path("loras", "../vae/a.safetensors") is None
    with pytest.raises(FileNotFoundError, match="no 'b' in the folder 'loras'"):
        folder_paths.get_full_path_or_raise("loras", "b")


def test_results_are_numbered_on(settings: Settings) -> None:
    (settings.output_dir / "shots").mkdir()
    (settings.output_dir / "shots" / "a_64_00007_.png").write_bytes(b"")
    folder, stem, number, subfolder, prefix = folder_paths.get_save_image_path(
        "shots/a_%width%", str(settings.output_dir), 64, 32
    )
    assert (Path(folder).name, stem, number, subfolder, prefix) == ("shots", "a_64", 8, "shots", "shots/a_64")


@pytest.mark.parametrize("method", ["nearest-exact", "bilinear", "area", "bicubic", "lanczos", "bislerp"])
def test_pictures_are_resized_and_cut_around_the_middle(method: str) -> None:
    picture = torch.zeros(1, 3, 8, 16)
    picture[..., 4:12] = 1.0
    assert utils.common_upscale(picture, 8, 4, method, "disabled").shape == (1, 3, 4, 8)
    torch.testing.assert_close(utils.common_upscale(picture, 4, 4, method, "center"), torch.ones(1, 3, 4, 4))


def test_weights_other_than_safetensors_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match="safetensors"):
        utils.load_torch_file(str(tmp_path / "model.ckpt"))
    utils.save_torch_file({"a": torch.ones(2)}, str(tmp_path / "a.safetensors"), {"k": "v"})
    tensors, metadata = utils.load_torch_file(str(tmp_path / "a.safetensors"), return_metadata=True)
    assert (tensors["a"].tolist(), metadata) == ([1.0, 1.0], {"k": "v"})


def test_progress_and_previews_reach_the_call_under_way(events: list[Event]) -> None:
    bar = utils.ProgressBar(4)
    bar.update(1)
    bar.update_absolute(9, 5, ("JPEG", Image.fromarray(np.zeros((32, 16, 3), np.uint8)), 8))
    kinds = [e.kind for e in events]
    assert "step_preview" in kinds
    progress = [(e.done, e.total) for e in events if isinstance(e, StepProgress)]
    assert progress[-1] == (5, 5)


def test_a_cancelled_job_interrupts() -> None:
    before = CURRENT.set(Current(Context("7", cancelled=lambda: True), "7"))
    try:
        with pytest.raises(Cancelled):
            model_management.throw_exception_if_processing_interrupted()
    finally:
        CURRENT.reset(before)
    model_management.throw_exception_if_processing_interrupted()


def test_graphs_are_built_with_ids_that_do_not_change(events: list[Event]) -> None:
    first, second = GraphBuilder(), GraphBuilder()
    a = first.node("A", x=1)
    assert (a.id, second.node("B").id) == ("7.0.0.1", "7.0.1.1")
    assert first.node("A", "1") is a
    b = first.node("B", "named", source=a.out(0), other=a.out(1))
    first.replace_node_output("1", 0, [b.id, 3])
    first.replace_node_output("1", 1, None)
    assert b.inputs == {"source": ["7.0.0.named", 3]}
    b.set_override_display_id("9")
    first.remove_node("1")
    assert first.lookup_node("1") is None
    plain = {"class_type": "B", "inputs": {"source": ["7.0.0.named", 3]}, "override_display_id": "9"}
    assert first.finalize() == {"7.0.0.named": plain}
    moved, outputs = add_graph_prefix(
        {"1": {"class_type": "A", "inputs": {"x": ["2", 0], "y": [1, 2]}}}, (["1", 0], 5), "p."
    )
    assert moved == {"p.1": {"class_type": "A", "inputs": {"x": ["p.2", 0], "y": [1, 2]}}}
    assert outputs == (["p.1", 0], 5)


def test_small_helpers() -> None:
    cond = [[torch.ones(1), {"a": [1]}]]
    assert node_helpers.conditioning_set_values(cond, {"a": [2]}, append=True)[0][1] == {"a": [1, 2]}
    assert node_helpers.conditioning_set_values(cond, {"b": 3})[0][1] == {"a": [1], "b": 3}
    assert utils.repeat_to_batch_size(torch.arange(2), 5).tolist() == [0, 1, 0, 1, 0]
    assert utils.state_dict_prefix_replace({"a.x": 1, "b": 2}, {"a.": "c."}, filter_keys=True) == {"c.x": 1}
    any_type = comfy_types.IO.ANY
    assert not (any_type != "IMAGE")  # noqa: SIM202 - what packs ask
    assert comfy_types.IO.IMAGE != "MASK"


def test_what_is_not_here_can_be_imported_and_fails_once_it_is_used(lab: V1Lab) -> None:
    import comfy.ldm.modules.attention as attention
    from comfy.samplers import CFGGuider

    from nodes import NoSuchClass

    class Mine(attention.SpatialTransformer):
        pass

    assert importlib.import_module("comfy_extras.nodes_mask").MaskComposite.spec.id == "MaskComposite"
    assert not isinstance(1, CFGGuider)
    for use in (CFGGuider, CFGGuider.inner.deep, NoSuchClass, Mine):
        with pytest.raises(Unavailable, match=r"is a part of ComfyUI that Sfumato does not have"):
            use()
    with pytest.raises(Unavailable, match=r"^comfy.ldm.modules.attention.SpatialTransformer is"):
        Mine()
    with pytest.raises(ImportError):
        importlib.import_module("comfy_something_else")
    assert not hasattr(CFGGuider, "__wrapped__")


def test_older_names_of_folders_and_lists(lab: V1Lab) -> None:
    import folder_paths

    import nodes

    assert folder_paths.output_directory == folder_paths.get_output_directory()
    assert not hasattr(folder_paths, "other_directory")
    assert nodes.ImageScale.upscale_methods[0] == "nearest-exact"
    assert nodes.ImageScale.crop_methods == ["disabled", "center"]
