"""The chain against every sequence of tags there is."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from mlexpert.blocks.structured.crf import Crf

MASK = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [0, 0, 1, 1], [1, 0, 1, 1], [0, 1, 0, 0]]).bool()


def build(num_tags: int = 3) -> Crf:
    torch.manual_seed(0)
    crf = Crf(num_tags)
    for parameter in crf.parameters():
        torch.nn.init.normal_(parameter)
    return crf


def scores_of_all(crf: Crf, emissions: Tensor) -> tuple[list[tuple[int, ...]], Tensor]:
    """Return every sequence of tags for emissions (T, K), and its score."""
    length, num_tags = emissions.shape
    sequences = list(itertools.product(range(num_tags), repeat=length))
    scores = []
    for tags in sequences:
        score = crf.start[tags[0]] + crf.end[tags[-1]]
        score = score + sum(emissions[t, tag] for t, tag in enumerate(tags))
        score = score + sum(crf.transitions[a, b] for a, b in itertools.pairwise(tags))
        scores.append(score)
    return sequences, torch.stack(scores)


def test_log_likelihood_equals_enumeration() -> None:
    crf, emissions = build(), torch.randn(5, 4, 3, requires_grad=True)
    tags = torch.randint(3, (5, 4)).masked_fill(~MASK, -100)
    found = crf.log_likelihood(emissions, tags, MASK)
    wanted = []
    for row in range(5):
        sequences, scores = scores_of_all(crf, emissions[row, MASK[row]])
        index = sequences.index(tuple(tags[row, MASK[row]].tolist()))
        wanted.append(scores.log_softmax(dim=0)[index])
    expected = torch.stack(wanted)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    slopes = [
        torch.autograd.grad(value.sum(), [emissions, *crf.parameters()])
        for value in (found, expected)
    ]
    torch.testing.assert_close(slopes[0], slopes[1], rtol=1e-5, atol=1e-5)
    assert not slopes[0][0][~MASK].any()


def test_viterbi_equals_enumeration() -> None:
    crf, emissions = build(), torch.randn(5, 4, 3)
    tags, best = crf.viterbi(emissions, MASK)
    assert torch.equal(tags.eq(-100), ~MASK)
    for row in range(5):
        sequences, scores = scores_of_all(crf, emissions[row, MASK[row]])
        assert tuple(tags[row, MASK[row]].tolist()) == sequences[int(scores.argmax())]
        torch.testing.assert_close(best[row], scores.max())


def test_no_mask_is_all_real() -> None:
    crf, emissions, tags = build(), torch.randn(2, 4, 3), torch.randint(3, (2, 4))
    whole = torch.ones(2, 4, dtype=torch.bool)
    expected = crf.log_likelihood(emissions, tags, whole)
    assert torch.equal(crf.log_likelihood(emissions, tags), expected)
    assert torch.equal(crf.viterbi(emissions)[0], crf.viterbi(emissions, whole)[0])


def test_gradient_check() -> None:
    crf, tags = build().double(), torch.randint(3, (5, 4))
    emissions = torch.randn(5, 4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: crf.log_likelihood(x, tags, MASK), emissions)


def test_probabilities_sum_to_one() -> None:
    crf, emissions = build(2), torch.randn(1, 5, 2)
    every = torch.tensor(list(itertools.product(range(2), repeat=5)))
    found = crf.log_likelihood(emissions.expand(32, -1, -1), every)
    torch.testing.assert_close(found.exp().sum(), torch.tensor(1.0))


@pytest.mark.parametrize("autocast", [False, True])
def test_sentence_without_words(autocast: bool) -> None:
    crf, emissions = build(), torch.randn(2, 4, 3, requires_grad=True)
    mask = torch.tensor([[False] * 4, [True] * 4])
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        found = crf.log_likelihood(emissions, torch.zeros(2, 4, dtype=torch.long), mask)
        tags, best = crf.viterbi(emissions.detach(), mask)
    assert found[0] == 0 and found[1] < 0 and found.dtype == torch.float32
    assert tags[0].eq(-100).all() and best[0] == 0
    found.sum().backward()
    assert not emissions.grad[0].any() and emissions.grad[1].isfinite().all()
