"""What a check of the leakage audit has to say."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Severity = Literal["ok", "skipped", "note", "warning", "error"]
_GRAVITY: dict[Severity, int] = {"skipped": 0, "ok": 1, "note": 2, "warning": 3, "error": 4}

SHOWN = 10
"""How many rows or names a finding gives as examples."""


@dataclass(frozen=True)
class Finding:
    """What one check of the audit found.

    Attributes:
        check: Name of the check.
        severity: "ok": looked for and not found. "skipped": does not apply, so nothing was checked.
            "note": worth knowing. "warning": results may be too good. "error": results are too
            good; `fit` refuses to go on.
        message: What was seen, and what to do.
        count: How many rows, groups, columns or classes it is about.
        examples: The first few of them: row numbers from 0, names.
    """

    check: str
    severity: Severity
    message: str
    count: int = 0
    examples: tuple = ()


def worst_of_each(findings: Iterable[Finding]) -> list[Finding]:
    """Return the gravest finding of each check, and of equally grave ones that about the most."""
    worst: dict[str, Finding] = {}
    for finding in findings:
        known = worst.setdefault(finding.check, finding)
        worst[finding.check] = max(
            known, finding, key=lambda one: (_GRAVITY[one.severity], one.count)
        )
    return list(worst.values())
