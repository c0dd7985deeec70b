"""Jobs of the ledger as ComfyUI's clients know them: queue and history items, jobs, messages, files that are shown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from engine.errors import SfumatoError
from engine.files import FileStore
from engine.jobs.contract import Job, JobEvent, JobState, JsonObject

REST = "comfyui"  # what a job's workflow keeps of the prompt it came from
STATUS = {
    JobState.QUEUED: "pending", JobState.RUNNING: "in_progress", JobState.DONE: "completed", JobState.FAILED: "failed",
    JobState.CANCELLED: "cancelled", JobState.PARKED: "failed",
}  # fmt: skip
EVENTS_MAX = 5_000
PICTURE_SUFFIX = {"image/png": "png", "image/jpeg": "jpg", "image/webp": "webp"}


def queue_item(job: Job) -> list[Any]:
    """Return `[number, prompt_id, prompt, extra_data, outputs_to_execute]`."""
    rest = job.workflow.get(REST) or {}
    prompt = rest.get("prompt") or {}
    extra = {**(rest.get("extra_data") or {}), "client_id": job.client}
    return [rest.get("number", 0), job.id, prompt, extra, list(job.wanted)]


def history_item(job: Job, events: Iterable[JobEvent], files: FileStore) -> JsonObject:
    """Return a job that has ended as an item of the history."""
    found = list(events)
    done = job.state is JobState.DONE
    outputs = outputs_of(found, files)
    meta = {
        node: place(node, job.id, keys=("node_id", "display_node", "parent_node", "real_node_id")) for node in outputs
    }
    return {
        "prompt": queue_item(job),
        "outputs": outputs,
        "status": {
            "status_str": "success" if done else "error",
            "completed": done,
            "messages": [[m["type"], m["data"]] for m in messages(job, found)],
        },
        "meta": meta,
    }


def outputs_of(events: Iterable[JobEvent], files: FileStore) -> JsonObject:
    """Return what each node showed, by its id there; what a list of calls showed is joined."""
    outputs: JsonObject = {}
    for event in events:
        if event.kind in ("step_done", "step_cached") and event.data.get("ui"):
            shown = shown_by(event.data["ui"], files)
            if not event.data.get("again"):
                into = outputs.setdefault(theirs(event.data["node"]), {})
                for key, values in shown.items():
                    into[key] = [*into.get(key, []), *values]
    return outputs


def shown_by(ui: Iterable[Mapping[str, Any]], files: FileStore) -> dict[str, list[Any]]:
    """Return what one step showed: in the words of its pack, or our files and text."""
    found: dict[str, list[Any]] = {}
    for item in ui:
        own = item.get("extra")
        if not own:
            own = {"images": [located(f, files) for f in item["files"]]} if item["files"] else {}
            own |= {"text": [item["text"]]} if item.get("text") else {}
        for key, values in own.items():
            found[key] = [*found.get(key, []), *values]
    return found


def located(file: Mapping[str, Any], files: FileStore) -> dict[str, str]:
    """Return where a file is seen: in the output folder by its name, else by its content."""
    name = str(file["name"])
    with suppress(SfumatoError, OSError):
        if files.digest("output", name) == file["digest"]:
            folder, _, stem = name.rpartition("/")
            return {"filename": stem, "subfolder": folder, "type": "output"}
    suffix = PICTURE_SUFFIX.get(str(file.get("media")), "bin")
    return {"filename": f"{file['digest']}.{suffix}", "subfolder": "", "type": "temp"}


def messages(job: Job, events: Iterable[JobEvent]) -> list[JsonObject]:
    """Return the messages that a run left behind: start, what was cached, how it ended."""
    found = list(events)
    cached = [theirs(e.data["node"]) for e in found if e.kind == "step_cached"]
    told = [message("execution_start", job.id, job.started or job.created)]
    told.append(message("execution_cached", job.id, job.started or job.created, nodes=cached))
    ended = job.ended or job.created
    if job.state is JobState.DONE:
        told.append(message("execution_success", job.id, ended))
    elif job.state is JobState.CANCELLED:
        told.append(interrupted(job.id, found, ended))
    elif job.problems:
        told.append(failed(job.id, job.problems, found, ended))
    return told


def message(kind: str, job: str, at: float, **data: Any) -> JsonObject:
    """Return a message with its time in milliseconds."""
    return {"type": kind, "data": {**data, "prompt_id": job, "timestamp": int(at * 1000)}}


def failed(job: str, problems: Iterable[Mapping[str, Any]], events: Iterable[JobEvent], at: float) -> JsonObject:
    """Return `execution_error` of the first problem; where in the code it happened is in the server's log."""
    problem = next(iter(problems), {})
    node = str(problem.get("node") or "")
    found = list(events)
    kinds = {e.data["node"]: e.data["type"] for e in found if "node" in e.data}
    words = str(problem.get("message", "")).partition(" failed unexpectedly: ")[2].partition(": ")
    is_raised = bool(words[1]) and words[0].isidentifier()
    return message(
        "execution_error", job, at,
        node_id=theirs(node), node_type=kinds.get(node, ""), executed=executed(found),
        exception_message=words[2] if is_raised else problem.get("message", ""),
        exception_type=words[0] if is_raised else problem.get("code", ""),
        traceback=[], current_inputs={}, current_outputs=executed(found),
    )  # fmt: skip


def interrupted(job: str, events: Iterable[JobEvent], at: float) -> JsonObject:
    """Return `execution_interrupted`."""
    return message("execution_interrupted", job, at, node_id="", node_type="", executed=executed(events))


def executed(events: Iterable[JobEvent]) -> list[str]:
    """Return the nodes that have finished."""
    return list(dict.fromkeys(theirs(e.data["node"]) for e in events if e.kind in ("step_done", "step_cached")))


def theirs(node: str) -> str:
    """Return the id that a node of ours has there: one in an expansion has dots."""
    return node.replace("/", ".")


def place(node: str, job: str, keys: tuple[str, str, str, str]) -> dict[str, Any]:
    """Return a node with the one it is shown at, the one it came from and the one in the prompt, under these names."""
    shown = theirs(node)
    root = node.partition("/")[0]
    parent = theirs(node.rpartition("/")[0].rpartition("/")[0]) if "/" in node else None
    return dict(zip(keys, (shown, root, parent, shown), strict=True))


def job_item(job: Job, events: Iterable[JobEvent], files: FileStore, *, whole: bool = False) -> JsonObject:
    """Return a job as `/api/jobs` of later versions shows it; empty places are left out."""
    found = list(events)
    outputs = outputs_of(found, files)
    rest = job.workflow.get(REST) or {}
    info = ((rest.get("extra_data") or {}).get("extra_pnginfo") or {}).get("workflow") or {}
    problem = failed(job.id, job.problems, found, job.ended or job.created)["data"] if job.problems else None
    item = {
        "id": job.id,
        "status": STATUS[job.state],
        "priority": rest.get("number", 0),
        "create_time": int(job.created * 1000),
        "execution_start_time": None if job.started is None else int(job.started * 1000),
        "execution_end_time": None if job.ended is None else int(job.ended * 1000),
        "execution_error": problem,
        "outputs_count": sum(len(values) for shown in outputs.values() for values in shown.values()),
        "preview_output": _preview(outputs),
        "workflow_id": info.get("id") if isinstance(info, dict) else None,
    }
    if whole:
        status = {"completed": job.state is JobState.DONE, "status_str": STATUS[job.state]}
        more = {"prompt": rest.get("prompt") or {}, "extra_data": rest.get("extra_data") or {}}
        item |= {"outputs": outputs, "execution_status": status, "workflow": more}
    return {k: v for k, v in item.items() if v is not None}


def _preview(outputs: Mapping[str, Mapping[str, list[Any]]]) -> JsonObject | None:
    for node, shown in outputs.items():
        for file in shown.get("images", []):
            return {**file, "nodeId": node, "mediaType": "images"}
    return None
