"""Greedy decoding and beam search against all answers that there are, and against no cache."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from mlexpert.blocks.backbones.encoder_decoder import EncoderDecoder
from mlexpert.blocks.decoding.beam import beam_search, penalty
from mlexpert.blocks.decoding.greedy import Decoded, greedy

PAD, UNKNOWN, END, SIZE = 0, 1, 2, 6
TOKENS = {"begin": END, "end": END, "pad": PAD, "forbidden": (PAD, UNKNOWN)}


def model(seed: int = 0) -> EncoderDecoder:
    torch.manual_seed(seed)
    return EncoderDecoder(9, SIZE, dim=16, num_layers=2, num_heads=2).eval()


def sources(*lengths: int) -> Tensor:
    rows = torch.zeros(len(lengths), max(lengths), dtype=torch.long)
    for row, length in enumerate(lengths):
        rows[row, :length] = torch.randint(2, 9, (length,))
    return rows


def ask(
    network: EncoderDecoder, x: Tensor, *, beam: int = 0, max_length: int = 6, **more
) -> Decoded:
    memory, mask = network.encode(x)
    asked = {"batch_size": len(x), "max_length": max_length, **TOKENS}
    if not beam:
        state = network.start(memory, mask, max_length=max_length)
        return greedy(network.step, state, **asked)
    memory, mask = memory.repeat_interleave(beam, 0), mask.repeat_interleave(beam, 0)
    state = network.start(memory, mask, max_length=max_length)
    return beam_search(network.step, network.reorder, state, beam=beam, **asked, **more)


def score(network: EncoderDecoder, source: Tensor, tokens: list[int]) -> float:
    """Return the sum of log-probabilities of an answer, in one pass without a cache."""
    given = torch.tensor([[END, *tokens[:-1]]])
    with torch.no_grad():
        likely = network(source[None], given)[0].log_softmax(dim=1)
    return float(likely[torch.arange(len(tokens)), torch.tensor(tokens)].sum())


def answer(decoded: Decoded, row: int) -> list[int]:
    return [token for token in decoded.tokens[row].tolist() if token != PAD]


def test_steps_equal_one_pass() -> None:
    network, x = model(), sources(5, 2, 4)
    given = torch.randint(2, SIZE, (3, 7))
    expected = network(x, given)
    state = network.start(*network.encode(x), max_length=7)
    with torch.no_grad():
        for place in range(7):
            logits, state = network.step(given[:, place], state)
            torch.testing.assert_close(logits, expected[:, place], rtol=0, atol=1e-5)


def test_padding_of_sources_changes_nothing() -> None:
    network, x, given = model(), sources(5, 2), torch.randint(2, SIZE, (2, 4))
    alone = network(x[1:, :2], given[1:])
    torch.testing.assert_close(network(x, given)[1:], alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize("beam", [0, 1, 3, 5])
@pytest.mark.parametrize("seed", [0, 1])
def test_scores_are_those_of_the_answers(beam: int, seed: int) -> None:
    network, x = model(seed), sources(5, 2, 4)
    decoded = ask(network, x, beam=beam)
    for row in range(3):
        source = x[row][x[row] != 0]
        expected = score(network, source, answer(decoded, row))
        assert float(decoded.scores[row]) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("alpha", [0.0, 1.0])
@pytest.mark.parametrize("seed", range(4))
def test_a_beam_of_one_is_greedy(seed: int, alpha: float) -> None:
    network, x = model(seed), sources(5, 2, 4, 1)
    first, second = ask(network, x), ask(network, x, beam=1, length_penalty=alpha)
    assert torch.equal(first.tokens, second.tokens)
    torch.testing.assert_close(first.scores, second.scores)


@pytest.mark.parametrize("alpha", [0.0, 0.7])
def test_a_wide_beam_finds_the_best_of_all_answers(alpha: float) -> None:
    network, x = model(3), sources(4, 3)
    decoded = ask(network, x, beam=64, max_length=3, length_penalty=alpha)
    letters = range(END + 1, SIZE)
    ended = [[*body, END] for n in range(3) for body in itertools.product(letters, repeat=n)]
    answers = [*ended, *(list(body) for body in itertools.product(letters, repeat=3))]
    for row in range(2):
        source = x[row][x[row] != 0]
        ranked = {
            tuple(one): score(network, source, one) / ((5 + len(one)) / 6) ** alpha
            for one in answers
        }
        assert tuple(answer(decoded, row)) == max(ranked, key=lambda one: ranked[one])


def test_nothing_follows_the_end() -> None:
    network = model()
    with torch.no_grad():
        network.head.bias[END] = 50.0
    for beam in (0, 3):
        decoded = ask(network, sources(3, 2), beam=beam)
        assert decoded.tokens[:, 0].eq(END).all() and decoded.tokens[:, 1:].eq(PAD).all()


def test_forbidden_tokens_are_never_said() -> None:
    network = model()
    with torch.no_grad():
        network.head.bias[UNKNOWN] = 50.0
    for beam in (0, 2):
        assert not ask(network, sources(3, 2), beam=beam).tokens.eq(UNKNOWN).any()


def test_the_penalty_is_that_of_the_paper() -> None:
    torch.testing.assert_close(penalty(torch.tensor([1.0, 7.0]), 1.0), torch.tensor([1.0, 2.0]))
    assert penalty(torch.tensor([9.0]), 0.0) == 1.0
