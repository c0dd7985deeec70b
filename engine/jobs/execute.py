"""The executor of real jobs: registry, store, traces, models and files put together once per process.

Torch is reached by name only (`engine.diffusion.device`), so that importing this module costs nothing.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from engine import graph, registry, workflow
from engine.call import Services
from engine.compat import packs
from engine.compat import requests as comfyui
from engine.disk import Disk
from engine.errors import SfumatoError
from engine.events import Event
from engine.files import FileStore
from engine.jobs.contract import Emit, Handler, Job, JobState, JsonObject, Outcome, WorkerOptions
from engine.run import Run, RunResult
from engine.settings import ROOT, Settings
from engine.store import Store
from engine.trace import Traces

STORE_SHARE = 4  # a quarter of the memory budget holds results, the rest models
DISK_BUDGET = 20 * 2**30
FILE_KINDS = ("input", "output")  # other kinds of files are weights, which the models know


class Engine:
    """Runs workflows in this process. Everything it keeps lies under `settings.data_dir`."""

    def __init__(self, settings: Settings, *, device: str = "cpu") -> None:
        self.settings = settings
        self.files = FileStore(settings)
        device_module = importlib.import_module("engine.diffusion.device")
        budget = settings.budget or device_module.half_of_memory()
        self.models = device_module.ModelManager(
            settings.models_dir,
            settings.data_dir,
            budget=budget - budget // STORE_SHARE,
            device=device,
            extra=settings.extra_model_paths,
        )
        self.registry = packs.load_all(settings, self.files)
        self._disk = Disk(settings.data_dir / "store", DISK_BUDGET) if settings.cache == "disk" else None
        self._budget = budget // STORE_SHARE
        engine = ROOT / "engine"
        library = registry.digest_of_code(engine / "diffusion", engine / "pictures.py", engine / "types.py")
        self._numeric = f"{device} {device_module.versions()} {library}"
        self._kept = (Store(self._budget, self._disk), Traces(self._disk))

    def catalogue(self) -> dict[str, Any]:
        """Make the node catalogue anew, since choices follow what is there, and cache it for the server."""
        self.registry = packs.load_all(self.settings, self.files)
        return registry.write_catalogue(self.settings, self.registry)

    def tokens(self, kind: str, name: str, text: str) -> JsonObject:
        """Return the words of a prompt with their tokens, as the tokenizer of these weights cuts them."""
        module = importlib.import_module("engine.diffusion.tokens")
        words: JsonObject = module.words_of(self.models.library, kind, name, text)
        return words

    def run(
        self,
        plain: JsonObject,
        *,
        inputs: Mapping[str, Any] | None = None,
        wanted: Iterable[str] = (),
        emit: Callable[[Event], None] = lambda event: None,
        cancelled: Callable[[], bool] = lambda: False,
        job: str = "",
    ) -> RunResult:
        """Run a workflow; WorkflowInvalid if it cannot run at all, problems of nodes are in the result."""
        parsed = workflow.parse(plain).with_inputs(inputs or {})
        built = graph.build(parsed, self.registry.specs, wanted=wanted)
        run = Run(built, self._services(), emit=emit, cancelled=cancelled, job=job, workflow=parsed.to_json())
        return run.execute()

    def close(self) -> None:
        """Commit what is pending and close the files."""
        if self._disk is not None:
            self._disk.close()
        self.files.close()

    def _services(self) -> Services:
        if self.settings.cache == "none":
            self._kept = (Store(self._budget), Traces())
        store, traces = self._kept
        return Services(
            functions=self.registry.functions,
            specs=self.registry.specs,
            store=store,
            traces=traces,
            models=self.models,
            files=self.files,
            file_digest=self._file_digest,
            numeric=self._numeric,
            marks=self.registry.marks,
        )

    def _file_digest(self, kind: str, name: str) -> str:
        if kind in FILE_KINDS:
            return self.files.digest(kind, name)
        digest: str = self.models.find(kind, name).digest if name else self.models.library.state(kind)
        return digest


class JobExecutor:
    """Runs the ledger's jobs on an Engine, and answers the server's requests."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    @property
    def requests(self) -> Mapping[str, Handler]:
        """Answers to requests that are not jobs, by name."""
        return {
            "catalogue": lambda _: self.engine.catalogue(),
            "models": lambda _: {"models": list(cards(self.engine.models))},
            "model_picture": lambda asked: {"path": str(self.engine.models.library.picture(**asked) or "")},
            "comfyui_check": lambda asked: comfyui.check(self.engine, asked),
            "comfyui_info": lambda asked: comfyui.info(self.engine, asked),
            "comfyui_models": lambda _: comfyui.models(self.engine),
            "comfyui_metadata": lambda asked: comfyui.metadata(self.engine, asked),
            "comfyui_route": comfyui.route,
            "tokens": lambda asked: self.engine.tokens(**asked),
        }

    def execute(self, job: Job, emit: Emit, cancelled: Callable[[], bool]) -> Outcome:
        """Run a job; finished steps of earlier attempts are found in the cache."""
        result = self.engine.run(
            job.workflow, inputs=job.inputs, wanted=job.wanted, emit=emit, cancelled=cancelled, job=job.id
        )
        outputs = {node: {"values": values, "ui": result.ui.get(node, [])} for node, values in result.outputs.items()}
        return Outcome(JobState(result.state), outputs, tuple(p.to_json() for p in result.problems))


def cards(models: Any) -> Iterator[JsonObject]:
    """Yield kind, name and card of all weights that a ModelManager finds; `problem` says why there is no card.

    `picture`: whether people have put one beside them.
    """
    for kind in models.kinds():
        for name in models.names(kind):
            each: JsonObject = {"kind": kind, "name": name, "picture": models.library.picture(kind, name) is not None}
            try:
                each |= models.card(models.find(kind, name))
            except SfumatoError as problem:
                each["problem"] = problem.message
            yield each


def make(options: WorkerOptions) -> JobExecutor:
    """Make the executor of a worker process; the catalogue is written as soon as the nodes are known."""
    settings = Settings.from_json({**options.settings, "data_dir": str(options.data_dir)})
    executor = JobExecutor(Engine(settings, device=options.device))
    if registry.read_catalogue(settings) is None:
        registry.write_catalogue(settings, executor.engine.registry)
    return executor
