"""What attacks on a model found: accuracies with intervals, checks, a verdict, and the inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from torch import Tensor

from mlexpert import __version__
from mlexpert.storage.run_dir import now
from mlexpert.training.tracking import write_bytes, write_json

if TYPE_CHECKING:
    from rich.console import RenderableType

FOLDER = "attacks"
DECISIVE = ("valid_inputs", "unbounded_reaches_zero")
"""Checks without which the number means nothing."""
OPTIONAL = ("transfer", "threat_as_trained")
"""Checks that a trusted report may lack."""
Outcome = Literal["passed", "failed", "suspect", "not measured"]
Verdict = Literal["trusted", "suspect", "invalid"]


@dataclass(frozen=True)
class Check:
    """One question of the sanity list.

    Attributes:
        name: In one word.
        title: What is asked, as a statement that holds of a sound evaluation.
        verdict: "passed", "failed", "suspect" or "not measured".
        detail: What was seen.
    """

    name: str
    title: str
    verdict: Outcome
    detail: str


@dataclass(frozen=True)
class Share:
    """Rows that are decided rightly, of all.

    Attributes:
        correct: Their number.
        total: All rows.
    """

    correct: int
    total: int

    @property
    def accuracy(self) -> float:
        """The share."""
        return self.correct / self.total

    @property
    def interval(self) -> tuple[float, float]:
        """Ends of the 95 % interval of Wilson 1927, doi:10.1080/01621459.1927.10502953."""
        from scipy.stats import binomtest  # slow to import

        found = binomtest(self.correct, self.total).proportion_ci(0.95, method="wilson")
        return float(found.low), float(found.high)

    def to_dict(self) -> dict[str, Any]:
        """Return the form that the record keeps."""
        interval = list(self.interval)
        return {"accuracy": self.accuracy, "interval": interval, "correct": self.correct}

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.accuracy:.2%} ({low:.2%} to {high:.2%})"


@dataclass(frozen=True)
class Pictures:
    """P inputs (P, C, H, W) before and after, their classes (P,), and what was decided of both."""

    clean: np.ndarray
    adversarial: np.ndarray
    targets: np.ndarray
    before: np.ndarray
    after: np.ndarray


@dataclass(frozen=True)
class Robustness:
    """What `mlexpert.attack` returns.

    Attributes:
        part: "validation", "test" or "given".
        threat: What the attacker was allowed, as the record says it.
        trained: What the model was trained for, in the same form; None for nothing.
        clean: Rows decided rightly as they are. A decision is the most probable class.
        robust: Rows decided rightly whatever the attacks did: the worst over all of them.
        attacks: Name, parameters, rows standing before and after, seconds.
        checks: The sanity list.
        verdict: "trusted"; "suspect" where a check says so or none was made; "invalid" where
            the number means nothing.
        sweep: "epsilon" and "accuracy" under a cheap attack, on some of the rows.
        corruptions: "name", "severity" and "accuracy", of images.
        adversarial: (N, ...) the input that broke each row; the clean one where none did.
        broken: (N,) whether a row is decided wrongly, by itself or after an attack.
        rows_seen: "num_rows" attacked, "total_rows" of the split.
        seed: Of rows, starts and queries.
        landscape: "span" and "losses" (G, G) about the inputs, or None.
        validity: "largest" distance, "lowest" and "highest" value, rows "outside".
        zero_gradients: Share of rows whose cross-entropy has no slope; None if not measured.
        pictures: Some broken images, or None.
        created: When, in UTC.
        path: The record in the run folder, or None.
    """

    part: str
    threat: dict[str, Any]
    trained: dict[str, Any] | None
    clean: Share
    robust: Share
    attacks: tuple[dict[str, Any], ...]
    checks: tuple[Check, ...]
    verdict: Verdict
    sweep: tuple[dict[str, float], ...]
    corruptions: tuple[dict[str, Any], ...]
    adversarial: Tensor = field(repr=False)
    broken: Tensor = field(repr=False)
    rows_seen: dict[str, int]
    seed: int
    landscape: dict[str, Any] | None = field(repr=False)
    validity: dict[str, Any]
    zero_gradients: float | None
    pictures: Pictures | None = field(default=None, repr=False)
    created: str = field(default_factory=now)
    path: Path | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the record, as it is written into a run folder."""
        return {
            "part": self.part,
            "created": self.created,
            "mlexpert": __version__,
            "seed": self.seed,
            **self.rows_seen,
            "threat": self.threat,
            "trained": self.trained,
            "decision": "the most probable class",
            "clean": self.clean.to_dict(),
            "robust": self.robust.to_dict(),
            "attacks": list(self.attacks),
            "checks": [vars(check) for check in self.checks],
            "verdict": self.verdict,
            "sweep": list(self.sweep),
            "corruptions": list(self.corruptions),
            "landscape": self.landscape,
            "validity": self.validity,
            "zero_gradients": self.zero_gradients,
        }

    def __rich__(self) -> RenderableType:
        from mlexpert.robustness.table import rendered

        return rendered(self)

    def __str__(self) -> str:
        from mlexpert.robustness.table import as_text

        return as_text(self)


def verdict_of(checks: Sequence[Check]) -> Verdict:
    """Return what the sanity list says of a robust accuracy.

    "invalid" where a decisive check failed; "suspect" where another failed or is suspect, or one
    that is needed was not made; else "trusted".
    """
    if any(check.verdict == "failed" and check.name in DECISIVE for check in checks):
        return "invalid"
    doubtful = any(check.verdict in ("failed", "suspect") for check in checks)
    unmade = any(check.verdict == "not measured" and check.name not in OPTIONAL for check in checks)
    return "suspect" if doubtful or unmade else "trusted"


def record_name(part: str, threat: dict[str, Any]) -> str:
    """Return the name of a record's files, without their ending."""
    return f"{part}-{threat['norm']}-{threat['epsilon']:g}"


def write_record(run_dir: Path, found: Robustness) -> Path:
    """Write the record and its pictures into a run folder, each whole or not at all.

    Returns:
        The record's path.

    Raises:
        RunError: If the disk is full or read-only.
    """
    from safetensors.numpy import save

    path = run_dir / FOLDER / f"{record_name(found.part, found.threat)}.json"
    beside = path.with_suffix(".safetensors")
    if found.pictures is not None:
        write_bytes(beside, save(vars(found.pictures)))
    write_json(path, found.to_dict())
    if found.pictures is None:  # of an earlier attack under the same name
        beside.unlink(missing_ok=True)
    return path
