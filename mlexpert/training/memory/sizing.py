"""What was predicted, probed and chosen."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from mlexpert.training.evaluation import LARGEST

MIB = 2**20


@dataclass(frozen=True)
class Probe:
    """Two real training steps with micro-batches of one size.

    Attributes:
        size: Rows of a micro-batch.
        fits: Whether it ran, and left a margin.
        measured: Peak in bytes beyond what was taken before; None where it did not run to the end.
        row_seconds: Seconds for each row of the second step.
        too_few_rows: Whether it was refused because a BatchNorm met a single row. That is no lack
            of memory.
        predicted: Peak in bytes by the fake run alone.
        expected: Peak in bytes that was expected after the probes before this one.
    """

    size: int
    fits: bool
    measured: int | None = None
    row_seconds: float = 0.0
    too_few_rows: bool = False
    predicted: int | None = None
    expected: int | None = None


@dataclass(frozen=True)
class Sizing:
    """A micro-batch that was tried and fits, or the fact that none does.

    Attributes:
        size: Rows of a micro-batch; 0 where none fits.
        batch_size: Rows of the global batch, of this process's share of it.
        available: Bytes that were free.
        needed: Peak in bytes at `size`; where none fits, of the smallest micro-batch, as far as
            that is known.
        predicted: Peak in bytes that was expected at `size` before it was probed.
        probes: All of them, in order.
        why: A sentence for people.
        width: Length in tokens of the sequences that were probed; None for inputs of one size.
        tight: Whether the C library has to give freed memory back at once for this to fit.
        checkpointing: Whether activations are computed again in backward.
        unpredicted: Why there was no prediction, where there was none.
    """

    size: int
    batch_size: int
    available: int
    needed: int | None
    predicted: int | None
    probes: tuple[Probe, ...]
    why: str
    width: int | None = None
    tight: bool = False
    checkpointing: bool = False
    unpredicted: str = ""

    @property
    def measured(self) -> int | None:
        """Peak in bytes that was measured at `size`."""
        return next((p.measured for p in self.probes if p.size == self.size), None)

    @property
    def is_roomy(self) -> bool:
        """Whether the whole batch fits several times over."""
        return self.size == self.batch_size and 4 * (self.needed or 0) <= self.available

    @property
    def looks(self) -> int:
        """Rows that can be looked at together: that takes less than training on as many."""
        times = max(1, self.available // max(1, 2 * (self.needed or 1)))
        return min(LARGEST, self.size * times)

    @property
    def error_percent(self) -> float | None:
        """What was expected against what was measured at `size`, in per cent of the latter."""
        if self.predicted is None or not self.measured:
            return None
        return 100 * (self.predicted - self.measured) / self.measured

    def record(self) -> dict[str, Any]:
        """Return all of it as JSON can hold it."""
        return {
            **asdict(self),
            "probes": [asdict(probe) for probe in self.probes],
            "measured": self.measured,
            "error_percent": self.error_percent,
        }


def mib(size: int) -> str:
    """Write bytes as whole MiB."""
    return f"{-(-size // MIB):,} MiB"
