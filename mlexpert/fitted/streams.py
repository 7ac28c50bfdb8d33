"""What a model says of a stream: piece by piece, and errors with the row's number in it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from mlexpert.data.schema import Schema
from mlexpert.data.streams import one_row
from mlexpert.errors import InputError
from mlexpert.fitted.predictions import in_user_terms
from mlexpert.recipe import Parts


@dataclass(frozen=True)
class Piece:
    """What a model says of some rows of a stream.

    Attributes:
        start: Number of the first of them in the stream, from 0.
        predictions: (N,) as of `predict`.
        probabilities: (N, K) as of `predict_proba`; None for regression.
    """

    start: int
    predictions: np.ndarray
    probabilities: np.ndarray | None

    def __len__(self) -> int:
        return len(self.predictions)


def say_of(
    pieces: Iterator[Any], logits_of: Callable[[Any], Tensor], parts: Parts, schema: Schema
) -> Iterator[Piece]:
    """Yield what a model says of pieces of rows.

    Args:
        pieces: Each of a form that can be predicted from.
        logits_of: Returns the logits (N, ...) of a piece.
        parts: Of whose decision rule the answer is.
        schema: What is known of the training data.

    Raises:
        InputError: When its turn comes, if a row is refused; the message has its number.
    """
    start = 0
    for piece in pieces:
        try:
            logits = logits_of(piece)
        except InputError as error:
            raise _located(error, piece, start, logits_of) from error
        is_number = schema.objective == "regression"
        probabilities = None if is_number else parts.decide.probabilities(logits).numpy()
        yield Piece(start, in_user_terms(parts.decide.decide(logits), schema), probabilities)
        start += len(logits)


def _located(
    error: InputError, piece: Any, start: int, logits_of: Callable[[Any], Tensor]
) -> InputError:
    """Return the error with the number of the first row that has one, where one alone has."""
    if isinstance(piece, str | Path | Mapping):
        return error
    for number in range(len(piece)):
        try:
            logits_of(one_row(piece, number))
        except InputError as alone:
            row = f"row {start + number}"
            message = re.sub(r"\brow 0\b", row, str(alone))
            return InputError(f"{row} of the stream: {message}")
    return InputError(f"from row {start} of the stream on: {error}")
