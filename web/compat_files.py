"""ComfyUI's routes for files, models and what the server is: upload, view, object_info, system_stats."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import platform
import re
import secrets
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from aiohttp import BodyPartReader, web

from engine.errors import BadFile, BadInput, NotFound, TooLarge
from engine.files import DIGEST, UNKNOWN_MEDIA, safe_join, sniff
from engine.jobs.contract import JsonObject
from web.errors import Foreign
from web.guard import UPLOAD_BYTES
from web.parts import PARTS, Parts
from web.routes_system import _memory, _versions

ANNOTATION = re.compile(r"^(.*?) ?\[(input|output|temp)\]$", re.S)
FIELD_BYTES = 10_000
VERSION = "0.3.64"  # of ComfyUI, whose dialect this is
KINDS = ("input", "output", "temp")
CHUNK = 2**18
PICTURES = {"webp": "WEBP", "jpeg": "JPEG"}
NO_PARTS = ("/workflow_templates", "/i18n", "/global_subgraphs", "/node_replacements")  # of packs


def routes() -> list[tuple[str, str, Callable[[web.Request], Awaitable[web.StreamResponse]]]]:
    """Return method, address and handler of these routes."""
    return [
        ("POST", "/upload/image", upload),
        ("POST", "/upload/mask", upload_mask),
        ("GET", "/view", view),
        ("GET", "/object_info", object_info),
        ("GET", "/object_info/{name}", object_info),
        ("GET", "/embeddings", embeddings),
        ("GET", "/models", models),
        ("GET", "/models/{folder}", models_in),
        ("GET", "/system_stats", system_stats),
        ("GET", "/features", features),
        ("GET", "/view_metadata/{folder}", metadata),
        ("GET", "/experiment/models", folders),
        ("GET", "/experiment/models/{folder}", files_in),
        ("GET", "/extensions", nothing),
        *[("GET", path, empty) for path in NO_PARTS],
        ("GET", "/users", users),
    ]


def root(parts: Parts, kind: str) -> Path:
    """Return the folder called input, output or temp."""
    if kind not in KINDS:
        raise BadInput(f"type must be one of {', '.join(KINDS)}, got {kind[:40]!r}.", field="type")
    return parts.settings.output_dir if kind == "output" else parts.settings.data_dir / kind


# Uploads -----------------------------------------------------------------------------------------------------------


async def upload(request: web.Request) -> web.Response:
    """Store a picture; the same name with other content gets a number."""
    form = await _form(request)
    return web.json_response(await asyncio.to_thread(_store, request.app[PARTS], form, form["image"]))


async def upload_mask(request: web.Request) -> web.Response:
    """Put the alpha of the upload on the picture that `original_ref` names, and store that."""
    import json

    form = await _form(request)
    try:
        ref = json.loads(form.get("original_ref", "{}"))
        name, kind, folder = str(ref["filename"]), str(ref.get("type", "output")), str(ref.get("subfolder") or "")
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise BadInput("original_ref must be JSON with a filename.", field="original_ref") from error
    path = _find(request.app[PARTS], kind, folder, name)
    data = await asyncio.to_thread(_masked, path, form["image"])
    return web.json_response(await asyncio.to_thread(_store, request.app[PARTS], form, data))


async def _form(request: web.Request) -> dict[str, Any]:
    """Read a form with one file, within its bounds."""
    found: dict[str, Any] = {}
    if not request.content_type.startswith("multipart/"):
        raise BadInput("Send the picture as a form (multipart/form-data) with the field `image`.")
    async for part in await request.multipart():
        if not isinstance(part, BodyPartReader) or part.name is None:
            continue
        limit = UPLOAD_BYTES if part.name == "image" else FIELD_BYTES
        data = bytearray()
        while chunk := await part.read_chunk(CHUNK):
            data += chunk
            if len(data) > limit:
                raise TooLarge(f"{part.name[:40]} may have {limit} bytes.")
        if part.name == "image":
            found["image"], found["name"] = bytes(data), part.filename or ""
        else:
            found[part.name] = data.decode("utf-8", "replace")
    if not found.get("image") or not found.get("name"):
        raise BadInput("The form needs a file in the field `image`, with a name.", field="image")
    return found


def _store(parts: Parts, form: dict[str, Any], data: bytes) -> JsonObject:
    """Write a file into the folder it is for; returns where it is."""
    kind, folder = form.get("type") or "input", str(form.get("subfolder") or "").strip("/")
    name = re.split(r"[/\\]", form["name"])[-1]
    base = root(parts, kind)
    path = safe_join(base, f"{folder}/{name}" if folder else name)
    path.parent.mkdir(parents=True, exist_ok=True)
    stem, suffix, number = path.stem, path.suffix, 0
    wanted = hashlib.sha256(data).digest()
    while path.exists() and form.get("overwrite") not in ("true", "1"):
        if path.is_file() and hashlib.sha256(path.read_bytes()).digest() == wanted:
            return {"name": path.name, "subfolder": folder, "type": kind}
        number += 1
        path = path.with_name(f"{stem} ({number}){suffix}")
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp-{os.getpid()}")
    with temporary.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    return {"name": path.name, "subfolder": folder, "type": kind}


def _masked(path: Path, data: bytes) -> bytes:
    """Return the picture at `path` as PNG with the alpha of another and the texts of its own."""
    from PIL.PngImagePlugin import PngInfo

    with _picture(path.read_bytes()) as original, _picture(data) as mask:
        texts = PngInfo()
        for key, value in original.info.items():
            if isinstance(key, str) and isinstance(value, str):
                texts.add_text(key, value)
        made = original.convert("RGBA")
        made.putalpha(mask.convert("RGBA").getchannel("A").resize(made.size))
        out = io.BytesIO()
        made.save(out, "PNG", pnginfo=texts)
    return out.getvalue()


def _picture(data: bytes) -> Any:
    from PIL import Image

    from engine.pictures import BOMB, BROKEN

    try:
        picture = Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP"))
        picture.load()
    except (*BOMB, *BROKEN) as error:
        raise BadFile("This is no picture that can be read (PNG, JPEG or WebP).") from error
    return picture


# View --------------------------------------------------------------------------------------------------------------


async def view(request: web.Request) -> web.StreamResponse:
    """Return a file that is shown: as it is, smaller (`preview`), or one `channel` of it."""
    query = request.query
    name, kind = query.get("filename", ""), query.get("type", "output")
    if not name:
        raise NotFound("Say which file: ?filename=...")
    match = ANNOTATION.match(name)
    name, kind = (match[1], match[2]) if match else (name, kind)
    path = await asyncio.to_thread(_find, request.app[PARTS], kind, query.get("subfolder", ""), name)
    channel, preview = query.get("channel", "rgba"), query.get("preview", "")
    if preview or channel in ("rgb", "a"):
        data, media = await asyncio.to_thread(_changed, path.read_bytes(), preview, channel)
        return web.Response(body=data, headers=_headers(name, media))
    with path.open("rb") as file:
        media = sniff(file.read(16))
    return web.FileResponse(path, headers=_headers(name, media))


def _find(parts: Parts, kind: str, folder: str, name: str) -> Path:
    """Return where a file lies: in its folder, else by its content or by the name it was uploaded under."""
    name, folder = name.replace("\\", "/"), folder.replace("\\", "/").strip("/")
    base = root(parts, kind)
    if name.startswith("/") or ".." in name.split("/"):
        raise BadInput("filename must not lead out of its folder.", field="filename")
    try:
        path = safe_join(base, f"{folder}/{name}" if folder else name)
    except BadInput as error:
        raise Foreign(error.message) from error
    if path.is_file():
        return path
    digest = name.partition(".")[0]
    if kind == "temp" and DIGEST.fullmatch(digest):
        return parts.files.open(digest)[0]
    if kind == "input":
        return parts.files.find("input", f"{folder}/{name}" if folder else name)
    raise NotFound(f"There is no file {name[:80]!r} in {kind}.")


def _changed(data: bytes, preview: str, channel: str) -> tuple[bytes, str]:
    picture = _picture(data)
    if channel == "a":
        alpha = picture.convert("RGBA").getchannel("A")
        picture = picture.convert("RGBA")
        picture.paste((0, 0, 0, 0), (0, 0, *picture.size))
        picture.putalpha(alpha)
    elif channel == "rgb":
        picture = picture.convert("RGB")
    if not preview:
        out = io.BytesIO()
        picture.save(out, "PNG")
        return out.getvalue(), "image/png"
    kind, _, quality = preview.partition(";")
    kind = "webp" if "a" in channel or kind not in PICTURES else kind
    level = int(quality) if quality.isdecimal() and 1 <= int(quality) <= 100 else 90
    out = io.BytesIO()
    (picture.convert("RGB") if kind == "jpeg" else picture).save(out, PICTURES[kind], quality=level)
    return out.getvalue(), f"image/{kind}"


def _headers(name: str, media: str) -> dict[str, str]:
    placed = "attachment" if media == UNKNOWN_MEDIA else "inline"
    return {
        "Content-Type": media,
        "Content-Disposition": f"{placed}; filename*=UTF-8''{quote(name.rpartition('/')[2], safe='')}",
        "Content-Security-Policy": "sandbox; default-src 'none'",
    }


# What there is -----------------------------------------------------------------------------------------------------


async def object_info(request: web.Request) -> web.Response:
    """Return the node classes with their inputs, or one of them."""
    from web.compat import ask

    name = request.match_info.get("name")
    return web.json_response(await ask(request.app[PARTS], "comfyui_info", {"name": name} if name else {}))


async def _names(request: web.Request) -> JsonObject:
    from web.compat import ask

    return await ask(request.app[PARTS], "comfyui_models", {})


async def embeddings(request: web.Request) -> web.Response:
    """List the learnt words."""
    found = (await _names(request)).get("embeddings", [])
    return web.json_response([name.rpartition(".")[0] or name for name in found])


async def models(request: web.Request) -> web.Response:
    """List the kinds of weights."""
    return web.json_response(list(await _names(request)))


async def models_in(request: web.Request) -> web.Response:
    """List the weights of a kind."""
    found = await _names(request)
    folder = request.match_info["folder"]
    if folder not in found:
        raise NotFound(f"There is no folder {folder[:80]!r} of models; there are: {', '.join(found)}.")
    return web.json_response(found[folder])


async def metadata(request: web.Request) -> web.Response:
    """Return what a safetensors file says of itself."""
    from web.compat import ask

    asked = {"kind": request.match_info["folder"], "name": request.query.get("filename", "")}
    return web.json_response(await ask(request.app[PARTS], "comfyui_metadata", asked))


async def folders(request: web.Request) -> web.Response:
    """List the kinds of weights; where their folders lie stays with the server."""
    return web.json_response([{"name": kind, "folders": []} for kind in await _names(request)])


async def files_in(request: web.Request) -> web.Response:
    """List the weights of a kind, as later versions do."""
    found = (await _names(request)).get(request.match_info["folder"])
    if found is None:
        raise NotFound(f"There is no folder {request.match_info['folder'][:80]!r} of models.")
    return web.json_response([{"name": name, "pathIndex": 0} for name in found])


async def system_stats(request: web.Request) -> web.Response:
    """Return what this server runs on, without its paths."""
    memory, parts = _memory(), request.app[PARTS]
    devices = [
        {
            "name": worker.device, "type": worker.device.partition(":")[0], "index": index,
            "vram_total": memory.total, "vram_free": memory.available,
            "torch_vram_total": memory.total, "torch_vram_free": memory.available,
        }
        for index, worker in enumerate(parts.runner.workers())
    ]  # fmt: skip
    system = {
        "os": os.name, "ram_total": memory.total, "ram_free": memory.available, "comfyui_version": VERSION,
        "python_version": sys.version, "pytorch_version": _versions().get("torch", ""), "embedded_python": False,
        "argv": ["main.py"], "platform": platform.system().lower(),
    }  # fmt: skip
    return web.json_response({"system": system, "devices": devices})


async def features(request: web.Request) -> web.Response:
    """Return what this server can do beyond the oldest version."""
    return web.json_response({"supports_preview_metadata": True, "max_upload_size": UPLOAD_BYTES})


async def nothing(request: web.Request) -> web.Response:
    """Return an empty list: packs add nothing to the editor here."""
    return web.json_response([])


async def empty(request: web.Request) -> web.Response:
    """Return an empty object: packs bring no templates, words, blueprints or replacements here."""
    return web.json_response({})


async def users(request: web.Request) -> web.Response:
    """Say that there is one user."""
    return web.json_response({"storage": "server", "migrated": True})
