"""The tagger: padding, features of words, and both encoders, with and without a chain."""

from __future__ import annotations

from typing import Literal

import pytest
import torch
import torch.nn.functional as F

from mlexpert.blocks.backbones.tagger import Tagger
from mlexpert.blocks.layers.word_features import WordFeatures

WIDTH, LETTERS = 9, 12
KINDS = torch.tensor([0, 1, 2, 2, 2, 3, 3, 4, 4, 5, 6, 7])


def words(*lengths: int) -> torch.Tensor:
    """Return sentences (B, T * WIDTH) of random words, padded on the right."""
    rows = torch.zeros(len(lengths), max(lengths), WIDTH, dtype=torch.long)
    for row, length in enumerate(lengths):
        rows[row, :length, 0] = torch.randint(1, 20, (length,))
        for place in range(length):
            letters = int(torch.randint(1, WIDTH - 2, (1,)))
            rows[row, place, 1 : letters + 3] = torch.tensor(
                [10, *torch.randint(1, 10, (letters,)).tolist(), 11]
            )
    return rows.flatten(1)


def tagger(encoder: Literal["bilstm", "transformer"] = "bilstm", crf: bool = False) -> Tagger:
    torch.manual_seed(0)
    features = WordFeatures(20, LETTERS, word_dim=8, character_dim=6, num_filters=10, kinds=KINDS)
    return Tagger(
        features, width=WIDTH, num_tags=5, encoder=encoder, dim=16, num_layers=2, crf=crf
    ).eval()


@pytest.mark.parametrize("encoder", ["bilstm", "transformer"])
def test_a_padded_batch_equals_its_sentences_alone(encoder) -> None:
    model, lengths = tagger(encoder), (7, 1, 4)
    inputs = words(*lengths)
    together = model(inputs)
    for row, length in enumerate(lengths):
        alone = model(inputs[row : row + 1, : length * WIDTH])
        torch.testing.assert_close(together[row, :length], alone[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("encoder", ["bilstm", "transformer"])
def test_every_parameter_learns(encoder) -> None:
    model = tagger(encoder, crf=True).train()
    inputs = words(6, 3)
    tags = torch.randint(0, 5, (2, 6))
    assert model.crf is not None
    (-model.crf.log_likelihood(model(inputs), tags, model.mask(inputs)).sum()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_the_convolution_is_that_of_the_letters_alone() -> None:
    features = tagger().features
    word = words(1).reshape(1, 1, WIDTH)
    letters = word[0, 0, 1:]
    letters = letters[letters != 0]
    x = features.characters(letters).T[None]
    expected = F.conv1d(x, features.filters.weight, features.filters.bias, padding=1)
    expected = expected.relu().amax(dim=2)
    torch.testing.assert_close(features(word)[0, :, 8:18], expected)


def test_endings_and_shapes_are_shared_by_words_that_have_them() -> None:
    features = tagger().features
    pair = torch.zeros(1, 3, WIDTH, dtype=torch.long)
    pair[..., 0] = 1
    pair[0, 0, 1:7] = torch.tensor([10, 5, 2, 3, 4, 11])
    pair[0, 1, 1:8] = torch.tensor([10, 6, 4, 2, 3, 4, 11])
    pair[0, 2, 1:7] = torch.tensor([10, 2, 2, 3, 4, 11])  # no capital
    found = features(pair)[0, :, 18:]
    begin2, end2, begin3, end3, shape = found.split(16, dim=1)
    torch.testing.assert_close(end2[0], end2[1])
    torch.testing.assert_close(end3[0], end3[1])
    torch.testing.assert_close(shape[0], shape[1])
    for one in (begin2, begin3):
        assert not torch.allclose(one[0], one[1])
    assert not torch.allclose(shape[0], shape[2])


def test_words_are_dropped_in_training_alone() -> None:
    torch.manual_seed(0)
    features = WordFeatures(20, LETTERS, word_dim=8, word_dropout=0.5, affix_dropout=0.5)
    inputs = torch.full((1, 400, WIDTH), 3)
    known = features.words.weight[3]
    in_training = features(inputs)[0, :, :8].eq(known).all(dim=1).float().mean()
    assert 0.4 < in_training < 0.6
    affixes = features(inputs)[0, :, -1].ne(0).float().mean()
    assert 0.4 < affixes < 0.6
    assert features.eval()(inputs)[0, :, :8].eq(known).all()


def test_padding_is_no_word_when_words_are_dropped() -> None:
    features = WordFeatures(20, LETTERS, word_dropout=0.9)
    assert features(torch.zeros(1, 50, WIDTH, dtype=torch.long))[..., :100].eq(0).all()
