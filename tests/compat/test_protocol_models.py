"""MODEL, CLIP, VAE, CONDITIONING and LATENT as v1 classes touch them, on the embedded model."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.compat import packs, requests
from engine.jobs.execute import Engine
from engine.settings import Settings
from tests.compat.v1_lab import PACKS, node

PROMPT = "a red car on a beach"


class Border:
    """An engine with the pack and the embedded model."""

    def __init__(self, folder: Path) -> None:
        shutil.copytree(PACKS / "border", folder / "packs" / "border")
        settings = Settings(data_dir=folder / "data", output_dir=folder / "out", custom_nodes=(folder / "packs",))
        packs.trust(settings, "border")
        self.engine = Engine(settings)
        assert self.engine.registry.failed == {}

    def outputs(self, prompt: dict[str, Any], *wanted: str) -> dict[str, Any]:
        """Run nodes and return their outputs by node."""
        from engine.compat.api_format import from_api

        workflow, _ = from_api(prompt, self.engine.registry.specs)
        plain = {**workflow.to_json(), "comfyui": {"prompt": prompt}}
        result = self.engine.run(plain, wanted=wanted)
        assert result.problems == ()
        store = self.engine._kept[0]
        return {n: {o: store.get(d) for o, d in outputs.items()} for n, outputs in result.outputs.items()}

    def sampled(self, kind: str) -> torch.Tensor:
        """Return latents sampled by a model with one kind of patch."""
        prompt = {
            "m": node("load_embedded"),
            "p": node("BorderPatch", model=["m", 0], kind=kind),
            "c": node("CLIPTextEncode", clip=["m", 1], text=PROMPT),
            "u": node("CLIPTextEncode", clip=["m", 1], text=""),
            "e": node("BorderVae", **VAE),
            "i": node("EmptyImage", width=64, height=64, batch_size=1, color=0x808080),
            "s": node(
                "KSampler", model=["p", 0], positive=["c", 0], negative=["u", 0], latent_image=["e", 0], seed=1,
                steps=2, cfg=3.0, sampler_name="euler", scheduler="normal", denoise=1.0,
            ),
        }  # fmt: skip
        samples: torch.Tensor = self.outputs(prompt, "s")["s"]["latent"].samples
        return samples


VAE = {"vae": ["m", 2], "image": ["i", 0]}


@pytest.fixture(scope="module")
def border(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Border]:
    found = Border(tmp_path_factory.mktemp("border"))
    yield found
    found.engine.close()


@pytest.fixture(scope="module")
def plain(border: Border) -> torch.Tensor:
    return border.sampled("nothing")


@pytest.mark.parametrize("kind", ["attn1", "wrapper", "cfg", "replace_none", "replace_same", "up_same"])
def test_patches_that_do_what_is_done_anyway_change_nothing(border: Border, plain: torch.Tensor, kind: str) -> None:
    torch.testing.assert_close(border.sampled(kind), plain, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", ["attn2", "attn2_output", "wrapper_half", "post_cfg", "replace", "up"])
def test_patches_act(border: Border, plain: torch.Tensor, kind: str) -> None:
    assert (border.sampled(kind) - plain).abs().mean() > 1e-2


def test_taking_words_away_inside_attention_is_the_same_before_and_after_the_projection(border: Border) -> None:
    before, after = border.sampled("attn2"), border.sampled("attn2_output")
    assert (before - after).abs().mean() < (before.abs().mean())


def test_patches_are_told_where_they_are(border: Border) -> None:
    import sys

    border.sampled("wrapper")
    border.sampled("attn2")
    border.sampled("replace_same")
    border.sampled("up_same")
    seen = sys.modules["custom_nodes.border"].SEEN
    assert seen["wrapper"][0] == ["c", "cond_or_uncond", "input", "timestep"]
    assert seen["wrapper"][1] == [0, 1]
    assert seen["attn2"]["block"][0] in ("input", "middle", "output")
    assert seen["attn2"]["cond_or_uncond"] == [0, 1]
    block, (batch, width), keys = seen["replace"]
    assert (block, batch, keys % 4) == (("middle", 0), 2, 0)
    assert seen["up"] == {("output", i) for i in range(len(seen["up"]))}
    assert width > keys


@pytest.mark.parametrize("parts", [False, True])
def test_packs_sample_as_the_core_class_does(border: Border, plain: torch.Tensor, parts: bool) -> None:
    conds = {"positive": ["c", 0], "negative": ["u", 0]}
    prompt = {
        "m": node("load_embedded"), "c": node("CLIPTextEncode", clip=["m", 1], text=PROMPT),
        "u": node("CLIPTextEncode", clip=["m", 1], text=""), "e": node("BorderVae", **VAE),
        "i": node("EmptyImage", width=64, height=64, batch_size=1, color=0x808080),
        "s": node("BorderSample", model=["m", 0], latent=["e", 0], parts=parts, **conds),
    }  # fmt: skip
    samples = border.outputs(prompt, "s")["s"]["LATENT"].samples
    torch.testing.assert_close(samples, plain, rtol=1e-3, atol=1e-3)


def test_a_prompt_is_encoded_as_by_the_core_class(border: Border) -> None:
    prompt = {
        "m": node("load_embedded"),
        "a": node("BorderEncode", clip=["m", 1], text=PROMPT),
        "b": node("CLIPTextEncode", clip=["m", 1], text=PROMPT),
    }
    found = border.outputs(prompt, "a", "b")
    (ours,), (theirs,) = (next(iter(found[n].values())).conds for n in ("b", "a"))
    torch.testing.assert_close(ours.tokens, theirs.tokens)


def test_conditioning_keeps_windows_and_keys_of_packs(border: Border) -> None:
    prompt = {
        "m": node("load_embedded"),
        "a": node("CLIPTextEncode", clip=["m", 1], text=PROMPT),
        "b": node("BorderStrength", conditioning=["a", 0]),
        "c": node("BorderConditioning", conditioning=["b", 0]),
    }
    found = border.outputs(prompt, "b", "c")
    (cond,) = found["b"]["CONDITIONING"].conds
    assert (cond.start, cond.end) == (0.0, 0.5)
    assert found["c"]["ui"].extra == {"text": [0.5, 2.0, 3]}


def test_latents_keep_masks_and_keys_of_packs(border: Border) -> None:
    prompt = {
        "m": node("load_embedded"), "i": node("EmptyImage", width=64, height=64, batch_size=1, color=0),
        "v": node("BorderVae", **VAE), "a": node("BorderLatent", samples=["v", 0]),
        "b": node("BorderLatent", samples=["a", 0]),
    }  # fmt: skip
    found = border.outputs(prompt, "v", "b")
    once, twice = found["v"]["LATENT"], found["b"]["LATENT"]
    assert len(twice.samples) == 4 * len(once.samples)
    assert twice.mask.shape[-2:] == once.samples.shape[-2:]
    assert found["b"]["INT"] == 2
    assert found["v"]["IMAGE"].pixels.shape == (1, 64, 64, 3)


def test_what_a_model_does_not_have_is_a_sentence(border: Border) -> None:
    from engine.compat.v1_models import V1Model
    from engine.types import Model, Weights

    model = V1Model(Model("sd1", Weights("embedded", "bozzetto", "0")))
    with pytest.raises(AttributeError, match=r"no 'add_patches' in Sfumato; docs/comfyui.md"):
        model.add_patches({})


def test_the_names_of_files_are_live(border: Border) -> None:
    (border.engine.settings.data_dir / "input" / "new.png").write_bytes(b"x")
    info = requests.info(border.engine, {"name": "LoadImage"})
    assert "new.png" in info["LoadImage"]["input"]["required"]["image"][0]
