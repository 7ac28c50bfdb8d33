"""Layers of tabular networks, against scikit-learn and a literal reading of the papers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.preprocessing import QuantileTransformer
from torch import nn
from torch.nn import functional as F

from mlexpert.blocks.layers.category_embedding import CategoryEmbedding, known_codes
from mlexpert.blocks.layers.grouped_linear import GroupedLinear
from mlexpert.blocks.layers.member_mean import mean_of_classes, mean_of_labels, mean_of_values
from mlexpert.blocks.layers.member_scale import MemberScale
from mlexpert.blocks.layers.numeric_embedding import NumericEmbedding
from mlexpert.blocks.layers.piecewise_linear import PiecewiseLinearEncoding, quantile_edges
from mlexpert.blocks.layers.quantile import QuantileNormal
from mlexpert.blocks.layers.relu_dropout import relu_dropout

LEVELS = np.linspace(0.0, 1.0, 1_001)


def columns_with_ties(num_rows: int = 3_000) -> np.ndarray:
    """A smooth column, one with heavy tails, one that is mostly zero, and one of few values."""
    rng = np.random.default_rng(0)
    smooth, heavy = rng.normal(size=num_rows), rng.standard_t(1, size=num_rows)
    mostly_zero = np.where(rng.random(num_rows) < 0.7, 0.0, rng.exponential(size=num_rows))
    few = rng.integers(0, 5, size=num_rows)
    return np.stack([smooth, heavy, mostly_zero, few], axis=1).astype(np.float32)


def quantiles_of(columns: np.ndarray) -> list[list[float]]:
    return np.quantile(columns, LEVELS, axis=0).astype(np.float32).T.tolist()


def test_the_quantile_transform_equals_scikit_learns():
    train = columns_with_ties()
    peer = QuantileTransformer(
        n_quantiles=len(LEVELS), output_distribution="normal", subsample=None
    ).fit(train.astype(np.float64))
    rng = np.random.default_rng(1)
    low, high = np.quantile(train, [0.005, 0.995], axis=0)
    between = rng.uniform(low, high, size=(500, 4)).astype(np.float32)
    values = np.concatenate([train[(train > low).all(1) & (train < high).all(1)], between])
    expected = peer.transform(values.astype(np.float64))
    ours = QuantileNormal(quantiles_of(train))(torch.from_numpy(values)).numpy()
    interior = np.abs(expected) < 3.0  # further out, ours is clipped at half a step of the grid
    assert interior.mean() > 0.7
    np.testing.assert_allclose(ours[interior], expected[interior], atol=2e-3)


def test_a_frequent_value_gets_the_middle_of_its_levels():
    transform = QuantileNormal([[0.0, 0.0, 0.0, 1.0, 2.0]])
    scores = transform(torch.tensor([[0.0], [1.0], [1.5]]))
    normal = torch.distributions.Normal(0.0, 1.0)
    torch.testing.assert_close(scores, normal.icdf(torch.tensor([[0.25], [0.75], [0.875]])))


def test_quantile_scores_never_fall_and_stay_finite():
    transform = QuantileNormal(quantiles_of(columns_with_ties())[:3])
    values = torch.linspace(-20.0, 20.0, 4_001).unsqueeze(1).expand(-1, 3)
    scores = transform(values)
    assert (scores.diff(dim=0) >= 0).all()
    ends = transform(torch.tensor([[torch.inf] * 3, [-torch.inf] * 3, [torch.nan] * 3]))
    assert ends.isfinite().all()
    torch.testing.assert_close(ends[0], -ends[1])
    assert (ends[2] == 0).all()


def test_quantiles_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"\[2, 3\]"):
        QuantileNormal([[0.0, 1.0], [0.0, 1.0, 2.0]])
    with pytest.raises(ValueError, match="two or more"):
        QuantileNormal([[0.0]])


def encoding_as_written(value: float, edges: list[float]) -> list[float]:
    """Equation 1 of arXiv:2203.05556: edges b_0 .. b_T, components e_1 .. e_T."""
    num_bins = len(edges) - 1
    components = []
    for t in range(1, num_bins + 1):
        if value < edges[t - 1] and t > 1:
            components.append(0.0)
        elif value >= edges[t] and t < num_bins:
            components.append(1.0)
        else:
            components.append((value - edges[t - 1]) / (edges[t] - edges[t - 1]))
    return components


def test_the_piecewise_linear_encoding_is_the_papers():
    edges = [[-2.0, -0.5, 0.25, 3.0], [0.0, 10.0], [-1.0, 0.0, 1.0]]
    values = torch.cat([torch.linspace(-4.0, 12.0, 161), torch.tensor([-0.5, 0.25, 3.0, -2.0])])
    encoded = PiecewiseLinearEncoding(edges)(values.unsqueeze(1).expand(-1, 3))
    assert encoded.shape == (165, 3, 3)
    for row, value in enumerate(values.tolist()):
        for column, points in enumerate(edges):
            expected = encoding_as_written(value, points)
            padded = torch.tensor(expected + [0.0] * (3 - len(expected)))
            torch.testing.assert_close(encoded[row, column], padded, atol=1e-5, rtol=1e-5)


def test_a_missing_value_is_encoded_as_zeros_and_a_constant_column_has_no_bins():
    encode = PiecewiseLinearEncoding([[0.0, 1.0, 2.0], [5.0]])
    encoded = encode(torch.tensor([[torch.nan, 7.0], [1.5, torch.nan]]))
    torch.testing.assert_close(
        encoded, torch.tensor([[[0.0, 0.0], [0.0, 0.0]], [[1.0, 0.5], [0.0, 0.0]]])
    )


def test_edges_hold_equal_shares_and_do_not_repeat():
    column = columns_with_ties()[:, :1]
    edges = quantile_edges(quantiles_of(column)[0], num_bins=8)
    counts, _ = np.histogram(column, edges)
    assert len(edges) == 9
    assert counts.min() > 0.9 * len(column) / 8
    assert quantile_edges([3.0, 3.0, 3.0], num_bins=8) == [3.0]
    assert quantile_edges([0.0] * 9 + [1.0, 2.0], num_bins=10) == [0.0, 1.0, 2.0]


def test_a_frequent_value_does_not_take_the_bins_from_the_rare_ones() -> None:
    """Adult's capital gain is 0 in nine rows of ten; its few other values tell the class."""
    column = np.concatenate([np.zeros(900), np.arange(1, 101)]).astype(np.float32)
    grid = np.quantile(column, np.linspace(0, 1, 1001)).astype(np.float32)
    edges = quantile_edges(grid.tolist(), num_bins=20)
    assert len(edges) == 21
    assert np.allclose(np.diff(edges)[1:], 5, atol=1.5)


def test_edges_that_do_not_increase_are_refused():
    with pytest.raises(ValueError, match="column 1"):
        PiecewiseLinearEncoding([[0.0, 1.0], [0.0, 0.0]])


def test_a_grouped_linear_is_one_linear_layer_per_group():
    layer = GroupedLinear(3, 4, 2)
    inputs = torch.randn(5, 3, 4)
    expected = [F.linear(inputs[:, g], layer.weight[g].T, layer.bias[g]) for g in range(3)]
    torch.testing.assert_close(layer(inputs), torch.stack(expected, dim=1))


def test_members_share_a_linear_layer_and_see_the_features_with_signs_of_their_own():
    layer, shared = MemberScale(8, 50), nn.Linear(50, 3)
    assert (layer.scale.abs() == 1).all()
    assert len(layer.scale.unique(dim=0)) == 8
    assert 0.4 < (layer.scale > 0).float().mean() < 0.6
    inputs = torch.randn(5, 50)
    parameters = [layer.scale, shared.weight, shared.bias]
    expected = torch.stack([shared(inputs * scale) for scale in layer.scale], dim=1)
    outputs = layer(inputs, shared)
    torch.testing.assert_close(outputs, expected)
    towards = torch.randn_like(expected)
    torch.testing.assert_close(
        torch.autograd.grad((outputs * towards).sum(), parameters),
        torch.autograd.grad((expected * towards).sum(), parameters),
    )


def test_relu_and_dropout_in_one_are_relu_times_a_mask_forward_and_backward():
    features = torch.randn(6, 4, 100, dtype=torch.float64, requires_grad=True)
    torch.manual_seed(0)
    outputs = relu_dropout(features, 0.5)
    torch.manual_seed(0)
    kept = F.dropout(torch.ones(6, 1, 100, dtype=torch.float64), 0.5)
    expected = F.relu(features) * kept
    assert torch.equal(outputs, expected)
    towards = torch.randn_like(expected)
    (gradient,) = torch.autograd.grad((outputs * towards).sum(), features)
    assert torch.equal(gradient, torch.autograd.grad((expected * towards).sum(), features)[0])
    assert torch.equal(relu_dropout(features, 0.0), F.relu(features))


def test_dropout_is_one_for_all_members_and_differs_from_row_to_row():
    dropped = relu_dropout(torch.ones(6, 4, 100), 0.5)  # (B, M, F)
    assert (dropped == dropped[:, :1]).all()
    assert set(dropped.unique().tolist()) == {0.0, 2.0}
    assert len(dropped[:, 0].unique(dim=0)) == 6


def test_means_of_members_are_means_of_their_probabilities():
    torch.manual_seed(0)
    logits = 5 * torch.randn(6, 4, 3)
    classes, labels = mean_of_classes(logits), mean_of_labels(logits)
    torch.testing.assert_close(classes.exp(), logits.softmax(dim=2).mean(dim=1))
    torch.testing.assert_close(labels.sigmoid(), logits.sigmoid().mean(dim=1))
    torch.testing.assert_close(mean_of_values(logits), logits.mean(dim=1))
    sure = mean_of_labels(torch.full((1, 4, 1), 200.0))  # sigmoid(200) is 1 in float32
    torch.testing.assert_close(sure, torch.tensor([[200.0]]))


def test_columns_are_embedded_apart():
    embed = NumericEmbedding(quantiles_of(columns_with_ties()), num_bins=6, size=3)
    values = torch.from_numpy(columns_with_ties(4))
    before = embed(values)
    values[:, 1] += 10.0
    changed = (embed(values) != before).any(dim=2)
    assert before.shape == (4, 4, 3)
    assert changed[:, 1].any()
    assert not changed[:, [0, 2, 3]].any()


def test_a_missing_number_counts_as_the_median_until_training_says_otherwise():
    embed = NumericEmbedding([[0.0, 1.0, 5.0]], num_bins=2, size=3)
    missing, median = embed(torch.tensor([[torch.nan], [1.0]]))
    torch.testing.assert_close(missing, median)
    embed(torch.tensor([[torch.nan]])).sum().backward()
    assert embed.mix.weight.grad is not None
    assert (embed.mix.weight.grad[:, -1] != 0).all()


def test_numbers_outside_the_range_count_as_its_ends():
    embed = NumericEmbedding([[0.0, 1.0, 5.0]], num_bins=2, size=3)
    above, highest, below, lowest = embed(torch.tensor([[torch.inf], [5.0], [-1e30], [0.0]]))
    torch.testing.assert_close(above, highest)
    torch.testing.assert_close(below, lowest)
    assert not torch.equal(above, below)


def test_missing_and_unseen_categories_are_neutral():
    embed = CategoryEmbedding(num_codes=5, size=2)
    codes = torch.tensor([0.0, torch.nan, 1.0, 5.0, 99.0, -3.0, 2.0, 4.0])
    vectors = embed(known_codes(codes, 5))
    assert (vectors[:6] == 0).all()
    torch.testing.assert_close(vectors[6:], embed.weight[[2, 4]])
    table = torch.tensor([[2.0, 2.0], [4.0, 4.0]])  # the second column has three codes
    assert known_codes(table, torch.tensor([5, 3])).tolist() == [[2, 2], [4, 1]]
    with pytest.raises(ValueError, match="got 1"):
        CategoryEmbedding(num_codes=1, size=2)
