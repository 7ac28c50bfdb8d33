"""Who takes part in a comparison: recipes by name, by family, or as objects with names of yours."""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlexpert import recipes as catalogue
from mlexpert.errors import InputError

if TYPE_CHECKING:
    from mlexpert.recipe import Recipe


@dataclass(frozen=True)
class Entrant:
    """A recipe of a comparison.

    Attributes:
        name: What it is called there.
        recipe: What is trained, but for the seed.
        is_named: Whether it was named itself, rather than as one of a family: such a one has to
            take the data.
    """

    name: str
    recipe: Recipe
    is_named: bool

    @property
    def folder(self) -> str:
        """The folder of its runs, below that of the comparison."""
        return re.sub(r"[^\w.@=+-]+", "-", self.name).strip("-.") or "recipe"


def entrants_of(given: Any, fields: Mapping[str, Any] | None = None) -> list[Entrant]:
    """Return the recipes that are compared.

    Args:
        given: A name or a recipe, several of them, or a mapping of names of the caller's own to
            them. The name of a family stands for all its recipes where it is no recipe's name, or
            is given alone.
        fields: Fields that are set in every recipe that has them.

    Raises:
        InputError: If there are fewer than two, two of one name, a name or field that is not known,
            or a field's value is refused.
    """
    fields = dict(fields or {})
    found = _named_by_caller(given) if isinstance(given, Mapping) else _by_name(given)
    check_setting(fields, {item.name for one in found for item in dataclasses.fields(one.recipe)})
    found = [_with_fields(one, fields) for one in found]
    if len(found) < 2:
        raise InputError(
            f"a comparison needs at least two recipes, and this is {found[0].name!r} alone; name "
            f"another one. There are: {', '.join(catalogue.names())}."
            if found
            else "a comparison needs at least two recipes; none was named."
        )
    _refuse_equal(one.name for one in found)
    _refuse_equal(one.folder for one in found)
    return found


def stands_for(name: str, *, alone: bool) -> list[tuple[str, bool]]:
    """Return the recipes that a name stands for, each with whether it was named itself.

    Args:
        name: A recipe's name, maybe with its version, or a family's.
        alone: Whether no other name is given.

    Raises:
        InputError: If it is neither a recipe's name nor a family's.
    """
    family = [one for one in catalogue.names() if one.split("/")[0] == name]
    if family and (alone or name not in family):
        return [(one, False) for one in family]
    catalogue.find(name)
    return [(name, True)]


def check_setting(given: Iterable[str], known: Iterable[str]) -> None:
    """Refuse a field that none of the recipes has.

    Raises:
        InputError: Names the nearest field and all that there are.
    """
    known = sorted(set(known) - {"seed"})
    for field in given:
        if field == "seed":
            raise InputError(
                "the seeds of a comparison are given by seeds= (--seeds), not by a field."
            )
        if field not in known:
            near = difflib.get_close_matches(field, known, n=1, cutoff=0.5)
            meant = f" Did you mean {near[0]!r}?" if near else ""
            raise InputError(
                f"none of these recipes has a field {field!r}.{meant} "
                f"Their fields are: {', '.join(known)}."
            )


def _by_name(given: Any) -> list[Entrant]:
    from mlexpert.recipe import Recipe  # torch: not before names are known to be right

    several = [given] if isinstance(given, str | Recipe) else list(given)
    found: list[Entrant] = []
    for one in several:
        if isinstance(one, Recipe):
            found.append(Entrant(one.name, one, True))
        elif isinstance(one, str):
            meant = stands_for(one, alone=len(several) == 1)
            found += [Entrant(name, catalogue.get(name), own) for name, own in meant]
        else:
            raise InputError(f"recipes: {one!r} is neither a recipe nor the name of one.")
    return found


def _named_by_caller(given: Mapping[Any, Any]) -> list[Entrant]:
    from mlexpert.recipe import Recipe

    found = []
    for name, one in given.items():
        if not isinstance(name, str) or not isinstance(one, str | Recipe):
            raise InputError(
                f"recipes: {name!r} is {one!r}; a mapping takes names of yours to recipes, or to "
                "names of recipes."
            )
        found.append(Entrant(name, catalogue.get(one) if isinstance(one, str) else one, True))
    return found


def _with_fields(one: Entrant, fields: Mapping[str, Any]) -> Entrant:
    has = {item.name for item in dataclasses.fields(one.recipe)}
    own = {name: value for name, value in fields.items() if name in has}
    return dataclasses.replace(one, recipe=dataclasses.replace(one.recipe, **own)) if own else one


def _refuse_equal(names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name.lower() in seen:
            raise InputError(
                f"two recipes of the comparison are called {name!r}; give them names of your own: "
                "a dict of name to recipe."
            )
        seen.add(name.lower())
