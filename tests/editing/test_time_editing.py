"""TIME's closed form: it is the minimum, changes nothing it need not, and is taken away without a trace."""

from __future__ import annotations

import pytest
import torch

from engine.context import Context
from engine.diffusion import attention, patches
from engine.diffusion.alignment import contained
from engine.diffusion.families.unet import UNet
from engine.diffusion.time_edit import Rows, deltas, fit, preserved, rows_of, solve
from engine.errors import BadInput
from engine.types import Patch
from nodes.editing.time_editing import apply_patch, time_edit_model
from tests.diffusion_models import tiny
from tests.editing.test_imagic import Laid
from tests.editing.toys import MODEL, SD, Models
from tests.editing.words import NETWORK, tokens


def random_rows(n, d=16, seed=0):
    g = torch.Generator().manual_seed(seed)
    return Rows(*(torch.randn(n, d, generator=g, dtype=torch.float64) for _ in range(2)))


W = torch.randn(8, 16, generator=torch.Generator().manual_seed(9), dtype=torch.float64)


def objective(changed, rows, lam):
    return (changed @ rows.source.T - W @ rows.target.T).square().sum() + lam * (changed - W).square().sum()


@pytest.mark.parametrize("lam", [0.01, 1.0, 100.0])
def test_it_is_the_minimum(lam):
    rows = random_rows(10)
    changed = (W + W @ solve([rows], lam)).requires_grad_(True)
    (slope,) = torch.autograd.grad(objective(changed, rows, lam), changed)
    assert slope.abs().max() < 1e-8
    best = objective(changed, rows, lam)
    for seed in range(5):
        away = 0.01 * torch.randn(W.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        assert objective(changed + away, rows, lam) > best


def test_the_same_prompt_changes_nothing():
    c = random_rows(10).source
    assert solve([Rows(c, c)], 0.1).abs().max() < 1e-10


def test_strength_goes_from_all_to_nothing():
    rows = random_rows(8)
    torch.testing.assert_close(rows.source @ (torch.eye(16) + solve([rows], 1e-9)).T, rows.target, rtol=0, atol=1e-5)
    assert solve([rows], 1e12).abs().max() < 1e-9
    left = [fit([rows], solve([rows], lam))[0] for lam in (0.1, 1.0, 10.0)]
    assert left == sorted(left)
    with pytest.raises(BadInput, match="above 0"):
        solve([rows], 0.0)


def test_what_is_orthogonal_stays_exactly():
    c, target = torch.zeros(4, 16, dtype=torch.float64), torch.randn(4, 16, dtype=torch.float64)
    c[range(4), range(4)] = 1
    other = torch.zeros(16, dtype=torch.float64)
    other[9] = 3
    assert (solve([Rows(c, target)], 0.5) @ other).abs().max() == 0


def test_doubling_rows_halves_the_strength():
    rows = random_rows(6)
    torch.testing.assert_close(solve([rows, rows], 0.2), solve([rows], 0.1), rtol=1e-9, atol=1e-12)


def test_orthogonal_edits_add_up():
    c = torch.eye(16, dtype=torch.float64)
    one, two = (Rows(c[s], torch.randn(3, 16, dtype=torch.float64)) for s in (slice(0, 3), slice(5, 8)))
    torch.testing.assert_close(solve([one, two], 0.3), solve([one], 0.3) + solve([two], 0.3))


def test_the_rank_is_that_of_the_rows_at_most():
    assert torch.linalg.matrix_rank(solve([random_rows(3)], 0.1), atol=1e-9) <= 3


def test_relative_strength_does_not_know_the_scale_of_the_text():
    rows = random_rows(6)
    large = Rows(rows.source * 30, rows.target * 30)
    torch.testing.assert_close(solve([rows], 0.01, relative=True), solve([large], 0.01, relative=True))


def test_rows_come_from_prompts_and_templates():
    alone, more = (rows_of(NETWORK, "a cat", "a red cat", templates=t) for t in (False, True))
    assert (len(alone.source), len(more.source)) == (12, 48)
    kept = preserved(NETWORK, ["a dog"])
    assert torch.equal(kept[0].source, kept[0].target)
    moved, held = ((kept[0].source @ solve(rows, 1e-6).T).norm() for rows in ([alone], [alone, *kept]))
    assert held < 0.6 * moved


@pytest.fixture(scope="module")
def network():
    module, _, _ = tiny.networks()
    attention.install(module)
    return UNet(module, SD, "eps")


class Both(Laid):
    def use(self, described, *, working_bytes=0):
        return Models(NETWORK).use(described) if described.options.get("text") else super().use(described)


CLIP = MODEL.with_options(text=True)


def test_the_node_gives_a_patch_that_fits_the_model_and_leaves_no_trace(network):
    ctx = Context(node="n", models=Both(network))
    out = time_edit_model(ctx, MODEL, CLIP, "a cat\na dog", "a red cat\na blue dog", preserve="a car")
    names = set(out.patch.tensors)
    assert len(names) == 8
    assert all(n.endswith(("attn2.to_k.weight", "attn2.to_v.weight")) for n in names)
    values = time_edit_model(ctx, MODEL, CLIP, "a cat", "a red cat", keys=False)
    assert all(n.endswith("attn2.to_v.weight") for n in values.patch.tensors)
    before = {n: p.clone() for n, p in network.module.named_parameters()}
    changes = patches.KINDS["delta"](out.patch.tensors, network.module, "unet")
    baked = patches.bake(network.module, [(1.0, changes)])
    with patches.swapped(network.module, baked):
        assert not torch.equal(dict(network.module.named_parameters())[min(names)], before[min(names)])
    assert all(torch.equal(p, before[n]) for n, p in network.module.named_parameters())
    assert patches.bake(network.module, [(0.0, changes)]) == {}
    assert apply_patch(MODEL, out.patch, 0.5).patches[0].strength == 0.5
    with pytest.raises(BadInput, match="as many targets"):
        time_edit_model(ctx, MODEL, CLIP, "a cat", "")
    with pytest.raises(BadInput, match="lacks the word"):
        time_edit_model(ctx, MODEL, CLIP, "a cat", "a dog")
    eye = torch.eye(64, dtype=torch.float64)
    for m, parts in ((eye, False), (eye[:32, :32], True)):  # nothing wanted; text states of another width
        with pytest.raises(BadInput, match="no cross-attention"):
            deltas(network.module, m, keys=parts, values=parts)


def test_the_change_is_that_of_the_model_with_what_is_laid_over_it(network):
    """A LoRA that lies on the model is part of what the edit keeps."""
    name, weight = next((n, p) for n, p in network.module.named_parameters() if n.endswith("attn2.to_k.weight"))
    lora = torch.randn(weight.shape, generator=torch.Generator().manual_seed(1))
    ctx = Context(node="n", models=Both(network))
    models = (MODEL, MODEL.patched(Patch("delta", "unet", 1.0, tensors={name: lora})))
    alone, over = (time_edit_model(ctx, model, CLIP, "a cat", "a red cat").patch.tensors[name] for model in models)
    m = solve([rows_of(NETWORK, "a cat", "a red cat", templates=True)], 0.1)
    torch.testing.assert_close(over - alone, (lora.double() @ m).float(), rtol=1e-4, atol=1e-5)


def test_half_precision_is_solved_in_double(network):
    m = solve([random_rows(10, 64)], 0.1)
    module = torch.nn.Module()
    module.attn2 = torch.nn.ModuleDict({"to_k": torch.nn.Linear(64, 8, bias=False)})
    (change,) = deltas(module.half(), m).values()
    assert torch.equal(change, (module.attn2["to_k"].weight.detach().double() @ m).float())


PLACES = [  # source, target, the word of the target that each word of the source means
    ("a cat", "a red cat", (0, 2)), ("a cat", "a big red cat", (0, 3)), ("an apple", "a green apple", (0, 2)),
    ("a boat", "an old boat", (0, 2)), ("a pack of roses", "a pack of blue roses", (0, 1, 2, 4)),
    ("a cat", "a cat", (0, 1)), ("a cat", "a cat on grass", (0, 1)), ("cat", "a cat", (1,)),
    ("a cat", "pixel art of a cat", (3, 4)), ("a cat", "a photo of a cat", (0, 4)),
    ("A Cat", "a red cat", (0, 2)), ("cat dog", "a cat and a dog", (1, 4)),
    ("a cat a dog", "a red cat a blue dog", (0, 2, 3, 5)),
    ("a cat cat", "a cat red cat", (0, 1, 3)), ("red", "very red", (1,)),
    ("a cat, a dog", "a cat, a big dog", (0, 1, 2, 3, 5)),
    ("butterfly", "a red butterfly", (2,)), ("a butterfly on grass", "a red butterfly on wet grass", (0, 2, 3, 5)),
    ("a strawberry", "a huge strawberry in a bowl", (0, 2)), ("the the cat", "the red the cat", (0, 2, 3)),
]  # fmt: skip


@pytest.mark.parametrize(("source", "target", "places"), PLACES)
def test_words_of_the_source_are_found_in_the_target(source, target, places):
    a, b = (tokens(text).words for text in (source, target))
    found = dict(contained(tokens(source), tokens(target)))
    for word, place in zip(a, places, strict=True):
        assert tuple(found[i] for i in word.positions) == b[place].positions
    end = b[-1].positions[-1] + 1
    after = range(a[-1].positions[-1] + 1, 12)
    assert [found[i] for i in after] == [min(end + k, 11) for k in range(len(after))]
