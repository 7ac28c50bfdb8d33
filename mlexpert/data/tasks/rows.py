"""Rows of a stream: which come in which task, and what no stream can be made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from mlexpert.data.columns import Columns
from mlexpert.data.examples import MEANS, Examples
from mlexpert.data.nearest import did_you_mean, listing
from mlexpert.data.targets import read_labels
from mlexpert.data.tasks.coverage import refuse_absent_tasks, task_classes_of
from mlexpert.data.tasks.join_examples import join_examples
from mlexpert.data.tasks.streams import Stream
from mlexpert.data.tasks.views import show_views
from mlexpert.errors import InputError

Parts = dict[str, Examples]
Values = dict[str, np.ndarray]
_NAMED = 5  # classes that share a position are named together up to here


def read_tasks(
    stream: Stream,
    read_one: Callable[[object, str | None], tuple[Parts, Values]],
    check: Callable[[Parts], None],
) -> Parts:
    """Read a stream into examples by split, each row with its task, tasks in order.

    Args:
        stream: The stream.
        read_one: Reads a data set, and the values (N,) of a column by which it is divided.
        check: Refuses targets that cannot be learned from.

    Raises:
        InputError: The data cannot be used, or no such stream can be made of it.
    """
    values: Values = {}
    if stream.sets is None:
        parts, values = read_one(stream.data, stream.by)
    else:
        parts = _read_sets(stream, read_one)
    first = parts["all" if "all" in parts else "train"]
    if first.objective != "classification":
        raise InputError(f"a stream's rows have one class each, and these have {_means(first)}")
    check(parts)
    if stream.view is not None:
        parts = show_views(parts, stream.view, stream.num_tasks, stream.scenario)
    elif stream.sets is None and stream.by is not None:
        parts = _by_values(parts, values, stream)
    elif stream.sets is None:
        parts = _by_classes(parts, first, stream)
    refuse_absent_tasks(parts)
    _refuse_classes(parts["all" if "all" in parts else "train"], stream)
    return {part: _in_order(rows) for part, rows in parts.items()}


def values_of(columns: Columns, by: str) -> np.ndarray:
    """Return the values (N,) of the column whose values are the tasks.

    Raises:
        InputError: There is no such column, or it holds something else than plain values.
    """
    if by not in columns.order:
        raise InputError(
            f"there is no column {by!r}, named by by=; columns: {listing(columns.order)}."
            + did_you_mean(str(by), columns.order)
        )
    if by not in columns.frame:
        raise InputError(f"column {by!r} cannot be by=: its values are no numbers and no strings")
    return read_labels(columns.frame[by], f"column {by!r}, whose values are the tasks,")


def _means(rows: Examples) -> str:
    return MEANS[rows.objective]


def _in_order(rows: Examples) -> Examples:
    tasks = np.asarray(rows.tasks)
    sorted_already = bool((np.diff(tasks) >= 0).all())
    return rows if sorted_already else rows.select(np.argsort(tasks, kind="stable"))


def _read_sets(
    stream: Stream, read_one: Callable[[object, str | None], tuple[Parts, Values]]
) -> Parts:
    """Read the data sets of all tasks and join them, by part."""
    read: list[Parts] = []
    for number, one in enumerate(stream.sets or ()):
        try:
            parts, _ = read_one(one, None)
        except InputError as error:
            raise InputError(f"data set {number} of the stream: {error}") from error
        if read and set(parts) != set(read[0]):
            raise InputError(
                f"data set {number} of the stream has the splits {_splits(parts)}, and data set 0 "
                f"has {_splits(read[0])}: give all of them the same"
            )
        read.append({part: _of_task(rows, number) for part, rows in parts.items()})
    return {part: join_examples([parts[part] for parts in read]) for part in read[0]}


def _splits(parts: Parts) -> str:
    return "none" if "all" in parts else listing(sorted(parts))


def _of_task(rows: Examples, number: int) -> Examples:
    return replace(rows, tasks=np.full(len(rows), number, dtype=np.int64))


def _by_values(parts: Parts, values: Values, stream: Stream) -> Parts:
    """Give each row the task that its value of a column stands for."""
    first = "all" if "all" in parts else "train"
    known = _shuffled(np.unique(values[first]), stream.order_seed)
    number_of = {value: number for number, value in enumerate(known.tolist())}
    for part, held in values.items():
        new = sorted(set(held.tolist()) - set(number_of), key=str)
        if new:
            raise InputError(
                f"the {part} split holds {listing(new)} in column {stream.by!r}, which the train "
                "split lacks: a task needs rows to train on"
            )
    tasks = {
        part: np.array([number_of[value] for value in held.tolist()], dtype=np.int64)
        for part, held in values.items()
    }
    return {part: replace(rows, tasks=tasks[part]) for part, rows in parts.items()}


def _shuffled(values: np.ndarray, seed: int | None) -> np.ndarray:
    return values if seed is None else np.random.default_rng(seed).permutation(values)


def _by_classes(parts: Parts, first: Examples, stream: Stream) -> Parts:
    """Deal the classes to the tasks, and give each row the task of its class."""
    classes = np.unique(np.asarray(first.targets))
    num_tasks = stream.num_tasks
    if stream.may_have_fewer:
        num_tasks = _most_tasks(len(classes), num_tasks, stream.scenario)
    if num_tasks > len(classes):
        raise InputError(
            f"num_tasks={num_tasks}, and there are {len(classes)} classes to be dealt to them: "
            "make fewer tasks"
        )
    dealt = np.array_split(_shuffled(classes, stream.order_seed), num_tasks)
    sizes = [len(held) for held in dealt]
    tasks = np.repeat(np.arange(num_tasks), sizes)
    places = np.concatenate([np.arange(size) for size in sizes])
    if stream.scenario == "domain":
        _check_domain(len(classes), num_tasks)
    order = np.argsort(np.concatenate(dealt), kind="stable")
    made = {}
    for part, rows in parts.items():
        dealt_as = order[np.searchsorted(classes, np.asarray(rows.targets))]
        made[part] = replace(rows, tasks=tasks[dealt_as])
        if stream.scenario == "domain":
            names = _names_of_places(dealt, first.class_names)
            made[part] = replace(made[part], targets=places[dealt_as], class_names=names)
    return made


def _most_tasks(num_classes: int, at_most: int, scenario: str) -> int:
    """Return the largest number of tasks that so many classes can be dealt to."""
    least = 1 if scenario == "class" else 2  # classes of a task
    for number in range(min(at_most, num_classes // least), 1, -1):
        if scenario != "domain" or num_classes % number == 0:
            return number
    return 1


def _check_domain(num_classes: int, num_tasks: int) -> None:
    """Refuse what cannot give every task the same number of classes, two at least."""
    if num_classes % num_tasks == 0 and num_classes // num_tasks > 1:
        return
    fit = [number for number in range(1, num_classes) if num_classes % number == 0]
    raise InputError(
        f"{num_classes} classes cannot be dealt to {num_tasks} tasks evenly, two or more to each, "
        "and in the scenario 'domain' a label is the position of its class within its task: "
        f"num_tasks= may be {', '.join(map(str, fit))}; or name the column of the tasks with by="
    )


def _names_of_places(dealt: list[np.ndarray], names: Mapping | None) -> dict[int, str]:
    """Name each position within a task after the classes that stand there: "0 / 2 / 4"."""
    known = names or {}
    return {
        place: " / ".join(str(known.get(label, label)) for label in labels[:_NAMED])
        + (" / ..." if len(labels) > _NAMED else "")
        for place, labels in enumerate(zip(*(held.tolist() for held in dealt), strict=True))
    }


def _refuse_classes(train: Examples, stream: Stream) -> None:
    """Raise an error where the classes of tasks are not what the scenario asks for."""
    if stream.scenario == "class" or (stream.scenario == "domain" and stream.sets is None):
        return
    met: dict = {}
    for number, labels in enumerate(task_classes_of(train)):
        if stream.scenario == "domain":
            new = [label for label in labels if number and label not in met]
            if new:
                raise InputError(
                    f"task {number} has label(s) {listing(new)} that task 0 lacks: in the scenario "
                    "'domain' all tasks have the same; where new ones come, it is 'class' or 'task'"
                )
        else:
            again = next((label for label in labels if label in met), None)
            if again is not None:
                raise InputError(
                    f"class {again!r} of task {met[again]} returns in task {number}: in the "
                    "scenario 'task' each class is of one task; 'class' and 'domain' allow it"
                )
            if len(labels) < 2:
                raise InputError(
                    f"task {number} has one class only, {labels[0]!r}: in the scenario 'task' "
                    "there would be nothing to tell apart. Make fewer tasks, or take 'class'"
                )
        met |= dict.fromkeys(labels, number)
