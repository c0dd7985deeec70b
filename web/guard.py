"""Who may ask: token, Host, Origin, media type and size, checked in one place before any route runs.

Each rule answers an attack that this kind of program has met: strangers on the network (token), DNS rebinding (Host),
pages of other sites (Origin, Sec-Fetch-Site, JSON only), resource exhaustion (sizes, no compressed bodies).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
import os
import re
import secrets
import time
from collections.abc import Iterable
from pathlib import Path

from aiohttp import web
from aiohttp.typedefs import Handler

from engine.errors import BadInput, Denied, TooLarge
from engine.settings import Settings
from web.errors import Foreign, WrongMedia

JSON_BYTES = 4 * 2**20
UPLOAD_BYTES = 100 * 2**20
UPLOAD_PATHS = frozenset({"/api/files", "/api/import"})
# None of these can be sent by a page of another site without a preflight request, which is never granted.
UPLOAD_MEDIA = frozenset({"application/octet-stream", "image/png", "image/jpeg", "image/webp", "video/mp4"})
FORMS = frozenset({"application/x-www-form-urlencoded", "multipart/form-data", "text/plain"})  # these can
# ComfyUI's clients upload as forms, and its own examples post JSON under a form's type.
FORM_PATHS = frozenset(f"{api}/upload/{what}" for api in ("", "/api") for what in ("image", "mask"))
SCRIPT_PATHS = frozenset(f"{api}/{what}" for api in ("", "/api") for what in (
    "prompt", "queue", "interrupt", "history", "free",
))  # fmt: skip
SESSION_SECONDS = 30 * 86_400
SECRET_BYTES = 32
TICKETS_MAX = 32
TOKEN_CHARS_MIN = 16  # on a network; on loopback any token that was given will do
HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::[0-9]{1,5})?")
LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})


class Guard:
    """The rules with their secrets. `token` None means that none is asked for (loopback only).

    `hosts` are names we are called by; one written as an origin (`https://studio.example`) stands behind a TLS proxy.
    """

    def __init__(self, token: str | None, *, secret: bytes, hosts: Iterable[str] = (), port: int = 0) -> None:
        self.token = token
        self._key = hashlib.sha256(secret + (token or "").encode()).digest()
        names = [host.strip().lower() for host in hosts]
        self._hosts = LOOPBACK | {name.rpartition("://")[2].partition(":")[0] for name in names}
        self._origins = {name for name in names if "://" in name}
        self._tickets: list[str] = []
        self.cookie = f"sfumato_{port}"  # browsers share cookies between the ports of a host

    @classmethod
    def from_settings(cls, settings: Settings) -> Guard:
        """Make the guard, or refuse settings that would leave the server open."""
        loopback = is_loopback(settings.host)
        if settings.no_token and not loopback:
            raise BadInput(f"--no-token is for this machine alone; leave it out to listen on {settings.host}.")
        if settings.token is not None and not loopback and len(settings.token) < TOKEN_CHARS_MIN:
            raise BadInput(f"A token for {settings.host} needs {TOKEN_CHARS_MIN} characters or more.")
        token = None if settings.no_token else settings.token or secrets.token_urlsafe(32)
        hosts = (settings.host, *settings.allow_host.split(","))
        return cls(token, secret=_secret(settings.data_dir / "secret"), hosts=hosts, port=settings.port)

    # Secrets ---------------------------------------------------------------------------------------------------------

    def ticket(self) -> str:
        """Make a token for one use in a URL; older unused ones beyond a few lapse."""
        self._tickets = [*self._tickets, secrets.token_urlsafe(32)][-TICKETS_MAX:]
        return self._tickets[-1]

    def open_ticket(self) -> str:
        """Return the newest ticket that was not used yet, or a new one."""
        return self._tickets[-1] if self._tickets else self.ticket()

    def redeem(self, ticket: str) -> bool:
        """Say whether a ticket is good, and use it up."""
        found = [t for t in self._tickets if _same(t, ticket)]
        self._tickets = [t for t in self._tickets if t not in found]
        return bool(found)

    def session(self) -> str:
        """Make a session: the time it ends, signed. It outlives a restart, not a change of the token given."""
        until = str(int(time.time()) + SESSION_SECONDS)
        return f"{until}.{self._sign(until)}"

    def _sign(self, text: str) -> str:
        return base64.urlsafe_b64encode(hmac.digest(self._key, text.encode(), "sha256")).decode().rstrip("=")

    def is_session(self, value: str) -> bool:
        """Say whether a cookie's value is a session of ours that has not ended."""
        until, _, signature = value.partition(".")
        return _same(signature, self._sign(until)) and until.isdecimal() and int(until) > time.time()

    def knows(self, request: web.Request) -> bool:
        """Say whether the request shows the token or a session."""
        session = request.cookies.get(self.cookie, "")
        return self.token is None or self._bears_token(request) or self.is_session(session)

    def _bears_token(self, request: web.Request) -> bool:
        scheme, _, shown = request.headers.get("Authorization", "").partition(" ")
        return self.token is not None and scheme.lower() == "bearer" and _same(shown.strip(), self.token)

    # Rules -----------------------------------------------------------------------------------------------------------

    def check(self, request: web.Request) -> None:
        """Raise Denied, Foreign, WrongMedia or TooLarge if the request may not be answered."""
        self._check_host(request)
        self._check_site(request)
        opens_page = request.method == "GET" and request.path == "/"  # the page takes a ticket, or says how to get one
        if not opens_page and not self.knows(request):
            raise Denied("Show the token: open the link that Sfumato printed, or send `Authorization: Bearer TOKEN`.")
        self._check_change(request)
        _check_body(request)

    def _check_host(self, request: web.Request) -> None:
        given = request.headers.getall("Host", [])
        match = HOST.fullmatch(given[0].lower()) if len(given) == 1 else None
        if match is None or match[1] not in self._hosts | _own_address(request):
            raise Foreign("The Host of this request is not one of this server's names; name it with --allow-host.")

    def _check_site(self, request: web.Request) -> None:
        origins = request.headers.getall("Origin", [])
        ours = self._origins | {f"{request.scheme}://{request.host}".lower()}
        fetched_by = request.headers.get("Sec-Fetch-Site", "none")
        if not ours.issuperset(origins) or not (fetched_by in {"same-origin", "none"} or is_navigation(request)):
            raise Foreign("This request comes from a page of another site.")

    def _check_change(self, request: web.Request) -> None:
        changes = request.method not in {"GET", "HEAD"} or "Upgrade" in request.headers
        is_known = "Origin" in request.headers or self.token is None or self._bears_token(request)
        if changes and not is_known:
            raise Foreign("A change needs the Origin of our own page, or the token as `Authorization: Bearer TOKEN`.")


GUARD = web.AppKey("guard", Guard)


@web.middleware
async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Check every request, whether or not a route answers it."""
    request.app[GUARD].check(request)
    return await handler(request)


def is_navigation(request: web.Request) -> bool:
    """Say whether a browser opens one of our pages, perhaps from a link somewhere else."""
    mode = request.headers.get("Sec-Fetch-Mode")
    return request.method == "GET" and mode == "navigate" and not request.path.startswith(("/api/", "/ws"))


def is_loopback(host: str) -> bool:
    """Say whether only this machine can reach an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _check_body(request: web.Request) -> None:
    posts = request.method == "POST"
    upload = posts and request.path in UPLOAD_PATHS | FORM_PATHS
    limit = UPLOAD_BYTES if upload else JSON_BYTES
    if (request.content_length or 0) > limit:
        raise TooLarge(f"This request may hold {limit // 2**20} MiB, it has {request.content_length} bytes.")
    if "Content-Encoding" in request.headers:
        raise WrongMedia("Send the body as it is, without Content-Encoding.")
    if posts and request.path in FORM_PATHS:
        allowed = frozenset({"multipart/form-data"})
    elif posts and request.path in SCRIPT_PATHS and not {"Origin", "Sec-Fetch-Site"} & request.headers.keys():
        return  # a script: every browser names the origin of a form that it posts
    else:
        allowed = UPLOAD_MEDIA if upload else frozenset({"application/json"})
    if request.content_type not in allowed and (request.body_exists or request.content_type in FORMS):
        raise WrongMedia(f"Content-Type must be {' or '.join(sorted(allowed))}, got {request.content_type[:80]}.")


def _own_address(request: web.Request) -> set[str]:
    """Return the address the request arrived at: unlike a name, it cannot be rebound by a foreign DNS server."""
    name = request.transport.get_extra_info("sockname") if request.transport else None
    return {f"[{name[0]}]" if ":" in name[0] else name[0]} if name else set()


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(errors="surrogateescape"), other.encode(errors="surrogateescape"))


def _secret(path: Path) -> bytes:
    """Return this installation's secret, made on first use and readable by its owner alone."""
    if not path.is_file() or path.stat().st_size != SECRET_BYTES:
        write_private(path, secrets.token_bytes(SECRET_BYTES))
    return path.read_bytes()


def write_private(path: Path, data: bytes) -> None:
    """Write a file whole that its owner alone can read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.tmp-{os.getpid()}")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
        file.write(data)
    os.replace(temporary, path)
