"""A trained model with its preprocessing, its decision rule, its run folder and its evidence."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file
from torch import Tensor

from mlexpert.data.as_trained import read_inputs, read_labelled
from mlexpert.data.examples import Examples
from mlexpert.data.schema import Schema
from mlexpert.data.streams import pieces_of
from mlexpert.errors import InputError
from mlexpert.evidence.objectives import metrics_of
from mlexpert.fitted.final_test import final_tests, open_test
from mlexpert.fitted.held import Held, read_again
from mlexpert.fitted.importance import permutation_importance
from mlexpert.fitted.predictions import in_user_terms, predictions_of, targets_of
from mlexpert.fitted.streams import Piece, say_of
from mlexpert.recipe import Parts, Recipe
from mlexpert.storage.model_folder import SavedModel, save_model
from mlexpert.training.evaluation import logits_of
from mlexpert.training.processes import Processes

DATA_FACTS = ("fingerprint", "split_fingerprint", "roles", "target", "inputs")
"""What a saved model says of the data that it was fitted on."""


class Fitted:
    """What `recipe.fit(ds)` returns, and what `mlexpert.load(folder)` gives back.

    Attributes:
        recipe: The settled recipe: every field as it was used.
        schema: What was known of the training data.
        parts: Network and decision rule, trained.
        run_dir: The run folder, or None for a model that was loaded without one.
        facts: What `run.json` (or the model's card) says.
    """

    def __init__(
        self,
        recipe: Recipe,
        schema: Schema,
        parts: Parts,
        *,
        facts: dict[str, Any],
        run_dir: Path | None = None,
        held: Held | None = None,
    ) -> None:
        self.recipe, self.schema, self.parts = recipe, schema, parts
        self.facts, self.run_dir, self._held = facts, run_dir, held

    @classmethod
    def from_run(
        cls, run_dir: str | Path, *, recipe: type[Recipe] | None = None, held: Held | None = None
    ) -> Fitted:
        """Return the fitted model of a finished run folder.

        Args:
            run_dir: The run folder.
            recipe: The class of a copied recipe; None looks it up in the catalogue.
            held: The data that the run held back, where it is at hand; otherwise it is read again
                when needed.

        Raises:
            InputError: If the folder holds no finished run.
        """
        from mlexpert.fitted.loading import from_run  # the run's model may be an ensemble of these

        return from_run(run_dir, recipe=recipe, held=held)

    @property
    def classes_(self) -> np.ndarray:
        """Labels (K,) as the user wrote them, in the order of the columns of `predict_proba`."""
        return np.asarray(self.schema.classes)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Display names of the labels, in the same order; none for regression."""
        return self.schema.class_names

    def predict(self, x: Any) -> np.ndarray:
        """Return the decided label of each row (N,).

        The decision may differ from the most probable class: it corrects for how rare a class was
        in training, where `predict_proba` speaks of the natural prior. Of several labels a row gets
        a tuple, maybe an empty one, in an array of objects; for regression it is a float64 in the
        unit of the training targets.

        Args:
            x: Rows of the kind that the model was fitted on, without the target or with it: it is
                not looked at.

        Raises:
            InputError: If a column is missing, or the rows are of another kind.
        """
        return in_user_terms(self.parts.decide.decide(self._logits(x)), self.schema)

    def predict_proba(self, x: Any) -> np.ndarray:
        """Return calibrated probabilities (N, K) of the natural prior, ordered as `classes_`.

        Raises:
            InputError: As for `predict`, and for regression.
        """
        self._refuse_regression("predict_proba")
        return self.parts.decide.probabilities(self._logits(x)).numpy()

    def predict_topk(self, x: Any, k: int = 5) -> tuple[np.ndarray, np.ndarray]:
        """Return the k most probable labels (N, k) and their probabilities, the first the highest.

        Raises:
            InputError: As for `predict_proba`, and if there are not as many labels.
        """
        self._refuse_regression("predict_topk")
        is_whole = isinstance(k, int | np.integer) and not isinstance(k, bool)
        if not is_whole or not 1 <= k <= self.schema.num_classes:
            raise InputError(
                f"k={k!r}; it takes a whole number from 1 to {self.schema.num_classes}, "
                "the number of labels."
            )
        probabilities = self.predict_proba(x)
        order = np.argsort(-probabilities, axis=1, kind="stable")[:, :k]
        return self.classes_[order], np.take_along_axis(probabilities, order, axis=1)

    def predict_stream(self, rows: Any, *, rows_at_once: int = 1024) -> Iterator[Piece]:
        """Yield what the model says of rows of any number, held a piece at a time.

        Args:
            rows: An iterable of rows (dicts of columns, lists of values, texts, images) or of
                batches of them (frames, arrays), with or without labels; a streamed dataset; the
                path of a parquet or csv file, or of a folder of images.
            rows_at_once: Rows of a piece; batches stay as they are.

        Raises:
            InputError: As for `predict`; the message names the row's number in the stream.
        """
        return say_of(
            pieces_of(rows, self.schema, rows_at_once), self._logits, self.parts, self.schema
        )

    def evaluate(self, ds: Any = None) -> dict[str, float]:
        """Return metrics of the decision rule and, under `argmax_...`, of plain argmax.

        Every row counts alike, also where `sample_weight` was given to `fit`.

        Args:
            ds: Labelled rows to evaluate on. None: the run's own validation rows.

        Raises:
            InputError: If `ds` is refused, or it is None and the model came without a run.
        """
        arrays = self._stored("validation") if ds is None else self._predictions(self._labelled(ds))
        return metrics_of(self.schema.objective, arrays, train_counts=self.schema.class_counts)

    def importance(
        self, ds: Any = None, *, repeats: int = 5, metric: str | None = None, seed: int = 0
    ) -> list[dict[str, Any]]:
        """Return how much worse the predictions get where a column of the table is shuffled.

        Args:
            ds: Labelled rows. None: the run's own validation rows.
            repeats: Shuffles of a column.
            metric: What is looked at, as `evaluate` names it. None: the log loss, or for regression
                the root mean squared error in the user's unit.
            seed: Of the shuffles.

        Returns:
            Rows of "column", "mean" and "std", the most important column first; about 0 is a column
            that could be left out.

        Raises:
            InputError: If these are no tables, `ds` is refused, or the metric is not known.
        """
        if ds is None:
            (rows,) = self._all_held(self._run_dir("importance")).validation
        else:
            rows = self._labelled(ds)
        return permutation_importance(
            self._predictions, rows, self.schema, repeats=repeats, metric=metric, seed=seed
        )

    def final_test(self, *, reason: str) -> dict[str, Any]:
        """Open the sealed test split, write the opening down, and return its metrics.

        A second opening is allowed; it is written down, and the report shows it.

        Args:
            reason: Why it is opened, as it will stand in the ledger.

        Returns:
            The metrics of `evaluate` and, under "intervals", a 95 % bootstrap interval (low, high)
            of each.

        Raises:
            InputError: If there is no reason, no test split, or the data that the run names is not
                what it was.
            RunError: If the ledger cannot be written; the split stays sealed.
        """
        run_dir = self._run_dir("final_test")
        name = f"{self.recipe.name}@{self.recipe.version}"

        def opened() -> dict[str, Any]:
            held = self._all_held(run_dir)
            predict = self._test_predictions
            return open_test(run_dir, held, predict, self.schema, reason=reason, recipe=name)

        # Of several processes the first opens the split, once, and all are told.
        return Processes.here().first_does(opened)

    def final_tests(self) -> list[dict[str, Any]]:
        """Return what earlier calls of `final_test` found in this run, oldest first."""
        return final_tests(self._run_dir("final_tests"))

    def report(self) -> Path:
        """Write `report.html` into the run folder and return its path."""
        from mlexpert.evidence.report import write_report  # matplotlib: only for figures

        run_dir = self._run_dir("report")
        return Path(Processes.here().first_does(lambda: str(write_report(run_dir))))

    def save(self, folder: str | Path) -> Path:
        """Save the model, as safetensors and JSON; `mlexpert.load(folder)` gives it back."""
        Processes.here().first_does(lambda: save_model(Path(folder), self._saved()))
        return Path(folder)

    def __repr__(self) -> str:
        where = f", run_dir={str(self.run_dir)!r}" if self.run_dir else ""
        name = f"{self.recipe.name}@{self.recipe.version}"
        number = self.schema.num_classes
        what = {
            "classification": f"{number} classes",
            "multilabel": f"{number} labels",
            "regression": "regression",
        }[self.schema.objective]
        return f"{type(self).__name__}({name}, {what}{where})"

    def _logits(self, x: Any) -> Tensor:
        examples = x if isinstance(x, Examples) else self._read(x)
        if len(examples) == 0:
            return torch.empty(0, self.schema.num_outputs)
        model = self.parts.network.model
        device = next(model.parameters()).device
        return logits_of(model, self.parts.network.encode(examples), device)

    def _read(self, x: Any) -> Examples:
        inputs = self.facts["data"]["inputs"]
        return read_inputs(x, kind=self.schema.kind, schema=self.schema, inputs=inputs)

    def _labelled(self, ds: Any) -> Examples:
        data = self.facts["data"]
        return read_labelled(ds, schema=self.schema, target=data["target"], inputs=data["inputs"])

    def _predictions(self, examples: Examples) -> dict[str, np.ndarray]:
        said = predictions_of(self.parts, self._logits(examples), self.schema.objective)
        return {**said, "targets": targets_of(examples, self.schema)}

    def _test_predictions(self, examples: Examples) -> dict[str, np.ndarray]:
        return self._predictions(examples)

    def _all_held(self, run_dir: Path) -> Held:
        return self._held or read_again(self.recipe, self.facts, run_dir)

    def _stored(self, part: str) -> dict[str, np.ndarray]:
        path = self._run_dir("evaluate") / "predictions" / f"{part}.safetensors"
        if not path.is_file():
            raise InputError(f"{path} is missing: the run folder is not whole.")
        return load_file(path)

    def _saved(self) -> SavedModel:
        data = {key: self.facts["data"][key] for key in DATA_FACTS}
        own = self.recipe.declared(self.schema)
        facts = {"mlexpert": self.facts["mlexpert"], "data": data, **own}
        return SavedModel(self.recipe, self.schema, self.parts, facts)

    def _run_dir(self, asked: str) -> Path:
        if self.run_dir is None:
            raise InputError(
                f"{asked} needs a run, and this model was loaded without one; "
                "use evaluate(ds) on data of yours, or Fitted.from_run(run_dir)."
            )
        return self.run_dir

    def _refuse_regression(self, asked: str) -> None:
        if self.schema.objective == "regression":
            raise InputError(
                f"{asked}: this model predicts a number, which has no probabilities; use predict."
            )
