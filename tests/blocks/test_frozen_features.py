"""Features that nobody trains: random ones, bags of words, columns."""

from __future__ import annotations

import pytest
import torch
from scipy.special import ndtri

from mlexpert.blocks.layers.column_features import ColumnFeatures
from mlexpert.blocks.layers.random_features import RandomFeatures
from mlexpert.blocks.layers.token_bag import TokenBag


def test_random_features_estimate_the_kernel_of_a_wide_relu_layer() -> None:
    """Cho and Saul 2009, equation 3, n = 1: E[relu(w x) relu(w y)] for normal w."""
    layer = RandomFeatures(5, 200_000, generator=torch.Generator().manual_seed(0))
    x, y = torch.randn(2, 5, generator=torch.Generator().manual_seed(1))
    found = (layer(x[None]) * layer(y[None])).mean() * 5  # weights have variance 1 / 5
    angle = torch.acos(torch.cosine_similarity(x, y, dim=0))
    kernel = torch.sin(angle) + (torch.pi - angle) * torch.cos(angle)
    expected = x.norm() * y.norm() * kernel / (2 * torch.pi)
    assert found.item() == pytest.approx(expected.item(), rel=0.03)


def test_a_bag_keeps_cosines_between_counts_of_words() -> None:
    bag = TokenBag(50, 40_000, generator=torch.Generator().manual_seed(0))
    texts = torch.tensor([[5, 7, 7, 9, 0], [7, 5, 11, 0, 0], [30, 31, 32, 33, 34]])
    counts = torch.nn.functional.one_hot(texts, 50).sum(dim=1)[:, 1:].float()
    counts = torch.nn.functional.normalize(counts, dim=1)
    found = bag(texts)
    torch.testing.assert_close(found @ found.T, counts @ counts.T, atol=0.02, rtol=0)


def test_a_bag_knows_neither_order_nor_padding() -> None:
    bag = TokenBag(50, 8)
    one = bag(torch.tensor([[5, 7, 9]]))
    torch.testing.assert_close(bag(torch.tensor([[9, 5, 7, 0, 0]])), one)
    assert bag(torch.zeros(1, 3).long()).abs().max() == 0


def test_columns_are_scores_gaps_and_categories() -> None:
    layer = ColumnFeatures([[0.0, 1.0, 2.0, 3.0, 4.0], 4])
    found = layer(torch.tensor([[1.0, 2.0], [torch.nan, 0.0], [2.0, 9.0]]))
    expected = torch.tensor(
        [
            [float(ndtri(0.25)), 0, 0, 0, 1, 0],
            [0, 1, 1, 0, 0, 0],  # both missing
            [0, 0, 0, 1, 0, 0],  # the median, and a category that training did not show
        ]
    )
    assert layer.out_features == 6
    torch.testing.assert_close(found, expected)


def test_tables_of_one_kind_of_column() -> None:
    assert ColumnFeatures([3, 4])(torch.tensor([[2.0, 3.0]])).tolist() == [[0, 0, 1, 0, 0, 0, 1]]
    assert ColumnFeatures([[0.0, 2.0]])(torch.tensor([[1.0]])).tolist() == [[0, 0]]
