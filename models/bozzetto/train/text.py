"""The text encoder (`CLIPTextModel`), taught to say what a caption says before it meets the U-Net.

Without this the U-Net ignores its prompt for the first ten thousand samples, since the text states mean nothing yet.
"""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import CLIPTextConfig, CLIPTextModel

from models.bozzetto.scenes import START, SceneSpec, caption, sample
from models.bozzetto.scenes import vocabulary as words
from models.bozzetto.scenes.holdout import FIRST_HELD_OUT_SEED
from models.bozzetto.scenes.spec import WIDE
from models.bozzetto.train import state, tokenizer
from models.bozzetto.train.loop import Settings
from models.bozzetto.train.ranks import Ranks

WIDTH = 192
_COLOURS = (*words.COLOURS, "unsaid")
# What the end token's state must tell, and how many answers each question has ("unsaid" is the last one).
QUESTIONS = {
    "first": len(words.OBJECTS) + 1, "second": len(words.OBJECTS) + 1, "colour": len(_COLOURS),
    "second_colour": len(_COLOURS), "background": len(words.BACKGROUNDS) + 1, "tone": len(_COLOURS),
    "style": len(words.STYLES) + 1, "relation": len(words.RELATIONS) + 1, "size": len(words.SIZES) + 1,
    "position": len(words.POSITIONS) + 1, "count": len(words.COUNTS) + 1,
}  # fmt: skip


def build(vocabulary: int, end: int) -> CLIPTextModel:
    """Three layers of width 192, 1.2 M parameters."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=vocabulary, hidden_size=WIDTH, intermediate_size=512, projection_dim=WIDTH, num_hidden_layers=3,
            num_attention_heads=4, max_position_embeddings=tokenizer.LENGTH, bos_token_id=end - 1, eos_token_id=end,
            pad_token_id=end,
        )
    )  # fmt: skip


def answers(spec: SceneSpec, text: str) -> list[int]:
    """The answers to `QUESTIONS` that a caption of a scene gives."""
    said = text.replace(",", " ").split()
    first = spec.objects[spec.named_first]
    second = spec.objects[1 - spec.named_first] if len(spec.objects) == 2 and spec.count == 1 else None
    spoken = bool(said)

    def place(options: tuple[str, ...], value: str | None, told: bool) -> int:
        return options.index(value) if value and told else len(options)

    def tint(noun: str | None, colour: str | None) -> int:
        names = (noun, words.plural(noun)) if noun else ()
        told = any(
            f"{colour} {name}" in text or f"{colour} {f} {name}" in text for name in names for f in words.FILLERS
        )
        return place(tuple(words.COLOURS), colour, told)

    kind = spec.background
    told = (
        any(phrase in text for phrase in words.BACKGROUND_WORDS.get(kind, ())) or f"on {spec.background_colour}" in text
    )
    told |= spec.background_colour is not None and text.rstrip(", ").find(f"{spec.background_colour} background") >= 0
    style = any(phrase in text for phrase in (*words.STYLE_PREFIX[spec.style], words.STYLE_SUFFIX[spec.style]))
    return [
        place(words.OBJECTS, first.noun, spoken), place(words.OBJECTS, second.noun if second else None, spoken),
        tint(first.noun, first.colour), tint(second.noun if second else None, second.colour if second else None),
        place(words.BACKGROUNDS, kind, told), place(tuple(words.COLOURS), spec.background_colour, told),
        place(words.STYLES, spec.style, style), place(words.RELATIONS, spec.relation, spoken),
        place(words.SIZES, spec.size, spec.size in said),
        place(words.POSITIONS, spec.position, f"on the {spec.position}" in text),
        spec.count - 1 if spoken else len(words.COUNTS),
    ]  # fmt: skip


class Reader(nn.Module):
    """Text encoder with one linear head per question; the heads are thrown away afterwards."""

    def __init__(self, encoder: CLIPTextModel) -> None:
        super().__init__()
        self.encoder = encoder
        self.heads = nn.ModuleDict({name: nn.Linear(WIDTH, n) for name, n in QUESTIONS.items()})
        self.tint = nn.Linear(WIDTH, len(_COLOURS))  # asked of each object's own token: which colour is bound to it

    def forward(self, ids: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Answers from the end token (B, n) and colours from every token (B, L, colours)."""
        out = self.encoder(ids)
        return {name: head(out.pooler_output) for name, head in self.heads.items()}, self.tint(out.last_hidden_state)


class TextJob:
    """Reads captions of fresh scenes; nothing is drawn, so it takes minutes."""

    def __init__(self, settings: Settings) -> None:
        torch.manual_seed(settings.seed)
        self.settings = settings
        self.tokens = tokenizer.build(state.run_dir(settings.name) / "tokenizer")
        self.model = Reader(build(len(self.tokens), self.tokens.eos_token_id))
        self.nouns = {n: self.tokens(n).input_ids[-2] for n in words.OBJECTS}  # the last token of each object word

    def batch(self, seeds: list[int]) -> tuple[Tensor, Tensor, Tensor]:
        """Token ids (B, L), answers (B, questions) and the colour of each object token (B, L), -1 elsewhere."""
        texts, wanted, bound = [], [], np.full((len(seeds), tokenizer.LENGTH), -1, np.int64)
        for seed in seeds:
            spec = sample(seed, WIDE if seed % 4 == 0 else START)
            text = caption(spec, np.random.default_rng((seed, 11)))
            texts.append(text)
            wanted.append(answers(spec, text))
        ids = np.array(tokenizer.encode(self.tokens, texts))
        names = list(QUESTIONS)
        for row, answer in enumerate(wanted):
            for noun, colour in (("first", "colour"), ("second", "second_colour")):
                if (which := answer[names.index(noun)]) < len(words.OBJECTS):
                    bound[row, ids[row] == self.nouns[words.OBJECTS[which]]] = answer[names.index(colour)]
        return torch.from_numpy(ids), torch.tensor(wanted), torch.from_numpy(bound)

    def loss(self, step: int, ranks: Ranks) -> tuple[Tensor, dict[str, float]]:
        """Sum of the cross-entropies of all questions and of the colours at object tokens."""
        s = self.settings
        seeds = [100_000_000 + step * s.batch + i for i in range(s.batch)][ranks.share(s.batch)]
        ids, wanted, bound = self.batch(seeds)
        said, tint = self.model(ids)
        loss = sum(
            (F.cross_entropy(out, want) for out, want in zip(said.values(), wanted.T, strict=True)),
            torch.zeros(()),
        )
        binding = F.cross_entropy(tint.flatten(0, 1), bound.flatten(), ignore_index=-1)
        return loss + binding, {"binding": float(binding.detach())}

    def measure(self, step: int) -> dict[str, float]:
        """Share of right answers on 500 unseen captions."""
        ids, wanted, bound = self.batch([FIRST_HELD_OUT_SEED + 1000 + i for i in range(500)])
        said, tint = self.model(ids)
        figures = {
            name: float((out.argmax(1) == want).float().mean())
            for (name, out), want in zip(said.items(), wanted.T, strict=True)
        }
        figures["binding"] = float((tint.argmax(-1) == bound)[bound >= 0].float().mean())
        return {name: round(value, 4) for name, value in figures.items()}

    def sheet(self, step: int) -> None:
        """Nothing to look at; the encoder is written out for the U-Net's training."""
        self.model.encoder.save_pretrained(state.run_dir(self.settings.name) / "text_encoder")
