"""The installer, for real: a virtual environment, pip and one tiny package from disk."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from engine.cli import bootstrap
from engine.settings import ROOT

MAIN = """
import sys
from engine.cli import bootstrap
bootstrap.check_python()
bootstrap.ensure()
import tiny
print(tiny.WORD, sys.prefix, sys.argv[1:])
"""
PIP_SAYS = """\
Looking in links: wheels
Processing wheels/tiny_thing-1.0-py3-none-any.whl (from -r requirements.txt (line 2))
Collecting torch==2.13.0 (from -r requirements.txt (line 3))
  Downloading torch-2.13.0-cp311-cp311-linux_x86_64.whl (512.3 MB)
Installing collected packages: tiny-thing, torch
"""


def wheel(folder: Path) -> None:
    folder.mkdir()
    with zipfile.ZipFile(folder / "tiny-1.0-py3-none-any.whl", "w") as file:
        file.writestr("tiny.py", "WORD = 'works'\n")
        file.writestr("tiny-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        file.writestr("tiny-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr("tiny-1.0.dist-info/RECORD", "tiny.py,,\n")


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the installer with one tiny requirement and no network; each test goes on from the last one."""
    folder = tmp_path_factory.mktemp("clone")
    for name in ("engine/__init__.py", *(f"engine/cli/{part}.py" for part in ("__init__", "bootstrap", "screen"))):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    (folder / "main.py").write_text(MAIN)
    (folder / "requirements.txt").write_text("# one\ntiny==1.0\n")
    wheel(folder / "wheels")
    return folder


def start(clone: Path, *argv: str, **env: str) -> subprocess.Popen[str]:
    plain = {k: v for k, v in os.environ.items() if not k.startswith(("PIP_", "SFUMATO_", "PYTHON", "COV"))}
    pip = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(clone / "wheels"), "PIP_CONFIG_FILE": os.devnull}
    return subprocess.Popen(
        [sys.executable, "main.py", *argv], cwd=clone, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=plain | pip | env,
    )  # fmt: skip


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def test_the_present_environment_is_taken_when_told_to(clone: Path) -> None:
    code, _, err = finish(start(clone, SFUMATO_NO_BOOTSTRAP="1"))
    assert code == 1
    assert "No module named 'tiny'" in err
    assert not (clone / ".venv").exists()


def test_a_fresh_machine_installs_once_and_goes_on_inside(clone: Path) -> None:
    both = [start(clone, "a b"), start(clone, "a b")]
    (code, out, err), (other_code, other_out, other_err) = map(finish, both)
    wanted = f"works {clone / '.venv'} ['a b']\n"
    assert (code, other_code, out, other_out) == (0, 0, wanted, wanted), err + other_err
    assert sorted(("waiting" in e, "[1/1] tiny 1.0" in e) for e in (err, other_err)) == [(False, True), (True, False)]
    assert finish(start(clone, "a b")) == (0, wanted, "")


def test_an_install_that_was_cut_short_is_mended(clone: Path) -> None:
    (packages,) = (clone / ".venv").glob("lib/python*/site-packages")
    (packages / "tiny.py").unlink()
    (packages / "tiny-1.0.dist-info" / "RECORD").write_text("tiny.py,,\n")  # as in the wheel: pip was killed here
    (clone / ".venv" / "sfumato-run.stamp").unlink()
    code, out, err = finish(start(clone))
    assert code == 0, err
    assert out.startswith("works")


def test_changed_requirements_are_installed_and_a_failure_is_told(clone: Path) -> None:
    (clone / "requirements.txt").write_text("tiny==1.0\nabsent==3.0\n")
    code, _, err = finish(start(clone))
    assert code == bootstrap.CANNOT_INSTALL
    assert "absent" in err
    assert "Traceback" not in err


def test_what_pip_says_becomes_one_line_per_package() -> None:
    progress = bootstrap.Progress({"tiny-thing": "1.0", "torch": "2.13.0"})
    told = [progress.read(line, 1) for line in PIP_SAYS.splitlines()]
    lasting = [line for line, _ in told if line]
    assert lasting == ["  [1/2] tiny-thing 1.0", "  [2/2] torch 2.13.0", "  unpacking"]
    assert told[3][1] == "  [2/2] torch 2.13.0, downloading 512.3 MB, 0 s"
    assert told[4][1] == "  unpacked 1 of 2 packages, 0 s"


def test_an_old_python_is_told_what_is_needed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 9, 1))
    with pytest.raises(SystemExit) as end:
        bootstrap.check_python()
    assert end.value.code == bootstrap.CANNOT_INSTALL
    assert "needs Python 3.11 or newer; this is 3.9" in capsys.readouterr().err


def test_this_environment_satisfies_its_pins_and_no_others() -> None:
    assert bootstrap.satisfied({"pytest": pytest.__version__})
    assert not bootstrap.satisfied({"pytest": "0.1"})
    assert not bootstrap.satisfied({"no-such-package": "1.0"})
