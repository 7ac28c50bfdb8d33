"""Attention by products of matrices equals torch's own kernels, forward and backward."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mlexpert.blocks.layers.rms_norm import EPSILON, rms_norm
from mlexpert.blocks.mixers import attending
from mlexpert.blocks.mixers.attending import attend


def heads(groups: int = 4, dtype: torch.dtype = torch.bfloat16) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    sizes = ((2, 4, 9, 8), (2, groups, 9, 8), (2, groups, 9, 8))
    made = (torch.randn(size, generator=generator).to(dtype) for size in sizes)
    return [one.requires_grad_() for one in made]


def expected(parts: list[Tensor], seen: Tensor | None, *, causal: bool) -> tuple[Tensor, ...]:
    exact = [one.detach().double().requires_grad_() for one in parts]
    grouped = parts[0].shape[1] != parts[1].shape[1]
    mixed = F.scaled_dot_product_attention(
        *exact, attn_mask=seen, is_causal=causal and seen is None, enable_gqa=grouped
    )
    return mixed, *torch.autograd.grad(mixed.square().sum(), exact)


@pytest.mark.parametrize("longest", [512, 4])
@pytest.mark.parametrize("groups", [4, 2])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_equals_torch_forward_and_backward(
    longest: int, groups: int, causal: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attending, "LONGEST", longest)
    parts = heads(groups, dtype)
    near = {torch.bfloat16: 0.05, torch.float32: 1e-4, torch.float64: 1e-10}[dtype]
    for seen in (None, torch.eye(9, dtype=torch.bool) | (torch.rand(2, 1, 9, 9) < 0.5)):
        mixed = attend(*parts, seen=seen, causal=causal)
        assert mixed.dtype == dtype
        found = (mixed, *torch.autograd.grad(mixed.square().sum(), parts))
        for one, other in zip(found, expected(parts, seen, causal=causal), strict=True):
            torch.testing.assert_close(one.double(), other, rtol=near, atol=near)


@pytest.mark.parametrize("shape", [(3, 5, 8), (2, 3, 4, 6)])
def test_the_norms_own_gradient_is_that_of_torch(shape: tuple[int, ...]) -> None:
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    grad = torch.randn(shape, dtype=torch.float64)
    other = x.detach().clone().requires_grad_()
    rms_norm(x).backward(grad)
    F.rms_norm(other, shape[-1:], eps=EPSILON).backward(grad)
    torch.testing.assert_close(x.grad, other.grad, rtol=1e-5, atol=1e-6)
    assert rms_norm(torch.zeros(2, 4, requires_grad=True)).sum().isfinite()
