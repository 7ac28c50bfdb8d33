"""Classes of series by random convolutions and a linear map that is solved for, not trained.

Some 50,000 features say how much of a series, and of its changes, is above what a small kernel
gives on training rows; ridge regression weighs them. Where there are hundreds of series or some
thousand, that is more accurate than the network of `sequence-cls`, in less time. Memory grows with
rows times features, and time with the square of the rows, in the end with the cube.

Papers: Tan et al. 2022, arXiv:2102.00457 (MultiRocket); Dempster et al. 2021, arXiv:2012.08791
    (MiniRocket: kernels, dilations, biases).
Differs from the papers: series are standardised by channel and those of unequal length are not
    padded; the penalty is that of the least squared error of rows left out, in closed form, and
    scores become probabilities by the likelihood of these rows.
Results: benchmarks/sequence/results.md
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

from torch.optim import SGD

from mlexpert.blocks.schedules import constant
from mlexpert.data.examples import Examples
from mlexpert.data.memory import available_bytes
from mlexpert.data.schema import Schema
from mlexpert.data.sequences.series_rows import opened, read_series
from mlexpert.errors import InputError
from mlexpert.families.classifier import ClassifierRecipe
from mlexpert.networks.series import rocket_network
from mlexpert.recipe import NO_ROLES, Encoded, Parts
from mlexpert.training.methods.solved_series import SolvedSeries
from mlexpert.training.plan import Stretch


@dataclass(frozen=True, kw_only=True)
class MultiRocketCls(ClassifierRecipe):
    """Random convolutions of a series and its changes, and ridge regression."""

    name: ClassVar[str] = "sequence-cls/multirocket"
    version: ClassVar[int] = 1
    kinds: ClassVar = ("series",)

    epochs: int | None = 1
    """Of no effect: every row is looked at twice."""
    sampling_rate: int | None = None
    """Samples a second where series are waveforms, of one channel: the convolutions read log-mel
    energies then. None: the values themselves."""
    num_features: int = 50_000
    """Features, at most; each takes 16 bytes a training row while it is weighed."""

    def check(self) -> None:
        """Refuse values that cannot be meant."""
        super().check()
        rate = self.sampling_rate
        self.require(rate is None or rate >= 1000, "sampling_rate", "1000 or more, or None")
        self.require(self.num_features >= 672, "num_features", "at least 672")
        self.require(not self.ema, "ema", "None or 0: there are no steps to average over")
        self.require(not self.label_smoothing, "label_smoothing", "0: its error is squared")

    def read(self, ds: Any, roles: Mapping[str, Any] = NO_ROLES) -> dict[str, Examples]:
        """Return the series of a user's data.

        Raises:
            InputError: If the data are no series, or cannot be used as they are.
        """
        return read_series(opened(ds), sampling_rate=self.sampling_rate, **roles)

    def settle(self, schema: Schema) -> Self:
        """Fill in what training by steps would have."""
        defaults: dict[str, Any] = {
            "batch_size": 64,
            "lr": 0.0,
            "weight_decay": 0.0,
            "patience": 0,
            "clip_norm": 0.0,
            "ema": 0.0,
        }
        return replace(self, **{k: v for k, v in defaults.items() if getattr(self, k) is None})

    def build(self, schema: Schema) -> Parts:
        """Assemble the network and what solves for it."""
        what = self.objective_parts(schema)
        network = rocket_network(
            schema, num_features=self.num_features, sampling_rate=self.sampling_rate
        )
        return Parts(
            network=network,
            method=SolvedSeries(what.loss, self._class_weight(schema)),
            optimizer=SGD(network.model.parameters(), lr=0.0),  # makes no step
            schedule=constant(),
            decide=what.decide,
            evaluate=what.evaluate,
            monitor=what.monitor,
        )

    def stretches(self, parts: Parts, schema: Schema, rows: Encoded) -> tuple[Stretch, ...]:
        """Return the one stretch, in which no gradient step is made.

        Raises:
            InputError: If this machine's memory does not hold the rows' features.
        """
        (stretch,) = super().stretches(parts, schema, rows)
        require_room(len(rows.train.targets), self.num_features)
        return (stretch.without_steps(),)


def require_room(rows: int, features: int) -> None:
    """Refuse rows whose features this machine's memory does not hold.

    Raises:
        InputError: Saying how much is needed, and how much there is.
    """
    needed, there = 16 * rows * features + 24 * min(rows, features) ** 2, available_bytes()
    if needed > there:
        raise InputError(
            f"{features} features of {rows} series take {needed / 2**30:.1f} GiB to be weighed, "
            f"and {there / 2**30:.1f} are free; take a smaller num_features, or sequence-cls."
        )


if __name__ == "__main__":
    from mlexpert.cli import run_file

    run_file(MultiRocketCls)
