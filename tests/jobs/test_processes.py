import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine.errors import Conflict
from engine.jobs.contract import Frame
from engine.jobs.frames import LENGTHS, MAX_BYTES, FrameWriter, read_frame
from engine.jobs.processes import FolderLock, is_alive, kill, owner_name, pid_of, sweep


def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_frames_arrive_as_sent() -> None:
    pipe = io.BytesIO()
    writer = FrameWriter(pipe)
    writer.send({"kind": "a", "text": "ä"})
    writer.send({"kind": "b"}, b"\x00\xff")
    pipe.seek(0)
    assert [read_frame(pipe), read_frame(pipe), read_frame(pipe)] == [
        Frame({"kind": "a", "text": "ä"}), Frame({"kind": "b"}, b"\x00\xff"), None,
    ]  # fmt: skip


@pytest.mark.parametrize("bytes_", [b"\x00", LENGTHS.pack(9, 0) + b"{}", LENGTHS.pack(MAX_BYTES, 1)])
def test_a_torn_or_foreign_stream_is_over(bytes_: bytes) -> None:
    assert read_frame(io.BytesIO(bytes_)) is None


def test_a_reader_that_has_gone_stops_nobody() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    stream = os.fdopen(writer, "wb")
    frames = FrameWriter(stream)
    frames.send({"kind": "a"})
    frames.close()
    frames.send({"kind": "b"})


def test_a_process_is_known_by_more_than_its_number() -> None:
    me = owner_name("cuda:0", os.getpid())
    assert is_alive(me)
    assert pid_of(me) == os.getpid()
    device, pid, start = me.split("/")
    assert not is_alive(f"{device}/{pid}/{int(start) + 1}")
    assert not is_alive(owner_name("cpu", dead_pid()))


def test_killing_takes_the_children_along() -> None:
    code = "import subprocess, sys; subprocess.Popen(['sleep', '60'], stdout=1); print(flush=True); sys.stdin.read()"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    process.stdout.readline()
    kill(process.pid)
    assert process.stdout.read() == b""  # ends only when every holder of the pipe has
    process.wait()
    process.stdin.close()
    process.stdout.close()
    kill(process.pid)  # nobody there: nothing to do


def test_half_written_files_of_the_dead_are_swept(tmp_path: Path) -> None:
    gone, alive, other = (tmp_path / "ab" / name for name in (f"x.tmp-{dead_pid()}", f"x.tmp-{os.getpid()}", "x.tmp-y"))
    gone.parent.mkdir()
    for path in (gone, alive, other):
        path.touch()
    assert sweep(tmp_path) == 1
    assert sorted(gone.parent.iterdir()) == sorted([alive, other])


def test_one_server_per_folder(tmp_path: Path) -> None:
    first = FolderLock(tmp_path)
    with pytest.raises(Conflict, match="Another server"):
        FolderLock(tmp_path)
    first.release()
    FolderLock(tmp_path).release()
