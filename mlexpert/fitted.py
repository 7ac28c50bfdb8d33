"""A trained model with its preprocessing, its decision rule, its run folder and its evidence."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file
from torch import Tensor

from mlexpert.data.encode import encode_targets
from mlexpert.data.examples import Examples
from mlexpert.data.intake import read_inputs, read_labelled
from mlexpert.data.ledger import Ledger
from mlexpert.data.schema import Schema
from mlexpert.data.seal import Sealed, open_sealed
from mlexpert.errors import InputError
from mlexpert.evidence.bootstrap import bootstrap_intervals
from mlexpert.evidence.metrics import classification_metrics
from mlexpert.model_folder import CARD, load_model, save_model
from mlexpert.predictions import predictions_of, write_arrays, write_subgroups
from mlexpert.preparation import Roles, prepare
from mlexpert.recipe import Parts, Recipe
from mlexpert.run_dir import earlier_run
from mlexpert.training.evaluation import logits_of
from mlexpert.training.processes import Processes
from mlexpert.training.tracking import RUN, write_json

FINAL_TEST = "final_test.json"
DATA_FACTS = ("fingerprint", "split_fingerprint", "roles", "target", "inputs")
"""What a saved model says of the data that it was fitted on."""


@dataclass(frozen=True)
class Held:
    """The test rows that a fit held back, under seal, and what names their ledger."""

    test: Sealed | None
    fingerprint: str


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
        path = Path(run_dir)
        facts = earlier_run(path) if (path / RUN).is_file() else None
        if facts is None:
            raise InputError(f"{path} is not a run folder: {RUN} is missing.")
        if facts["status"] != "finished":
            raise InputError(
                f"The run in {path} is {facts['status']}, not finished; "
                f"fit again with run_dir={str(path)!r}."
            )
        saved = load_model(path / "model", recipe)
        return cls(saved.recipe, saved.schema, saved.parts, facts=facts, run_dir=path, held=held)

    @property
    def classes_(self) -> np.ndarray:
        """Labels (K,) as the user wrote them, in the order of the columns of `predict_proba`."""
        return np.asarray(self.schema.classes)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Display names of the labels, in the same order."""
        return self.schema.class_names

    def predict(self, x: Any) -> np.ndarray:
        """Return the decided label of each row (N,).

        The decision may differ from the most probable class: it corrects for how rare a class was
        in training, where `predict_proba` speaks of the natural prior.

        Args:
            x: Rows of the kind that the model was fitted on, without the target or with it: it is
                not looked at.

        Raises:
            InputError: If a column is missing, or the rows are of another kind.
        """
        return self.classes_[self.parts.decide.decide(self._logits(x)).numpy()]

    def predict_proba(self, x: Any) -> np.ndarray:
        """Return calibrated probabilities (N, K) of the natural prior, ordered as `classes_`."""
        return self.parts.decide.probabilities(self._logits(x)).numpy()

    def evaluate(self, ds: Any = None) -> dict[str, float]:
        """Return metrics of the decision rule and, under `argmax_...`, of plain argmax.

        Args:
            ds: Labelled rows to evaluate on. None: the run's own validation rows.

        Raises:
            InputError: If `ds` is refused, or it is None and the model came without a run.
        """
        if ds is None:
            return self._metrics(self._stored("validation"))
        data = self.facts["data"]
        rows = read_labelled(ds, schema=self.schema, target=data["target"], inputs=data["inputs"])
        return self._metrics(self._predictions(rows))

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
        # Of several processes the first opens the split, once, and all are told.
        return Processes.here().first_does(lambda: self._open_test(reason))

    def _open_test(self, reason: str) -> dict[str, Any]:
        run_dir = self._run_dir("final_test")
        held = self._held or self._read_again()
        if held.test is None:
            raise InputError("This run has no test split: it was fitted with test=0.")
        ledger = Ledger(held.fingerprint)
        name = f"{self.recipe.name}@{self.recipe.version}"
        examples = open_sealed(held.test, ledger, reason=reason, run=str(run_dir), recipe=name)
        arrays = self._predictions(examples)
        write_arrays(run_dir, "test", arrays)
        write_subgroups(run_dir, "test", arrays, examples, self.schema)
        metrics = self._metrics(arrays)
        intervals = bootstrap_intervals(
            arrays["probabilities"],
            arrays["decisions"],
            arrays["targets"],
            train_counts=self.schema.class_counts,
            groups=examples.groups,
        )
        bounds = {key: (interval.low, interval.high) for key, interval in intervals.items()}
        opening = {
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "reason": reason,
            "number": ledger.last.number if ledger.last else None,
            "metrics": metrics,
            "intervals": bounds,
            "notes": {key: interval.note for key, interval in intervals.items() if interval.note},
        }
        write_json(run_dir / FINAL_TEST, [*self.final_tests(), opening])
        ledger.export(run_dir / "ledger.jsonl")
        return {**metrics, "intervals": bounds}

    def final_tests(self) -> list[dict[str, Any]]:
        """Return what earlier calls of `final_test` found in this run, oldest first."""
        path = self._run_dir("final_tests") / FINAL_TEST
        return json.loads(path.read_text()) if path.exists() else []

    def report(self) -> Path:
        """Write `report.html` into the run folder and return its path."""
        from mlexpert.evidence.report import write_report  # matplotlib: only for figures

        run_dir = self._run_dir("report")
        return Path(Processes.here().first_does(lambda: str(write_report(run_dir))))

    def save(self, folder: str | Path) -> Path:
        """Save the model, as safetensors and JSON; `mlexpert.load(folder)` gives it back."""
        data = {key: self.facts["data"][key] for key in DATA_FACTS}
        facts = {"mlexpert": self.facts["mlexpert"], "data": data}
        Processes.here().first_does(
            lambda: save_model(Path(folder), self.recipe, self.schema, self.parts, facts)
        )
        return Path(folder)

    def __repr__(self) -> str:
        where = f", run_dir={str(self.run_dir)!r}" if self.run_dir else ""
        name = f"{self.recipe.name}@{self.recipe.version}"
        return f"Fitted({name}, {self.schema.num_classes} classes{where})"

    def _logits(self, x: Any) -> Tensor:
        examples = x if isinstance(x, Examples) else self._read(x)
        if len(examples) == 0:
            return torch.empty(0, self.schema.num_classes)
        model = self.parts.network.model
        device = next(model.parameters()).device
        return logits_of(model, self.parts.network.encode(examples), device)

    def _read(self, x: Any) -> Examples:
        inputs = self.facts["data"]["inputs"]
        return read_inputs(x, kind=self.schema.kind, schema=self.schema, inputs=inputs)

    def _predictions(self, examples: Examples) -> dict[str, np.ndarray]:
        logits = self._logits(examples)
        return {
            **predictions_of(self.parts, logits),
            "targets": encode_targets(examples.targets, self.schema).numpy(),
        }

    def _metrics(self, arrays: dict[str, np.ndarray]) -> dict[str, float]:
        return classification_metrics(
            arrays["probabilities"],
            arrays["decisions"],
            arrays["targets"],
            train_counts=self.schema.class_counts,
        )

    def _stored(self, part: str) -> dict[str, np.ndarray]:
        path = self._run_dir("evaluate") / "predictions" / f"{part}.safetensors"
        if not path.is_file():
            raise InputError(f"{path} is missing: the run folder is not whole.")
        return load_file(path)

    def _run_dir(self, asked: str) -> Path:
        if self.run_dir is None:
            raise InputError(
                f"{asked} needs a run, and this model was loaded without one; "
                "use evaluate(ds) on data of yours, or Fitted.from_run(run_dir)."
            )
        return self.run_dir

    def _read_again(self) -> Held:
        """Read and split the run's data once more, and make sure that it is the same."""
        data = self.facts["data"]
        if data["source"].endswith(" in memory"):
            raise InputError(
                f"This run was fitted on {data['source']}, which is gone; call final_test on what "
                f"fit returned, or fit again with the same data and run_dir={str(self.run_dir)!r}: "
                "a finished run is not trained again."
            )
        prepared = prepare(self.recipe, data["source"], Roles(**data["roles"]))
        if prepared.facts["split_fingerprint"] != data["split_fingerprint"]:
            raise InputError(
                f"{data['source']} has changed since this run was fitted; "
                "its test split is another one."
            )
        return Held(prepared.splits.test, data["fingerprint"])


def load(folder: str | Path, *, recipe: type[Recipe] | None = None) -> Fitted:
    """Load a saved model.

    Args:
        folder: What `fitted.save(folder)` wrote, or the run folder that holds it.
        recipe: The class of a copied recipe; None looks it up in the catalogue.

    Returns:
        The model; it predicts, and evaluates on data that you give it.

    Raises:
        InputError: If a file is missing, altered, foreign or a pickle, or the recipe's version is
            not in this package.
    """
    path = Path(folder)
    if not (path / CARD).is_file() and (path / "model" / CARD).is_file():
        path = path / "model"
    elif not (path / CARD).is_file() and (path / RUN).is_file():
        return Fitted.from_run(path, recipe=recipe)  # says why the run holds no model
    saved = load_model(path, recipe)
    return Fitted(saved.recipe, saved.schema, saved.parts, facts=saved.facts)
