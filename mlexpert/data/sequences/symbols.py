"""Sequences of symbols as numbers: a vocabulary of training, and what it does not have."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain

import numpy as np
import torch
from torch import Tensor

from mlexpert.data.batches import RaggedStore
from mlexpert.data.schema import TextStats

PAD, UNKNOWN, END, FIRST = 0, 1, 2, 3
"""Ids: padding, what training does not have, the end (with which a decoder begins as well), and the
first symbol."""


def describe_symbols(sequences: Sequence[tuple[str, ...]], *, are_strings: bool) -> TextStats:
    """Return the symbols of training sequences, most frequent first, and how long these are.

    The description's `tokenizer` is JSON: "symbols", whose ids begin with `FIRST`, and
    "are_strings".

    Args:
        sequences: Of the train split.
        are_strings: Whether they came as strings, and not as lists.
    """
    counts = Counter(chain.from_iterable(sequences))
    symbols = sorted(counts, key=lambda symbol: (-counts[symbol], symbol))
    lengths = np.array([len(sequence) for sequence in sequences])
    return TextStats(
        tokenizer=json.dumps({"symbols": symbols, "are_strings": are_strings}, ensure_ascii=False),
        vocab_size=FIRST + len(symbols),
        length_median=round(float(np.median(lengths))),
        length_p99=round(float(np.quantile(lengths, 0.99))),
    )


def symbols_in(stats: TextStats) -> list[str]:
    """Return the symbols of a vocabulary in the order of their ids, from `FIRST` on."""
    return json.loads(stats.tokenizer)["symbols"]


def are_strings(stats: TextStats) -> bool:
    """Return whether the training sequences came as strings, and not as lists."""
    return bool(json.loads(stats.tokenizer)["are_strings"])


def encode_symbols(sequences: Iterable[tuple[str, ...]], stats: TextStats) -> RaggedStore:
    """Return sequences as ids, each with the end behind it, so that none is empty."""
    ids = {symbol: number for number, symbol in enumerate(symbols_in(stats), start=FIRST)}
    rows = [[*(ids.get(symbol, UNKNOWN) for symbol in row), END] for row in sequences]
    tokens = torch.tensor(list(chain.from_iterable(rows)), dtype=torch.int32)
    offsets = torch.tensor([0, *map(len, rows)]).cumsum(0)
    return RaggedStore(tokens, offsets)


def padded(sequences: Sequence[tuple[str, ...]], stats: TextStats, padding: int) -> Tensor:
    """Return the ids (N, T) of sequences and their ends, padded to the longest."""
    store = encode_symbols(sequences, stats)
    lengths = store.offsets.diff()
    rows = torch.full((len(lengths), int(lengths.max())), padding)
    rows[torch.arange(rows.shape[1]) < lengths[:, None]] = store.tokens.long()
    return rows
