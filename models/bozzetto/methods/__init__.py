"""`main.py bench methods`: what each editing method achieves on the embedded model, next to the same without it.

Every figure has the bar of its method's card. `seconds` and `evaluations` (pictures through the U-Net) are those of one
seed with all figures and controls of the method.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from engine.errors import BadInput
from models.bozzetto import paths
from models.bozzetto.bed import Bed, opened
from models.bozzetto.methods import (
    canvas,
    classifier,
    collages,
    guides,
    imagic,
    inversions,
    looks,
    marks,
    painting,
    plain,
    real,
    weights,
    words,
)
from models.bozzetto.methods.figures import Measured
from models.bozzetto.methods.page import rows, strip

SEEDS = 8
DOCS = paths.HERE.parents[1] / "docs"
FIGURES = DOCS / "methods.json"
METHODS: Mapping[str, Callable[[Bed, int], Measured]] = {
    "text_to_image": plain.text_to_image, "sdedit": guides.sdedit, "blended": guides.blended,
    "ddim_inversion": inversions.ddim_inversion, "ddib": inversions.ddib, "diffedit": inversions.diffedit,
    "color_transfer": looks.color_transfer,
    "prompt_to_prompt": words.prompt_to_prompt, "null_text": real.null_text, "plug_and_play": looks.plug_and_play,
    "paint_words": painting.paint_words,
    "multidiffusion": canvas.multidiffusion, "regions": canvas.regions, "collage": collages.collage,
    "time_editing": weights.time_editing, "imagic": imagic.imagic, "expert_router": weights.expert_router,
    "diffusion_classifier": classifier.diffusion_classifier, "tree_ring": marks.tree_ring,
}  # fmt: skip


def run(
    method: str | None = None,
    seeds: int = SEEDS,
    *,
    write: bool = False,
    tell: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Measure one method or all; `write` keeps figures and pictures for docs/methods.md, method by method."""
    if method is not None and method not in METHODS:
        raise BadInput(f"There is no method {method!r} to measure. Try {', '.join(METHODS)}.")
    found: dict[str, Any] = {}
    with opened() as bed:
        for name in METHODS if method is None else [method]:
            figures, measured = _measured(bed, name, seeds)
            found |= figures
            if write:
                _keep(name, figures, measured)
            red = sum(not f["met"] for f in figures.values())
            spent = next(iter(figures.values()))["seconds"] * seeds
            tell(f"{name}: {len(figures)} figures, {red} short of their bar, {spent:.0f} s")
    return found


def _measured(bed: Bed, name: str, seeds: int) -> tuple[dict[str, Any], Measured]:
    """Return a method's figures by name, `method` or `method.row`."""
    before, start = bed.rows, time.perf_counter()
    measured = METHODS[name](bed, seeds)
    cost = {"seconds": round((time.perf_counter() - start) / seeds, 2),
            "evaluations": round((bed.rows - before) / seeds)}  # fmt: skip
    return {f"{name}.{f.row}" if f.row else name: f.as_json() | cost for f in measured.figures}, measured


def _keep(name: str, figures: Mapping[str, Any], measured: Measured) -> None:
    """Put figures in place of the method's earlier ones, and write its pictures."""
    kept = json.loads(FIGURES.read_text("utf-8")) if FIGURES.exists() else {}
    pictures = f"methods/{name}.webp"
    (DOCS / "methods").mkdir(exist_ok=True)
    strip(measured.pictures).save(DOCS / pictures, "WEBP", quality=70, method=6)
    kept[name] = {"figures": dict(figures), "pictures": pictures, "shown": list(measured.pictures)}
    ordered = {k: kept[k] for k in (*METHODS, *kept) if k in kept}
    FIGURES.write_text(json.dumps(ordered, indent=1) + "\n", "utf-8")


def table(figures: Mapping[str, Any]) -> Iterator[str]:
    """Yield a row per figure, as Markdown."""
    return rows(figures)
