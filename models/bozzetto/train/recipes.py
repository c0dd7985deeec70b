"""The settings of each training, in one place."""
from dataclasses import replace

from models.bozzetto.train.loop import Job, Settings, train
from models.bozzetto.train.ranks import Ranks

RECIPES = {
    "autoencoder": Settings("autoencoder", 16, 6000, 1e-3, warmup=50, flat=4000, decay=3000, ema=0.998, weight_decay=1e-4),
}


def make(what: str, settings: Settings) -> Job:
    """The job of a name; imports only what that job needs."""
    if what == "autoencoder":
        from models.bozzetto.train.autoencoder import AutoencoderJob

        return AutoencoderJob(settings)
    raise ValueError(f"no training called {what!r}; there are {', '.join(RECIPES)}")


def work(what: str, changes: dict[str, int], minutes: float, place: Ranks) -> None:
    """Train in one process (one rank of several), with some settings changed."""
    train(make(what, replace(RECIPES[what], **changes)), place, minutes=minutes)  # type: ignore[arg-type]
