"""The convolutional text classifier and its table of word pairs, against brute force."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from mlexpert.blocks.backbones.text_cnn import TextCnn
from mlexpert.blocks.layers.hashed_ngrams import GAIN, HashedNgrams

TEXTS = torch.tensor([[5, 7, 2, 0, 0, 0], [9, 4, 4, 1, 3, 8], [6, 0, 0, 0, 0, 0]])


@pytest.fixture
def model() -> TextCnn:
    torch.manual_seed(0)
    model = TextCnn(vocab_size=10, num_classes=3, members=2, width=6, filters=5, buckets=64).eval()
    torch.nn.init.normal_(model.wide.weight)
    return model


def test_padding_and_the_rest_of_the_batch_change_nothing(model: TextCnn) -> None:
    together = model(TEXTS)
    for row, logits in zip(TEXTS, together, strict=True):
        alone = model(row[row.ne(0)].unsqueeze(0))
        torch.testing.assert_close(alone[0], logits)
        torch.testing.assert_close(model(F.pad(row, (0, 9)).unsqueeze(0))[0], logits)


def test_a_members_features_are_the_largest_values_of_its_filters(model: TextCnn) -> None:
    text = TEXTS[1]
    features = model.features(text.unsqueeze(0))[0]  # (M, sizes * filters)
    tokens = F.pad(model.tokens.weight[text], (0, 0, 2, 2))  # the filters over two tokens
    windows = torch.stack([tokens[i : i + 2] for i in range(len(tokens) - 1)])  # (W, 2, D)
    first = model.convolutions[0]
    values = torch.einsum("wtd,fdt->wf", windows, first.weight) + first.bias
    expected = values.amax(dim=0).relu().view(2, 5)
    torch.testing.assert_close(features[:, :5], expected)


def test_members_differ_and_each_has_a_gradient_of_its_own(model: TextCnn) -> None:
    logits = model(TEXTS)
    assert not torch.allclose(logits[:, 0], logits[:, 1])
    logits[:, 0].sum().backward()
    assert model.heads.weight.grad[0].abs().sum() > 0 == model.heads.weight.grad[1].abs().sum()
    half = model.convolutions[0].weight.grad.view(2, -1).abs().sum(dim=1)
    assert half[0] > 0 == half[1]


def test_empty_and_unknown_texts_have_finite_outputs_and_gradients() -> None:
    torch.manual_seed(0)
    model = TextCnn(vocab_size=10, num_classes=3, buckets=64)
    logits = model(torch.tensor([[0, 0], [1, 0], [1, 1]]))
    logits.logsumexp(-1).sum().backward()
    assert logits.isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_ngrams_are_summed_once_each_over_the_root_of_their_number() -> None:
    torch.manual_seed(0)
    table = HashedNgrams(3, buckets=4_096, longest=3).eval()
    torch.nn.init.normal_(table.weight)

    def row(*ngram: int) -> int:
        """The row of an n-gram: the last that is listed for a text of nothing else."""
        return int(table.ngrams(torch.tensor([ngram]))[0][0, -1])

    ngrams = [(5,), (7,), (2,), (5, 7), (7, 2), (5, 7, 2)]
    rows = [row(*ngram) for ngram in ngrams]
    assert len(set(rows)) == len(rows) and row(7, 5) != row(5, 7)
    expected = table.weight[rows].sum(dim=0) * GAIN / len(rows) ** 0.5
    torch.testing.assert_close(table(TEXTS[:1])[0], expected)


def test_ngrams_spread_evenly_over_the_table() -> None:
    table = HashedNgrams(1, buckets=1_024)
    pairs = torch.cartesian_prod(torch.arange(1, 201), torch.arange(1, 201))
    rows = table.ngrams(pairs)[0][:, -1]
    counts = torch.bincount(rows, minlength=1_024).double()
    assert float(counts.var() / counts.mean()) < 1.1  # 1 for independent draws; even is less


def test_dropped_ngrams_keep_the_mean() -> None:
    torch.manual_seed(0)
    table = HashedNgrams(2, buckets=256, dropout=0.5)
    torch.nn.init.normal_(table.weight)
    expected = table.eval()(TEXTS)
    mean = torch.stack([table.train()(TEXTS) for _ in range(4_000)]).mean(dim=0)
    torch.testing.assert_close(mean, expected, atol=1.5, rtol=0)
