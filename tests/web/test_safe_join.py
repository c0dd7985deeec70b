"""One function joins names to folders; one corpus of names that other programs have let through."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.errors import BadInput, NotFound
from engine.files import FileStore, safe_join
from engine.settings import Settings

UP = ("..", "%2e%2e", "%252e%252e", "..%00", "\u2024\u2024", "\uff0e\uff0e", ". .", "...", ".. ", " ..")
SEPARATORS = ("/", "\\", "%2f", "%5c", "//", "/./", "\uff0f", "\u2215", "/\\")
TARGETS = ("etc/passwd", "secret.txt", "a", "")
ROOTS = ("/", "//", "\\\\", "\\\\?\\C:\\", "\\\\.\\", "C:", "C:\\", "c:/", "file:///", "~/", "~root/", "/proc/1/cwd/")
CORPUS = sorted(
    {f"{s.join([u] * n)}{s}{t}" for u in UP for s in SEPARATORS for t in TARGETS for n in (1, 3)}
    | {root + target for root in ROOTS for target in TARGETS}
    | {"", ".", "..", "/", "a//b", "a/./b", "a/../b", "a/b/../../..", "a\0b", "a\nb", "a\x7fb", "nul\0.png"}
    | {"\ud800", "a:b", "x" * 256, "x/" * 600, "\u00fc" * 128}
    | {"link", "link/secret.txt", "loop", "loop/a", "folder/link"}
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "folder").mkdir(parents=True)
    (tmp_path / "secret.txt").write_text("secret")
    (root / "ok.png").write_text("ok")
    (root / "link").symlink_to(tmp_path)
    (root / "folder" / "link").symlink_to(tmp_path / "secret.txt")
    (root / "inside").symlink_to(root / "ok.png")
    (root / "loop").symlink_to(root / "loop")
    return root


def joined(root: Path, name: str) -> Path | None:
    try:
        return safe_join(root, name)
    except BadInput:
        return None


def test_the_corpus_is_a_corpus() -> None:
    assert len(CORPUS) >= 300


def test_nothing_in_the_corpus_leads_outside(root: Path) -> None:
    for name in CORPUS:
        path = joined(root, name)
        assert path is None or path.is_relative_to(root), name
        assert path is None or not path.exists(), name


@pytest.mark.parametrize("name", ["..", "../secret.txt", "/etc", "a\\b", "C:x", "a\0", "link", "loop/a", "x" * 256])
def test_what_is_refused_outright(root: Path, name: str) -> None:
    assert joined(root, name) is None


@pytest.mark.parametrize("name", ["ok.png", "folder/new", "50%2e.png", "\u00fc\u4e2d.png", ".dot", "a b", "x" * 255])
def test_ordinary_names_are_taken(root: Path, name: str) -> None:
    assert joined(root, name) == root / name


def test_a_link_that_stays_inside_is_followed(root: Path) -> None:
    assert joined(root, "inside") == root / "ok.png"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300, deadline=None)
@given(st.text(st.characters(), max_size=40) | st.lists(st.sampled_from([*UP, *SEPARATORS, "a"])).map("".join))
def test_no_text_leads_outside(root: Path, name: str) -> None:
    path = joined(root, name)
    assert path is None or path.is_relative_to(root)


def test_the_store_answers_the_corpus_with_not_found(tmp_path: Path, root: Path) -> None:
    store = FileStore(Settings(data_dir=tmp_path / "data", output_dir=root), examples=tmp_path / "none")
    for kind in ("input", "output"):
        for name in CORPUS[::7]:
            with pytest.raises(NotFound):
                store.find(kind, name)
    store.close()
