"""One optimiser for both: torch's own Muon and AdamW move as it does."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.optim import AdamW
from torch.optim._muon import _zeropower_via_newtonschulz

from mlexpert.blocks.optimizers import muon_adam
from mlexpert.blocks.optimizers.muon import COEFFICIENTS
from mlexpert.blocks.optimizers.muon_adam import POLYNOMIALS, MuonAdam, orthogonalized


def model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(12, 8), nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 20))


def train(network: nn.Module, *optimizers: torch.optim.Optimizer, steps: int = 5) -> None:
    """Step along gradients that are the same for every model."""
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        for parameter in network.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        for optimizer in optimizers:
            optimizer.step()


def parts(network: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    both = list(network.parameters())
    return [one for one in both if one.ndim == 2], [one for one in both if one.ndim < 2]


def groups(network: nn.Module) -> list[dict]:
    matrices, others = parts(network)
    return [
        {"params": matrices, "orthogonal": True, "weight_decay": 0.1},
        {"params": others, "lr": 0.01, "weight_decay": 0.2},
    ]


def test_moves_as_torchs_muon_and_adamw_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch's five steps stand in for our three, which are compared with a closed form below."""

    def as_torch(matrices: torch.Tensor) -> torch.Tensor:
        made = [_zeropower_via_newtonschulz(one, COEFFICIENTS, 5, 1e-7) for one in matrices]
        return torch.stack(made)

    monkeypatch.setattr(muon_adam, "orthogonalized", as_torch)
    ours, theirs = model(), model()
    train(ours, MuonAdam(groups(ours), lr=0.02))
    matrices, others = parts(theirs)
    muon = torch.optim.Muon(matrices, lr=0.02, weight_decay=0.1, momentum=0.95)
    adam = AdamW(others, lr=0.01, betas=(0.8, 0.95), eps=1e-10, weight_decay=0.2)
    train(theirs, muon, adam)
    for start, one, other in zip(model().parameters(), ours.parameters(), theirs.parameters(),
                                 strict=True):  # fmt: skip
        if one.ndim < 2:
            torch.testing.assert_close(one, other, rtol=0, atol=1e-6)
        else:  # momenta differ by a factor, which is rounded in bfloat16
            assert (one - other).norm() < 0.05 * (other - start).norm()


@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 16, 4), (2, 4, 16), (2, 64, 32)])
def test_singular_values_are_mapped_by_the_polynomials(
    shape: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    u, values, vh = torch.linalg.svd(matrices, full_matrices=False)
    bound = 1.02 * values.pow(4).sum(dim=1, keepdim=True).sqrt()  # of the squares
    values = values / bound.sqrt()
    promised = values >= 0.01
    for a, b, c in POLYNOMIALS:
        values = a * values + b * values**3 + c * values**5
    assert values[promised].min() > 0.72 and values.max() < 1.28
    expected = u @ torch.diag_embed(values) @ vh
    for dtype, most in ((torch.bfloat16, 0.1), (torch.float32, 1e-5), (torch.float64, 1e-5)):
        monkeypatch.setattr(muon_adam, "arithmetic", lambda _, dtype=dtype: dtype)
        made = orthogonalized(matrices)
        assert made.dtype == dtype
        assert (made - expected).norm() < most * expected.norm()


@pytest.mark.parametrize(
    ("device", "has_half", "dtype"),
    [
        ("cuda", False, torch.bfloat16),
        ("cpu", True, torch.bfloat16),
        ("cpu", False, torch.float32),
    ],
)
def test_half_precision_is_for_processors_that_have_it(
    device: str, has_half: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(muon_adam, "processor_has_bf16", lambda: has_half)
    assert muon_adam.arithmetic(torch.device(device)) == dtype


def test_matrices_made_orthogonal_together_have_singular_values_near_one() -> None:
    generator = torch.Generator().manual_seed(0)
    for shape in ((3, 8, 8), (2, 16, 4), (2, 4, 16)):
        matrices = torch.randn(shape, generator=generator)
        made = orthogonalized(matrices).float()
        assert made.shape == matrices.shape
        u, _, vh = torch.linalg.svd(matrices, full_matrices=False)
        inside = u.mT @ made @ vh.mT  # diagonal, were the vectors kept to the last bit
        values = inside.diagonal(dim1=1, dim2=2)
        assert values.min() > 0.5 and values.max() < 1.3
        assert (inside - torch.diag_embed(values)).abs().max() < 0.05


def test_going_on_from_its_state_equals_not_stopping() -> None:
    whole, halves = model(), model()
    optimizer = MuonAdam(groups(whole), lr=0.02)
    first = MuonAdam(groups(halves), lr=0.02)
    train(whole, optimizer), train(halves, first)
    again = copy.deepcopy(halves)
    second = MuonAdam(groups(again), lr=0.02)
    second.load_state_dict(first.state_dict())
    train(whole, optimizer), train(again, second)
    for one, other in zip(whole.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)


def test_parameters_without_gradients_stay_and_vectors_are_no_matrices() -> None:
    network = model()
    before = [one.clone() for one in network.parameters()]
    MuonAdam(groups(network)).step()
    assert all(map(torch.equal, before, network.parameters()))
    with pytest.raises(ValueError, match=r"\(3,\) is no matrix"):
        MuonAdam([{"params": [nn.Parameter(torch.ones(3))], "orthogonal": True}])
