"""Remix against its definition, pair by pair, and its shares of targets against a simulation."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from mlexpert.blocks.augment.mixup import mixup
from mlexpert.blocks.augment.remix import remix, remix_log_weight, target_shares
from mlexpert.errors import InputError

COUNTS = [90, 25, 10]


def test_the_target_goes_by_equation_6() -> None:
    cases = [  # share of the own image, own rows, other rows, share of the target
        (0.3, 90, 10, 0.0),  # frequent, and less than tau of the image
        (0.7, 90, 10, 0.7),  # frequent, but more of the image
        (0.7, 10, 90, 1.0),  # rare, and the other has less than tau
        (0.3, 10, 90, 0.3),  # rare, but the other has more
        (0.3, 30, 11, 0.3),  # not three times as many
        (0.3, 30, 10, 0.0),  # just three times
        (0.3, 10, 10, 0.3),
    ]
    share, own, other, expected = map(torch.tensor, zip(*cases, strict=True))
    assert torch.equal(target_shares(share, own, other, kappa=3.0, tau=0.5), expected)


def test_tau_0_is_mixup_and_targets_stay_shares() -> None:
    torch.manual_seed(0)
    images, targets = torch.rand(40, 1, 4, 4), torch.randint(3, (40,))

    def drawn(tau: float) -> tuple[torch.Tensor, torch.Tensor]:
        chance = torch.Generator().manual_seed(1)
        return remix(images, one_hot, chance, row_counts=torch.tensor(COUNTS)[targets], tau=tau)

    one_hot = F.one_hot(targets, 3)
    plain = mixup(images, one_hot, torch.Generator().manual_seed(1), alpha=1.0)
    for ours, theirs in zip(drawn(0.0), plain, strict=True):
        assert torch.equal(ours, theirs)
    mixed_images, shares = drawn(0.5)
    assert torch.equal(mixed_images, plain[0])  # only targets differ
    assert not torch.equal(shares, plain[1])
    torch.testing.assert_close(shares.sum(dim=1), torch.ones(40))
    assert shares[:, 2].sum() > plain[1][:, 2].sum()  # the rarest class gains
    assert shares[:, 0].sum() < plain[1][:, 0].sum()


@pytest.mark.parametrize(("alpha", "tau"), [(1.0, 0.5), (0.4, 0.8)])
def test_the_log_weight_is_what_classes_have_of_all_targets(alpha: float, tau: float) -> None:
    torch.manual_seed(0)
    counts = torch.tensor(COUNTS)
    targets = torch.arange(3).repeat_interleave(counts).repeat(800)
    _, shares = remix(
        torch.zeros(len(targets), 1, 1, 1),
        F.one_hot(targets, 3),
        torch.Generator().manual_seed(2),
        row_counts=counts[targets],
        alpha=alpha,
        tau=tau,
    )
    expected = (shares.mean(dim=0) / (counts / counts.sum())).log()
    found = remix_log_weight(COUNTS, alpha=alpha, tau=tau)
    torch.testing.assert_close(found, expected, atol=0.02, rtol=0)
    assert remix_log_weight(COUNTS, tau=0.0).abs().max() < 1e-6


def test_a_class_without_rows_is_refused() -> None:
    with pytest.raises(InputError, match=r"\[3, 0\]"):
        remix_log_weight([3, 0])
