"""The loop: look up, call, put, emit. The only caller of a node."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

from engine import events, keys
from engine.bind import Bound, bind, flat
from engine.call import Services, Suspend, Values, guarded, kept, reason
from engine.context import Context
from engine.errors import Cancelled, Problem, SfumatoError
from engine.graph import Given, Graph, GraphNode, expand
from engine.node import Expansion, NodeSpec
from engine.plan import Plan
from engine.trace import Result, Trace
from engine.types import Saved
from engine.workflow import Link

FLUSH_SECONDS = 0.05  # finished steps become durable in groups this far apart ...
SLOW_SECONDS = 0.02  # ... or at once after a step that took longer than this
Outputs = tuple[Result, ...]


@dataclass(frozen=True)
class RunResult:
    """How a run ended. `outputs`: wanted node -> output name -> digest(s); `ui`: node -> what it shows people."""

    state: str
    seconds: float
    ran: int
    cached: int
    problems: tuple[Problem, ...]
    outputs: dict[str, dict[str, Result]]
    ui: dict[str, list[dict[str, Any]]]


class Run:
    """One execution of a graph. `emit` gets durable events only after their results are durable."""

    def __init__(
        self,
        graph: Graph,
        services: Services,
        *,
        emit: Callable[[events.Event], None] = lambda event: None,
        cancelled: Callable[[], bool] = lambda: False,
        job: str = "",
        workflow: dict[str, Any] | None = None,
    ) -> None:
        self.graph, self.services, self.plan = graph, services, Plan(graph)
        self.results: dict[str, Outputs] = {}
        self.ui: dict[str, list[dict[str, Any]]] = {}
        self.problems: list[Problem] = []
        self.ran = self.cached = 0
        self._emit, self._cancelled = emit, cancelled
        self._job, self._workflow = job, workflow
        self._scope = str((workflow or {}).get("id") or (workflow or {}).get("name") or "")
        self._demanded: dict[str, set[str]] = {}  # node -> lazy inputs it has asked for
        self._expanded: dict[tuple[str, int], dict[str, Link]] = {}  # node and call -> its outputs in the expansion
        self._stale: set[str] = set()  # nodes whose cached results are gone
        self._held: dict[str, list[str]] = {}  # node -> digests held in a memory-only store
        self._pending: list[events.Event] = []
        self._flushed = time.monotonic()

    def execute(self) -> RunResult:
        """Run until nothing more can; return how it ended. Errors of nodes are in the result, not raised."""
        started = time.monotonic()
        state = "done"
        self._note(events.RunStarted(self.plan.wanted))
        try:
            while (node := self.plan.next()) is not None:
                if self._cancelled():
                    raise Cancelled("The run was cancelled.")
                self._step(node)
        except Cancelled:
            state = "cancelled"
        if self.problems and state == "done":
            state = "failed"
        seconds = time.monotonic() - started
        self._note(events.RunFinished(state, seconds, self.ran, self.cached, len(self.plan.failed)))
        self._flush()
        for held in list(self._held):
            self._release(held)
        wanted = (n for n in self.graph.wanted if n in self.results)
        outputs = {n: _named(self.plan.nodes[n].spec, self.results[n]) for n in wanted}
        return RunResult(state, seconds, self.ran, self.cached, tuple(self.problems), outputs, self.ui)

    # One node

    def _step(self, node: GraphNode) -> None:
        """Bring one ready node to an end, or let it wait for what it asked for."""
        self.ui.pop(node.id, None)
        demanded = self._demanded.get(node.id, ())
        try:
            calls = bind(node, self._result, demanded=demanded, file_digest=self.services.file_digest)
            outputs = [self._outputs(node, bound, i) for i, bound in enumerate(calls.elements)]
        except Suspend as suspended:
            self._lose(self.plan.demand(node.id, suspended.sources), suspended.sources)
        except Cancelled:
            raise
        except SfumatoError as error:
            self._fail(node, error.at(node.id))
        else:
            self._finish(node, calls.gather(outputs, len(node.spec.outputs)))

    def _outputs(self, node: GraphNode, bound: Bound, index: int) -> Outputs:
        """Return the outputs of one call: out of an expansion, out of the cache, or by calling."""
        if (node.id, index) in self._expanded:
            return self._from_expansion(node, index)
        scope = self._job if node.spec.effect else ""
        first = key = keys.step_key(node.spec, self.services.numeric, bound.digests(), scope=scope)
        trace = self.services.traces.get(key)
        while trace is not None and trace.demand:
            if trace.demand not in bound.lazy:
                self._ask(node, trace.demand)
            key = keys.demand_key(key, trace.demand, flat(bound.lazy[trace.demand]))
            trace = self.services.traces.get(key)
        if trace is None or node.id in self._stale:
            return self._call(node, bound, index, first)
        if trace.expansion:
            return self._expand(node, bound, index, trace.expansion)
        try:
            self._show(node, trace.outputs)
        except KeyError:
            return self._call(node, bound, index, first)
        self.cached += 1
        self._note(events.StepCached(node.id, node.spec.id, key, _named(node.spec, trace.outputs)))
        return trace.outputs

    def _call(self, node: GraphNode, bound: Bound, index: int, key: str) -> Outputs:
        """Call the node's function and keep what it gives."""
        values = Values(node, bound, self.services.store, self._redo)
        arguments = values.eager()
        why = reason(node, bound, self.services, f"{self._scope}\0{node.id}\0{index}")
        self._emit(events.StepStarted(node.id, node.spec.id, why))
        context = Context(
            node.id,
            self._job,
            self._workflow,
            self.services.models,
            self.services.files,
            self._emit,
            self._cancelled,
        )
        started = time.perf_counter()
        try:
            value = guarded(self.services, node, context, {**arguments, **values.lazy()})
        finally:
            for name in values.asked:  # spell out the chain of keys that `_outputs` follows
                self.services.traces.put(key, Trace(demand=name))
                if name not in bound.lazy:
                    self._demanded.setdefault(node.id, set()).add(name)
                    break
                key = keys.demand_key(key, name, flat(bound.lazy[name]))
        self.ran += 1
        if isinstance(value, Expansion):
            digest = self.services.store.put(value)
            self.services.traces.put(key, Trace(expansion=digest))
            return self._expand(node, bound, index, digest, value)
        outputs = kept(node, value, self.services.store)
        self.services.traces.put(key, Trace(outputs))
        seconds = time.perf_counter() - started
        shown = self._show(node, outputs)
        self._note(events.StepDone(node.id, node.spec.id, key, seconds, why, _named(node.spec, outputs), shown))
        if seconds > SLOW_SECONDS:
            self._flush()
        return outputs

    def _ask(self, node: GraphNode, name: str) -> None:
        """Let the node wait for a lazy input that its trace says it will ask for."""
        self._demanded.setdefault(node.id, set()).add(name)
        raise Suspend(_sources(node, name))

    # Expansion

    def _expand(
        self, node: GraphNode, bound: Bound, index: int, digest: str, expansion: Expansion | None = None
    ) -> Outputs:
        """Add the graph that a call expanded into and wait for it."""
        if expansion is None:
            try:
                expansion = self.services.store.get(digest)
            except KeyError:
                self._stale.add(node.id)
                raise Suspend([]) from None
        own: dict[str, Any] = dict(node.inputs)
        for name, result in {**bound.args, **bound.lazy}.items():
            if isinstance(own[name], (Link, Given)):
                own[name] = Given(result, next((Link(s, "") for s in _sources(node, name)), None))
        nodes, outputs = expand(expansion, f"{node.id}/{index}/", own, self.services.specs)
        self.plan.add(node.id, nodes)
        self._expanded[node.id, index] = outputs
        shown = [name for name, inner in nodes.items() if inner.spec.output or inner.spec.effect]
        raise Suspend([*dict.fromkeys([*(link.node for link in outputs.values()), *shown])])

    def _from_expansion(self, node: GraphNode, index: int) -> Outputs:
        links = self._expanded[node.id, index]
        waiting = [link.node for link in links.values() if link.node not in self.plan.done]
        if waiting:
            raise Suspend(waiting)
        outputs = tuple(self._result(links[o.name]) for o in node.spec.outputs)
        self._note(events.StepDone(node.id, node.spec.id, "", 0.0, "expanded", _named(node.spec, outputs)))
        return outputs

    # Ends

    def _finish(self, node: GraphNode, outputs: Outputs) -> None:
        self._release(node.id)
        self.results[node.id] = outputs
        if self.services.store.disk is None:
            digests = [d for o in outputs for d in ((o,) if isinstance(o, str) else o)]
            self.services.store.hold(digests)
            self._held[node.id] = digests
        for idle in self.plan.finish(node.id):
            if idle not in self.graph.wanted:
                self._release(idle)
        if time.monotonic() - self._flushed > FLUSH_SECONDS:
            self._flush()

    def _fail(self, node: GraphNode, error: SfumatoError) -> None:
        self.problems.extend(error.problems)
        problems = tuple(p.to_json() for p in error.problems)
        self._note(events.StepFailed(node.id, node.spec.id, problems))
        self._lose(self.plan.fail(node.id), [node.id])

    def _lose(self, lost: Iterable[str], because: list[str]) -> None:
        for name in lost:
            self._note(events.StepSkipped(name, self.plan.nodes[name].spec.id, ", ".join(because)))

    def _redo(self, name: str) -> None:
        """Run a node again whose result is gone, and what it had expanded into."""
        todo = [name]
        while todo:
            gone = todo.pop()
            if gone in self._stale and gone not in self.plan.done:
                continue
            self._stale.add(gone)
            self.plan.redo(gone)
            for (parent, _), links in self._expanded.items():
                if parent == gone:
                    todo.extend(link.node for link in links.values())

    def _release(self, node: str) -> None:
        self.services.store.release(self._held.pop(node, ()))

    # Small parts

    def _result(self, link: Link) -> Result:
        spec = self.plan.nodes[link.node].spec
        index = next(i for i, o in enumerate(spec.outputs) if o.name == link.output)
        return self.results[link.node][index]

    def _show(self, node: GraphNode, outputs: Outputs) -> tuple[dict[str, Any], ...]:
        """Collect what the node shows people, for events and the job's outputs."""
        if not node.spec.output:
            return ()
        digests = [d for o in outputs for d in ((o,) if isinstance(o, str) else o)]
        saved = [v for v in map(self.services.store.get, digests) if isinstance(v, Saved)]
        shown = tuple(
            {"ui": s.ui, "text": s.text, "files": [asdict(f) for f in s.files]}
            for s in saved
        )
        self.ui.setdefault(node.id, []).extend(shown)
        return shown

    def _note(self, event: events.Event) -> None:
        self._pending.append(event)

    def _flush(self) -> None:
        """Make finished steps durable, then tell of them."""
        if self.services.store.disk is not None:
            self.services.store.disk.flush()
        pending, self._pending = self._pending, []
        for event in pending:
            self._emit(event)
        self._flushed = time.monotonic()


def _named(spec: NodeSpec, outputs: Outputs) -> dict[str, Result]:
    return {o.name: result for o, result in zip(spec.outputs, outputs, strict=True)}


def _sources(node: GraphNode, name: str) -> list[str]:
    """Return the node that an input's value comes from, if it comes from one."""
    value = node.inputs[name]
    source = value.source if isinstance(value, Given) else value
    return [source.node] if isinstance(source, Link) else []
