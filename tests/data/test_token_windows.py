"""Windows are views of one row of tokens, and together score every token once."""

from __future__ import annotations

from itertools import chain

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mlexpert.data.sequences.text_codec import BOUNDARY, TextCodec, fit_codec
from mlexpert.data.sequences.token_windows import TokenStore, covering, every_start, joined


@given(st.data())
def test_every_token_but_the_first_is_scored_once(data: st.DataObject) -> None:
    num_tokens = data.draw(st.integers(2, 60))
    width = data.draw(st.integers(2, num_tokens))
    stride = data.draw(st.integers(1, width - 1))
    windows = covering(num_tokens, width, stride)
    store = TokenStore(torch.arange(num_tokens, dtype=torch.int32), windows.starts, width)
    taken = store.take(torch.arange(len(store)))
    scored = [row[-count:].tolist() for row, count in zip(taken, windows.scored, strict=True)]
    assert list(chain(*scored)) == list(range(1, num_tokens))
    assert (windows.scored[1:] <= stride).all()


def test_windows_of_the_context_length_stand_side_by_side() -> None:
    windows = covering(31, 11, 10)
    assert windows.starts.tolist() == [0, 10, 20] and windows.scored.tolist() == [10, 10, 10]


def test_every_start_is_a_row_and_nothing_is_copied() -> None:
    tokens = torch.arange(50, dtype=torch.int32)
    store = TokenStore(tokens, every_start(50, 8), 8)
    assert len(store) == 43 and store.tokens.data_ptr() == tokens.data_ptr()
    index = torch.tensor([42, 0, 7])
    expected = tokens.unfold(0, 8, 1)[index].long()
    assert torch.equal(store.take(index), expected)
    some = store.select(torch.tensor([7, 42]))
    assert some.tokens.data_ptr() == tokens.data_ptr()
    assert torch.equal(some.take(torch.tensor([1])), expected[:1])
    assert store.longest(5).tolist() == [0, 1, 2, 3, 4]
    assert torch.equal(store.to(torch.device("cpu")).take(index), expected)


@pytest.mark.parametrize("texts", [["abc"], ["abc", "ca"]])
def test_texts_stand_behind_boundaries(texts: list[str]) -> None:
    codec = TextCodec(fit_codec(["abc"], "characters", 300))
    row = joined(texts, codec).tolist()
    pieces = [[BOUNDARY, *codec.encode(text).tolist()] for text in texts]
    assert row == [*chain(*pieces)] + ([BOUNDARY] if len(texts) > 1 else [])
