"""Recurrences and convolutions against torch's own, and against loops over time."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from mlexpert.blocks.mixers.cross_attention import CrossAttention
from mlexpert.blocks.mixers.recurrent import Recurrent
from mlexpert.blocks.mixers.s4d import S4D
from mlexpert.blocks.mixers.ssd import Ssd
from mlexpert.blocks.mixers.ssd_scan import scan, step
from mlexpert.blocks.mixers.temporal_conv import TemporalConv


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_recurrent_equals_packed_torch(cell: str, bidirectional: bool) -> None:
    torch.manual_seed(0)
    ours = Recurrent(8, cell=cell, bidirectional=bidirectional, num_layers=2)
    kind = nn.LSTM if cell == "lstm" else nn.GRU
    theirs = kind(8, ours.hidden_size, 2, batch_first=True, bidirectional=bidirectional)
    for ending, layers in {"": ours.forwards, "_reverse": ours.backwards}.items():
        for index, layer in enumerate(layers):
            for name, weight in layer.named_parameters():
                getattr(theirs, f"{name[:-1]}{index}{ending}").data.copy_(weight)
    lengths = torch.tensor([4, 7, 1])
    x, mask = torch.randn(3, 7, 8), torch.arange(7) < lengths[:, None]
    packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    expected, _ = pad_packed_sequence(theirs(packed)[0], batch_first=True)
    torch.testing.assert_close(ours(x, mask=mask)[0], expected, rtol=0, atol=1e-5)


def test_recurrent_refuses() -> None:
    with pytest.raises(ValueError, match="lstm or gru"):
        Recurrent(8, cell="rnn")
    with pytest.raises(ValueError, match="must be even"):
        Recurrent(7, bidirectional=True)


@pytest.mark.parametrize("dilation", [1, 3])
def test_convolution_equals_a_sum_over_taps(dilation: int) -> None:
    torch.manual_seed(0)
    mixer, x = TemporalConv(4, kernel=3, dilation=dilation), torch.randn(2, 10, 4)
    weight = mixer.conv.weight  # (out, in, tap)
    expected = mixer.conv.bias.expand(2, 10, 4).clone()
    for t in range(10):
        for tap in range(3):
            source = t - (2 - tap) * dilation
            if source >= 0:
                expected[:, t] += x[:, source] @ weight[:, :, tap].T
    torch.testing.assert_close(mixer(x)[0], expected, rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match="has no middle"):
        TemporalConv(4, kernel=4, causal=False)


def test_s4d_equals_its_recurrence() -> None:
    torch.manual_seed(0)
    mixer, x = S4D(6, state_size=16), torch.randn(2, 200, 6)
    step_size = mixer.log_step.double().exp()[:, None]
    poles = torch.complex(-mixer.log_damping.double().exp(), mixer.frequency.double()).view(6, 8)
    assert torch.equal(poles.imag[0], torch.tensor(torch.pi).mul(torch.arange(8)).double())
    factor = (poles * step_size).exp()
    gain = (factor - 1) / poles
    reading = torch.view_as_complex(mixer.reading.double())
    hidden, answers = torch.zeros(2, 6, 8, dtype=torch.complex128), []
    for t in range(200):
        hidden = factor * hidden + gain * x[:, t, :, None]
        answers.append(2 * (reading * hidden).sum(-1).real + mixer.skip * x[:, t])
    mixed = F.gelu(torch.stack(answers, dim=1).float())
    expected = F.glu(mixer.project_out(mixed), dim=-1)
    torch.testing.assert_close(mixer(x)[0], expected, rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match="is odd"):
        S4D(6, state_size=3)


def sequential(values, steps, decays, writes, reads, hidden):
    """Return the answers c_t h_t of h_t = exp(a_t) h_{t-1} + d_t b_t x_t, and the last h."""
    answers = []
    for t in range(values.shape[1]):
        added = torch.einsum("bn,bhp,bh->bnhp", writes[:, t], values[:, t], steps[:, t])
        hidden = hidden * decays[:, t].exp()[:, None, :, None] + added
        answers.append(torch.einsum("bn,bnhp->bhp", reads[:, t], hidden))
    return torch.stack(answers, dim=1), hidden


@pytest.mark.parametrize(("length", "chunk"), [(1, 4), (3, 4), (8, 4), (21, 4), (21, 64)])
@pytest.mark.parametrize("with_state", [False, True])
def test_chunks_equal_the_recurrence(length: int, chunk: int, with_state: bool) -> None:
    torch.manual_seed(0)
    values, writes, reads = (
        torch.randn(2, length, *shape, requires_grad=True) for shape in ((3, 5), (6,), (6,))
    )
    decays = (-3 * torch.rand(2, length, 3)).requires_grad_()
    hidden = torch.randn(2, 6, 3, 5) if with_state else None
    steps = torch.rand(2, length, 3).requires_grad_()
    inputs = (values, steps, decays, writes, reads)
    found = scan(*inputs, hidden, chunk=chunk)
    start = torch.zeros(2, 6, 3, 5) if hidden is None else hidden
    expected = sequential(*inputs, start)
    weights = [torch.randn_like(part) for part in expected]
    slopes = [
        torch.autograd.grad(sum((p * w).sum() for p, w in zip(pair, weights, strict=True)), inputs)
        for pair in (found, expected)
    ]
    for ours, theirs in zip((*found, *slopes[0]), (*expected, *slopes[1]), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=2e-5)
    if length == 1:
        torch.testing.assert_close(step(*inputs, start), expected, rtol=1e-5, atol=1e-5)


def test_strong_decay_neither_overflows_nor_leaks() -> None:
    values, writes, reads = torch.ones(1, 128, 1, 1), torch.ones(1, 128, 2), torch.ones(1, 128, 2)
    decays = torch.full((1, 128, 1), -50.0, requires_grad=True)
    answers, _ = scan(values, torch.ones(1, 128, 1), decays, writes, reads, chunk=64)
    answers.sum().backward()
    torch.testing.assert_close(answers, torch.full_like(answers, 2.0))
    assert decays.grad.isfinite().all()


def test_ssd_starts_with_the_papers_steps() -> None:
    torch.manual_seed(0)
    mixer = Ssd(16, num_heads=8)
    steps = F.softplus(mixer.step_bias)
    assert steps.min() >= 1e-3 * (1 - 1e-4) and steps.max() <= 1e-1 * (1 + 1e-4)
    assert mixer.log_decay.exp().min() >= 1 and mixer.log_decay.exp().max() <= 16
    with pytest.raises(ValueError, match="num_heads=5"):
        Ssd(16, num_heads=5)


def test_cross_attention_equals_torch() -> None:
    torch.manual_seed(0)
    ours, theirs = CrossAttention(8, num_heads=2), nn.MultiheadAttention(8, 2, bias=False)
    theirs.batch_first = True
    theirs.in_proj_weight.data = torch.cat([ours.project_query.weight, ours.project_memory.weight])
    theirs.out_proj.weight.data = ours.project_out.weight.data
    x, memory = torch.randn(3, 4, 8), torch.randn(3, 6, 8, requires_grad=True)
    mask = torch.tensor([[1, 1, 1, 1, 1, 1], [0, 0, 1, 1, 1, 1], [1, 1, 0, 0, 0, 0]]).bool()
    found, state = ours(x, memory, memory_mask=mask)
    expected = theirs(x, memory, memory, key_padding_mask=~mask, need_weights=False)[0]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    # One token after the other, without the memory.
    steps = [ours(x[:, t : t + 1], None, memory_mask=mask, state=state)[0] for t in range(4)]
    torch.testing.assert_close(torch.cat(steps, dim=1), expected, rtol=0, atol=1e-5)
    found.sum().backward()
    assert not memory.grad[~mask].any() and memory.grad[mask].any()


def test_cross_attention_to_nothing_is_zero() -> None:
    mixer, memory = CrossAttention(8, num_heads=2), torch.randn(2, 3, 8, requires_grad=True)
    mask = torch.tensor([[False] * 3, [True] * 3])
    found, _ = mixer(torch.randn(2, 4, 8), memory, memory_mask=mask)
    assert not found[0].any() and found[1].any()
    found.sum().backward()
    assert memory.grad.isfinite().all() and not memory.grad[0].any()
    with torch.autocast("cpu", torch.bfloat16):
        assert mixer(torch.randn(2, 4, 8), memory, memory_mask=mask)[0].isfinite().all()
    with pytest.raises(ValueError, match="needs a memory"):
        mixer(torch.randn(2, 4, 8), None)
    with pytest.raises(ValueError, match="num_heads=3"):
        CrossAttention(8, num_heads=3)
