"""What head and verdicts of the report say of attacks: a sentence, a card, a row, two answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mlexpert.evidence.metric_table import METRICS, is_met, requirement
from mlexpert.evidence.record import RunRecord
from mlexpert.evidence.robustness.files import trained_threat
from mlexpert.evidence.robustness.record import AttackRecord
from mlexpert.evidence.robustness.words import (
    VERDICT_NOTES,
    interval,
    percent,
    threat_name,
    unmet,
)
from mlexpert.evidence.verdict import Status, Verdict, answer

ROBUST = "robust_accuracy"
_QUESTION = "The attacks leave no doubt about the robust accuracy"


def robust_sentence(record: RunRecord) -> str:
    """Return what attacks left standing; empty where none were measured."""
    one = _counted(record)
    if one is None:
        return ""
    ends = ""
    if one.robust.interval:
        low, high = (100 * end for end in one.robust.interval)
        ends = f" (95 % interval {low:.1f} to {high:.1f} %)"
    without = f"; {percent(one.clean.accuracy)} without an attack" if one.clean else ""
    doubt = "" if one.verdict == "trusted" else f" This number is {one.verdict or 'not checked'}."
    return (
        f"Under attack ({threat_name(one.threat)}) {percent(one.robust.accuracy)} of "
        f"{one.num_rows:,} {one.part} rows are still decided rightly{ends}{without}.{doubt}"
    )


def robust_cards(record: RunRecord) -> list[dict[str, Any]]:
    """Return the card of the robust accuracy, as those of the summary are; none without one."""
    one = _counted(record)
    if one is None:
        return []
    low, high = one.robust.interval or (0.0, 0.0)
    other = record.shown is not None and one.part != record.shown.name
    return [
        {
            "name": METRICS[ROBUST].title + (f" ({one.part})" if other else ""),
            "value": f"{one.robust.accuracy:.3f}",
            "track": {"at": one.robust.accuracy, "low": low, "width": high - low},
            "interval": interval(one.robust),
            "interval_note": "",
            "validation": "",
            "argmax": "",
            "note": f"{threat_name(one.threat)}: the worst case over all attacks on "
            f"{one.num_rows:,} rows. {_of_verdict(one)}",
        }
    ]


def robust_rows(record: RunRecord) -> list[dict[str, str | None]]:
    """Return the row of the table of all metrics; none where nothing was measured."""
    first = _counted(record)
    if first is None:
        return []
    found = {one.part: one for one in reversed(record.attacks) if one.threat.is_like(first.threat)}
    values = {part: f"{one.robust.accuracy:.3f}" for part, one in found.items()}
    test = found.get("test")
    return [
        {
            "name": f"{METRICS[ROBUST].title} ({threat_name(first.threat)})",
            "better": "higher",
            "validation": values.get("validation", "\N{EN DASH}"),
            "test": values.get("test", "\N{EN DASH}"),
            "interval": interval(test.robust) if test else "",
            "interval_note": f"Wilson, of {test.num_rows:,} rows" if test else "",
        }
    ]


def robust_verdicts(record: RunRecord) -> Iterator[Verdict]:
    """Yield whether the robust accuracy can be believed; nothing for a run without attacks."""
    trained = trained_threat(record.run)
    if not record.attacks and trained is None:
        return
    required = "no check that failed or is suspect"
    if trained is not None:
        required = f"attacked by what it was trained against, and {required}"
    one = _counted(record)
    if one is None or not one.verdict:
        why = "the model was not attacked" if one is None else "the record holds no verdict"
        yield Verdict(_QUESTION, "not measured", f"{why}{_how(record)}", required)
        return
    if trained is not None and not one.is_as_trained:
        why = f"it was attacked by {threat_name(one.threat)} alone"
        yield Verdict(_QUESTION, "not measured", why, required)
        return
    titles = ", ".join(check["title"] for check in unmet(one))
    measured = f"{one.verdict}, on {one.part}" + (f": {titles}" if titles else "")
    yield Verdict(_QUESTION, answer(one.verdict == "trusted"), measured, required)


def robust_criterion(record: RunRecord, bound: float) -> Verdict:
    """Return whether the robust accuracy is at least what the user asked for.

    A number in doubt is an upper bound: it can fall short, and it cannot pass.
    """
    required = requirement(ROBUST, bound)
    one = _counted(record)
    if one is None:
        why = f"the model was not attacked{_how(record)}"
        return Verdict(ROBUST, "not measured", why, required, asked=True)
    if one.trained is not None and not one.is_as_trained:
        why = f"it was trained against another threat, {threat_name(one.trained)}{_how(record)}"
        return Verdict(ROBUST, "not measured", why, required, asked=True)
    met = is_met(ROBUST, one.robust.accuracy, bound)
    measured = f"{one.robust.accuracy:.3f} on {one.part} ({threat_name(one.threat)})"
    status: Status = answer(met)
    if one.verdict == "invalid" or (met and one.verdict != "trusted"):
        status = "not measured"
    if one.verdict != "trusted":
        measured += f"; the record is {one.verdict or 'not checked'}"
    ends = one.robust.interval
    if (
        ends
        and status != "not measured"
        and is_met(ROBUST, ends[0], bound) != is_met(ROBUST, ends[1], bound)
    ):
        measured += f"; its 95 % interval, {interval(one.robust)}, leaves that open"
    return Verdict(ROBUST, status, measured, required, asked=True)


def _counted(record: RunRecord) -> AttackRecord | None:
    """Return the record that stands for the run: the first, of the trained threat if there is one.

    Inputs that were handed over are not of this run's splits, so they count last.
    """
    return record.attacks[0] if record.attacks else None


def _of_verdict(one: AttackRecord) -> str:
    word = one.verdict.capitalize() if one.verdict else "Not checked"
    return f"{word}. {VERDICT_NOTES[one.verdict]}" if one.verdict else f"{word}."


def _how(record: RunRecord) -> str:
    return f"; mlexpert attack {record.path.resolve().name} does it"
