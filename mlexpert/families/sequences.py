"""What recipes share whose answer to a row is a sequence: they read, encode and are scored alike.

A family reads its own data and says of every row sums that are counted: nats and tokens, right tags
and words. Metrics are ratios of such sums over rows, so that nothing depends on how rows were
batched or padded, and resampling rows gives intervals.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from mlexpert.blocks.decisions.undecided import Undecided
from mlexpert.blocks.schedules import Schedule
from mlexpert.data.examples import Examples, Objective
from mlexpert.data.schema import Schema
from mlexpert.errors import InputError
from mlexpert.recipe import NO_ROLES, Network, Parts, Recipe
from mlexpert.training.method import Method
from mlexpert.training.plan import Data
from mlexpert.training.tracking import write_json

ILLUSTRATION = "sequences.json"
"""In a run folder: what its report shows of the sequences."""


@dataclass(frozen=True, kw_only=True)
class SequenceRecipe(Recipe):
    """A recipe that predicts sequences."""

    objective: ClassVar = "sequences"
    predicts: ClassVar[Objective]
    """Which kind of sequence: the objective of its schema and its metrics."""

    def read(self, ds: Any, roles: Mapping[str, Any] = NO_ROLES) -> dict[str, Examples]:
        """Return a user's data as examples: "all", or the user's own split.

        Raises:
            InputError: If the data cannot be used as it is.
        """
        raise NotImplementedError

    def describe(self, train: Examples) -> Schema:
        """Return what is known of the training rows: vocabulary and scales are fitted here."""
        raise NotImplementedError

    def encode(self, network: Network, examples: Examples, schema: Schema) -> Data:
        """Return rows as the trainer takes them, targets included."""
        raise NotImplementedError

    def said(self, parts: Parts, examples: Examples, schema: Schema) -> dict[str, np.ndarray]:
        """Return sums (N,) by row of what a trained model says; see `counted_metrics`."""
        raise NotImplementedError

    def illustrate(self, parts: Parts, examples: Examples, schema: Schema) -> dict[str, Any]:
        """Return what the report shows of validation rows, as JSON can hold it; here nothing."""
        return {}

    def accept(self, schema: Schema) -> None:
        """Take the data: `read` has refused what cannot be used."""

    def refuse_roles(self, roles: Mapping[str, Any], allowed: tuple[str, ...] = ()) -> None:
        """Refuse arguments of `fit` that mean nothing to these data.

        Raises:
            InputError: Naming the argument.
        """
        for name, value in roles.items():
            if value is not None and name not in allowed:
                raise InputError(f"{self.name} takes no {name}=; it was {value!r}.")

    def parts_of(
        self,
        network: Network,
        method: Method,
        optimizer: Any,
        schedule: Schedule,
        *,
        monitor: str = "loss",
        order: Any = None,
        epoch_rows: int | None = None,
        batch_tokens: int | None = None,
    ) -> Parts:
        """Assemble parts whose method scores validation itself, and that decide nothing."""
        return Parts(
            network=network,
            method=method,
            optimizer=optimizer,
            schedule=schedule,
            decide=Undecided(),
            evaluate=None,
            monitor=monitor,
            order=order,
            epoch_rows=epoch_rows,
            batch_tokens=batch_tokens,
        )


def write_illustration(run_dir: Path, shown: dict[str, Any]) -> None:
    """Write what a report shows of the sequences, where there is anything."""
    if shown:
        write_json(run_dir / ILLUSTRATION, shown)
