"""The head of iCaRL against distances that are measured one by one."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from mlexpert.blocks.layers.grouped_linear import GroupedLinear
from mlexpert.blocks.layers.nearest_mean_head import NO_MEAN, NearestMeanHead


def test_answers_by_squared_distances_of_directions() -> None:
    torch.manual_seed(0)
    head, features = NearestMeanHead(nn.Linear(6, 4)).eval(), torch.randn(20, 6)
    means = torch.randn(4, 6)
    head.remember(means, torch.ones(4, dtype=torch.bool))
    apart = torch.cdist(F.normalize(features, dim=1), F.normalize(means, dim=1)).square()
    torch.testing.assert_close(head(features), -apart)


def test_members_have_means_of_their_own() -> None:
    torch.manual_seed(0)
    grouped, features, means = GroupedLinear(3, 6, 4), torch.randn(20, 3, 6), torch.randn(3, 4, 6)
    head = NearestMeanHead(grouped).eval()
    head.remember(means, torch.ones(4, dtype=torch.bool))
    for member in range(3):
        one = NearestMeanHead(nn.Linear(6, 4)).eval()
        one.remember(means[member], torch.ones(4, dtype=torch.bool))
        torch.testing.assert_close(head(features)[:, member], one(features[:, member]))


def test_logits_are_linear_in_training_and_until_there_are_means() -> None:
    linear, features = nn.Linear(6, 4), torch.randn(5, 6)
    head = NearestMeanHead(linear)
    torch.testing.assert_close(head.eval()(features), linear(features))
    head.remember(torch.randn(4, 6), torch.tensor([True, False, False, False]))
    assert not torch.allclose(head(features), linear(features))
    torch.testing.assert_close(head.train()(features), linear(features))
    head.eval().forget()
    torch.testing.assert_close(head(features), linear(features))


def test_a_class_without_a_mean_is_never_the_nearest() -> None:
    head = NearestMeanHead(nn.Linear(2, 3)).eval()
    means = torch.tensor([[-1.0, 0.0], [torch.nan, torch.nan], [0.0, 1.0]])
    head.remember(means, torch.tensor([True, False, True]))
    logits = head(torch.tensor([[1.0, 0.0]]))
    torch.testing.assert_close(logits, torch.tensor([[-4.0, NO_MEAN, -2.0]]))


def test_means_travel_with_the_weights() -> None:
    head, other = NearestMeanHead(nn.Linear(2, 3)).eval(), NearestMeanHead(nn.Linear(2, 3)).eval()
    head.remember(torch.randn(3, 2), torch.tensor([True, True, False]))
    other.load_state_dict(head.state_dict())
    features = torch.randn(4, 2)
    assert torch.equal(head(features), other(features))
