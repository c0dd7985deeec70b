"""A run's lines on a terminal and elsewhere."""

from __future__ import annotations

import io

import pytest

from engine import events
from engine.cli import show
from engine.cli.screen import Screen
from engine.cli.show import Show, progress_line

EVENTS = (
    events.StepStarted("sample", "sampler", "first run"),
    events.StepProgress("sample", 5, 20, 2.5, 6.0),
    events.StepProgress("sample", 20, 20, 2.5, 0.0),
    events.StepDone("sample", "sampler", "k", 8.0, "first run"),
    events.StepCached("load", "load_model", "k"),
    events.StepDone("prompt", "encode_text", "k", 1.0, "first run"),
    events.StepDone("prompt", "encode_text", "k", 1.5, "first run"),
    events.StepCached("prompt", "encode_text", "k"),
    events.StepFailed("decode", "vae_decode", ()),
    events.StepSkipped("save", "save_image", "decode"),
)


def said(*, live: bool) -> str:
    written = io.StringIO()
    show = Show(Screen(written, live=live))
    for event in EVENTS:
        show(event)
    return written.getvalue()


def test_elsewhere_every_line_stays_and_progress_is_rare() -> None:
    assert said(live=False).splitlines() == [
        "  sample: 8.00 s",
        "  load: cached",
        "  prompt: 2.50 s for 2 calls, 1 cached",
        "  decode: failed",
        "  save: skipped, decode failed",
    ]


def test_progress_that_lasts_is_told_also_without_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(show, "PLAIN_SECONDS", 0.0)
    assert "  sample: [#####...............] 5/20, 2.5 it/s, 6 s left\n" in said(live=False)


def test_on_a_terminal_progress_refreshes_one_line() -> None:
    text = said(live=True)
    assert text.count("\n") == 5
    assert "\r\x1b[K  sample: [#####...............] 5/20" in text


def test_slow_steps_show_seconds_per_step() -> None:
    assert progress_line(events.StepProgress("a", 1, 4, 0.25, 12.0, "tile")) == (
        "  a: [#####...............] 1/4, 4.0 s/it, 12 s left, tile"
    )


def test_figures_are_part_of_the_line() -> None:
    assert progress_line(events.StepProgress("a", 1, 2, figures={"loss": 0.123456})).endswith("1/2, loss 0.1235")
