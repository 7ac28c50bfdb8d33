"""Attention against torch's own, its cache against one pass, and the masks it looks through."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mlexpert.blocks.mixers.attention import Attention
from mlexpert.blocks.mixers.masks import attention_mask, positions_of
from mlexpert.blocks.mixers.rotary import turned, turns

VARIANTS = {
    "plain": {},
    "no_rotary": {"rotary": False},
    "grouped": {"num_kv_heads": 2},
    "window": {"window": 3},
    "all": {"num_kv_heads": 1, "window": 4, "qk_norm": True, "bias": True},
}


def build(**changes) -> Attention:
    torch.manual_seed(0)
    return Attention(32, num_heads=4, **changes)


def test_equals_torch_multi_head_attention() -> None:
    ours = build(rotary=False, bias=True)
    theirs = torch.nn.MultiheadAttention(32, 4, batch_first=True)
    theirs.in_proj_weight.data, theirs.in_proj_bias.data = (
        ours.project_in.weight.data,
        ours.project_in.bias.data,
    )
    theirs.out_proj.weight.data = ours.project_out.weight.data
    theirs.out_proj.bias.data = ours.project_out.bias.data
    x = torch.randn(2, 7, 32)
    hidden = torch.ones(7, 7, dtype=torch.bool).triu(1)
    expected = theirs(x, x, x, attn_mask=hidden, need_weights=False)[0]
    torch.testing.assert_close(ours(x)[0], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("prefill", [1, 2, 5, 8])
def test_cached_equals_uncached(name: str, prefill: int) -> None:
    mixer = build(**VARIANTS[name])
    x = torch.randn(3, 12, 32)
    expected, none = mixer(x)
    assert none is None
    state = mixer.init_state(3, 12, device="cpu", dtype=torch.float32)
    # The second piece has fewer queries than keys.
    pieces = [x[:, :prefill], x[:, prefill : prefill + 3]]
    pieces += list(x[:, prefill + 3 :].split(1, dim=1))
    answers = []
    with torch.no_grad():
        for piece in pieces:
            answer, state = mixer(piece, state=state)
            answers.append(answer)
    torch.testing.assert_close(torch.cat(answers, dim=1), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("side", ["left", "right"])
def test_cached_equals_uncached_of_padded_prompts(name: str, side: str) -> None:
    mixer = build(**VARIANTS[name])
    lengths, longest = [2, 6, 4], 6
    texts = [torch.randn(1, length + 4, 32) for length in lengths]
    prompt, mask = torch.randn(3, longest, 32), torch.zeros(3, longest, dtype=torch.bool)
    for row, (text, length) in enumerate(zip(texts, lengths, strict=True)):
        columns = slice(longest - length, longest) if side == "left" else slice(0, length)
        prompt[row, columns], mask[row, columns] = text[0, :length], True
    with torch.no_grad():
        state = mixer.init_state(3, 10, device="cpu", dtype=torch.float32)
        _, state = mixer(prompt, mask=mask, state=state)
        for step in range(4):
            piece = torch.cat(
                [t[:, n + step : n + step + 1] for t, n in zip(texts, lengths, strict=True)]
            )
            answer, state = mixer(piece, state=state)
            expected = torch.cat(
                [
                    mixer(t[:, : n + step + 1])[0][:, -1:]
                    for t, n in zip(texts, lengths, strict=True)
                ]
            )
            torch.testing.assert_close(answer, expected, rtol=0, atol=1e-5)


def test_state_says_when_it_is_full() -> None:
    mixer = build()
    state = mixer.init_state(1, 3, device="cpu", dtype=torch.float32)
    with pytest.raises(ValueError, match=r"room for 3 tokens.*would be 4"):
        mixer(torch.randn(1, 4, 32), state=state)
    with pytest.raises(ValueError, match="only causal"):
        build(causal=False).init_state(1, 3, device="cpu", dtype=torch.float32)


def test_heads_must_divide() -> None:
    with pytest.raises(ValueError, match="num_heads=5 must divide dim=32"):
        Attention(32, num_heads=5)
    with pytest.raises(ValueError, match="num_kv_heads=3"):
        Attention(32, num_heads=4, num_kv_heads=3)


def brute_force(mask: Tensor, positions: Tensor, *, causal: bool, window: int | None) -> Tensor:
    """Return what each query sees, by three loops."""
    rows, length = mask.shape
    seen = torch.zeros(rows, 1, length, length, dtype=torch.bool)
    for row in range(rows):
        document = [0] * length
        for t in range(length):
            starts = mask[row, t] and positions[row, t] == 0
            document[t] = (document[t - 1] if t else 0) + int(starts)
        for query in range(length):
            for key in range(length):
                near = window is None or abs(positions[row, query] - positions[row, key]) < window
                seen[row, 0, query, key] = query == key or bool(
                    mask[row, key]
                    and document[query] == document[key]
                    and (key <= query or not causal)
                    and near
                )
    return seen


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("window", [None, 2])
def test_mask_equals_brute_force(causal: bool, window: int | None) -> None:
    mask = torch.tensor([[0, 0, 1, 1, 1, 1], [1, 1, 0, 1, 1, 1], [0, 0, 0, 0, 0, 0]]).bool()
    positions = torch.tensor([[0, 0, 0, 1, 2, 3], [0, 1, 1, 2, 0, 1], [0, 0, 0, 0, 0, 0]])
    expected = brute_force(mask, positions, causal=causal, window=window)
    found = attention_mask(mask, positions, causal=causal, window=window)
    assert torch.equal(found, expected)
    later = attention_mask(mask, positions, causal=causal, window=window, past=4)
    assert torch.equal(later, expected[:, :, 4:])


@pytest.mark.parametrize("causal", [True, False])
def test_no_mask_where_none_is_needed(causal: bool) -> None:
    whole = torch.ones(2, 4, dtype=torch.bool)
    right = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]]).bool()
    assert attention_mask(None, None, causal=causal) is None
    assert attention_mask(whole, positions_of(whole), causal=causal, window=4) is None
    assert (attention_mask(right, None, causal=causal) is None) == causal
    assert attention_mask(whole, positions_of(whole), causal=causal, window=3) is not None
    assert attention_mask(None, torch.tensor([[0, 1, 0, 1]]), causal=causal) is not None
    with pytest.raises(ValueError, match="need a mask or positions"):
        attention_mask(None, None, causal=causal, window=3)


def test_positions_count_real_tokens() -> None:
    mask = torch.tensor([[0, 0, 1, 1], [1, 1, 0, 0], [1, 0, 1, 0]]).bool()
    assert positions_of(mask).tolist() == [[0, 0, 0, 1], [0, 1, 1, 1], [0, 0, 1, 1]]


def test_rotation_is_a_complex_product_and_sees_distances_only() -> None:
    generator = torch.Generator().manual_seed(0)
    q, k = (torch.randn(2, 3, 5, 8, generator=generator, dtype=torch.float64) for _ in range(2))
    positions = torch.tensor([[0, 1, 2, 3, 4], [3, 9, 0, 1, 7]])

    def rotate(heads: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
        return turned(heads, *turns(at, heads.shape[-1]))

    speed = 10000.0 ** (-torch.arange(4) / 4)
    angles = positions[:, None, :, None] * speed
    expected = torch.complex(q[..., :4], q[..., 4:]) * torch.polar(torch.ones_like(angles), angles)
    torch.testing.assert_close(
        rotate(q, positions),
        torch.cat([expected.real, expected.imag], -1).double(),
        rtol=0,
        atol=1e-6,
    )
    scores = [rotate(q, positions + s) @ rotate(k, positions + s).mT for s in (0, 5)]
    torch.testing.assert_close(scores[0], scores[1], rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match="a head has 7"):
        turns(positions, 7)


@pytest.mark.parametrize("groups", [4, 2])
def test_is_compiled_and_exported_as_one_graph(groups: int) -> None:
    mixer, x = build(qk_norm=True, num_kv_heads=groups), torch.randn(2, 5, 32)
    with torch.inference_mode():
        expected = mixer(x)[0]
    mixer(x)[0].sum().backward()  # nothing of inference stands in training's way
    compiled = torch.compile(mixer, backend="aot_eager", fullgraph=True)
    found = compiled(x)[0]
    found.sum().backward()
    torch.testing.assert_close(found, expected)
    exported = torch.export.export(mixer, (x,)).module()
    torch.testing.assert_close(exported(x)[0], expected)


def test_normed_queries_and_keys_bound_the_scores() -> None:
    mixer = build(qk_norm=True, rotary=False)
    q, k, v = mixer._heads(100 * torch.randn(1, 6, 32), None)
    torch.testing.assert_close(q.square().mean(-1), torch.ones(1, 4, 6), rtol=1e-4, atol=0)
    assert F.scaled_dot_product_attention(q, k, v).isfinite().all()
    assert (q @ k.mT).abs().max() <= mixer.head_size * (1 + 1e-4)
