"""What every mixer owes: padding and packing change nothing, and a state continues."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from mlexpert.blocks.layers.feed_forward import FeedForward
from mlexpert.blocks.layers.swiglu import SwiGLU
from mlexpert.blocks.mixers import recurrent
from mlexpert.blocks.mixers.attention import Attention
from mlexpert.blocks.mixers.pre_norm_block import PreNormBlock
from mlexpert.blocks.mixers.recurrent import Recurrent
from mlexpert.blocks.mixers.s4d import S4D
from mlexpert.blocks.mixers.ssd import Ssd
from mlexpert.blocks.mixers.temporal_conv import TemporalConv

DIM = 16

CAUSAL: dict[str, Callable[[], nn.Module]] = {
    "attention": lambda: Attention(DIM, num_heads=4),
    "attention_all": lambda: Attention(
        DIM, num_heads=4, num_kv_heads=2, qk_norm=True, window=3, bias=True
    ),
    "lstm": lambda: Recurrent(DIM, num_layers=2),
    "gru": lambda: Recurrent(DIM, cell="gru"),
    "conv": lambda: TemporalConv(DIM, dilation=2),
    "s4d": lambda: S4D(DIM, state_size=8),
    "ssd": lambda: Ssd(DIM, num_heads=4, state_size=8, chunk=4),
}
BOTH_WAYS: dict[str, Callable[[], nn.Module]] = {
    "attention_both": lambda: Attention(DIM, num_heads=4, causal=False),
    "attention_near": lambda: Attention(DIM, num_heads=4, causal=False, window=2),
    "lstm_both": lambda: Recurrent(DIM, bidirectional=True, num_layers=2),
    "gru_both": lambda: Recurrent(DIM, cell="gru", bidirectional=True),
    "conv_both": lambda: TemporalConv(DIM, kernel=5, causal=False),
}
ALL = CAUSAL | BOTH_WAYS
LENGTHS = [5, 9, 1, 7]
LONGEST = 9


def build(name: str) -> nn.Module:
    torch.manual_seed(0)
    return ALL[name]()


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def texts(lengths: list[int]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(1, length, DIM, generator=generator) for length in lengths]


def padded(rows: list[Tensor], side: str, longest: int = LONGEST) -> tuple[Tensor, Tensor]:
    """Return the rows in one batch, padded by large noise, and the mask."""
    generator = torch.Generator().manual_seed(2)
    x = 10 * torch.randn(len(rows), longest, DIM, generator=generator)
    mask = torch.zeros(len(rows), longest, dtype=torch.bool)
    for index, row in enumerate(rows):
        length = row.shape[1]
        if side == "inside":
            columns = torch.randperm(longest, generator=generator)[:length].sort().values
        else:
            columns = torch.arange(length) + (longest - length if side == "left" else 0)
        x[index, columns], mask[index, columns] = row[0], True
    return x, mask


def gradients(mixer: nn.Module) -> dict[str, Tensor]:
    found = {name: p.grad for name, p in mixer.named_parameters() if p.grad is not None}
    mixer.zero_grad()
    return found


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("side", ["left", "right", "inside"])
def test_padded_batch_equals_singles(name: str, side: str) -> None:
    mixer, rows = build(name), texts(LENGTHS)
    weights = torch.randn(1, LONGEST, DIM)
    singles = [row.clone().requires_grad_() for row in rows]
    expected = [mixer(row)[0] for row in singles]
    loss = sum((y * weights[:, : y.shape[1]]).sum() for y in expected)
    loss.backward()
    wanted = gradients(mixer)

    x, mask = padded(rows, side)
    x.requires_grad_()
    answers, state = mixer(x, mask=mask)
    assert state is None
    close(answers[mask], torch.cat(expected, dim=1)[0])
    order = torch.cat([torch.arange(length) for length in LENGTHS])
    (answers[mask] * weights[0, order]).sum().backward()
    close(x.grad[mask], torch.cat([row.grad for row in singles], dim=1)[0])
    assert not x.grad[~mask].any()
    for key, gradient in gradients(mixer).items():
        torch.testing.assert_close(gradient, wanted[key], rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("others", [0, 1])
def test_fully_masked_row_is_finite(name: str, others: int) -> None:
    mixer, x = build(name), torch.randn(1 + others, 6, DIM, requires_grad=True)
    mask = torch.zeros(1 + others, 6, dtype=torch.bool)
    mask[1:] = True
    answers, _ = mixer(x, mask=mask)
    assert answers.isfinite().all()
    answers.square().sum().backward()
    assert x.grad.isfinite().all()
    assert all(gradient.isfinite().all() for gradient in gradients(mixer).values())


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("with_padding", [False, True])
def test_packed_documents_do_not_leak(name: str, with_padding: bool) -> None:
    mixer, documents = build(name), texts([4, 3, 6, 2, 5])
    rows = [torch.cat(documents[:3], dim=1), torch.cat(documents[3:], dim=1)]
    positions = torch.zeros(2, 16, dtype=torch.long)
    x, mask = padded(rows, "left" if with_padding else "right", longest=16)
    positions[mask] = torch.cat([torch.arange(d.shape[1]) for d in documents])
    if not with_padding:  # one row that is full, without a mask
        x, mask, positions = x[:1, :13], mask[:1, :13], positions[:1, :13]
        documents = documents[:3]
    x.requires_grad_()
    answers, _ = mixer(x, mask=mask if with_padding else None, positions=positions)
    close(answers[mask], torch.cat([mixer(document)[0] for document in documents], dim=1)[0])
    # Nor does a gradient pass from one to another.
    answers[mask][:4].sum().backward()
    assert not x.grad[mask][4:].any()


@pytest.mark.parametrize("name", CAUSAL)
@pytest.mark.parametrize("prefill", [1, 2, 7])
def test_steps_equal_one_pass(name: str, prefill: int) -> None:
    mixer, x = build(name), torch.randn(3, 13, DIM)
    expected, _ = mixer(x)
    state, answers = mixer.init_state(3, 13, device="cpu", dtype=torch.float32), []
    with torch.no_grad():
        for piece in [
            x[:, :prefill],
            x[:, prefill : prefill + 3],
            *x[:, prefill + 3 :].split(1, 1),
        ]:
            answer, state = mixer(piece, state=state)
            answers.append(answer)
    close(torch.cat(answers, dim=1), expected)


@pytest.mark.parametrize("name", CAUSAL)
@pytest.mark.parametrize("side", ["left", "right", "inside"])
def test_state_behind_padding_goes_on(name: str, side: str) -> None:
    mixer, more = build(name), 3
    rows = texts([length + more for length in LENGTHS])
    rows.append(rows[0][:, :more])  # its prompt is nothing but padding
    prompts = [row[:, : row.shape[1] - more] for row in rows]
    x, mask = padded(prompts, side)
    with torch.no_grad():
        state = mixer.init_state(len(rows), LONGEST + more, device="cpu", dtype=torch.float32)
        _, state = mixer(x, mask=mask, state=state)
        tails = torch.cat([row[:, -more:] for row in rows])
        answers, state = mixer(tails[:, :2], state=state)
        last, _ = mixer(tails[:, 2:], state=state)
        expected = torch.cat([mixer(row)[0][:, -more:] for row in rows])
    close(torch.cat([answers, last], dim=1), expected)


@pytest.mark.parametrize("name", CAUSAL)
def test_state_is_left_behind_by_a_new_document(name: str) -> None:
    mixer, rows = build(name), texts([4, 6])
    positions = torch.arange(6).unsqueeze(0)
    with torch.no_grad():
        state = mixer.init_state(1, 10, device="cpu", dtype=torch.float32)
        _, state = mixer(rows[0], state=state)
        first, state = mixer(rows[1][:, :5], positions=positions[:, :5], state=state)
        last, _ = mixer(rows[1][:, 5:], positions=positions[:, 5:], state=state)
        close(torch.cat([first, last], dim=1), mixer(rows[1])[0])


@pytest.mark.parametrize("name", CAUSAL)
def test_causal_mixers_see_no_later_token(name: str) -> None:
    mixer, x = build(name), torch.randn(2, 9, DIM, requires_grad=True)
    mixer(x)[0][:, :4].square().sum().backward()
    # The transform of S4D is exact to rounding only.
    assert x.grad[:, 4:].abs().max() < (1e-5 if name == "s4d" else 1e-30)
    assert x.grad[:, :4].any()


@pytest.mark.parametrize("name", BOTH_WAYS)
def test_two_way_mixers_have_no_state(name: str) -> None:
    with pytest.raises(ValueError, match="goe?s? on from a state"):
        build(name).init_state(1, 4, device="cpu", dtype=torch.float32)


@pytest.mark.parametrize("name", ["lstm", "gru", "conv", "s4d", "ssd"])
def test_recurrent_state_does_not_grow(name: str) -> None:
    mixer = build(name)
    state = mixer.init_state(2, 1, device="cpu", dtype=torch.float32)
    before = [(part.shape, part.dtype) for part in state]
    with torch.no_grad():
        for _ in range(5):
            _, state = mixer(torch.randn(2, 3, DIM), state=state)
    assert [(part.shape, part.dtype) for part in state] == before


@pytest.mark.parametrize("name", ALL)
def test_runs_under_bf16_autocast(name: str) -> None:
    mixer, rows = build(name), texts(LENGTHS)
    x, mask = padded(rows, "left")
    expected = mixer(x, mask=mask)[0][mask]
    with torch.autocast("cpu", torch.bfloat16):
        answers, _ = mixer(x, mask=mask)
        answers[mask].float().square().sum().backward()
        assert (answers[mask].float() - expected).norm() < 0.03 * expected.norm()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in mixer.parameters())
        if name in CAUSAL:
            state = mixer.init_state(4, LONGEST + 1, device="cpu", dtype=torch.bfloat16)
            with torch.no_grad():
                answers, state = mixer(x, mask=mask, state=state)
                assert (answers[mask].float() - expected).norm() < 0.03 * expected.norm()
                step, _ = mixer(x[:, :1], state=state)
            assert step.isfinite().all()


@pytest.mark.parametrize("name", [name for name in ALL if name.startswith(("lstm", "gru"))])
def test_recurrent_ones_are_in_fp32_on_a_processor_without_bf16(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recurrent, "processor_has_bf16", lambda: False)
    mixer = build(name)
    x, mask = padded(texts(LENGTHS), "left")
    expected, _ = mixer(x, mask=mask)
    with torch.autocast("cpu", torch.bfloat16):
        answers, _ = mixer(x, mask=mask)
    assert torch.equal(answers, expected)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("kind", ["swiglu", "relu2", "none"])
def test_interchange_in_a_block(name: str, kind: str) -> None:
    layer = {"swiglu": SwiGLU(DIM), "relu2": FeedForward(DIM, activation="relu2"), "none": None}
    block = PreNormBlock(build(name), layer[kind], dim=DIM)
    rows = texts(LENGTHS)
    x, mask = padded(rows, "left")
    answers, _ = block(x, mask=mask)
    close(answers[mask], torch.cat([block(row)[0] for row in rows], dim=1)[0])
    if name in CAUSAL:
        state = block.init_state(1, 9, device="cpu", dtype=torch.float32)
        with torch.no_grad():
            first, state = block(rows[1][:, :6], state=state)
            last, _ = block(rows[1][:, 6:], state=state)
            close(torch.cat([first, last], dim=1), block(rows[1])[0])


@pytest.mark.parametrize("name", ["attention_all", "ssd"])
def test_gradients_equal_finite_differences(name: str) -> None:
    mixer = build(name).double()
    x = torch.randn(1, 5, DIM, dtype=torch.float64, requires_grad=True)
    positions = torch.tensor([[0, 1, 2, 0, 1]])
    # Angles and decays are fp32, so steps are not too small.
    assert torch.autograd.gradcheck(
        lambda z: mixer(z, positions=positions)[0], x, eps=1e-3, atol=1e-3, rtol=1e-2
    )
