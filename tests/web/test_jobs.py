"""Jobs over HTTP, from the request to what they made."""

from __future__ import annotations

import asyncio
from pathlib import Path

from engine.events import RunStarted, StepDone
from tests.web.fakes import CATALOGUE, WORKFLOW, Served, serving


async def test_a_job_from_request_to_outputs(served: Served) -> None:
    job = await served.submit(client="me", priority=2, inputs={"n.value": 9}, outputs=["s"])
    assert job["state"] == "queued"
    assert "workflow" not in job
    attempt = served.runner.start()
    assert attempt.job.workflow == WORKFLOW
    assert attempt.job.inputs == {"n.value": 9}
    assert attempt.job.wanted == ("s",)
    assert (await served.json("GET", "/api/jobs"))["jobs"][0]["state"] == "running"
    served.runner.finish(attempt, s={"ui": [{"ui": "text", "text": "9", "files": []}]})
    made = await served.json("GET", f"/api/jobs/{job['id']}/outputs")
    assert made == {"state": "done", "outputs": {"s": {"ui": [{"ui": "text", "text": "9", "files": []}]}}}
    assert (await served.json("GET", "/api/jobs?list=history&client=me"))["jobs"][0]["id"] == job["id"]
    assert (await served.json("GET", "/api/jobs?list=history&client=you"))["jobs"] == []
    assert len(await served.json("GET", f"/api/jobs/{job['id']}/attempts")) == 1


async def test_all_problems_of_a_workflow_come_at_once(served: Served) -> None:
    bad = {"nodes": {"a": {"type": "nmber"}, "s": {"type": "show", "inputs": {"value": 900}}}}
    answer = await served.json("POST", "/api/jobs", status=400, json={"workflow": bad, "outputs": ["a", "s"]})
    assert answer["error"]["code"] == "invalid_workflow"
    assert {p["node"] for p in answer["error"]["problems"]} == {"a", "s"}
    assert answer["error"]["message"] == " ".join(p["message"] for p in answer["error"]["problems"])
    assert served.parts.jobs.last_seq() == 0
    verdict = await served.json("POST", "/api/validate", json={"workflow": bad})
    assert not verdict["valid"]
    assert len(verdict["problems"]) == 2


async def test_validate_tells_what_would_run(served: Served) -> None:
    verdict = await served.json("POST", "/api/validate", json={"workflow": WORKFLOW})
    assert verdict == {"valid": True, "problems": [], "wanted": ["s"]}


async def test_an_idempotency_key_makes_one_job(served: Served) -> None:
    one = await served.submit(idempotency_key="k")
    two = await served.submit(idempotency_key="k")
    assert one["id"] == two["id"]
    body = {"workflow": WORKFLOW, "idempotency_key": "k", "priority": 5}
    assert (await served.json("POST", "/api/jobs", status=409, json=body))["error"]["code"] == "conflict"


async def test_the_queue_can_be_changed(served: Served) -> None:
    one, two, three = [(await served.submit())["id"] for _ in range(3)]
    await served.json("POST", f"/api/jobs/{three}/move", json={"before": one})
    await served.json("POST", f"/api/jobs/{two}/priority", json={"priority": 9})
    listed = (await served.json("GET", "/api/jobs"))["jobs"]
    assert [job["id"] for job in listed] == [two, three, one]
    assert (await served.json("POST", f"/api/jobs/{two}/pause"))["paused"]
    assert served.runner.start().job.id == three
    assert not (await served.json("POST", f"/api/jobs/{two}/resume"))["paused"]
    assert (await served.json("POST", f"/api/jobs/{one}/cancel"))["state"] == "cancelled"
    assert (await served.json("POST", f"/api/jobs/{three}/cancel"))["stopping"]
    assert (await served.json("POST", f"/api/jobs/{one}/retry"))["state"] == "queued"
    assert (await served.json("POST", "/api/queue/pause"))["paused"]
    assert (await served.json("GET", "/api/queue"))["counts"]["queued"] == 2
    assert await served.json("POST", "/api/queue/cancel") == {"cancelled": 2}
    assert not (await served.json("POST", "/api/queue/resume"))["paused"]
    await served.json("DELETE", f"/api/jobs/{one}", status=204)
    await served.json("GET", f"/api/jobs/{one}", status=404)


async def test_pages(served: Served) -> None:
    made = [(await served.submit())["id"] for _ in range(5)]
    found: list[str] = []
    cursor = ""
    while cursor is not None:
        page = await served.json("GET", f"/api/jobs?limit=2{cursor and '&cursor=' + cursor}")
        found += [job["id"] for job in page["jobs"]]
        cursor = page["cursor"]
    assert found == made
    await served.json("GET", "/api/jobs?limit=0", status=400)
    for bad in ("x", "1_2", "9" * 19 + "_0_0", "-_-_-"):
        await served.json("GET", f"/api/jobs?cursor={bad}", status=404)


async def test_unknown_is_its_own_answer(served: Served) -> None:
    for path in ("/api/jobs/0", "/api/jobs/0/outputs", "/api/jobs/0/events", "/api/jobs/0/attempts", "/api/jobs/%00"):
        assert (await served.json("GET", path, status=404))["error"]["code"] == "not_found"


async def test_events_by_long_poll(served: Served) -> None:
    job = (await served.submit())["id"]
    page = await served.json("GET", f"/api/jobs/{job}/events")
    assert [event["kind"] for event in page["events"]] == ["job_queued"]
    waiting = asyncio.create_task(served.json("GET", f"/api/jobs/{job}/events?since={page['seq']}&wait=20"))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    attempt = served.runner.start()
    more = await asyncio.wait_for(waiting, 5)
    assert more["events"][0]["kind"] == "job_started"
    served.runner.append(attempt, RunStarted(2), StepDone("n", "number", "k", 0.1, "new"))
    kinds = [e["kind"] for e in (await served.json("GET", f"/api/events?since={more['seq']}&wait=20"))["events"]]
    assert kinds == ["run_started", "step_done"]
    quiet = await served.json("GET", f"/api/events?since={more['seq'] + 2}&wait=0.05")
    assert quiet == {"events": [], "seq": more["seq"] + 2}


async def test_until_the_nodes_are_known_jobs_wait_outside(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        del served.runner.answers["catalogue"]
        for _ in range(2):
            answer = await served.client.post("/api/jobs", json={"workflow": WORKFLOW})
            assert answer.status == 503
            assert int(answer.headers["Retry-After"]) > 0
        assert "reading the nodes" in (await answer.json())["error"]["message"]
        [(name, reply)] = served.runner.asked
        assert name == "catalogue"
        reply.set_result(CATALOGUE)
        assert (await served.json("GET", "/api/nodes"))["nodes"]
        await served.submit()


async def test_nodes(served: Served) -> None:
    assert served.runner.asked == []
    catalogue = await served.json("GET", "/api/nodes")
    assert [node["id"] for node in catalogue["nodes"]] == ["number", "show"]
    assert (await served.json("GET", "/api/nodes/number"))["inputs"][0]["high"] == 100
    missing = await served.json("GET", "/api/nodes/numbr", status=404)
    assert "Did you mean 'number'?" in missing["error"]["message"]
    served.runner.answers["catalogue"] = {"hash": "1", "nodes": CATALOGUE["nodes"][:1]}
    assert len((await served.json("POST", "/api/nodes/refresh"))["nodes"]) == 1
    await served.json("POST", "/api/jobs", status=400, json={"workflow": WORKFLOW})
