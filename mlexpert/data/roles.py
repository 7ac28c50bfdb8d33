"""Which column is what: target, inputs, group and time, named by the user or inferred."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mlexpert.data.columns import Columns
from mlexpert.data.examples import Kind
from mlexpert.data.nearest import did_you_mean, listing
from mlexpert.data.table import ColumnKind, column_kind, looks_like_text
from mlexpert.errors import InputError

TARGET_NAMES = frozenset({"label", "labels", "target", "targets", "class", "y"})


@dataclass(frozen=True)
class Roles:
    """The role of each column that has one.

    Attributes:
        kind: What one input is.
        inputs: The input columns; one for images and text.
        column_kinds: For a table, what each input column holds.
        target: The column of the labels, or None for rows to predict.
        group: The column of the groups, or None.
        time: The column of the times, or None.
        subgroups: The columns by which results are also reported.
        notes: What was left out.
    """

    kind: Kind
    inputs: tuple[str, ...]
    column_kinds: dict[str, ColumnKind]
    target: str | None
    group: str | None
    time: str | None
    subgroups: tuple[str, ...]
    notes: tuple[str, ...]


def find_roles(
    columns: Columns,
    *,
    target: str | None = None,
    inputs: str | Sequence[str] | None = None,
    group: str | None = None,
    time: str | None = None,
    subgroups: str | Sequence[str] | None = None,
    target_needed: bool = True,
) -> Roles:
    """Resolve every role, from the arguments first and from the columns where an argument is None.

    Raises:
        InputError: A named column is missing, or what is not named cannot be settled.
    """
    found_target = find_target(columns, target, target_needed)
    _present(columns, [name for name in (group,) if name is not None], "group")
    _present(columns, [name for name in (time,) if name is not None], "time")
    by = tuple(_present(columns, subgroups, "subgroups"))
    for name, argument in ((group, "group"), (time, "time")):
        if name is not None and name == found_target:
            raise InputError(f"column {name!r} is the target; {argument}= takes another one")
    notes = list(columns.notes)
    named = inputs is not None
    if named:
        names = _present(columns, inputs, "inputs")
        if not names:
            raise InputError("inputs= names no column")
        if found_target in names:
            raise InputError(f"column {found_target!r} cannot be the target and an input")
    else:
        names = [name for name in columns.order if name not in (found_target, group, time)]
    kind, names = _find_kind(columns, names, named, by, notes)
    kinds: dict[str, ColumnKind] = {}
    for name in names if kind == "tabular" else ():
        declared = name in columns.class_names
        kinds[name] = "categorical" if declared else column_kind(columns.frame[name])
    return Roles(kind, tuple(names), kinds, found_target, group, time, by, tuple(notes))


def _present(columns: Columns, names: str | Iterable[str] | None, argument: str) -> list[str]:
    """Return the named columns as a list, once all of them are there."""
    if names is None:
        return []
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


def find_target(columns: Columns, target: str | None, needed: bool) -> str | None:
    """Return the column of the labels: the one that is named, or the one that is recognised.

    Raises:
        InputError: The named one is missing or holds no labels, or one is needed and none or
            several are recognised.
    """
    if target is not None:
        if not needed and target not in columns.order:
            return None
        (name,) = _present(columns, [target], "target")
        if name not in columns.frame.columns:
            raise InputError(
                f"column {name!r}, named by target=, holds no labels: {_held(columns, name)}"
            )
        return name
    if columns.target is not None:
        return columns.target
    plain = [name for name in columns.order if name in columns.frame.columns]
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
