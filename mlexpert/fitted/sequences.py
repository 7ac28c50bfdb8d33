"""What every fitted model of sequences can be asked: to be evaluated, tested, reported and saved.

What else a family can do (`generate`, `forecast`, `predict`) is in a file of its own.
"""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np

from mlexpert.data.examples import Examples
from mlexpert.errors import InputError
from mlexpert.evidence.objectives import metrics_of
from mlexpert.families.sequences import SequenceRecipe
from mlexpert.fitted.model import Fitted


class SequenceFitted(Fitted):
    """A fitted model whose answer to a row is a sequence."""

    @property
    def _sequences(self) -> SequenceRecipe:
        assert isinstance(self.recipe, SequenceRecipe), "made for these alone"
        return self.recipe

    def evaluate(self, ds: Any = None) -> dict[str, float]:
        """Return metrics; every row counts by what it holds.

        Args:
            ds: Rows with their targets, of the form that was fitted on. None: the run's own
                validation rows.

        Raises:
            InputError: If `ds` is refused, or it is None and the model came without a run.
        """
        arrays = self._stored("validation") if ds is None else self._predictions(self._labelled(ds))
        return metrics_of(self.schema.objective, arrays, train_counts=self.schema.class_counts)

    def predict(self, x: Any) -> Any:
        """Refuse: the family says what it can be asked."""
        self._refuse("predict")

    def predict_proba(self, x: Any) -> NoReturn:
        """Refuse: there are no probabilities of classes."""
        self._refuse("predict_proba")

    def predict_topk(self, x: Any, k: int = 5) -> NoReturn:
        """Refuse: there are no classes."""
        self._refuse("predict_topk")

    def predict_stream(self, rows: Any, *, rows_at_once: int = 1024) -> NoReturn:
        """Refuse: the family says what it can be asked."""
        self._refuse("predict_stream")

    def importance(
        self, ds: Any = None, *, repeats: int = 5, metric: str | None = None, seed: int = 0
    ) -> NoReturn:
        """Refuse: that is for tables."""
        self._refuse("importance")

    def _labelled(self, ds: Any) -> Examples:
        roles = {key: value for key, value in self.facts["data"]["roles"].items() if value}
        parts = self._sequences.read(ds, roles)
        if list(parts) != ["all"]:
            raise InputError(f"one set of rows is needed here, not the splits {', '.join(parts)}.")
        return parts["all"]

    def _predictions(self, examples: Examples) -> dict[str, np.ndarray]:
        return self._sequences.said(self.parts, examples, self.schema)

    def _refuse(self, asked: str) -> NoReturn:
        does = {
            "tokens": "generate(prompt) goes on with a text",
            "tags": "predict(words) returns tags",
            "transduction": "predict(sources) returns sequences",
            "forecast": "forecast(horizon) returns the values to come",
        }
        raise InputError(f"{asked}: {self.recipe.name} has none; {does[self.schema.objective]}.")

    def __repr__(self) -> str:
        where = f", run_dir={str(self.run_dir)!r}" if self.run_dir else ""
        return f"{type(self).__name__}({self.recipe.name}@{self.recipe.version}{where})"
