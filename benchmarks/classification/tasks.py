"""The tasks: where their rows lie, how they are split, and what is measured on each."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

FOLDS = 5
SMOKE_ROWS = 400


@dataclass(frozen=True)
class Task:
    """Rows of one kind, in their official split or in five folds.

    Attributes:
        kind: Of the inputs; it decides which methods there are.
        files: One file, which is cut into folds, or those of the official split: train, test, and
            validation where the data has one.
        target: The column to predict.
        shown: The metrics of the table, the first of them the task's own.
        inputs: The columns to predict from; none named, all others.
        numbers: Whether the target is a number.
    """

    kind: Literal["images", "texts", "tables"]
    files: tuple[str, ...]
    target: str
    shown: tuple[str, ...] = ("roc_auc", "accuracy", "log_loss")
    inputs: str | None = None
    numbers: bool = False

    @property
    def is_official(self) -> bool:
        """Whether the data brings its own test rows; else it is cut into folds."""
        return len(self.files) > 1

    def split(self, number: int, data: Path, *, smoke: bool) -> Split:
        """Return a split of the official files, the same for every seed, or the fold `number`."""
        frames = [pd.read_parquet(data / f"{name}.parquet") for name in self.files]
        if smoke:
            frames = [some.sample(min(len(some), SMOKE_ROWS), random_state=0) for some in frames]
        parts = [self.read(frame) for frame in frames]
        if not self.is_official:
            parts = self._fold(parts[0], number)
        return Split(parts[0], parts[1], parts[2] if len(parts) > 2 else None)

    def read(self, frame: pd.DataFrame) -> Rows:
        """Return the rows of a file; the texts of one that is cut into folds are distinct."""
        targets = frame[self.target].to_numpy()
        if self.kind == "images":
            return Rows(_pixels(frame["image"]), targets)
        if self.kind == "texts":
            if not self.is_official:  # a text that is there twice would stand on both sides
                frame = frame.drop_duplicates(self.inputs)
            return Rows(frame[[self.inputs]].reset_index(drop=True), frame[self.target].to_numpy())
        return Rows(frame.drop(columns=self.target), targets)

    def _fold(self, rows: Rows, number: int) -> list[Rows]:
        from sklearn.model_selection import KFold, StratifiedKFold

        kind = KFold if self.numbers else StratifiedKFold
        folds = list(kind(FOLDS, shuffle=True, random_state=0).split(rows.targets, rows.targets))
        return [rows.at(index) for index in folds[number]]


@dataclass(frozen=True)
class Rows:
    """Inputs, an array (N, H, W[, C]) of pixels or a frame, and their targets (N,)."""

    inputs: np.ndarray | pd.DataFrame
    targets: np.ndarray

    def __len__(self) -> int:
        return len(self.targets)

    def at(self, index: np.ndarray) -> Rows:
        """Return the rows at `index`."""
        inputs = self.inputs
        if isinstance(inputs, np.ndarray):
            return Rows(inputs[index], self.targets[index])
        return Rows(inputs.iloc[index].reset_index(drop=True), self.targets[index])

    def some(self, number: int) -> Rows:
        """Return at most `number` rows, always the same ones."""
        order = np.random.default_rng(0).permutation(len(self))
        return self.at(np.sort(order[:number]))

    def frame(self, target: str) -> pd.DataFrame:
        """Return a table's or texts' rows with their target."""
        assert isinstance(self.inputs, pd.DataFrame), "images are arrays"
        return self.inputs.assign(**{target: self.targets})


@dataclass(frozen=True)
class Split:
    """Rows to train on, rows to test on once, and validation rows where the data brings them."""

    train: Rows
    test: Rows
    validation: Rows | None


def _pixels(column: pd.Series) -> np.ndarray:
    from PIL import Image

    return np.stack([np.asarray(Image.open(io.BytesIO(row["bytes"]))) for row in column])


PLAIN = ("accuracy", "log_loss")

TASKS = {
    "mnist": Task("images", ("mnist_train", "mnist_test"), "label", PLAIN),
    "fashion-mnist": Task("images", ("fashion_mnist_train", "fashion_mnist_test"), "label", PLAIN),
    "cifar-10": Task("images", ("cifar10_train", "cifar10_test"), "label", PLAIN),
    "trec-6": Task("texts", ("trec_train", "trec_test"), "coarse_label", PLAIN, "text"),
    "sst-2": Task("texts", ("sst2_train", "sst2_test", "sst2_dev"), "label", PLAIN, "text"),
    "sms-spam": Task("texts", ("sms_spam",), "label", ("accuracy", "pr_auc", "log_loss"), "text"),
    "adult": Task(
        "tables", ("adult_train", "adult_test"), "income", ("accuracy", "roc_auc", "log_loss")
    ),
    "bank-marketing": Task("tables", ("bank_marketing",), "y"),
    "credit-default": Task("tables", ("credit_default",), "default"),
    "phoneme": Task("tables", ("phoneme",), "class"),
    "mammography": Task("tables", ("mammography",), "class", ("pr_auc", "roc_auc", "log_loss")),
    "california-housing": Task(
        "tables", ("california_housing",), "median_house_value", ("rmse", "mae"), numbers=True
    ),
}
