"""The loop: look up, call, put, emit. The only caller of a node."""

from __future__ import annotations

import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NoReturn

from engine import events, keys
from engine.away import Away, Begun, Elsewhere, settled
from engine.bind import Bound, Calls, bind, digests_of, flat, named
from engine.call import Services, Suspend, Values, blocked_by, facts_of, guarded, kept, reason, shown_as, source_of
from engine.context import Context
from engine.errors import BadInput, Cancelled, Problem, SfumatoError, Unavailable
from engine.graph import Given, Graph, GraphNode, expand
from engine.node import Expansion
from engine.plan import Plan
from engine.trace import Result, Trace
from engine.types import Blocked, Saved
from engine.workflow import Link

FLUSH_SECONDS = 0.05  # finished steps become durable in groups this far apart ...
SLOW_SECONDS = 0.02  # ... or at once after a step that took longer than this
DEPTH_MAX = 2_000  # expansions within expansions
REDO_MAX = 3  # times that one node runs again because its result is gone
Outputs = tuple[Result, ...]
Shown = tuple[dict[str, Any], ...]
Ended = tuple[Outputs, Shown]  # what a call gave, and of that what people are shown
Ending = events.StepDone | events.StepCached
Expanded = tuple[dict[str, Link], Ending]  # outputs of an expansion, and what to tell when they are there


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
        self._scope = job or secrets.token_hex(8)  # nodes with effects run once in it
        self._history = str((workflow or {}).get("id") or (workflow or {}).get("name") or "")
        self._checked = set(graph.wanted)  # nodes whose cached results must really be there
        self._demanded: dict[str, set[str]] = {}  # node -> lazy inputs it has asked for
        self._ended: dict[str, dict[int, Ended]] = {}  # waiting node -> its calls that have ended, by place in the list
        self._expanded: dict[str, dict[int, Expanded]] = {}  # node -> its calls that became graphs
        self._why: dict[str, str] = {}  # call that was begun -> why it runs
        self._redone: Counter[str] = Counter()  # nodes whose results were gone
        self._held: dict[str, list[str]] = {}  # node -> digests held in a memory-only store
        self._away = Away()
        self._marks: dict[str, str] = {}  # node -> what it says of when its result changes
        self._memo: dict[str, Any] = {}  # what expansions have noted
        self._pending: list[events.Event] = []
        self._flushed = time.monotonic()

    def execute(self) -> RunResult:
        """Run until nothing more can; return how it ended. Errors of nodes are in the result, not raised."""
        started = time.monotonic()
        state = "done"
        self._emit(events.RunStarted(self.plan.wanted))
        try:
            while (node := self._next()) is not None:
                self._step(node)
        except Cancelled:
            state = "cancelled"
        finally:
            self._away.drop()
            for name in list(self._held):
                self._release(name)
        if self.problems and state == "done":
            state = "failed"
        seconds = time.monotonic() - started
        self._pending.append(events.RunFinished(state, seconds, self.ran, self.cached, len(self.plan.failed)))
        self._flush()
        wanted = (n for n in self.graph.wanted if n in self.plan.done)
        outputs = {n: named(self.plan.nodes[n].spec, self.results[n]) for n in wanted}
        return RunResult(state, seconds, self.ran, self.cached, tuple(self.problems), outputs, self.ui)

    # One node

    def _next(self) -> GraphNode | None:
        """Return the next node that can go on; where there is none now, wait for calls that go on elsewhere."""
        node = None
        while node is None:
            if self._away:
                for name in self._away.back(patient=not self.plan.has_ready):
                    self.plan.wake(name)
            node = self.plan.next()
            if node is None and not self._away:
                return None
            if self._cancelled():
                raise Cancelled("The run was cancelled.")
        return node

    def _step(self, node: GraphNode) -> None:
        """Bring one ready node to an end, or let it wait for what it asked for."""
        demanded = self._demanded.get(node.id, ())
        ended = self._ended.pop(node.id, {})
        try:
            calls = bind(node, self._result, demanded=demanded, file_digest=self.services.file_digest)
            calls = calls.marked(self._mark(node)) if node.spec.id in self.services.marks else calls
            waits = self._advance(node, calls, ended)
        except Cancelled:
            raise
        except SfumatoError as error:
            self._fail(node, error.at(node.id))
        else:
            if waits is None:
                self._finish(node, calls, [ended[index] for index in range(len(calls.elements))])
                return
            self._ended[node.id] = ended
            if waits:
                for name, because in self.plan.demand(node.id, waits).items():
                    self._skip(name, because)

    def _mark(self, node: GraphNode) -> str:
        """Return what a node says of when its result changes; it is asked once per run."""
        if node.id not in self._marks:
            mark = self.services.marks[node.spec.id](self._context(node.id), node.inputs)
            self._marks[node.id] = f"{self._scope}\0{node.id}" if mark is None else mark
        return self._marks[node.id]

    def _advance(self, node: GraphNode, calls: Calls, ended: dict[int, Ended]) -> list[str] | None:
        """Make the calls that have not ended; return the nodes they wait for (none: for calls that go on elsewhere),
        or None if all have ended."""
        waits: list[str] | None = None
        for index, bound in enumerate(calls.elements):
            if index in ended:
                continue
            try:
                ended[index] = self._blocked(node, bound) or self._outputs(node, bound, index)
            except Elsewhere:
                waits = waits or []
            except Suspend as suspend:
                if suspend.gone:
                    self._redo(suspend.sources)
                waits = waits or []
                waits += suspend.sources
                if index not in self._expanded.get(node.id, ()):
                    break  # the other calls may need the same: find it there instead of asking one by one
        return waits

    def _outputs(self, node: GraphNode, bound: Bound, index: int) -> Ended:
        """Return what one call gives: out of an expansion, out of the cache, or by calling."""
        if index in self._expanded.get(node.id, ()):
            return self._from_expansion(node, index)
        scope = f"{self._scope}\0{node.id}\0{index}" if node.spec.effect else ""
        first = key = keys.step_key(node.spec, self.services.numeric, bound.digests(), scope=scope)
        trace = self.services.traces.get(key)
        while trace is not None and trace.demand:
            if trace.demand not in bound.lazy:
                self._demanded.setdefault(node.id, set()).add(trace.demand)
                raise Suspend([source_of(node.inputs[trace.demand])])
            key = keys.demand_key(key, trace.demand, flat(bound.lazy[trace.demand]))
            trace = self.services.traces.get(key)
        found = self._found(node, bound, index, key, trace) if trace is not None else None
        return found or self._call(node, bound, index, first)

    def _found(self, node: GraphNode, bound: Bound, index: int, key: str, trace: Trace) -> Ended | None:
        """Return what a trace leads to; None if that is gone."""
        event = events.StepCached(node.id, node.spec.id, key, named(node.spec, trace.outputs))
        try:
            if trace.expansion:
                self._expand(node, bound, index, self.services.store.get(trace.expansion), event)
            shown = self._shown(node, trace.outputs)
        except KeyError:
            return None
        if node.id in self._checked and not all(map(self.services.store.has, digests_of(trace.outputs))):
            return None
        self.cached += 1
        self._pending.append(replace(event, ui=shown) if shown else event)
        return self._end(node, trace.outputs, shown)

    def _call(self, node: GraphNode, bound: Bound, index: int, key: str) -> Ended:
        """Call the node's function and keep what it gives."""
        services = self.services
        half = keys.checkpoint_key(key)
        begun = self._away.take(node.id, index) or self._begin(node, bound, half)
        step = f"{self._history}\0{node.id}\0{index}"
        facts = facts_of(node, bound, services)
        if step not in self._why:
            self._why[step] = reason(node, facts, services.traces.last_inputs(step))
            self._emit(events.StepStarted(node.id, node.spec.id, self._why[step]))
        try:
            value = guarded(services, node, begun.values, begun.call)
        except Elsewhere as elsewhere:
            self._away.add(node.id, index, begun, elsewhere.future)
            raise
        finally:
            key = self._note_demands(node, bound, key, begun.values.asked)
        self.ran += 1
        services.traces.note_inputs(step, facts)
        why = self._why.pop(step)
        seconds = time.perf_counter() - begun.started
        if isinstance(value, Expansion):
            services.traces.put(key, Trace(expansion=services.store.put(value)))
            self._expand(node, bound, index, value, events.StepDone(node.id, node.spec.id, key, seconds, why))
        outputs = kept(node, value, services.store)
        services.traces.put(key, Trace(outputs))
        shown = self._shown(node, outputs)
        given = named(node.spec, outputs)
        self._pending.append(events.StepDone(node.id, node.spec.id, key, seconds, why, given, shown))
        if node.spec.effect or seconds > SLOW_SECONDS:
            self._flush()
        return self._end(node, outputs, shown)

    def _begin(self, node: GraphNode, bound: Bound, half: str) -> Begun:
        """Hand out the values of a call."""
        values = Values(node, bound, self.services.store)
        arguments = values.arguments()
        context = self._context(node.id, partial(self._half_done, half), partial(self._keep_half_done, half))
        function = self.services.functions[node.spec.id]
        return Begun(values, time.perf_counter(), lambda: settled(function(context, **arguments)))

    def _context(self, node: str, *half_done: Callable[..., Any]) -> Context:
        services = self.services
        context = partial(Context, node, self._job, self._workflow, services.models, services.files, memo=self._memo)
        return context(self._report, self._cancelled, *half_done)

    def _blocked(self, node: GraphNode, bound: Bound) -> Ended | None:
        """Return blocked outputs if an input is blocked; the first to meet it says why."""
        found = blocked_by(node, bound)
        if found is None:
            return None
        self._pending.append(events.StepSkipped(node.id, node.spec.id, *found))
        return (keys.value_digest(Blocked()),) * len(node.spec.outputs), ()

    def _note_demands(self, node: GraphNode, bound: Bound, key: str, asked: Iterable[str]) -> str:
        """Spell out the chain of keys that `_outputs` follows; return the last."""
        for name in asked:
            self.services.traces.put(key, Trace(demand=name))
            if name not in bound.lazy:
                self._demanded.setdefault(node.id, set()).add(name)
                break
            key = keys.demand_key(key, name, flat(bound.lazy[name]))
        return key

    def _half_done(self, key: str) -> Any:
        """Return what a call kept before it was broken off; None if there is nothing or it is gone."""
        trace = self.services.traces.get(key)
        try:
            return None if trace is None else self.services.store.get(digests_of(trace.outputs)[0])
        except KeyError:
            return None

    def _keep_half_done(self, key: str, value: Any) -> None:
        """Keep half-done work in the place of what was kept before, durably."""
        self.services.traces.put(key, Trace((self.services.store.put(value),)))
        self._flush()

    # Expansion

    def _expand(self, node: GraphNode, bound: Bound, index: int, expansion: Expansion, event: Ending) -> NoReturn:
        """Add the graph that a call expanded into and wait for it; `event` is what to tell then."""
        if self.plan.depth(node.id) >= DEPTH_MAX:
            raise BadInput(f"{node.spec.title} expands more than {DEPTH_MAX} deep; it may never end.")
        own: dict[str, Any] = dict(node.inputs)
        results = {**bound.args, **bound.lazy}
        for spec in node.spec.inputs:
            if spec.name in results and isinstance(own[spec.name], (Link, Given)):
                own[spec.name] = Given(results[spec.name], spec.type, source_of(own[spec.name]))
        own |= {name: Link(*link) for name, link in expansion.outer.items()}
        own |= {name: self._given(node, value) for name, value in expansion.given.items()}
        prefix = f"{node.id}/{index}/"
        self._memo |= {prefix + name: noted for name, noted in expansion.memo.items()}
        nodes, outputs = expand(expansion, node, prefix, own, outer=self.plan.nodes, specs=self.services.specs)
        self.plan.add(node.id, nodes)
        self._expanded.setdefault(node.id, {})[index] = outputs, event
        shown = [name for name, inner in nodes.items() if inner.spec.output or inner.spec.effect]
        raise Suspend([*(link.node for link in outputs.values()), *shown])

    def _given(self, node: GraphNode, value: Any) -> Given:
        """Store a value that an expansion hands on."""
        digest = self.services.store.put(value)
        self._end(node, (digest,), ())
        return Given(digest, "ANY", node.id)

    def _from_expansion(self, node: GraphNode, index: int) -> Ended:
        links, event = self._expanded[node.id][index]
        waiting = [link.node for link in links.values() if link.node not in self.plan.done]
        if waiting:
            raise Suspend(waiting)
        outputs = tuple(self._result(links[o.name]) for o in node.spec.outputs)
        try:
            shown = self._shown(node, outputs)
        except KeyError:
            raise Suspend([link.node for link in links.values()], gone=True) from None
        self.cached += isinstance(event, events.StepCached)
        self._pending.append(replace(event, outputs=named(node.spec, outputs), ui=shown))
        return self._end(node, outputs, shown)

    # Ends

    def _end(self, node: GraphNode, outputs: Outputs, shown: Shown) -> Ended:
        """Hold what a call gave, where memory is the only place it has."""
        if self.services.store.disk is None:
            digests = digests_of(outputs)
            self._held.setdefault(node.id, []).extend(digests)
            self.services.store.hold(digests)
        return outputs, shown

    def _finish(self, node: GraphNode, calls: Calls, ended: list[Ended]) -> None:
        self.results[node.id] = calls.gather([outputs for outputs, _ in ended], len(node.spec.outputs))
        if node.spec.output:
            self.ui[node.id] = [item for _, shown in ended for item in shown]
        for idle in self.plan.finish(node.id):
            if idle not in self.graph.wanted:
                self._release(idle)
        if time.monotonic() - self._flushed > FLUSH_SECONDS:
            self._flush()

    def _fail(self, node: GraphNode, error: SfumatoError) -> None:
        self._away.drop(node.id)
        self.problems.extend(error.problems)
        problems = tuple(p.to_json() for p in error.problems)
        self._pending.append(events.StepFailed(node.id, node.spec.id, problems))
        for name in self.plan.fail(node.id):
            self._skip(name, node.id)

    def _skip(self, name: str, because: str) -> None:
        self._pending.append(events.StepSkipped(name, self.plan.nodes[name].spec.id, because))

    def _redo(self, names: Iterable[str]) -> None:
        """Run nodes again whose results are gone, and what they had expanded into."""
        todo = list(names)
        while todo:
            gone = todo.pop()
            if gone in self.plan.done:
                self._redone[gone] += 1
                if self._redone[gone] > REDO_MAX:
                    raise Unavailable(f"The result of {gone} cannot be kept: there is too little room. Raise --budget.")
                self._checked.add(gone)
                self._release(gone)
                self.plan.redo(gone)
                calls = self._expanded.get(gone, {})
                todo.extend(link.node for links, _ in calls.values() for link in links.values())

    def _release(self, node: str) -> None:
        held = self._held.pop(node, None)
        if held is not None:
            self.services.store.release(held)

    # Small parts

    def _result(self, link: Link) -> Result:
        return self.results[link.node][self.plan.nodes[link.node].spec.position[link.output]]

    def _shown(self, node: GraphNode, outputs: Outputs) -> Shown:
        """Return what the node shows people; KeyError if it is gone."""
        if not node.spec.output:
            return ()
        saved = (v for v in map(self.services.store.get, digests_of(outputs)) if isinstance(v, Saved))
        return tuple(map(shown_as, saved))

    def _report(self, event: events.Event) -> None:
        """Emit what a node reports; what ended before it becomes durable meanwhile."""
        if self._pending and time.monotonic() - self._flushed > FLUSH_SECONDS:
            self._flush()
        self._emit(event)

    def _flush(self) -> None:
        """Make finished steps durable, then tell of them."""
        if self.services.store.disk is not None:
            self.services.store.disk.flush()
        pending, self._pending = self._pending, []
        for event in pending:
            self._emit(event)
        self._flushed = time.monotonic()
