"""Contrastive training of the dual encoder (Radford et al. 2021, fig. 3) on scenes and their full captions."""

import cv2
import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from models.bozzetto.encoder.network import WEIGHTS, DualEncoder
from models.bozzetto.pictures import to_tensor
from models.bozzetto.scenes import START, SceneSpec, caption, render, sample
from models.bozzetto.scenes.holdout import FIRST_HELD_OUT_SEED
from models.bozzetto.train import state, tokenizer
from models.bozzetto.train.loop import Settings
from models.bozzetto.train.ranks import Ranks


class EncoderJob:
    """Pictures and captions of one batch must find each other; noise of a random strength lies on the pictures."""

    def __init__(self, settings: Settings) -> None:
        cv2.setNumThreads(1)
        torch.manual_seed(settings.seed)
        self.settings = settings
        self.tokens = tokenizer.load(state.run_dir("text") / "tokenizer")
        self.model = DualEncoder(len(self.tokens), tokenizer.LENGTH).to(memory_format=torch.channels_last)

    def _texts(self, specs: list[SceneSpec], salt: int) -> Tensor:
        texts = [caption(s, np.random.default_rng((s.seed, salt)), full=s.seed % 3 > 0) for s in specs]
        return torch.tensor(tokenizer.encode(self.tokens, texts))

    def loss(self, step: int, ranks: Ranks) -> tuple[Tensor, dict[str, float]]:
        """Symmetric cross-entropy over the similarities of a rank's share of the batch."""
        s = self.settings
        seeds = [400_000_000 + step * s.batch + i for i in range(s.batch)][ranks.share(s.batch)]
        specs = [sample(seed, START) for seed in seeds]
        x, g = to_tensor([render(spec).image for spec in specs]), torch.Generator().manual_seed(step)
        x = x + 0.15 * torch.rand((len(x), 1, 1, 1), generator=g) * torch.randn(x.shape, generator=g)
        with torch.autocast("cpu", torch.bfloat16):
            images = self.model.embed_images(x.contiguous(memory_format=torch.channels_last)).float()
            texts = self.model.embed_texts(self._texts(specs, 17)).float()
        similar = images @ texts.T * self.model.scale.exp().clamp(max=100)
        same = torch.arange(len(x))
        loss = (F.cross_entropy(similar, same) + F.cross_entropy(similar.T, same)) / 2
        return loss, {"retrieval": float((similar.argmax(1) == same).float().mean())}

    def measure(self, step: int) -> dict[str, float]:
        """Retrieval at 1 among 64 pictures and captions, over five sets of held-out scenes."""
        right = []
        for k in range(5):
            specs = [sample(FIRST_HELD_OUT_SEED + 9000 + 64 * k + i, START) for i in range(64)]
            texts = torch.tensor(
                tokenizer.encode(self.tokens, [caption(s, np.random.default_rng(1), full=True) for s in specs])
            )
            similar = (
                self.model.embed_images(to_tensor([render(s).image for s in specs])) @ self.model.embed_texts(texts).T
            )
            right.append((similar.argmax(1) == torch.arange(64)).float().mean())
        return {"retrieval_64": round(float(torch.stack(right).mean()), 4)}

    def sheet(self, step: int) -> None:
        """Nothing to look at; the weights are written out for `export`."""
        weights = {k: v.detach().half().contiguous() for k, v in self.model.state_dict().items()}
        save_file(weights, state.run_dir(self.settings.name) / WEIGHTS.name)
