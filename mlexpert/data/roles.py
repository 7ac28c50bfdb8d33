"""Which column is what: target, inputs, group and time, named by the user or inferred."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mlexpert.data.columns import TARGET_NAMES, Columns
from mlexpert.data.examples import Kind
from mlexpert.data.nearest import did_you_mean, listing
from mlexpert.data.table import ColumnKind, column_kind, holds_dates, looks_like_text
from mlexpert.errors import InputError


@dataclass(frozen=True)
class Roles:
    """The role of each column that has one.

    Attributes:
        kind: What one input is.
        inputs: The input columns; one for images and text.
        column_kinds: For a table, what each input column holds.
        target: The column of the labels, several columns of 0 and 1 (one for each label), or None
            for rows to predict.
        group: The column of the groups, or None.
        time: The column of the times, or None.
        subgroups: The columns by which results are also reported.
        notes: What was left out, or is read in a way of its own.
        weight: The column of the rows' weights, or None.
    """

    kind: Kind
    inputs: tuple[str, ...]
    column_kinds: dict[str, ColumnKind]
    target: str | tuple[str, ...] | None
    group: str | None
    time: str | None
    subgroups: tuple[str, ...]
    notes: tuple[str, ...]
    weight: str | None = None

    @property
    def targets(self) -> tuple[str, ...]:
        """The columns of the target: none, one or several."""
        if self.target is None:
            return ()
        return (self.target,) if isinstance(self.target, str) else self.target


def find_roles(
    columns: Columns,
    *,
    target: str | Sequence[str] | None = None,
    inputs: str | Sequence[str] | None = None,
    group: str | None = None,
    time: str | None = None,
    subgroups: str | Sequence[str] | None = None,
    weight: str | None = None,
    by: str | None = None,
    target_needed: bool = True,
) -> Roles:
    """Resolve every role, from the arguments first and from the columns where an argument is None.

    `by` is the column of a stream's tasks, which is no input.

    Raises:
        InputError: A named column is missing, or what is not named cannot be settled.
    """
    found_target = find_target(columns, target, target_needed)
    targets = (found_target,) if isinstance(found_target, str) else found_target or ()
    reported = tuple(_present(columns, subgroups, "subgroups"))
    beside = ((group, "group"), (time, "time"), (weight, "sample_weight"), (by, "by"))
    for name, argument in beside:
        if name is not None and not isinstance(name, str):
            raise InputError(f"{argument}={name!r}; it takes the name of one column")
        _present(columns, name, argument)
        if name in targets:
            raise InputError(f"column {name!r} is the target; {argument}= takes another one")
        if name is not None and name not in columns.frame.columns:
            raise InputError(f"column {name!r} cannot be {argument}=: {_held(columns, name)}")
    notes = list(columns.notes)
    named = inputs is not None
    if named:
        names = _present(columns, inputs, "inputs")
        if not names:
            raise InputError("inputs= names no column")
        apart = ((weight, "weight"), (by, "task"))
        for name, role in (*((name, "target") for name in targets), *apart):
            if name in names:
                raise InputError(f"column {name!r} cannot be the {role} and an input")
    else:
        others = {*targets, group, time, weight, by}
        names = [name for name in columns.order if name not in others]
    kind, names = _find_kind(columns, names, named, reported, notes)
    kinds: dict[str, ColumnKind] = {}
    for name in names if kind == "tabular" else ():
        declared = name in columns.class_names
        kinds[name] = "categorical" if declared else column_kind(columns.frame[name])
    dates = [name for name in kinds if holds_dates(columns.frame[name])]
    if dates:
        notes.append(f"column(s) {listing(dates)} hold dates: they are read as seconds since 1970")
    return Roles(
        kind, tuple(names), kinds, found_target, group, time, reported, tuple(notes), weight
    )


def _present(columns: Columns, names: str | Iterable[str] | None, argument: str) -> list[str]:
    """Return the named columns as a list, once all of them are there."""
    if names is None:
        return []
    if not isinstance(names, Iterable):
        raise InputError(
            f"{argument}={names!r}; it takes names of columns, which are strings here "
            f"({str(names)!r}); columns: {listing(columns.order)}"
        )
    wanted = [names] if isinstance(names, str) else list(names)
    for name in wanted:
        if not isinstance(name, str):
            raise InputError(f"{argument}= takes names of columns, not a {type(name).__name__}")
        if name not in columns.order:
            raise InputError(
                f"there is no column {name!r}, named by {argument}=; columns: "
                f"{listing(columns.order)}." + did_you_mean(name, columns.order)
            )
        if wanted.count(name) > 1:
            raise InputError(f"column {name!r} is named more than once by {argument}=")
    return wanted


def find_target(
    columns: Columns, target: str | Sequence[str] | None, needed: bool
) -> str | tuple[str, ...] | None:
    """Return the column of the labels: the one that is named, or the one that is recognised.

    Several names are columns of 0 and 1, one for each label.

    Raises:
        InputError: The named one is missing or holds no labels, or one is needed and none or
            several are recognised.
    """
    if target is not None:
        if not needed and isinstance(target, str) and target not in columns.order:
            return None
        names = tuple(_present(columns, target, "target"))
        if not names:
            raise InputError("target= names no column")
        for name in names:
            if not columns.has_values(name) or (len(names) > 1 and name in columns.label_sets):
                held = _held(columns, name)
                raise InputError(f"column {name!r}, named by target=, holds no labels: {held}")
        return names[0] if len(names) == 1 else names
    if columns.target is not None:
        return columns.target
    plain = [name for name in columns.order if columns.has_values(name)]
    declared = [name for name in plain if name in columns.class_names]
    usual = [name for name in plain if name.lower() in TARGET_NAMES]
    for candidates in (declared, [name for name in declared if name in usual], usual):
        if len(candidates) == 1:
            return candidates[0]
    if not needed:
        return None
    seen = f"columns: {listing(columns.order)}"
    if declared or usual:
        raise InputError(
            f"more than one column may be the target ({listing(declared or usual)}): name it with "
            f"target=. {seen}"
        )
    raise InputError(f"no column is recognised as the target: name it with target=. {seen}")


def _held(columns: Columns, name: str) -> str:
    return "it holds images" if name in columns.images else f"it holds {columns.opaque[name]}"


def _find_kind(
    columns: Columns, names: list[str], named: bool, subgroups: tuple[str, ...], notes: list[str]
) -> tuple[Kind, list[str]]:
    """Return what the inputs are and which columns hold them; note what is left out."""
    if not names:
        raise InputError(f"no column is left to be an input; columns: {listing(columns.order)}")
    images = [name for name in names if name in columns.images]
    if images:
        rest = [name for name in names if name not in images and name not in subgroups]
        if len(images) > 1 or (named and rest):
            raise InputError(
                f"inputs are one image column, or columns of a table, not both: {listing(names)}. "
                "Choose with inputs="
            )
        if rest:
            notes.append(
                f"column(s) {listing(rest)} left out: the inputs are the images in {images[0]!r}"
            )
        return "image", images
    unreadable = [name for name in names if name in columns.opaque]
    if unreadable:
        held = ", ".join(f"{name!r} holds {columns.opaque[name]}" for name in unreadable)
        raise InputError(
            f"{held}: no input of this kind is known. Name the columns to use with inputs=; "
            f"columns: {listing(columns.order)}"
        )
    if columns.kind == "text":
        return "text", names[:1]
    rest = [name for name in names if name not in subgroups]
    if len(names) == 1 or (len(rest) == 1 and not named):
        only = names if len(names) == 1 else rest
        if looks_like_text(columns.frame[only[0]], alone=True):
            return "text", only
    elif not named:
        _refuse_text_in_table(columns, names)
    return "tabular", names


def _refuse_text_in_table(columns: Columns, names: list[str]) -> None:
    texts = [name for name in names if looks_like_text(columns.frame[name], alone=False)]
    if texts:
        others = [name for name in names if name not in texts]
        raise InputError(
            f"column {texts[0]!r} looks like free text, beside other columns "
            f"({listing(others or texts)}). For text, pass inputs={texts[0]!r}; for a table, name "
            f"its columns: inputs={others or texts!r}"
        )
