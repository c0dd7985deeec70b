"""The attack matrix of docs/security: each row is a way in that another program of this kind has left open."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, CookieJar, WSServerHandshakeError
from aiohttp.test_utils import TestClient

from engine.errors import BadInput
from engine.settings import Settings
from tests.web.fakes import BEARER, CATALOGUE, TOKEN, WORKFLOW, Served, serving
from web.guard import Guard, is_loopback

EVIL = "http://evil.example"
OWN = "own"  # stands for the server's own origin


@pytest.fixture
async def browser(served: Served) -> AsyncIterator[ClientSession]:
    """A client without the token, at the server's address."""
    async with ClientSession(served.client.make_url("/"), cookie_jar=CookieJar(unsafe=True)) as session:
        yield session


def cookie(served: Served) -> dict[str, str]:
    return {"Cookie": f"{served.parts.guard.cookie}={served.parts.guard.session()}"}


def own(served: Served, headers: dict[str, str]) -> dict[str, str]:
    origin = str(served.client.make_url("/")).rstrip("/")
    return {name: origin if value == OWN else value for name, value in headers.items()}


# headers beside the session cookie, and the answers to: GET, POST, the socket
MATRIX: list[tuple[str, dict[str, str], int, int, int]] = [
    ("our own page", {"Origin": OWN}, 200, 201, 101),
    ("our own page, new browser", {"Origin": OWN, "Sec-Fetch-Site": "same-origin"}, 200, 201, 101),
    ("typed address", {"Sec-Fetch-Site": "none"}, 200, 403, 403),
    ("no Origin", {}, 200, 403, 403),
    ("foreign Origin", {"Origin": EVIL}, 403, 403, 403),
    ("sandboxed frame", {"Origin": "null"}, 403, 403, 403),
    ("other port of this host", {"Origin": "http://127.0.0.1:1"}, 403, 403, 403),
    ("other scheme", {"Origin": "https://127.0.0.1"}, 403, 403, 403),
    ("other name of this host", {"Origin": "http://localhost"}, 403, 403, 403),
    ("Origin that begins like ours", {"Origin": OWN, "X": "", "Sec-Fetch-Site": "cross-site"}, 403, 403, 403),
    ("page of another site", {"Sec-Fetch-Site": "cross-site"}, 403, 403, 403),
    ("page of a neighbour port", {"Origin": OWN, "Sec-Fetch-Site": "same-site"}, 403, 403, 403),
    ("rebound name", {"Host": "evil.example", "Origin": EVIL}, 403, 403, 403),
    ("rebound name without Origin", {"Host": "evil.example"}, 403, 403, 403),
    ("rebound name with our port", {"Host": "evil.example:80", "Origin": "http://evil.example:80"}, 403, 403, 403),
    ("name that contains ours", {"Host": "localhost.evil.example"}, 403, 403, 403),
    ("name with a dot at its end", {"Host": "localhost."}, 403, 403, 403),
    ("credentials in Host", {"Host": "localhost@evil.example"}, 403, 403, 403),
    ("another machine's address", {"Host": "192.168.0.9"}, 403, 403, 403),
    ("address in another notation", {"Host": "2130706433"}, 403, 403, 403),
    ("empty Host", {"Host": ""}, 403, 403, 403),
]


async def test_origin_and_host(served: Served, browser: ClientSession) -> None:
    answers = {}
    for name, headers, *_ in MATRIX:
        given = own(served, headers) | cookie(served)
        async with browser.get("/api/jobs", headers=given) as get:
            pass
        async with browser.post("/api/jobs", headers=given, json={"workflow": WORKFLOW}) as post:
            pass
        answers[name] = [get.status, post.status, await _socket(browser, given)]
    assert answers == {name: expected for name, _, *expected in MATRIX}


TOKENS: list[tuple[str, dict[str, str], int]] = [
    ("none", {}, 401),
    ("the right one", BEARER, 200),
    ("lower-case scheme", {"Authorization": f"bearer {TOKEN}"}, 200),
    ("a wrong one", {"Authorization": "Bearer wrong"}, 401),
    ("a part of it", {"Authorization": f"Bearer {TOKEN[:-1]}"}, 401),
    ("more than it", {"Authorization": f"Bearer {TOKEN}x"}, 401),
    ("an empty one", {"Authorization": "Bearer "}, 401),
    ("another scheme", {"Authorization": f"Basic {TOKEN}"}, 401),
    ("not ASCII", {"Authorization": "Bearer \u00fc"}, 401),
    ("token as session", {"Cookie": f"sfumato_0={TOKEN}"}, 401),
    ("unsigned session", {"Cookie": "sfumato_0=9999999999."}, 401),
    ("ended session", {"Cookie": "sfumato_0=1.x"}, 401),
]


async def test_token(browser: ClientSession) -> None:
    answers = {}
    for name, headers, _ in TOKENS:
        async with browser.get("/api/jobs", headers=headers) as answer:
            answers[name] = answer.status, await _socket(browser, headers)
    assert answers == {name: (status, 101 if status == 200 else 401) for name, _, status in TOKENS}


async def test_bearer_with_a_foreign_page_is_still_foreign(browser: ClientSession) -> None:
    async with browser.post("/api/queue/pause", headers={**BEARER, "Origin": EVIL}) as answer:
        assert answer.status == 403


async def test_a_ticket_becomes_a_session_once(served: Served, browser: ClientSession) -> None:
    ticket = served.parts.guard.ticket()
    navigation = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    async with browser.get("/", params={"token": ticket}, headers=navigation) as answer:
        assert answer.status == 200
        assert "refresh" in await answer.text()
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        crumbs = answer.headers["Set-Cookie"]
    assert "HttpOnly" in crumbs
    assert "SameSite=Strict" in crumbs
    async with browser.get("/api/jobs") as answer:
        assert answer.status == 200
    browser.cookie_jar.clear()
    async with browser.get("/", params={"token": ticket}) as answer:
        assert answer.status == 401
    async with browser.get("/") as answer:
        assert answer.status == 401


async def test_a_used_link_still_opens_where_it_was_used(served: Served, browser: ClientSession) -> None:
    async with browser.get("/?token=spent", headers=cookie(served)) as answer:
        assert answer.status == 200


async def test_a_browser_at_the_door_gets_a_link_printed(
    served: Served, browser: ClientSession, capsys: pytest.CaptureFixture[str]
) -> None:
    served.parts.doorbell.address = str(served.client.make_url("/")).rstrip("/")
    for path in ("/", "/?token=spent", "/"):
        async with browser.get(path) as answer:
            assert answer.status == 401
            assert "newest link printed" in await answer.text()
    [line] = capsys.readouterr().out.splitlines()
    async with browser.get(line.rpartition(" ")[2]) as answer:
        assert answer.status == 200
    async with browser.get("/api/jobs") as answer:
        assert answer.status == 200


async def test_a_client_with_the_token_can_make_a_link(served: Served, browser: ClientSession) -> None:
    link = await served.json("POST", "/api/session/link", status=201)
    async with browser.get(link["path"]) as answer:
        assert answer.status == 200


async def test_sessions_end_when_the_given_token_changes() -> None:
    session = Guard("one", secret=b"s").session()
    assert Guard("one", secret=b"s").is_session(session)
    assert not Guard("two", secret=b"s").is_session(session)
    assert not Guard("one", secret=b"t").is_session(session)


async def test_only_a_few_unused_tickets_are_kept() -> None:
    guard = Guard("one", secret=b"s")
    first = guard.ticket()
    last = [guard.ticket() for _ in range(40)][-1]
    assert not guard.redeem(first)
    assert guard.redeem(last)


MEDIA = ["application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/plain", "text/json", "image/png"]


async def test_changes_are_json_only(served: Served) -> None:
    for media in MEDIA:
        answer = await served.client.post("/api/jobs", data=b'{"workflow": {}}', headers={"Content-Type": media})
        assert answer.status == 415, media
    for media in MEDIA[:4]:
        answer = await served.client.post("/api/files?name=a.png", data=b"x", headers={"Content-Type": media})
        assert answer.status == 415, media


async def test_an_empty_change_needs_no_type_but_may_not_be_a_form(served: Served) -> None:
    assert (await served.client.post("/api/queue/pause")).status == 200
    answer = await served.client.post("/api/queue/pause", headers={"Content-Type": MEDIA[0]})
    assert answer.status == 415


async def test_compressed_bodies_are_refused(served: Served) -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    answer = await served.client.post("/api/jobs", data=b"\x1f\x8b", headers=headers)
    assert answer.status == 415


async def test_behind_a_proxy_the_named_origin_counts(tmp_path: Path) -> None:
    names = "https://studio.example, studio.lan"
    guard = Guard.from_settings(Settings(data_dir=tmp_path, token=TOKEN, allow_host=names))
    assert await _refused(guard, {"Host": "studio.lan:8187", "Origin": "http://studio.lan:8187"}) is None
    assert await _refused(guard, {"Host": "lan", "Origin": "http://lan"}) == 403
    assert await _refused(guard, {"Host": "studio.example", "Origin": "https://studio.example"}) is None
    assert await _refused(guard, {"Host": "studio.example", "Origin": "https://other.example"}) == 403


async def _refused(guard: Guard, headers: dict[str, str]) -> int | None:
    from aiohttp.test_utils import make_mocked_request

    from engine.errors import SfumatoError

    try:
        guard.check(make_mocked_request("POST", "/api/queue/pause", headers={**BEARER, **headers}))
    except SfumatoError as error:
        return error.status
    return None


def test_settings_that_leave_the_server_open_are_refused(tmp_path: Path) -> None:
    def guard(**given: Any) -> Guard:
        return Guard.from_settings(Settings(data_dir=tmp_path, **given))

    with pytest.raises(BadInput, match="this machine alone"):
        guard(host="0.0.0.0", no_token=True)
    with pytest.raises(BadInput, match="16 characters"):
        guard(host="192.168.0.2", token="short")
    assert guard(host="0.0.0.0").token
    assert guard(no_token=True).token is None
    assert len(guard().token or "") >= 43  # 256 bits
    assert (tmp_path / "secret").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("127.8.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False),
     ("10.0.0.1", False), ("localhost.evil.example", False), ("127.0.0.1.evil.example", False)],
)  # fmt: skip
def test_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


async def test_without_a_token_the_other_rules_hold(tmp_path: Path) -> None:
    async with serving(tmp_path, token=None, kept=CATALOGUE) as served:
        client: TestClient[Any, Any] = served.client
        assert (await client.get("/api/jobs")).status == 200
        assert (await client.post("/api/queue/pause")).status == 200
        assert (await client.post("/api/queue/pause", headers={"Origin": EVIL})).status == 403
        assert (await client.get("/api/jobs", headers={"Host": "evil.example"})).status == 403
        assert (await client.post("/api/queue/pause", data=b"{}", headers={"Content-Type": "text/plain"})).status == 415


async def _socket(session: ClientSession, headers: dict[str, str]) -> int:
    try:
        async with session.ws_connect("/ws", headers=headers):
            return 101
    except WSServerHandshakeError as error:
        return error.status
