"""One question about a run, and its answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

Status = Literal["passed", "failed", "not measured"]


@dataclass(frozen=True)
class Verdict:
    """One question and its answer.

    Attributes:
        question: What was asked, as a statement that holds when passed.
        status: The answer.
        measured: The numbers behind it; why not, where it was not measured.
        required: What would pass.
        asked: Whether the user asked for it (`criteria=`); otherwise it is asked of every run.
    """

    question: str
    status: Status
    measured: str
    required: str
    asked: bool = False


def answer(passed: bool | np.bool_) -> Status:
    """Return the status of what was measured."""
    return "passed" if passed else "failed"
