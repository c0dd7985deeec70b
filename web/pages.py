"""The editor's page and files, and the exchange of the printed link for a session."""

from __future__ import annotations

import hashlib
from html import escape
from pathlib import Path

from aiohttp import web

from web.guard import SESSION_SECONDS
from web.parts import PARTS

STATIC = Path(__file__).parent / "static"
NO_EDITOR = "The server runs; its API is described at /api/openapi.json. This installation has no graph editor."
LOCKED = "This browser is not let in yet. Open the newest link printed where Sfumato runs; each works for one browser."
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; connect-src 'self'; worker-src 'self';"
    " img-src 'self' blob: data:; media-src 'self' blob:; manifest-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
ASSETS = "/static/assets/"  # their names hold a digest of their content
FOREVER = "private, max-age=31536000, immutable"
ASK_AGAIN = "private, no-cache"
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


async def index(request: web.Request) -> web.StreamResponse:
    """Return the editor; with `?token=` exchange a ticket for a session first."""
    parts = request.app[PARTS]
    if "token" in request.query:
        if parts.guard.redeem(request.query["token"]):
            return _logged_in(request)
        if parts.guard.knows(request):
            return _page(200, "", refresh=True)
    if not parts.guard.knows(request):
        parts.doorbell.ring()
        return _page(401, LOCKED)
    page = STATIC / "index.html"
    headers = {"Cache-Control": ASK_AGAIN}
    return web.FileResponse(page, headers=headers) if page.is_file() else _page(200, NO_EDITOR)


def build() -> str:
    """Return which editor this server gives out; a page that was loaded from another one should be loaded again."""
    page = STATIC / "index.html"
    return hashlib.sha256(page.read_bytes()).hexdigest()[:16] if page.is_file() else ""


def _logged_in(request: web.Request) -> web.Response:
    # A page that loads itself again, not a redirect: browsers hold a Strict cookie back on a redirect from elsewhere.
    guard = request.app[PARTS].guard
    response = _page(200, "", refresh=True)
    response.set_cookie(
        guard.cookie,
        guard.session(),
        max_age=SESSION_SECONDS,
        path="/",
        httponly=True,
        samesite="Strict",
        secure=request.secure,
    )
    return response


def _page(status: int, text: str, *, refresh: bool = False) -> web.Response:
    again = '<meta http-equiv="refresh" content="0;url=/">' if refresh else ""
    head = f'<!doctype html><html lang="en"><meta charset="utf-8">{again}<title>Sfumato</title>'
    html = f"{head}<p>{escape(text)}</p></html>"
    return web.Response(status=status, text=html, content_type="text/html")


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Set what every answer carries, unless its route has set it; the editor's files may be kept."""
    if request.path.startswith("/static/") and response.status < 400:
        response.headers.setdefault("Cache-Control", FOREVER if request.path.startswith(ASSETS) else ASK_AGAIN)
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers["Server"] = "Sfumato"
