"""From the tokens of one prompt to those of another: swap, refine, and a prompt found inside a longer one.

Everything is aligned by tokens. Words alone would not do: a word may be one token in one prompt and three in its place
in the other, and from there on every later word lies elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from engine.diffusion.text import Tokens
from engine.errors import BadInput
from engine.types import TokenMap


def token_map(source: Tokens, target: Tokens, mode: str) -> TokenMap:
    """Align two prompts: `replace` word by word, `refine` by what is common; `auto`: by whether words are as many."""
    if len(source.ids) != len(target.ids):
        raise BadInput("One of the prompts is longer than the other by a whole chunk; make them about equally long.")
    swaps = mode == "replace" or (mode == "auto" and len(source.words) == len(target.words))
    mapping, own = replaced(source, target) if swaps else refined(source, target)
    words = (tuple((w.text, w.positions) for w in t.words) for t in (source, target))
    return TokenMap(mapping, own, *words)


def replaced(source: Tokens, target: Tokens) -> tuple[Tensor, Tensor]:
    """Return mapping (T, T) and own (T,) = 0 for prompts of equally many words.

    One source token in the place of k target tokens gives each 1 / k, so that the attention of a pixel still sums to
    1. What is no word goes to what is none in the same chunk: begin to begin, end to end, padding to padding, of which
    that without room goes to the last position.
    """
    a, b = [[w.positions for w in t.words] for t in (source, target)]
    if len(a) != len(b):
        raise BadInput(
            f"A swap needs equally many words, got {len(a)} ({_told(source)}) and {len(b)} ({_told(target)}); to add "
            "or take out words, refine.", field="mode",
        )  # fmt: skip
    size = _size(source)
    mapping = torch.zeros(size, size)
    for i, j in zip(a, b, strict=True):
        if len(i) == len(j):
            mapping[list(i), list(j)] = 1
        else:
            mapping[torch.tensor(i)[:, None], torch.tensor(j)] = 1 / len(j)
    for rest, others in zip(_outside_words(source), _outside_words(target), strict=True):
        for k, position in enumerate(rest):
            mapping[position, others[min(k, len(others) - 1)]] = 1
    return mapping, torch.zeros(size)


def refined(source: Tokens, target: Tokens) -> tuple[Tensor, Tensor]:
    """Return mapping (T, T) of aligned tokens, and own (T,) = 1 for those that the source has no counterpart of.

    Needleman and Wunsch 1970 on token ids with match 1, mismatch -1, gap 0, as Hertz et al. 2022 published it.
    """
    size = _size(source)
    mapping, own = torch.zeros(size, size), torch.zeros(size)
    real, wanted = _real(source), _real(target)
    ids, wanted_ids = ([_flat(t)[p] for p in places] for t, places in ((source, real), (target, wanted)))
    partner = dict(aligned(ids, wanted_ids))
    for j, position in enumerate(wanted):
        if j in partner:
            mapping[real[partner[j]], position] = 1
        else:
            own[position] = 1
    fill = [p for p in range(size) if p not in real]
    for position in (p for p in range(size) if p not in wanted):
        if fill:
            mapping[next((p for p in fill if p >= position), fill[-1]), position] = 1
        else:
            own[position] = 1
    return mapping, own


def aligned(a: Sequence[int], b: Sequence[int]) -> list[tuple[int, int]]:
    """Return pairs (index in b, index in a) of the best global alignment whose tokens are equal."""
    score = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i, x in enumerate(a, 1):
        for j, y in enumerate(b, 1):
            score[i][j] = max(score[i - 1][j - 1] + (1 if x == y else -1), score[i - 1][j], score[i][j - 1])
    pairs, i, j = [], len(a), len(b)
    while i and j:
        if a[i - 1] == b[j - 1] and score[i][j] == score[i - 1][j - 1] + 1:
            i, j = i - 1, j - 1
            pairs.append((j, i))
        elif score[i][j] == score[i][j - 1]:
            j -= 1
        elif score[i][j] == score[i - 1][j]:
            i -= 1
        else:
            i, j = i - 1, j - 1
    return pairs[::-1]


ARTICLES = {"a", "an"}
MARKS = " .;:!?\"'"


def contained(source: Tokens, target: Tokens) -> list[tuple[int, int]]:
    """Return (source position, target position) of all T source positions, the source's words found in the target.

    Orgad et al. 2023, arXiv 2303.08084: words are found from left to right, a and an being the same; what follows the
    last word goes on one by one, and stays on the last position when that is reached. BadInput names a missing word.
    """
    if len(source.ids) != 1 or len(target.ids) != 1:
        raise BadInput("These prompts must fit into one chunk of tokens; shorten them.")
    pairs, at, length = [(0, 0)], 0, _size(target)
    for word in source.words:
        while at < len(target.words) and not _same_word(word.text, target.words[at].text):
            at += 1
        if at == len(target.words) or len(target.words[at].positions) < len(word.positions):
            raise BadInput(
                f"The target prompt lacks the word {word.text!r} at its place: it must hold all words of the source in "
                "their order.", field="target",
            )  # fmt: skip
        pairs += zip(word.positions, target.words[at].positions, strict=False)
        at += 1
    after = pairs[-1][0] + 1
    end = max((p for w in target.words for p in w.positions), default=0) + 1
    pairs += [(p, min(end + k, length - 1)) for k, p in enumerate(range(after, _size(source)))]
    return pairs


def _same_word(a: str, b: str) -> bool:
    a, b = a.lower(), b.lower()
    return a == b or {a, b} == ARTICLES


def positions_of(words: Sequence[tuple[str, tuple[int, ...]]], wanted: str, *, field: str) -> tuple[int, ...]:
    """Return the token positions of words or phrases, commas between them, wherever they occur; BadInput names one.

    A phrase is found by its letters: t-shirt is three words to a tokenizer. Marks at its ends do not count.
    """
    texts = [text.lower() for text, _ in words]
    found: list[int] = []
    for phrase in (p.strip() for p in wanted.split(",") if p.strip()):
        spans = _spelling(texts, phrase.strip(MARKS) or phrase)
        if not spans:
            raise BadInput(f"{phrase!r} is not in the prompt; its words are {', '.join(texts)}.", field=field)
        found += [p for i, j in spans for _, positions in words[i:j] for p in positions]
    return tuple(dict.fromkeys(found))


def _spelling(texts: Sequence[str], phrase: str) -> list[tuple[int, int]]:
    """Return from where to where words spell a phrase, spaces aside."""
    letters = "".join(phrase.lower().split())
    return [
        (i, j) for i in range(len(texts)) for j in range(i + 1, len(texts) + 1) if "".join(texts[i:j]) == letters
    ]  # fmt: skip


def check_positions(positions: Iterable[int], count: int) -> None:
    """Refuse positions beyond the `count` tokens of the prompt that is sampled: they are of another prompt."""
    last = max(positions, default=0)
    if last >= count:
        raise BadInput(
            f"A word is looked for at token {last + 1}, the sampled prompt has {count} tokens: name words in the very "
            "prompt that is sampled.", field="text",
        )  # fmt: skip


def _told(tokens: Tokens) -> str:
    return " ".join(w.text for w in tokens.words)


def _flat(tokens: Tokens) -> list[int]:
    return [i for row in tokens.ids for i in row]


def _size(tokens: Tokens) -> int:
    return len(tokens.ids) * len(tokens.ids[0])


def _in_words(tokens: Tokens) -> set[int]:
    return {p for w in tokens.words for p in w.positions}


def _outside_words(tokens: Tokens) -> list[list[int]]:
    """Return begin, end and padding positions of each chunk."""
    inside, length = _in_words(tokens), len(tokens.ids[0])
    return [[p for p in range(s, s + length) if p not in inside] for s in range(0, _size(tokens), length)]


def _real(tokens: Tokens) -> list[int]:
    """Return all positions but padding: the begin of each chunk, its words, its end."""
    inside, length = _in_words(tokens), len(tokens.ids[0])
    starts = range(0, _size(tokens), length)
    ends = [max([p for p in inside if s <= p < s + length], default=s) + 1 for s in starts]
    return sorted(inside | set(starts) | set(ends))
