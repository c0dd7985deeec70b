"""The gate between autoencoder and U-Net: does the judge read reconstructions as well as the scenes themselves?"""

import json
import time

import numpy as np
import torch

from models.bozzetto.judge.read import read
from models.bozzetto.judge.score import accuracy
from models.bozzetto.pictures import psnr, to_images, to_tensor
from models.bozzetto.scenes import START, scene
from models.bozzetto.scenes.holdout import FIRST_HELD_OUT_SEED
from models.bozzetto.train import state
from models.bozzetto.train.export import freeze_autoencoder

SHARE, DECIBELS = 0.95, 30.0


@torch.no_grad()
def gate(number: int = 400) -> bool:
    """Freeze the autoencoder, compare the judge's answers on held-out scenes and on their reconstructions."""
    net = freeze_autoencoder().eval()
    scenes = [scene(FIRST_HELD_OUT_SEED + 60_000 + i, START) for i in range(number)]
    images = np.stack([s.image for s in scenes])
    decoded, decibels = [], []
    for x in to_tensor(images).split(16):
        y = net.decode(net.encode(x).latent).sample.clamp(-1, 1)
        decoded.append(to_images(y))
        decibels.append(psnr(y, x))
    specs = [s.spec for s in scenes]
    real, rebuilt = accuracy(read(images), specs), accuracy(read(np.concatenate(decoded)), specs)
    mean = float(torch.cat(decibels).mean())
    passed = mean >= DECIBELS and all(rebuilt[k] >= SHARE * real[k] for k in ("object_one", "object_two", "colour"))
    result = {"scenes": number, "psnr": round(mean, 2), "real": real, "rebuilt": rebuilt, "passed": passed,
              "scaling_factor": net.config.scaling_factor, "time": time.strftime("%H:%M:%S")}  # fmt: skip
    (state.run_dir("autoencoder") / "gate.json").write_text(json.dumps(result, indent=1))
    state.say(json.dumps(result, indent=1))
    return passed
