"""The convolutional text classifier, against brute force."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from mlexpert.blocks.backbones.text_cnn import TextCnn

TEXTS = torch.tensor([[5, 7, 2, 0, 0, 0], [9, 4, 4, 1, 3, 8], [6, 0, 0, 0, 0, 0]])


@pytest.fixture
def model() -> TextCnn:
    torch.manual_seed(0)
    model = TextCnn(vocab_size=10, num_classes=3, members=2, width=6, filters=5).eval()
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
    known = model.tokens.weight[text] * (text > 1).unsqueeze(1)  # 1 is an unknown word
    tokens = F.pad(known, (0, 0, 3, 3))  # the filters over three tokens
    windows = torch.stack([tokens[i : i + 3] for i in range(len(tokens) - 2)])  # (W, 3, D)
    first = model.convolutions[0]
    values = torch.einsum("wtd,fdt->wf", windows, first.weight) + first.bias
    expected = values.amax(dim=0).relu().view(2, 5)
    torch.testing.assert_close(features[:, :5], expected)


def test_words_begin_as_in_the_paper() -> None:
    """Uniform in [-a, a] has deviation a / sqrt(3); Kim 2014, section 3.2: a = .25."""
    torch.manual_seed(0)
    weight = TextCnn(vocab_size=1_000, num_classes=2, width=100, filters=2).tokens.weight
    assert 0.249 < weight.abs().max() <= 0.25
    assert weight.std().item() == pytest.approx(0.25 / 3**0.5, rel=0.01)


def test_members_differ_and_each_has_a_gradient_of_its_own(model: TextCnn) -> None:
    logits = model(TEXTS)
    assert not torch.allclose(logits[:, 0], logits[:, 1])
    logits[:, 0].sum().backward()
    assert model.heads.weight.grad[0].abs().sum() > 0 == model.heads.weight.grad[1].abs().sum()
    half = model.convolutions[0].weight.grad.view(2, -1).abs().sum(dim=1)
    assert half[0] > 0 == half[1]


def test_empty_and_unknown_texts_have_finite_outputs_and_gradients() -> None:
    torch.manual_seed(0)
    model = TextCnn(vocab_size=10, num_classes=3)
    logits = model(torch.tensor([[0, 0], [1, 0], [1, 1]]))
    logits.logsumexp(-1).sum().backward()
    assert logits.isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())
