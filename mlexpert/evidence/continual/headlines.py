"""What the head of the report says of a stream of tasks: a sentence and three cards."""

from __future__ import annotations

from typing import Any

import numpy as np

from mlexpert.evidence.continual.metrics import (
    average_accuracy,
    forgetting,
    metrics_of_stream,
    plasticity,
)
from mlexpert.evidence.continual.record import (
    StreamRecord,
    accuracy_over_tasks,
    stream_record,
)
from mlexpert.evidence.continual.sections import in_figures
from mlexpert.evidence.record import RunRecord

_CHOICE = {
    "class": "choosing among all classes met",
    "domain": "without being told the task",
    "task": "told the task",
}


def stream_sentence(record: RunRecord) -> str:
    """Return what was kept of the stream, on validation rows; empty for a run without one."""
    found = stream_record(record.run, record.history)
    if found is None or np.isnan(average_accuracy(found.asked, found.learned)):
        return ""
    average = average_accuracy(found.asked, found.learned)
    number = int((found.learned >= 0).sum())
    tasks = f"{number} tasks" if number > 1 else "one task"
    if found.is_joint:
        return (
            f"Trained on {tasks} at once, the network decides {100 * average:.1f} % of the "
            "validation rows rightly, as a mean over tasks."
        )
    choice = _CHOICE.get(found.scenario, found.scenario)
    kept = (
        f"After {tasks}, {choice}, the network decides {100 * average:.1f} % of the validation "
        "rows rightly, as a mean over tasks"
    )
    learned, lost = plasticity(found.asked, found.learned), forgetting(found.asked, found.learned)
    known = not np.isnan(lost) and not np.isnan(learned)
    after = f"; right after each was learned it was {100 * learned:.1f} %" if known else ""
    began = _began(record)
    of_test = f" Test rows are of the tasks from {began} on." if began and record.test else ""
    return f"{kept}{after}.{of_test}"


def stream_cards(record: RunRecord) -> list[dict[str, Any]]:
    """Return the cards of a stream, as those of the summary are; none for a run without one."""
    found = stream_record(record.run, record.history)
    if found is None:
        return []
    values = metrics_of_stream(found)
    notes = _notes(found)
    titles = {
        "average_accuracy": "Average accuracy over tasks",
        "forgetting": "Forgetting",
        "plasticity": "Accuracy right after learning a task",
    }
    cards = [_card(name, title, values[name], notes[name]) for name, title in titles.items()]
    return _of_test(record, cards) if record.test else cards


def _of_test(record: RunRecord, cards: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the cards with the average accuracy of the test split; the others are of validation.

    Test rows are looked at once, in the end: there is nothing that could have been forgotten.
    """
    first, *others = cards
    others = [{**card, "name": f"{card['name']} (validation)"} for card in others]
    value = accuracy_over_tasks(record.path / "predictions" / "test.safetensors")
    if np.isnan(value):
        return [{**first, "name": f"{first['name']} (validation)"}, *others]
    about = first["note"].replace("On validation rows", "On test rows").partition(" With")[0]
    began = _began(record)
    if began:  # what was sealed before is of another run
        about = about.replace("On test rows", f"On test rows of the tasks from {began} on")
        about += " Validation is of all tasks."
    of_test = _card("average_accuracy", first["name"], value, about)
    return [{**of_test, "validation": first["value"]}, *others]


def _began(record: RunRecord) -> int:
    """Return the first task that this run was given; those before were learned by another."""
    return int((record.run.get("stream") or {}).get("first_task") or 0)


def _notes(found: StreamRecord) -> dict[str, str]:
    told = metrics_of_stream(found)["task_aware_accuracy"]
    aware = (
        f" With the task told it is {told:.3f}."
        if found.scenario == "class" and not np.isnan(told)
        else ""
    )
    choice = _CHOICE.get(found.scenario, found.scenario)
    return {
        "average_accuracy": f"On validation rows, {choice}.{aware}",
        "forgetting": "The best accuracy before the last task less the last, mean over tasks but "
        "the last (Chaudhry et al. 2018). 0 is nothing forgotten.",
        "plasticity": "Mean over tasks (Riemer et al. 2019): what could still be learned, "
        "whatever was kept of it.",
    }


def _card(name: str, title: str, value: float, note: str) -> dict[str, Any]:
    shown = not np.isnan(value) and 0 <= value <= 1
    return {
        "name": title,
        "value": in_figures(name, value),
        "track": {"at": value, "low": 0.0, "width": 0.0} if shown else None,
        "interval": "",
        "interval_note": "",
        "validation": "",
        "argmax": "",
        "note": note,
    }
