"""Recipes as scikit-learn estimators, for pipelines, searches, cross-validation and calibration.

    from mlexpert.sklearn import RecipeClassifier

    search = GridSearchCV(RecipeClassifier("tabular-cls"), {"lr": [1e-3, 3e-3]})

`fit` has no sealed test: scikit-learn's own tools hold rows back. What is fitted depends on the
rows as a weighted multiset, so a row that is repeated is a row of that weight, and the order of
rows does not matter.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import check_consistent_length, check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from mlexpert import recipes
from mlexpert.data.columns import is_image, is_instance
from mlexpert.data.examples import Kind
from mlexpert.errors import InputError
from mlexpert.fitted import Fitted
from mlexpert.sklearn.in_double import in_double
from mlexpert.sklearn.model_bytes import from_bytes, to_bytes
from mlexpert.sklearn.multiset_fit import Rows, fit_multiset

OWN_NAMES = {"seed": "random_state", "validation": "validation_fraction", "test": None}
"""Fields of every recipe that go by another name here, or have no place."""
TABLE_FIELDS = {"precision": "fp32", "microbatch": None}
"""For tables, what `auto` would find out takes longer than a small fit."""


class _RecipeEstimator(BaseEstimator):
    """What both estimators share: parameters, rows, the fit itself, and pickling."""

    recipe: str
    random_state: Any
    validation_fraction: float
    runs_dir: str | Path | None
    fitted_: Fitted
    _fields: dict[str, Any]
    _objective: ClassVar[Literal["classes", "values"]]

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters by name, and those fields of the recipe that were given."""
        return {**super().get_params(deep=deep), **self._fields}

    def set_params(self, **params: Any) -> Self:
        """Set parameters, and fields of the recipe whether they were given before or not.

        Raises:
            InputError: If the recipe has no such field; names the nearest.
        """
        own = self._get_param_names()
        fields = {name: value for name, value in params.items() if name not in own}
        _check_fields(params.get("recipe", self.recipe), fields, own)
        super().set_params(**{name: params[name] for name in own if name in params})
        self._fields = {**self._fields, **fields}
        return self

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True  # missing values; infinite ones are refused
        return tags

    def __sklearn_is_fitted__(self) -> bool:
        return "fitted_" in vars(self)

    def __getstate__(self) -> dict[str, Any]:
        """Return the state to pickle: of the model, the files that `Fitted.save` writes."""
        state = dict(super().__getstate__())
        if "fitted_" in state:
            state["fitted_"] = to_bytes(state["fitted_"])
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        if "fitted_" in state:
            state = {**state, "fitted_": from_bytes(state["fitted_"])}
        super().__setstate__(state)

    def _seed(self) -> int:
        if isinstance(self.random_state, int | np.integer):
            return int(self.random_state)
        return int(check_random_state(self.random_state).randint(np.iinfo(np.int32).max))

    def _read(self, x: Any, *, fitting: bool) -> tuple[Kind, Any]:
        """Return what X holds, and its rows; a table becomes a frame."""
        kind = _kind_of(x)
        if kind != "tabular":
            return kind, x
        if is_instance(x, "polars", "DataFrame"):
            x = x.to_pandas()
        if isinstance(x, pd.DataFrame):  # its columns may be of any type
            return kind, validate_data(self, x, reset=fitting, skip_check_array=True)
        values = validate_data(self, x, reset=fitting, ensure_all_finite="allow-nan")
        return kind, pd.DataFrame(values, columns=[f"x{j}" for j in range(values.shape[1])])

    def _weights(self, sample_weight: Any, rows: Any) -> np.ndarray | None:
        if sample_weight is None:
            return None
        weights = _check_sample_weight(sample_weight, rows, dtype=np.float64)
        if (weights < 0).any() or not weights.any():
            raise InputError(
                f"sample_weight reaches from {weights.min():g} to {weights.max():g}: weights are "
                "0 or more, and not all zero."
            )
        return weights

    def _fit(self, rows: Rows, fields: Mapping[str, Any]) -> Self:
        """Fit the recipe, with `fields` besides those of the user."""
        if not isinstance(self.recipe, str):
            raise InputError(f"recipe={self.recipe!r}; it takes the name of a recipe.")
        given = {**(TABLE_FIELDS if rows.kind == "tabular" else {}), **fields, **self._fields}
        recipe = recipes.get(
            self.recipe, seed=self._seed(), validation=self.validation_fraction, test=0.0, **given
        )
        if recipe.objective != self._objective:
            raise InputError(
                f"{recipe.name} predicts {recipe.objective}, and a {type(self).__name__} "
                f"{self._objective}: RecipeClassifier is for classes, RecipeRegressor for values."
            )
        self.fitted_ = fit_multiset(recipe, rows, runs_dir=self.runs_dir)
        return self

    def _readable(self, x: Any) -> tuple[Fitted, Any]:
        """Return a model and rows that it predicts from."""
        check_is_fitted(self)
        rows = self._read(x, fitting=False)[1]
        # By what was fitted: a frame of one column may have been one of texts.
        is_table = self.fitted_.schema.kind == "tabular"
        return (in_double(self.fitted_) if is_table else self.fitted_), rows


class RecipeClassifier(ClassifierMixin, _RecipeEstimator):
    """A classification recipe as a scikit-learn classifier.

    X is a table (an array of numbers, or a frame whose columns may also be strings, categories,
    booleans and dates), a list of texts, or images (N, H, W, C); NaN is a missing value.

    Args:
        recipe: Name of the recipe, as for `mlexpert.recipes.get`.
        class_weight: None, "balanced", or a dict of class to weight, for a recipe that has it.
        random_state: A number, a `RandomState`, or None for another seed in every fit.
        validation_fraction: Share of the rows on which epoch and temperature are chosen.
        runs_dir: Folder in which every fit leaves its run folder. None: nowhere.
        **fields: Fields of the recipe that differ from its defaults: `epochs=50`.

    Attributes:
        classes_: (K,) the classes, sorted; columns of `predict_proba`.
        fitted_: The `mlexpert.Fitted` inside.
        n_features_in_: Columns of the table.
        feature_names_in_: Their names, where X was a frame.

    Raises:
        InputError: If the recipe has no such field.
    """

    classes_: np.ndarray
    _objective = "classes"

    def __init__(
        self,
        recipe: str = "tabular-cls",
        *,
        class_weight: Literal["balanced"] | Mapping[Any, float] | None = None,
        random_state: Any = None,
        validation_fraction: float = 0.15,
        runs_dir: str | Path | None = None,
        **fields: Any,
    ) -> None:
        self.recipe = recipe
        self.class_weight = class_weight
        self.random_state = random_state
        self.validation_fraction = validation_fraction
        self.runs_dir = runs_dir
        _check_fields(recipe, fields, self._get_param_names())
        self._fields = fields

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train the recipe.

        Args:
            X: (N, ...) rows.
            y: (N,) classes.
            sample_weight: (N,) how much each row counts, or None for all alike.

        Raises:
            ValueError: If X, y or weights are refused, or there is one class only; `InputError`,
                one of them, where the recipe refuses them or a field.
        """
        y = validate_data(self, y=y)
        check_classification_targets(y)
        kind, inputs = self._read(X, fitting=True)
        check_consistent_length(inputs, y)
        weights = self._weights(sample_weight, inputs)
        counted = y if weights is None else y[weights > 0]
        self.classes_ = np.unique(counted)
        if len(self.classes_) < 2:
            raise InputError(
                f"y holds one class only ({self.classes_[0]!r}) in the {len(counted)} rows that "
                "count: a classifier needs at least two."
            )
        # A row that does not count may be of a class that no other is of; it gets any number.
        codes = np.searchsorted(self.classes_, y).clip(max=len(self.classes_) - 1)
        return self._fit(
            Rows(kind, inputs, self._names()[codes], codes, weights), self._class_weight()
        )

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return calibrated probabilities (N, K), columns in the order of `classes_`."""
        fitted, rows = self._readable(X)
        probabilities = np.empty((len(rows), len(self.classes_)))
        # The recipe knows the classes by name, and sorts them as text.
        probabilities[:, np.argsort(self._names())] = fitted.predict_proba(rows)
        return probabilities / probabilities.sum(axis=1, keepdims=True)

    def predict(self, X: Any) -> np.ndarray:
        """Return the class (N,) that the recipe decides for.

        Some recipes correct this decision for how rare a class is, and not the probabilities.
        """
        fitted, rows = self._readable(X)
        names = self._names()
        order = np.argsort(names)
        return self.classes_[order[np.searchsorted(names[order], fitted.predict(rows))]]

    def _names(self) -> np.ndarray:
        return self.classes_.astype(str)

    def _class_weight(self) -> dict[str, Any]:
        if self.class_weight is None:
            return {}
        if not isinstance(self.class_weight, Mapping):
            return {"class_weight": self.class_weight}
        given, labels = dict(self.class_weight), self.classes_.tolist()
        weights = {str(label): given.get(label, 1.0) for label in labels}
        if not given.keys() >= set(labels):  # then the others are misspelt, not of another fold
            weights |= {str(label): weight for label, weight in given.items()}
        return {"class_weight": weights}


class RecipeRegressor(RegressorMixin, _RecipeEstimator):
    """A regression recipe as a scikit-learn regressor.

    X is a table: an array of numbers, or a frame whose columns may also be strings, categories,
    booleans and dates; NaN is a missing value.

    Args:
        recipe: Name of the recipe, as for `mlexpert.recipes.get`.
        random_state: A number, a `RandomState`, or None for another seed in every fit.
        validation_fraction: Share of the rows on which the epoch is chosen.
        runs_dir: Folder in which every fit leaves its run folder. None: nowhere.
        **fields: Fields of the recipe that differ from its defaults: `epochs=50`.

    Attributes:
        fitted_: The `mlexpert.Fitted` inside.
        n_features_in_: Columns of the table.
        feature_names_in_: Their names, where X was a frame.

    Raises:
        InputError: If the recipe has no such field.
    """

    _objective = "values"

    def __init__(
        self,
        recipe: str = "tabular-reg",
        *,
        random_state: Any = None,
        validation_fraction: float = 0.15,
        runs_dir: str | Path | None = None,
        **fields: Any,
    ) -> None:
        self.recipe = recipe
        self.random_state = random_state
        self.validation_fraction = validation_fraction
        self.runs_dir = runs_dir
        _check_fields(recipe, fields, self._get_param_names())
        self._fields = fields

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train the recipe.

        Args:
            X: (N, ...) rows.
            y: (N,) numbers.
            sample_weight: (N,) how much each row counts, or None for all alike.

        Raises:
            ValueError: If X, y or weights are refused; `InputError`, one of them, where the recipe
                refuses them or a field.
        """
        y = validate_data(self, y=y, y_numeric=True).astype(np.float64)
        kind, inputs = self._read(X, fitting=True)
        check_consistent_length(inputs, y)
        return self._fit(Rows(kind, inputs, y, y, self._weights(sample_weight, inputs)), {})

    def predict(self, X: Any) -> np.ndarray:
        """Return the predicted numbers (N,), in the unit of y."""
        fitted, rows = self._readable(X)
        return fitted.predict(rows)


def _check_fields(recipe: Any, fields: Mapping[str, Any], own: list[str]) -> None:
    """Refuse fields that the recipe does not have, where there is such a recipe.

    Raises:
        InputError: Names the nearest field.
    """
    is_known = isinstance(recipe, str) and recipe.partition("@")[0] in recipes.names()
    if not fields or not is_known:
        return  # `fit` refuses an unknown recipe; scikit-learn's constructors take any value
    for name, instead in OWN_NAMES.items():
        if name in fields:
            raise InputError(
                f"{name} is called {instead} here."
                if instead
                else f"{name} has no place here: hold rows back with scikit-learn's own tools."
            )
    known = [field["name"] for field in recipes.describe(recipe)["fields"]]
    recipes.check_fields(recipe, fields, [*own, *(n for n in known if n not in OWN_NAMES)])


def _kind_of(x: Any) -> Kind:
    """Tell texts and images, by their first row and dimensions, from tables."""
    tensor = is_instance(x, "torch", "Tensor")
    if isinstance(x, np.ndarray) or tensor:
        if x.ndim != 1:
            return "image" if x.ndim in (3, 4) else "tabular"
    elif not isinstance(x, list | tuple | pd.Series | pd.Index):
        return "tabular"
    first = next(iter(x), None)
    if isinstance(first, str):
        return "text"
    several = isinstance(first, np.ndarray) and first.ndim in (2, 3)
    return "image" if several or is_image(first) else "tabular"
