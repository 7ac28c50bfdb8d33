"""What a decision rule chose on validation, for the record of the run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Decision:
    """The fitted numbers of a decision rule.

    Attributes:
        temperature: What logits are divided by before the softmax.
        tau: Strength of the correction by the training prior; 0 is plain argmax.
        rule: How they were chosen, as a sentence for the report.
        rarest_rows: Validation rows of the class that has the fewest.
    """

    temperature: float
    tau: float
    rule: str
    rarest_rows: int
