"""One shape for every error: `{"error": {"code", "message", "problems": [...]}}`."""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Sequence
from http import HTTPStatus

from aiohttp import web
from aiohttp.typedefs import Handler

from engine.errors import BadInput, Denied, Problem, SfumatoError, WorkflowInvalid

log = logging.getLogger(__name__)
RETRY_SECONDS = 2
SHOWN = 3  # how many problems the message spells out; `problems` has all

SENTENCES = {
    404: "There is nothing at this address; GET /api/openapi.json lists all there is.",
    405: "This address does not take that method; GET /api/openapi.json lists what it takes.",
    413: "The request is larger than it may be.",
}


class Foreign(Denied):
    """A request from another site's page, or under a name that is not ours."""

    status = 403


class BadRequest(WorkflowInvalid):
    """A body or query that is not what the address takes, with every reason."""

    code = "bad_request"


class WrongMedia(BadInput):
    """A body of a type that this address does not take."""

    code = "wrong_media_type"
    status = 415


class NoRevision(BadInput):
    """A change that does not say which revision it was made from."""

    code = "revision_missing"
    status = 428


def error_response(status: int, code: str, message: str, problems: Sequence[Problem] = ()) -> web.Response:
    """Make the one error answer."""
    body = {"error": {"code": code, "message": message, "problems": [p.to_json() for p in problems]}}
    headers = {"WWW-Authenticate": "Bearer"} if status == HTTPStatus.UNAUTHORIZED else {}
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["Retry-After"] = str(RETRY_SECONDS)
    return web.Response(status=status, text=json.dumps(body), content_type="application/json", headers=headers)


def _summary(problems: Sequence[Problem]) -> str:
    """Return the first few sentences."""
    first = " ".join(problem.message for problem in problems[:SHOWN])
    return first if len(problems) <= SHOWN else f"{first} And {len(problems) - SHOWN} more."


@web.middleware
async def errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn whatever a request raises into that answer; the only broad `except` of the web."""
    try:
        return await handler(request)
    except SfumatoError as error:
        return error_response(error.status, error.code, _summary(error.problems), error.problems)
    except web.HTTPException as error:
        code = HTTPStatus(error.status).name.lower()
        answer = error_response(error.status, code, SENTENCES.get(error.status, f"{error.reason}."))
        if "Allow" in error.headers:
            answer.headers["Allow"] = error.headers["Allow"]
        return answer
    except Exception:
        reference = secrets.token_hex(4)
        log.exception("Request %s %s failed (reference %s)", request.method, request.path, reference)
        sentence = f"Something went wrong inside Sfumato. The server's log tells more under reference {reference}."
        return error_response(500, "internal", sentence)
