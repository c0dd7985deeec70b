"""Files over HTTP."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator

import pytest

from tests.web.fakes import Served
from web import routes_files
from web.guard import UPLOAD_BYTES

PNG = b"\x89PNG\r\n\x1a\n" + b"0" * 5_000


async def upload(served: Served, data: object, name: str = "cat.png", status: int = 201) -> dict[str, str]:
    headers = {"Content-Type": "application/octet-stream"}
    answer: dict[str, str] = await served.json(
        "POST", "/api/files", status=status, params={"name": name}, data=data, headers=headers
    )
    return answer


async def test_an_upload_comes_back_by_its_content(served: Served) -> None:
    made = await upload(served, PNG, "\u732b <1>.png")
    assert made == {"digest": hashlib.sha256(PNG).hexdigest(), "name": "\u732b <1>.png", "media": "image/png"}
    answer = await served.client.get(f"/api/files/{made['digest']}")
    assert await answer.read() == PNG
    assert answer.content_type == "image/png"
    assert answer.headers["Content-Disposition"] == "inline; filename*=UTF-8''%E7%8C%AB%20%3C1%3E.png"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in answer.headers["Content-Security-Policy"]
    assert "immutable" in answer.headers["Cache-Control"]
    part = await served.client.get(f"/api/files/{made['digest']}", headers={"Range": "bytes=1-3"})
    assert (part.status, await part.read()) == (206, b"PNG")
    known = {"If-None-Match": answer.headers["ETag"]}
    unchanged = await served.client.get(f"/api/files/{made['digest']}", headers=known)
    assert unchanged.status == 304
    listed = await served.json("GET", "/api/files?kind=input")
    assert (listed["files"][0]["name"], listed["total"]) == (made["name"], 1)
    assert (await served.json("GET", "/api/files", params={"name": made["name"]}))["files"] == listed["files"]


@pytest.mark.parametrize("data", [b"<svg onload=alert(1)>", b"<!doctype html><script>", b"GIF89a<script>", b"%PDF-1.7"])
async def test_what_could_run_in_a_browser_is_only_handed_out(served: Served, data: bytes) -> None:
    made = await upload(served, data, "picture.png")
    answer = await served.client.get(f"/api/files/{made['digest']}")
    assert answer.content_type == "application/octet-stream"
    assert answer.headers["Content-Disposition"].startswith("attachment;")


async def test_results_are_listed(served: Served) -> None:
    ref = served.parts.files.save(PNG, prefix="boat", suffix="png", media="image/png")
    listed = await served.json("GET", "/api/files?kind=output")
    assert [f["digest"] for f in listed["files"]] == [ref.digest]
    assert (await served.client.get(f"/api/files/{ref.digest}")).status == 200
    (served.parts.settings.output_dir / ref.name).unlink()
    await served.json("GET", f"/api/files/{ref.digest}", status=404)


async def test_there_is_nothing_but_digests(served: Served) -> None:
    names = ("x", "..%2f..%2fsecret", "%2e%2e", "A" * 64, "0" * 63, "0" * 64, "secret", "%00" * 64)
    for name in names:
        await served.json("GET", f"/api/files/{name}", status=404)
    await served.json("GET", "/api/files?kind=secret", status=400)
    await served.json("GET", "/api/files?kind=output&name=../data/secret", status=404)


async def test_names_that_are_no_names(served: Served) -> None:
    for name in ("", "..", "a/", "x" * 256, "a:b", "a\nb"):
        await upload(served, PNG, name, status=400)
    assert (await upload(served, PNG, "../../etc/cat.png"))["name"] == "cat.png"
    await upload(served, b"", status=400)
    assert (await served.json("GET", "/api/files"))["total"] == 1


async def test_too_large_is_refused_early(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    headers = {"Content-Type": "application/octet-stream", "Content-Length": str(UPLOAD_BYTES + 1)}
    answer = await served.client.post("/api/files?name=a", headers=headers, data=b"x", expect100=True)
    assert answer.status == 413
    monkeypatch.setattr(routes_files, "UPLOAD_BYTES", 2**20)

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b"0" * 2**18

    await upload(served, chunks(), status=413)
    assert (await served.json("GET", "/api/files"))["total"] == 0
    assert list((served.parts.settings.data_dir / "files").iterdir()) == []
