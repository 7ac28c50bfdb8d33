"""Drawing tokens by closed forms, and going on with a cache as without one."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor, nn

from mlexpert.blocks.backbones.token_model import TokenModel, places_behind
from mlexpert.blocks.decoding.continuing import continued
from mlexpert.blocks.decoding.sampling import kept, sampled
from mlexpert.blocks.layers.feed_forward import FeedForward
from mlexpert.blocks.layers.rms_norm import RMSNorm
from mlexpert.blocks.mixers.attention import Attention
from mlexpert.blocks.mixers.pre_norm_block import PreNormBlock

LOGITS = torch.log(torch.tensor([[0.1, 0.4, 0.2, 0.3]]))


def model(*, rotary: bool = True, boundary: int | None = None, seed: int = 0) -> TokenModel:
    torch.manual_seed(seed)
    blocks = [
        PreNormBlock(Attention(16, num_heads=2, rotary=rotary), FeedForward(16), dim=16)
        for _ in range(2)
    ]
    return TokenModel(
        blocks,
        vocab_size=11,
        dim=16,
        norm=partial(RMSNorm, weight=False),
        context=12,
        learned_positions=not rotary,
        boundary=boundary,
        tied=not rotary,
    ).eval()


def test_what_is_kept_follows_the_definitions() -> None:
    close = partial(torch.testing.assert_close, rtol=0, atol=1e-6)
    close(kept(LOGITS), LOGITS.exp())
    close(kept(LOGITS, top_k=2), torch.tensor([[0, 4 / 7, 0, 3 / 7]]))
    close(kept(LOGITS, top_p=0.5), torch.tensor([[0, 4 / 7, 0, 3 / 7]]))
    close(kept(LOGITS, top_p=0.35), torch.tensor([[0.0, 1, 0, 0]]))
    close(kept(LOGITS, top_p=1.0, top_k=99), LOGITS.exp())
    close(kept(LOGITS, top_k=3, top_p=0.75), torch.tensor([[0, 4 / 7, 0, 3 / 7]]))
    close(kept(LOGITS / 0.5), LOGITS.exp() ** 2 / 0.3)  # a temperature of 1/2 squares odds


@pytest.mark.parametrize("fields", [{}, {"top_k": 2}, {"top_p": 0.85}, {"temperature": 2.0}])
def test_tokens_are_drawn_with_these_probabilities(fields: dict) -> None:
    many = LOGITS.expand(20_000, -1)
    drawn = sampled(many, torch.Generator().manual_seed(0), **fields)
    cooled = LOGITS / fields.get("temperature", 1.0)
    others = {key: value for key, value in fields.items() if key != "temperature"}
    found = drawn.bincount(minlength=4) / len(many)
    torch.testing.assert_close(found, kept(cooled, **others)[0], rtol=0, atol=0.015)


def test_a_temperature_of_zero_takes_the_likeliest() -> None:
    assert sampled(LOGITS, torch.Generator(), temperature=0.0).tolist() == [1]


@pytest.mark.parametrize("rotary", [True, False])
@pytest.mark.parametrize("first", [1, 5])
def test_logits_with_a_cache_equal_those_without(rotary: bool, first: int) -> None:
    network, tokens = model(rotary=rotary), torch.randint(11, (2, 12))
    with torch.no_grad():
        expected = network(tokens)
        logits, state = network.read(tokens[:, :first], network.init_state(2, 12))
        torch.testing.assert_close(logits, expected[:, first - 1], rtol=0, atol=1e-5)
        for place in range(first, 12):
            logits, state = network.read(tokens[:, place : place + 1], state)
            torch.testing.assert_close(logits, expected[:, place], rtol=0, atol=1e-5)


@pytest.mark.parametrize("rotary", [True, False])
def test_texts_in_one_row_equal_the_texts_one_by_one(rotary: bool) -> None:
    network = model(rotary=rotary, boundary=0)
    texts = [torch.tensor([0, 3, 4, 5]), torch.tensor([0, 7]), torch.tensor([0, 2, 2, 9])]
    with torch.no_grad():
        together = network(torch.cat(texts)[None])[0].split([len(one) for one in texts])
        for text, logits in zip(texts, together, strict=True):
            torch.testing.assert_close(logits, network(text[None])[0], rtol=0, atol=1e-5)
        alone = model(rotary=rotary)(torch.cat(texts)[None])[0]
        assert not torch.allclose(alone[4:6], together[1], atol=1e-3)


def test_places_begin_at_boundaries() -> None:
    tokens = torch.tensor([[5, 5, 0, 5, 5], [0, 5, 0, 0, 5]])
    assert places_behind(tokens, 0).tolist() == [[0, 1, 0, 1, 2], [0, 1, 0, 0, 1]]


def greedy_without_a_cache(network: nn.Module, tokens: list[int], count: int) -> list[int]:
    """Read everything anew for every token, by the rule that `continued` documents."""
    read, begin, new = list(tokens), 0, []
    for _ in range(count):
        if len(read) - begin > network.context:
            begin = len(read) - network.context // 2
        with torch.no_grad():
            logits: Tensor = network(torch.tensor([read[begin:]]))[0, -1]
        new.append(int(logits.argmax()))
        read.append(new[-1])
    return new


@pytest.mark.parametrize("rotary", [True, False])
def test_goes_on_beyond_the_context_as_without_a_cache(rotary: bool) -> None:
    network = model(rotary=rotary)
    generator = torch.Generator()
    found = continued(network, [1, 2, 3], max_new_tokens=40, generator=generator, temperature=0.0)
    assert found == greedy_without_a_cache(network, [1, 2, 3], 40)


def test_ends_forbids_and_shows_tokens() -> None:
    network, told = model(), []
    with torch.no_grad():
        network.embedding.weight[5] *= 4.0

    def go_on(**more: object) -> list[int]:
        generator = torch.Generator().manual_seed(0)
        return continued(network, [1], max_new_tokens=60, generator=generator, **more)

    drawn = go_on(on_token=told.append)
    assert drawn == told == go_on() and len(drawn) == 60 and len(set(drawn)) > 3
    end = drawn[20]
    assert go_on(until=end) == drawn[: drawn.index(end)]
    without = go_on(forbidden=(end, drawn[0]))
    assert len(without) == 60 and not {end, drawn[0]} & set(without)
    assert go_on(temperature=0.0) == go_on(top_k=1)
