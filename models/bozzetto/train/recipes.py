"""The settings of each training, in one place."""

from dataclasses import replace

from models.bozzetto.train.loop import Job, Settings, train
from models.bozzetto.train.ranks import Ranks

RECIPES = {
    "autoencoder": Settings(
        "autoencoder", 16, 6000, 1e-3, warmup=50, flat=4000, decay=3000, ema=0.998, weight_decay=1e-4
    ),
    "judge": Settings("judge", 32, 2500, 2e-3, warmup=50, decay=1200, ema=0.995, clip=2.0),
    "text": Settings("text", 128, 3000, 1e-3, decay=1500, ema=0.99, log_steps=100, sheet_minutes=2.0),
    "encoder": Settings("encoder", 128, 2000, 1e-3, decay=800, ema=0.99, weight_decay=1e-2),
    "unet": Settings("unet", 32, 1_000_000, 1e-3, flat=15_000, ema=0.999, sheet_minutes=20.0, focus=5.0),
}


def make(what: str, settings: Settings) -> Job:
    """The job of a name; imports only what that job needs."""
    if what == "autoencoder":
        from models.bozzetto.train.autoencoder import AutoencoderJob

        return AutoencoderJob(settings)
    if what == "judge":
        from models.bozzetto.train.judge import JudgeJob

        return JudgeJob(settings)
    if what == "text":
        from models.bozzetto.train.text import TextJob

        return TextJob(settings)
    if what == "encoder":
        from models.bozzetto.train.encoder import EncoderJob

        return EncoderJob(settings)
    if what == "unet":
        from models.bozzetto.train.unet import UnetJob

        return UnetJob(settings)
    raise ValueError(f"no training called {what!r}; there are {', '.join(RECIPES)}")


def work(what: str, changes: dict[str, int], minutes: float, place: Ranks) -> None:
    """Train in one process (one rank of several), with some settings changed."""
    train(make(what, replace(RECIPES[what], **changes)), place, minutes=minutes)  # type: ignore[arg-type]
