"""A small pack in ComfyUI's v1 protocol: each class shows one thing that the protocol can do."""

import asyncio
import threading
import time

import torch
from comfy.comfy_types import IO, ComfyNodeABC
from comfy.utils import ProgressBar
from comfy_execution.graph_utils import ExecutionBlocker, GraphBuilder, is_link

CALLS = []


class AnyType(str):
    """Equals every type, as many packs do it."""

    def __ne__(self, other):
        return False


ANY = AnyType("*")


def noted(cls):
    """Note each call of a class, by the name of the class."""
    name = cls.FUNCTION
    inner = getattr(cls, name)
    if asyncio.iscoroutinefunction(inner):

        async def call(self, **inputs):
            CALLS.append(cls.__name__)
            return await inner(self, **inputs)
    else:

        def call(self, **inputs):
            CALLS.append(cls.__name__)
            return inner(self, **inputs)

    setattr(cls, name, call)
    return cls


@noted
class TestNumber:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"value": ("INT", {"default": 0, "min": -100, "max": 100, "step": 1})}}

    RETURN_TYPES = ("INT",)
    FUNCTION = "give"
    CATEGORY = "test"

    def give(self, value):
        return (value,)


@noted
class TestShort:
    """Declares more outputs than it gives, as some packs do."""

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"value": ("INT", {"default": 0})}}

    RETURN_TYPES = ("INT", "INT")
    RETURN_NAMES = ("first", "second")
    FUNCTION = "give"

    def give(self, value):
        return (value,)


@noted
class TestAdd:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"a": ("INT", {"forceInput": True}), "b": ("INT", {"default": 1})}}

    RETURN_TYPES = ("INT",)
    RETURN_NAMES = ("sum",)
    FUNCTION = "add"

    def add(self, a, b):
        return (a + b,)


@noted
class TestShow:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"value": (ANY,)}, "optional": {"note": ("STRING", {"default": "", "multiline": True})}}

    RETURN_TYPES = ()
    FUNCTION = "show"
    OUTPUT_NODE = True

    def show(self, value, note=""):
        return {"ui": {"text": [str(value)], "note": [note]}}


@noted
class TestImage:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"grey": ("FLOAT", {"default": 0.5, "min": 0.0, "max": 1.0, "step": 0.01})}}

    RETURN_TYPES = ("IMAGE", "MASK")
    FUNCTION = "make"

    def make(self, grey):
        return torch.full((1, 8, 8, 3), grey), torch.full((8, 8), grey)


@noted
class TestLighten:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"image": ("IMAGE",), "by": ("FLOAT", {"default": 0.1})}, "optional": {"mask": ("MASK",)}}

    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "lighten"

    def lighten(self, image, by, mask=None):
        image += by  # in place, as some packs do
        return (image if mask is None else image * mask[..., None],)


@noted
class TestPreview:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"images": ("IMAGE",)}, "hidden": {"prompt": "PROMPT", "extra": "EXTRA_PNGINFO"}}

    RETURN_TYPES = ()
    FUNCTION = "save"
    OUTPUT_NODE = True

    def save(self, images, prompt=None, extra=None):
        import nodes

        return nodes.SaveImage().save_images(images, "shown/by_test", prompt, extra)


@noted
class TestSwitch:
    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "which": ("BOOLEAN", {"default": True}),
                "yes": (ANY, {"lazy": True}),
                "no": (ANY, {"lazy": True}),
            }
        }

    RETURN_TYPES = (ANY,)
    FUNCTION = "pick"

    def check_lazy_status(self, which, yes=None, no=None):
        wanted, value = ("yes", yes) if which else ("no", no)
        return [wanted] if value is None else []

    def pick(self, which, yes=None, no=None):
        return (yes if which else no,)


@noted
class TestMixAll:
    """Takes any number of inputs under any name."""

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {}, "optional": {"input1": ("INT", {"forceInput": True})}}

    RETURN_TYPES = ("INT",)
    FUNCTION = "mix"

    def mix(self, **inputs):
        return (sum(inputs.values()),)


@noted
class TestRange:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"count": ("INT", {"default": 3, "min": 0, "max": 10})}}

    RETURN_TYPES = ("INT",)
    OUTPUT_IS_LIST = (True,)
    FUNCTION = "count"

    def count(self, count):
        return (list(range(count)),)


@noted
class TestListSum:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"values": ("INT", {"forceInput": True}), "times": ("INT", {"default": 1})}}

    RETURN_TYPES = ("INT",)
    INPUT_IS_LIST = True
    FUNCTION = "total"

    def total(self, values, times):
        return (sum(values) * times[0],)


@noted
class TestFail:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"value": (ANY,)}}

    RETURN_TYPES = (ANY,)
    FUNCTION = "fail"

    def fail(self, value):
        raise ValueError(f"will not take {value}")


@noted
class TestBlock:
    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {"value": (ANY,), "block": ("BOOLEAN", {"default": True})},
            "optional": {"message": ("STRING", {"default": ""})},
        }

    RETURN_TYPES = (ANY,)
    FUNCTION = "maybe"

    def maybe(self, value, block, message=""):
        return (ExecutionBlocker(message or None) if block else value,)


class TestIsChanged:
    now = 0.0

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"value": ("INT", {"default": 0}), "always": ("BOOLEAN", {"default": False})}}

    RETURN_TYPES = ("INT",)
    FUNCTION = "give"

    @classmethod
    def IS_CHANGED(cls, value, always=False):
        return float("nan") if always else cls.now

    def give(self, value, always):
        CALLS.append("TestIsChanged")
        return (value,)


class TestValidated:
    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "value": ("INT", {"default": 0, "min": 0, "max": 5}),
                "kind": (["red", "green"], {"default": "red"}),
            },
            "optional": {"other": ("FLOAT", {"min": 0.0, "max": 1.0}), "linked": ("IMAGE",)},
        }

    RETURN_TYPES = ("INT",)
    FUNCTION = "give"

    @classmethod
    def VALIDATE_INPUTS(cls, value, input_types):
        if input_types.get("linked") not in (None, "IMAGE", "MASK"):
            return f"cannot use {input_types['linked']}"
        return "seven is out of luck" if value == 7 else True

    def give(self, value, kind, other=0.0, linked=None):
        return (value,)


class TestState:
    """Keeps a count on itself: only right if its instance is kept."""

    def __init__(self):
        self.count = 0

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"trigger": ("INT", {"default": 0})}, "hidden": {"unique_id": "UNIQUE_ID"}}

    RETURN_TYPES = ("INT", "STRING")
    FUNCTION = "count_up"

    def count_up(self, trigger, unique_id):
        self.count += 1
        return self.count, unique_id


class _Thing:
    """Something that cannot be written down."""

    def __init__(self, name):
        self.name = name
        self.lock = threading.Lock()


@noted
class TestMakeThing:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"name": ("STRING", {"default": "thing"})}}

    RETURN_TYPES = ("TEST_THING",)
    FUNCTION = "make"

    def make(self, name):
        return (_Thing(name),)


@noted
class TestNameThing:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"thing": ("TEST_THING",), "suffix": ("STRING", {"default": ""})}}

    RETURN_TYPES = ("STRING",)
    FUNCTION = "name"

    def name(self, thing, suffix):
        return (thing.name + suffix,)


@noted
class TestSleep:
    RUNNING, MOST = [], []

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"value": (ANY,), "seconds": ("FLOAT", {"default": 0.2})}}

    RETURN_TYPES = (ANY,)
    FUNCTION = "sleep"

    async def sleep(self, value, seconds):
        self.RUNNING.append(value)
        self.MOST.append(len(self.RUNNING))
        await asyncio.sleep(seconds)
        self.RUNNING.remove(value)
        if seconds < 0:
            raise ValueError("time does not go back")
        return (value,)


@noted
class TestExpandAdd:
    """a + b + c, as a graph."""

    @classmethod
    def INPUT_TYPES(cls):
        one = ("INT", {"default": 1})
        return {"required": {"a": ("INT", {"forceInput": True}), "b": one, "c": one}}

    RETURN_TYPES = ("INT", "STRING")
    FUNCTION = "expand"

    def expand(self, a, b, c):
        graph = GraphBuilder()
        first = graph.node("TestAdd", a=a, b=b)
        second = graph.node("TestAdd", a=first.out(0), b=c)
        return {"result": (second.out(0), "as a graph"), "expand": graph.finalize()}


@noted
class TestCountDown:
    """Expands into itself until 0, and counts the steps."""

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"n": ("INT", {"default": 3})}}

    RETURN_TYPES = ("INT",)
    FUNCTION = "down"

    def down(self, n):
        if n <= 0:
            return (0,)
        graph = GraphBuilder()
        rest = graph.node("TestCountDown", n=n - 1)
        return {"result": (graph.node("TestAdd", a=rest.out(0), b=1).out(0),), "expand": graph.finalize()}


@noted
class TestExpandImage:
    """Hands a tensor, not a link, into its graph, and shows what came of it."""

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"image": ("IMAGE",)}}

    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "expand"
    OUTPUT_NODE = True

    def expand(self, image):
        graph = GraphBuilder()
        lighter = graph.node("TestLighten", image=image * 0.5, by=0.25)
        return {"result": (lighter.out(0),), "expand": graph.finalize(), "ui": {"text": ["expanded"]}}


class TestLoopOpen:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"condition": ("BOOLEAN", {"default": True})}, "optional": {"value": (ANY,)}}

    RETURN_TYPES = ("FLOW_CONTROL", ANY)
    RETURN_NAMES = ("flow", "value")
    FUNCTION = "open"

    def open(self, condition, value=None):
        return "stub", value if condition else ExecutionBlocker(None)


class TestLoopClose:
    """Runs the nodes between open and close again while the condition holds."""

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {"flow": ("FLOW_CONTROL", {"rawLink": True}), "condition": ("BOOLEAN", {"forceInput": True})},
            "optional": {"value": (ANY,)},
            "hidden": {"dynprompt": "DYNPROMPT", "unique_id": "UNIQUE_ID"},
        }

    RETURN_TYPES = (ANY,)
    FUNCTION = "close"

    def close(self, flow, condition, dynprompt, unique_id, value=None):
        CALLS.append("TestLoopClose")
        if not condition:
            return (value,)
        start = flow[0]
        inside = self.between(dynprompt, start, unique_id)
        graph = GraphBuilder()
        for name in inside:
            original = dynprompt.get_node(name)
            graph.node(original["class_type"], "Recurse" if name == unique_id else name).set_override_display_id(name)
        for name in inside:
            original = dynprompt.get_node(name)
            node = graph.lookup_node("Recurse" if name == unique_id else name)
            for key, given in original["inputs"].items():
                if is_link(given) and given[0] in inside:
                    inner = graph.lookup_node(given[0])
                    node.set_input(key, inner.out(given[1]))
                else:
                    node.set_input(key, given)
        graph.lookup_node(start).set_input("value", value)
        return {"result": (graph.lookup_node("Recurse").out(0),), "expand": graph.finalize()}

    def between(self, dynprompt, start, end):
        """Return what lies on paths from start to end, both included."""
        upstream = {}

        def needs_start(name):
            if name not in upstream:
                links = [v[0] for v in dynprompt.get_node(name)["inputs"].values() if is_link(v)]
                upstream[name] = name == start or any([needs_start(s) for s in links])
            return upstream[name]

        needs_start(end)
        return [name for name, inside in upstream.items() if inside]


@noted
class TestLess:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"a": (ANY,), "b": ("INT", {"default": 0})}}

    RETURN_TYPES = ("BOOLEAN",)
    FUNCTION = "less"

    def less(self, a, b):
        return (a < b,)


class TestTyped(ComfyNodeABC):
    """Declared with the typed names; tells its progress."""

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"text": (IO.STRING, {"default": "a"}), "either": ("INT,FLOAT", {"forceInput": True})}}

    RETURN_TYPES = (IO.STRING,)
    FUNCTION = "run"
    DESCRIPTION = "Says what it got."
    DEPRECATED = True

    def run(self, text, either):
        bar = ProgressBar(3)
        for _ in range(3):
            bar.update(1)
        return (f"{text}{either}",)


class TestSlow:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"seconds": ("FLOAT", {"default": 30.0})}}

    RETURN_TYPES = ("FLOAT",)
    FUNCTION = "wait"

    def wait(self, seconds):
        bar = ProgressBar(1000)
        for _ in range(1000):
            time.sleep(seconds / 1000)
            bar.update(1)
        return (seconds,)


NODE_CLASS_MAPPINGS = {name: cls for name, cls in list(globals().items()) if name.startswith("Test")}
NODE_DISPLAY_NAME_MAPPINGS = {"TestAdd": "Add two numbers"}
