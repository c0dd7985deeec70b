"""A device that counts what torch allocates and refuses when it is told to: what only a full GPU would do."""

from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from engine.diffusion.backends import Backend

MESSAGE = "CUDA out of memory. Tried to allocate {:.2f} MiB. GPU 0 has a total capacity of 1.00 GiB."


class FakeDevice(TorchDispatchMode):
    """`refuses(n, nbytes)`: whether the n-th allocation, of that size, fails as CUDA's does."""

    def __init__(self, refuses: Callable[[int, int], bool] = lambda n, nbytes: False) -> None:
        super().__init__()
        self.refuses = refuses
        self.allocations = 0
        self.largest = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        given = {_storage(t) for t in tree_leaves((args, kwargs))}
        for tensor in tree_leaves(out):
            if _storage(tensor) not in given and _storage(tensor) is not None:
                self.allocations += 1
                self.largest = max(self.largest, tensor.nbytes)
                if self.refuses(self.allocations, tensor.nbytes):
                    raise torch.OutOfMemoryError(MESSAGE.format(tensor.nbytes / 2**20))
        return out


def _storage(value: Any) -> int | None:
    plain = isinstance(value, torch.Tensor) and value.layout is torch.strided and value.device.type == "cpu"
    return value.untyped_storage().data_ptr() if plain else None


class RecordingBackend(Backend):
    """A device that records the operations of a call and replays them on the same tensors, as CUDA graphs do."""

    recordings = 0
    records = True

    def record(self, call: Callable[[], torch.Tensor]) -> Callable[[], torch.Tensor]:
        object.__setattr__(self, "recordings", self.recordings + 1)
        with _Recorder() as recorder:
            out = call()

        def replay() -> torch.Tensor:
            for func, args, kwargs, made in recorder.steps:
                for old, new in zip(tree_leaves(made), tree_leaves(func(*args, **kwargs)), strict=True):
                    if isinstance(old, torch.Tensor) and _storage(old) != _storage(new):
                        old.copy_(new)
            return out

        return replay


class _Recorder(TorchDispatchMode):
    """Keeps every operation with its arguments and what it made."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        self.steps.append((func, args, kwargs or {}, made))
        return made
