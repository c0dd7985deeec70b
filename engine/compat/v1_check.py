"""A prompt checked as ComfyUI checks it, with its words: which outputs can run, and what is wrong with which node.

Sources are checked before what uses them, without recursion, so that no prompt is too deep. Order is that of the class
and of the prompt, so that answers do not change from one start to the next.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.compat.core_info import info_of
from engine.compat.packs import PackRegistry
from engine.compat.v1_call import loop
from engine.compat.v1_spec import V1Class, matches, parameters, plain
from engine.registry import tried

MANY = 20  # choices beyond this are not listed in an error
LITERAL = "__value__"
COERCIONS: dict[str, Callable[[Any], Any]] = {"INT": int, "FLOAT": float, "STRING": str, "BOOLEAN": bool}
Error = dict[str, Any]
Names = Callable[[str], Collection[str]]


@dataclass
class Kind:
    """A node class as far as checking goes: its inputs by section, its output types, and its own check."""

    name: str
    inputs: Mapping[str, Mapping[str, Any]]
    returns: list[Any]
    is_output: bool
    v1: V1Class | None = None

    @classmethod
    def of(cls, name: str, registry: PackRegistry, names: Names) -> Kind | None:
        """Read a class of a pack or of ComfyUI's own; None if there is none of that name."""
        v1 = registry.classes.get(name)
        if v1 is not None:
            v1.read()
            sections: dict[str, dict[str, Any]] = {"required": {}, "optional": {}}
            for each in v1.inputs:
                sections[each.section][each.name] = (each.type, dict(each.options))
            return cls(name, sections, list(v1.returns), v1.is_output, v1)
        spec = registry.specs.get(name)
        if spec is None:
            return None
        info = info_of(spec, lambda kind: sorted(names(kind)))
        return cls(name, info["input"], info["output"], spec.output)

    def validate(self) -> Any:
        """Return the class's VALIDATE_INPUTS, if it has one."""
        return self.v1.attribute("VALIDATE_INPUTS") if self.v1 else None


@dataclass
class Verdict:
    """What a node came to: its errors, whether it and all it needs is right, or what its check raised."""

    errors: list[Error] = field(default_factory=list)
    valid: bool = True
    fault: BaseException | None = None


@dataclass
class Checked:
    """A prompt that was checked: `error` if nothing of it can run, `node_errors`, `outputs` that can run."""

    prompt: dict[str, Any]
    error: Error | None = None
    node_errors: dict[str, Any] = field(default_factory=dict)
    outputs: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON; what a class put into an error and JSON does not know becomes text."""
        found: dict[str, Any] = plain({
            "prompt": self.prompt, "error": self.error, "node_errors": self.node_errors, "outputs": self.outputs,
        })  # fmt: skip
        return found


def check(
    prompt: Mapping[str, Any], registry: PackRegistry, *, targets: Collection[str] | None = None,
    names: Names = lambda kind: (),
) -> Checked:  # fmt: skip
    """Check a prompt; values are converted in a copy of it. `targets`: the outputs that are wanted, None for all."""
    checked = Checked(copy.deepcopy(dict(prompt)))
    kinds: dict[str, Kind] = {}
    for id, node in checked.prompt.items():
        class_type = node.get("class_type") if isinstance(node, dict) else None
        kind = Kind.of(class_type, registry, names) if isinstance(class_type, str) else None
        if kind is None:
            checked.error = _unknown(id, class_type)
            return checked
        kinds[id] = kind
    outputs = [id for id, kind in kinds.items() if kind.is_output and (targets is None or id in targets)]
    if not outputs:
        checked.error = error("prompt_no_outputs", "Prompt has no outputs")
        return checked
    order, cycle = _order(checked.prompt, outputs)
    if cycle:
        checked.error = _cycle(cycle, kinds)
        return checked
    verdicts: dict[str, Verdict] = {}
    for id in order:
        verdicts[id] = _verdict(id, checked.prompt, kinds, verdicts)
    registry.refresh({kind.name for kind in kinds.values()})
    _conclude(checked, outputs, kinds, verdicts)
    return checked


def error(type: str, message: str, details: str = "", extra_info: Mapping[str, Any] | None = None) -> Error:
    """Return an error in ComfyUI's shape."""
    return {"type": type, "message": message, "details": details, "extra_info": dict(extra_info or {})}


def _unknown(id: str, class_type: Any) -> Error:
    if class_type is None:
        message = "Cannot execute because a node is missing the class_type property."
    else:
        message = f"Cannot execute because node {class_type} does not exist."
    return error("invalid_prompt", message, f"Node ID '#{id}'")


def _cycle(cycle: list[str], kinds: Mapping[str, Kind]) -> Error:
    path = " -> ".join(f"{id} ({kinds[id].name})" for id in cycle)
    extra = {"node_id": cycle[0], "cycle_nodes": cycle[:-1]}
    return error("dependency_cycle", "Dependency cycle detected", path, extra)


def _conclude(checked: Checked, outputs: list[str], kinds: Mapping[str, Kind], verdicts: Mapping[str, Verdict]) -> None:
    """Sort outputs into those that can run and those that cannot, with the errors of all that they need."""
    reasons: list[str] = []
    for id in outputs:
        own = verdicts[id]
        if own.fault is not None:
            own.errors.append(_raised("exception_during_validation", "Exception when validating node", own.fault))
        if own.valid and own.fault is None:
            checked.outputs.append(id)
            continue
        reasons += [f"{e['message']}: {e['details']}" for e in own.errors]
        for name in _order(checked.prompt, [id])[0]:
            if verdicts[name].errors:
                entry = {"errors": verdicts[name].errors, "dependent_outputs": [], "class_type": kinds[name].name}
                checked.node_errors.setdefault(name, entry)["dependent_outputs"].append(id)
    if not checked.outputs:
        message = "Prompt outputs failed validation"
        checked.error = error("prompt_outputs_failed_validation", message, "\n".join(reasons))


# The order in which nodes are checked ---------------------------------------------------------------------------------


def _links(node: Mapping[str, Any]) -> Iterator[str]:
    inputs = node.get("inputs")
    for value in inputs.values() if isinstance(inputs, dict) else ():
        if isinstance(value, list) and len(value) == 2 and isinstance(value[0], (str, int)):
            yield str(value[0])


def _order(prompt: Mapping[str, Any], outputs: list[str]) -> tuple[list[str], list[str]]:
    """Return what the outputs need, sources first; and a cycle, if there is one."""
    done: dict[str, None] = {}
    for output in outputs:
        path: dict[str, Iterator[str]] = {output: _links(prompt[output])} if output not in done else {}
        while path:
            name = next(reversed(path))
            source = next((s for s in path[name] if s in prompt and s not in done), None)
            if source is None:
                done[name] = None
                del path[name]
            elif source in path:
                loop = list(path)[list(path).index(source) :]
                return list(done), [*loop, source]
            else:
                path[source] = _links(prompt[source])
    return list(done), []


# One node -------------------------------------------------------------------------------------------------------------


def _verdict(id: str, prompt: Mapping[str, Any], kinds: Mapping[str, Kind], verdicts: Mapping[str, Verdict]) -> Verdict:
    verdict = Verdict()
    verdict.fault = tried(lambda: _Node(id, prompt, kinds, verdicts, verdict).check())
    verdict.valid = verdict.valid and not verdict.errors and verdict.fault is None
    return verdict


@dataclass
class _Node:
    """Checks one node; its sources have been checked."""

    id: str
    prompt: Mapping[str, Any]
    kinds: Mapping[str, Kind]
    verdicts: Mapping[str, Verdict]
    verdict: Verdict
    received: dict[str, Any] = field(default_factory=dict)

    def check(self) -> None:
        inputs = self.prompt[self.id]["inputs"]
        kind = self.kinds[self.id]
        validate = kind.validate()
        names, every = parameters(validate) if validate else (set[str](), False)
        for section in ("required", "optional"):
            for name, config in kind.inputs.get(section, {}).items():
                if name in inputs:
                    self._input(name, config, inputs, own=every or name in names, untyped="input_types" in names)
                elif section == "required":
                    self._fail("required_input_missing", "Required input is missing", name, {"input_name": name})
        if validate and not self.verdict.errors:
            self._ask(validate, inputs, names, every)

    def _input(self, name: str, config: Any, inputs: dict[str, Any], *, own: bool, untyped: bool) -> None:
        value = inputs[name]
        if isinstance(value, list):
            self._link(name, config, value, untyped=untyped)
            return
        if isinstance(value, dict) and value.keys() == {LITERAL}:
            value = value[LITERAL]
        kind, options = config[0], config[1] if len(config) > 1 else {}
        about = {"input_name": name, "input_config": list(config), "received_value": value}
        convert = COERCIONS.get(kind) if isinstance(kind, str) else None
        if convert is not None:
            try:
                value = convert(value)
            except (TypeError, ValueError, OverflowError) as exception:
                message = f"Failed to convert an input value to a {kind} value"
                more = {**about, "exception_message": str(exception)}
                self._fail("invalid_input_type", message, f"{name}, {value}, {exception}", more)
                return
            inputs[name] = value if not isinstance(inputs[name], dict) else {LITERAL: value}
        if not own:
            self._bounds(name, kind, options, {**about, "received_value": value})

    def _bounds(self, name: str, kind: Any, options: Mapping[str, Any], about: Mapping[str, Any]) -> None:
        value = about["received_value"]
        low, high = options.get("min"), options.get("max")
        if kind in ("INT", "FLOAT") and low is not None and value < low:
            self._fail("value_smaller_than_min", f"Value {value} smaller than min of {low}", name, about)
        if kind in ("INT", "FLOAT") and high is not None and value > high:
            self._fail("value_bigger_than_max", f"Value {value} bigger than max of {high}", name, about)
        choices = list(kind) if isinstance(kind, (list, tuple)) else options.get("options") if kind == "COMBO" else None
        if choices is None or options.get("multi_select") or options.get("remote"):
            return
        if value not in choices:
            many = len(choices) > MANY
            told = f"(list of length {len(choices)})" if many else str(choices)
            more = {**about, "input_config": None if many else about["input_config"]}
            self._fail("value_not_in_list", "Value not in list", f"{name}: '{value}' not in {told}", more)

    def _link(self, name: str, config: Any, link: list[Any], *, untyped: bool) -> None:
        if len(link) != 2:
            message = "Bad linked input, must be a length-2 list of [node_id, slot_index]"
            about = {"input_name": name, "input_config": list(config), "received_value": link}
            self._fail("bad_linked_input", message, name, about)
            return
        source = self.kinds[str(link[0])]
        self.received[name] = received = tuple(source.returns)[int(link[1])]
        if not untyped and not matches(received, config[0]):
            details = f"{name}, received_type({_shown(received)}) mismatch input_type({_shown(config[0])})"
            about = {"input_name": name, "input_config": list(config), "received_type": received, "linked_node": link}
            self._fail("return_type_mismatch", "Return type mismatch between linked nodes", details, about)
            return
        before = self.verdicts[str(link[0])]
        if before.fault is not None:
            about = {"input_name": name, "input_config": list(config), "linked_node": link}
            message = "Exception when validating inner node"
            self.verdict.errors.append(_raised("exception_during_inner_validation", message, before.fault, about))
        self.verdict.valid = self.verdict.valid and before.valid

    def _ask(self, validate: Any, inputs: Mapping[str, Any], names: set[str], every: bool) -> None:
        """Let the class check its values; the answer is True, False or a sentence."""
        v1 = self.kinds[self.id].v1
        declared = {i.name for i in v1.inputs} if v1 else set[str]()
        values = {
            n: v for n, v in inputs.items() if n in declared and not isinstance(v, list) and (every or n in names)
        }
        values = {n: v[LITERAL] if isinstance(v, dict) and v.keys() == {LITERAL} else v for n, v in values.items()}
        given: dict[str, Any] = {n: [v] for n, v in values.items()} if v1 and v1.takes_lists else dict(values)
        if "input_types" in names:
            given["input_types"] = self.received
        answer = validate(**given)
        if inspect.iscoroutine(answer):
            import asyncio

            answer = asyncio.run_coroutine_threadsafe(answer, loop()).result()
        if answer is not True:
            for name in values or [next(iter(declared), "")]:
                details = f"{name} - {answer}" if isinstance(answer, str) else name
                message = "Custom validation failed for node"
                self._fail("custom_validation_failed", message, details, {"input_name": name})

    def _fail(self, type: str, message: str, details: str, extra: Mapping[str, Any]) -> None:
        self.verdict.errors.append(error(type, message, details, extra))


def _raised(type: str, message: str, fault: BaseException, about: Mapping[str, Any] | None = None) -> Error:
    """Return an exception as an error; where in the code it came from stays in the worker's log."""
    told = {"exception_type": fault.__class__.__name__, "traceback": []}
    extra = {**(about or {}), **({"exception_message": str(fault)} if about else {}), **told}
    return error(type, message, str(fault), extra)


def _shown(kind: Any) -> str:
    return str(list(kind)) if isinstance(kind, (list, tuple)) else str(kind)
