"""A model that learned a stream: asked about all of it, or with the task told, and learning on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from mlexpert.blocks.decisions.of_seen_classes import OfSeenClasses
from mlexpert.blocks.layers.task_classes import TaskClasses
from mlexpert.data.encode import encode_targets
from mlexpert.data.examples import Examples
from mlexpert.errors import InputError
from mlexpert.evidence.continual.metrics import stream_metrics
from mlexpert.evidence.continual.record import TASKS, stream_record
from mlexpert.evidence.run_files import read_rows
from mlexpert.families.continual import ContinualRecipe
from mlexpert.fitted.held import Held, read_again
from mlexpert.fitted.model import Fitted
from mlexpert.fitted.predictions import in_user_terms, predictions_of, targets_of, told_accuracy
from mlexpert.training.methods.continual import ContinualMethod


class ContinualFitted(Fitted):
    """What `get("continual-cls").fit(ds)` returns.

    In the scenarios "class" and "domain" nothing is told of a row but the row; in "task" its task
    is told as well, and the answer is one of that task's classes.
    """

    recipe: ContinualRecipe

    @property
    def classes_seen_(self) -> np.ndarray:
        """The labels that were met so far, in the order of `classes_`."""
        return self.classes_[self._classes.seen.cpu().numpy()]

    def predict(self, x: Any, *, task: Any = None) -> np.ndarray:
        """Return the decided label of each row (N,).

        Args:
            x: Rows of the kind that the model was fitted on.
            task: For scenario="task" alone: the task of all rows, from 0, or of each (N,).

        Raises:
            InputError: If `task` is missing, or given where the scenario does not tell it, or rows
                are refused as in `Fitted.predict`.
        """
        return in_user_terms(self.parts.decide.decide(self._asked(x, task)), self.schema)

    def predict_proba(self, x: Any, *, task: Any = None) -> np.ndarray:
        """Return calibrated probabilities (N, K), ordered as `classes_`; arguments as `predict`."""
        return self.parts.decide.probabilities(self._asked(x, task)).numpy()

    def predict_topk(
        self, x: Any, k: int = 5, *, task: Any = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the k most probable labels (N, k) and their probabilities, as `Fitted` does."""
        if self._is_told:
            raise InputError(
                "predict_topk does not take tasks; with scenario='task' use "
                "predict_proba(x, task=...)."
            )
        self._refuse_task(task)
        return super().predict_topk(x, k)

    def predict_stream(self, rows: Any, *, rows_at_once: int = 1024) -> Any:
        """Yield what the model says of rows of any number; see `Fitted.predict_stream`.

        Raises:
            InputError: With scenario="task", where every row's task would have to be told.
        """
        if self._is_told:
            raise InputError(
                "predict_stream cannot be told the tasks of its rows, which scenario='task' needs; "
                "use predict(x, task=...) piece by piece."
            )
        return super().predict_stream(rows, rows_at_once=rows_at_once)

    def evaluate(self, ds: Any = None) -> dict[str, float]:
        """Return the metrics of `Fitted.evaluate` and, for the run's own rows, of the stream.

        These are `average_accuracy`, `forgetting`, `backward_transfer` and others, as
        `mlexpert.evidence.continual.metrics` defines them.
        """
        found = super().evaluate(ds)
        return found if ds is not None else {**found, **stream_metrics(self._run_dir("evaluate"))}

    def accuracy_matrix(self, *, task_aware: bool = False) -> np.ndarray:
        """Return the accuracy (T + 1, T) on each task's validation rows, after each task.

        Row 0 is of the untrained network; NaN where nothing was or could be measured.

        Args:
            task_aware: With the task of every row told, which makes class-incremental learning
                easier: never compare it to figures that are not.
        """
        history = read_rows(self._run_dir("accuracy_matrix"), "metrics.jsonl", {})
        found = stream_record(self.facts, history)
        assert found is not None, "a finished run has written down its tasks"
        matrix = found.told if task_aware else found.asked
        return np.full_like(found.asked, np.nan) if matrix is None else matrix

    def final_test(self, *, reason: str) -> dict[str, Any]:
        """Open the sealed test split as `Fitted.final_test` does.

        Returns:
            The metrics of `Fitted.final_test`, and "average_accuracy", the mean over tasks, with
            "task_aware_accuracy", the same with the task of every row told.
        """
        found = super().final_test(reason=reason)
        return {**found, **told_accuracy(self._stored("test"))}

    def learn(
        self,
        more: Any,
        *,
        target: str | None = None,
        inputs: str | list[str] | None = None,
        group: str | None = None,
        sample_weight: str | ArrayLike | None = None,
        run_dir: str | Path | None = None,
        fresh: bool = False,
        leakage: Literal["refuse", "report"] = "refuse",
        criteria: Mapping[str, float] | None = None,
        progress: bool = True,
    ) -> ContinualFitted:
        """Return a model that has learned more data as well: `mlexpert.fitting.learning.learn`."""
        from mlexpert.fitting.learning import learn  # it fits, and fitting returns one of these

        return learn(
            self,
            more,
            target=target,
            inputs=inputs,
            group=group,
            sample_weight=sample_weight,
            run_dir=run_dir,
            fresh=fresh,
            leakage=leakage,
            criteria=criteria,
            progress=progress,
        )

    def classes_by_task(self) -> list[list[Any]]:
        """Return the labels that were first met in each task, sorted as in `classes_`."""
        met = self._classes.task_of_class.cpu().numpy()
        return [self.classes_[met == number].tolist() for number in range(self.num_tasks)]

    def task_rows(self) -> list[dict[str, Any]]:
        """Return what was written down after each task so far; nothing without a run."""
        if self.run_dir is None:
            return []
        own = read_rows(self.run_dir, "metrics.jsonl", {})
        before = self.facts["stream"].get("before", [])
        rows = [*before, *(row for row in own if row.get("split") == TASKS)]
        return list({row["after"]: row for row in rows}.values())  # a resumed run may say it twice

    @property
    def num_tasks(self) -> int:
        """Tasks that were learned, one after another or at once."""
        method = self.parts.method
        assert isinstance(method, ContinualMethod), "recipes for streams have one"
        told = self.facts.get("stream", {}).get("num_tasks", 0)
        return max(told, method.number + 1, int(self._classes.task_of_class.max()) + 1)

    def validation_so_far(self) -> Examples | None:
        """Return the validation rows of all tasks, or None where they are not at hand."""
        try:
            (rows,) = self._all_held(self._run_dir("learn")).validation
        except InputError:  # a model without a run, or of data that were in memory only
            return None
        return rows

    def _all_held(self, run_dir: Path) -> Held:
        """Return what was held back; where it is read again, it is of this run's own tasks."""
        first = self.facts.get("stream", {}).get("first_task", 0)
        if self._held is not None or not first:
            return super()._all_held(run_dir)
        held = read_again(self.recipe.for_more(), self.facts, run_dir)
        return replace(held, validation=tuple(numbered(rows, first) for rows in held.validation))

    @property
    def _classes(self) -> TaskClasses:
        decide = self.parts.decide
        assert isinstance(decide, OfSeenClasses), "recipes for streams decide by one"
        return decide.classes

    @property
    def _is_told(self) -> bool:
        return self.recipe.scenario == "task"

    def _asked(self, x: Any, task: Any) -> Tensor:
        """Return the logits of rows, over the classes of their tasks where these are told."""
        if not self._is_told:
            self._refuse_task(task)
            return self._logits(x)
        logits = self._logits(x)
        return self._classes.of_tasks(logits, self._tasks(task, len(logits)))

    def _refuse_task(self, task: Any) -> None:
        if task is not None:
            raise InputError(
                f"task={task!r}: with scenario={self.recipe.scenario!r} a model is not told which "
                "task a row is of; to mask its answers by it would make the figures another "
                "problem's. Leave task out, or fit with scenario='task'."
            )

    def _tasks(self, task: Any, count: int) -> Tensor:
        """Return the task (N,) of each row.

        Raises:
            InputError: If there is none, or none that was met, or there are not as many.
        """
        known = sorted(set(self._classes.task_of_class.tolist()) - {-1})
        if task is None:
            raise InputError(
                "scenario='task' needs the task of the rows: predict(x, task=0), or a task for "
                f"each row. There are: {', '.join(map(str, known))}."
            )
        tasks = torch.as_tensor(np.asarray(task))
        if tasks.dtype.is_floating_point or tasks.dtype == torch.bool or tasks.ndim > 1:
            raise InputError(f"task={task!r}; it takes a whole number, or one for each row.")
        tasks = tasks.long().expand(count) if tasks.ndim == 0 else tasks.long()
        if len(tasks) != count:
            raise InputError(f"There are {len(tasks)} tasks for {count} rows; give one for each.")
        unknown = sorted(set(tasks.tolist()) - set(known))
        if unknown:
            raise InputError(
                f"task {unknown[0]} was not met; there are: {', '.join(map(str, known))}."
            )
        return tasks

    def _predictions(self, examples: Examples) -> dict[str, np.ndarray]:
        if examples.tasks is not None:
            tasks = torch.from_numpy(examples.tasks)
        else:  # labelled rows tell it
            tasks = self._classes.tasks_of(encode_targets(examples.targets, self.schema))
        said = predictions_of(self.parts, self._logits(examples), self.schema.objective, tasks)
        return {**said, "targets": targets_of(examples, self.schema)}

    def _test_predictions(self, examples: Examples) -> dict[str, np.ndarray]:
        """Number the tasks of sealed rows, which are counted from 0, as this run counts them."""
        return self._predictions(numbered(examples, self.facts["stream"].get("first_task", 0)))


def numbered(rows: Examples, first: int) -> Examples:
    """Return rows of a stream, whose tasks are counted from 0, as the tasks from `first` on."""
    assert rows.tasks is not None, "rows of a stream have their tasks"
    return replace(rows, tasks=rows.tasks + first)
