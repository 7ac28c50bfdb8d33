"""The catalogue: every recipe and version there is, one row each. Reading it imports no recipe."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlexpert.errors import InputError
from mlexpert.recipe_card import read_card

if TYPE_CHECKING:
    from mlexpert.recipe import Recipe


@dataclass(frozen=True)
class Row:
    """Where a version of a recipe stands."""

    name: str
    version: int
    module: str
    """Below `mlexpert.recipes`."""
    class_name: str

    @property
    def file(self) -> Path:
        """The recipe's file."""
        return Path(__file__).parent.joinpath(*self.module.split(".")).with_suffix(".py")

    def load(self) -> type[Recipe]:
        """Import the recipe's class."""
        return getattr(import_module(f"mlexpert.recipes.{self.module}"), self.class_name)


CATALOGUE = (
    Row("adversarial-cls", 1, "adversarial_cls.default", "AdversarialCls"),
    Row("adversarial-cls/pgd-at", 1, "adversarial_cls.pgd_at", "PgdAt"),
    Row("adversarial-cls/trades", 1, "adversarial_cls.trades", "TradesCls"),
    Row("adversarial-cls/mart", 1, "adversarial_cls.mart", "Mart"),
    Row("adversarial-cls/awp", 1, "adversarial_cls.awp", "Awp"),
    Row("adversarial-cls/fast-at", 1, "adversarial_cls.fast_at", "FastAt"),
    Row("adversarial-cls/free-at", 1, "adversarial_cls.free_at", "FreeAt"),
    Row("adversarial-cls/smoothing", 1, "adversarial_cls.smoothing", "Smoothing"),
    Row("continual-cls", 1, "continual_cls.dark_experience", "ContinualCls"),
    Row("continual-cls/naive", 1, "continual_cls.naive", "Naive"),
    Row("continual-cls/a-gem", 1, "continual_cls.a_gem", "AGem"),
    Row("continual-cls/der++", 1, "continual_cls.der_plus_plus", "DerPlusPlus"),
    Row("continual-cls/er", 1, "continual_cls.er", "Er"),
    Row("continual-cls/er-ace", 1, "continual_cls.er_ace", "ErAce"),
    Row("continual-cls/ewc", 1, "continual_cls.ewc", "Ewc"),
    Row("continual-cls/gdumb", 1, "continual_cls.gdumb", "GDumb"),
    Row("continual-cls/icarl", 1, "continual_cls.icarl", "Icarl"),
    Row("continual-cls/joint", 1, "continual_cls.joint", "Joint"),
    Row("continual-cls/lwf", 1, "continual_cls.lwf", "Lwf"),
    Row("continual-cls/mas", 1, "continual_cls.mas", "Mas"),
    Row("continual-cls/ranpac", 1, "continual_cls.ranpac", "RanPac"),
    Row("continual-cls/si", 1, "continual_cls.si", "Si"),
    Row("continual-cls/slda", 1, "continual_cls.slda", "Slda"),
    Row("forecasting", 1, "forecasting.solved_linear", "Forecasting"),
    Row("forecasting/nlinear", 1, "forecasting.nlinear", "NLinearForecast"),
    Row("forecasting/dlinear", 1, "forecasting.dlinear", "DLinearForecast"),
    Row("forecasting/patchtst", 1, "forecasting.patchtst", "PatchTstForecast"),
    Row("forecasting/itransformer", 1, "forecasting.itransformer", "ITransformerForecast"),
    Row("image-cls", 1, "image_cls.standard", "ImageCls"),
    Row("image-cls/fast", 1, "image_cls.fast", "ImageClsFast"),
    Row("imbalanced-cls", 1, "imbalanced_cls.prior_adjusted", "ImbalancedCls"),
    Row("imbalanced-cls/plain", 1, "imbalanced_cls.plain", "Plain"),
    Row("imbalanced-cls/balanced-bagging", 1, "imbalanced_cls.balanced_bagging", "BalancedBagging"),
    Row("imbalanced-cls/class-balanced", 1, "imbalanced_cls.class_balanced", "ClassBalanced"),
    Row(
        "imbalanced-cls/class-balanced-sampling",
        1,
        "imbalanced_cls.class_balanced_sampling",
        "ClassBalancedSampling",
    ),
    Row("imbalanced-cls/crt", 1, "imbalanced_cls.crt", "Crt"),
    Row("imbalanced-cls/drw", 1, "imbalanced_cls.drw", "Drw"),
    Row("imbalanced-cls/focal", 1, "imbalanced_cls.focal", "FocalLoss"),
    Row("imbalanced-cls/ldam-drw", 1, "imbalanced_cls.ldam_drw", "LdamDrw"),
    Row(
        "imbalanced-cls/logit-adjusted-loss",
        1,
        "imbalanced_cls.logit_adjusted_loss",
        "LogitAdjustedLoss",
    ),
    Row("imbalanced-cls/remix", 1, "imbalanced_cls.remix", "Remix"),
    Row("imbalanced-cls/smote", 1, "imbalanced_cls.smote", "Smote"),
    Row("imbalanced-cls/tau-norm", 1, "imbalanced_cls.tau_norm", "TauNorm"),
    Row("seq2seq", 1, "seq2seq", "Seq2Seq"),
    Row("language-model", 1, "language_model.modern", "LanguageModel"),
    Row("language-model/nanogpt", 1, "language_model.nanogpt", "NanoGpt"),
    Row("sequence-cls", 1, "sequence_cls.residual_blocks", "SequenceCls"),
    Row("sequence-cls/multirocket", 1, "sequence_cls.multi_rocket", "MultiRocketCls"),
    Row("sequence-tagging", 1, "sequence_tagging", "SequenceTagging"),
    Row("text-cls", 1, "text_cls", "TextCls"),
    Row("tabular-cls", 1, "tabular_cls", "TabularCls"),
    Row("tabular-reg", 1, "tabular_reg", "TabularReg"),
)
"""Every version that can be had; an old one that must stay available keeps its file and its row."""


def names() -> list[str]:
    """Return the names of all recipes, in the catalogue's order.

    Example:
        >>> "imbalanced-cls" in names()
        True
    """
    return list(dict.fromkeys(row.name for row in CATALOGUE))


def get(name: str, **fields: Any) -> Recipe:
    """Return a recipe, ready to `fit`.

    Args:
        name: A name from `names()`: the newest version, or the one that `name@version` pins.
        **fields: Fields of the recipe that differ from its defaults; `describe(name)` lists them.

    Returns:
        The recipe; it is frozen, and `fit` never changes it.

    Raises:
        InputError: There is no such recipe, version or field, or a field's value is refused.
    """
    row = find(name)
    check_fields(name, fields, (field.name for field in read_card(row.file, row.class_name).fields))
    return row.load()(**fields)


def recipe_class(name: str) -> type[Recipe]:
    """Return the class of a recipe: what a saved model is built with.

    Args:
        name: A name from `names()`, or `name@version`.

    Raises:
        InputError: There is no such recipe or version.
    """
    return find(name).load()


def describe(name: str) -> dict[str, Any]:
    """Return what a recipe says of itself, as a plain dict, without importing it.

    Args:
        name: A name from `names()`, or `name@version`.

    Returns:
        `name`, `version`, `claim`, `about`, `paper`, `differs` (from the paper), `results` (the
        page with the measured figures), `fields` (a list of dicts with `name`, `type`, `default`
        and `doc`), `class_name`, and `source` (the recipe's file).

    Raises:
        InputError: There is no such recipe or version.
    """
    row = find(name)
    card = asdict(read_card(row.file, row.class_name))
    return {**card, "fields": list(card["fields"]), "source": str(row.file)}


def find(name: str) -> Row:
    """Return the catalogue's row for `name` (its newest version) or `name@version`.

    Raises:
        InputError: There is no such recipe or version.
    """
    base, at, pinned = name.partition("@")
    rows = [row for row in CATALOGUE if row.name == base]
    if not rows:
        raise InputError(
            f"no recipe is named {base!r}.{_nearest(base, names())} "
            f"There are: {', '.join(names())}."
        )
    if not at:
        return max(rows, key=lambda row: row.version)
    for row in rows:
        if str(row.version) == pinned:
            return row
    there = ", ".join(str(row.version) for row in rows)
    raise InputError(
        f"recipe {base!r} has no version {pinned!r} here; there is: {there}. "
        f"An older version may need an older mlexpert: the CHANGELOG says which."
    )


def check_fields(name: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Refuse a field that the recipe does not have.

    Raises:
        InputError: Names the nearest field and all that there are.
    """
    known = list(known)
    for field in given:
        if field not in known:
            raise InputError(
                f"recipe {name!r} has no field {field!r}.{_nearest(field, known)} "
                f"Its fields are: {', '.join(known)}."
            )


def _nearest(word: str, known: Iterable[str]) -> str:
    matches = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f" Did you mean {matches[0]!r}?" if matches else ""
