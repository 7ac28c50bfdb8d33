"""The tasks: where their rows lie, how they are made rare, and how often each is trained."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from borrowed import FOLDS, SMOKE_ROWS, Rows, Split, Task
from PIL import Image
from sklearn.datasets import load_digits

from mlexpert.data import long_tail

DIGITS_LARGEST, DIGITS_TEST = 120, 50
"""Training images of the most frequent digit, and test images of each."""


@dataclass(frozen=True)
class Digits:
    """scikit-learn's digits with a long tail, drawn anew for every seed; a balanced test."""

    kind: str = "images"
    imbalance: int = 30

    def split(self, seed: int, data: Path, *, smoke: bool) -> Split:
        """Return 369 training and 500 test images of 8 by 8 pixels, grey values 0 to 255."""
        digits = load_digits()
        pixels = np.round(digits.images * (255 / 16)).astype(np.uint8)
        order = np.random.default_rng(seed).permutation(len(pixels))
        tested, pool = [], []
        for label in range(10):
            own = order[digits.target[order] == label]
            tested.append(own[:DIGITS_TEST])
            pool.append(own[DIGITS_TEST : DIGITS_TEST + DIGITS_LARGEST])
        test, left = np.concatenate(tested), np.concatenate(pool)
        kept, _ = long_tail((left, digits.target[left]), imbalance=self.imbalance, seed=seed)
        rows = Rows(pixels, digits.target)
        return Split(rows.at(kept), rows.at(test), None)


@dataclass(frozen=True)
class LongTail:
    """An image data set with a long tail, the same rows for every seed; its own balanced test.

    Attributes:
        name: Of its files: `{name}_train.parquet` and `{name}_test.parquet`. Where there is a
            `{name}_lt_train.parquet` beside them (`run.py --carry`), that is taken as it is.
    """

    name: str
    kind: str = "images"
    imbalance: int = 100

    def split(self, seed: int, data: Path, *, smoke: bool) -> Split:
        """Return the long-tailed training and all test images."""
        train, test = self.frames(data)
        if smoke:
            train, test = (some.sample(SMOKE_ROWS, random_state=0) for some in (train, test))
        return Split(_rows(train), _rows(test), None)

    def frames(self, data: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Return the rows of both parts, images still encoded."""
        test, carried = data / f"{self.name}_test.parquet", data / f"{self.name}_lt_train.parquet"
        if carried.exists():
            return pd.read_parquet(carried), pd.read_parquet(test)
        whole = pd.read_parquet(data / f"{self.name}_train.parquet")
        numbered = np.arange(len(whole)), whole["label"].to_numpy()
        kept, _ = long_tail(numbered, imbalance=self.imbalance, seed=0)
        return whole.iloc[kept].reset_index(drop=True), pd.read_parquet(test)


def _rows(frame: pd.DataFrame) -> Rows:
    images = [np.asarray(Image.open(io.BytesIO(row["bytes"]))) for row in frame["image"]]
    return Rows(np.stack(images), frame["label"].to_numpy())


@dataclass(frozen=True)
class Measured:
    """A task as it is measured.

    Attributes:
        title: On the page.
        rows: Where its splits come from.
        seeds: Of the trainings; of folds, the last two digits are the fold's number.
        shown: The metrics of its table.
        fields: Of our recipes, where they are not left alone.
        needs_gpu: Whether a CPU has no time for it.
        note: What a reader has to know.
    """

    title: str
    rows: Task | Digits | LongTail
    seeds: tuple[int, ...]
    shown: tuple[str, ...]
    fields: Mapping[str, Any] = field(default_factory=dict)
    needs_gpu: bool = False
    note: str = ""

    @property
    def kind(self) -> str:
        """Images, texts or tables."""
        return self.rows.kind

    @property
    def is_long_tail(self) -> bool:
        """Whether the test rows are balanced, and the training rows are not."""
        return not isinstance(self.rows, Task)

    @property
    def has_folds(self) -> bool:
        """Whether its splits are folds of one table."""
        return isinstance(self.rows, Task) and not self.rows.is_official

    def split(self, seed: int, data: Path, *, smoke: bool) -> Split:
        """Return the rows that are trained on, and those that are tested on once."""
        return self.rows.split(seed % 100 if self.has_folds else seed, data, smoke=smoke)


IMAGES = ("accuracy", "tail3_recall", "worst_class_recall", "natural_brier")
TABLES = ("pr_auc", "roc_auc", "balanced_accuracy", "macro_f1", "brier")
IN_FOLDS, SEEDS = tuple(range(FOLDS)), (0, 1, 2)
EXACT: dict[str, Any] = {"precision": "fp32"}
"""Tables train in fp32 on every machine."""
SHORT: dict[str, Any] = {"keep": "last", "validation": 0.05, "flip": True, "epochs": 30}
ON_GPU: dict[str, Any] = {
    **SHORT,
    "depth": 32,
    "epochs": 200,
    "batch_size": 128,
    "lr": 0.1,
    "weight_decay": 2e-4,
    "shift": 4,
}


def _table(file: str, target: str, title: str, seeds: tuple[int, ...] = IN_FOLDS, note: str = ""):
    return Measured(title, Task("tables", (file,), target), seeds, TABLES, EXACT, note=note)


TASKS = {
    "digits-lt": Measured(
        "Digits, long-tailed",
        Digits(),
        tuple(range(5)),
        IMAGES,
        {"keep": "last", "validation": 0.05, "epochs": 30, "batch_size": 32, "shift": 0},
        note="scikit-learn's digits, imbalance 30. Training and test rows are drawn anew for every "
        "seed; 30 epochs, the last is kept; 5 % of the training rows are for validation.",
    ),
    "fashion-mnist-lt": Measured(
        "Fashion-MNIST-LT",
        LongTail("fashion_mnist"),
        SEEDS,
        IMAGES,
        SHORT,
        note="Imbalance 100, the same rows for every seed. ResNet-8 of width 16, 30 epochs, the "
        "last is kept; 5 % of the training rows are for validation.",
    ),
    "cifar-10-lt": Measured(
        "CIFAR-10-LT",
        LongTail("cifar10"),
        SEEDS,
        IMAGES,
        SHORT,
        note="Imbalance 100, the same rows for every seed. ResNet-8 of width 16, 30 epochs, the "
        "last is kept; 5 % of the training rows are for validation.",
    ),
    "cifar-10-lt, ResNet-32": Measured(
        "CIFAR-10-LT, the published protocol",
        LongTail("cifar10"),
        SEEDS,
        IMAGES,
        ON_GPU,
        needs_gpu=True,
        note="ResNet-32, 200 epochs, batch 128, SGD at .1, weight decay 2e-4, shifts and mirror "
        "images; the last epoch is kept. Published in one harness, best epoch on test: "
        "cross-entropy .7036, logit adjustment in the loss .7754, LDAM-DRW .7773.",
    ),
    "mammography": _table("mammography", "class", "Mammography"),
    "mammography, three seeds": _table(
        "mammography",
        "class",
        "Mammography, three seeds",
        tuple(base + fold for base in (0, 100, 200) for fold in range(FOLDS)),
        "Fifty positives a fold are few: means over the folds, and their spread over seeds.",
    ),
    "phoneme": _table("phoneme", "class", "Phoneme"),
    "adult": _table("adult_train", "income", "Adult", note="UCI's training rows."),
    "adult, official test": Measured(
        "Adult, official test",
        Task("tables", ("adult_train", "adult_test"), "income"),
        SEEDS,
        TABLES,
        EXACT,
    ),
    "bank-marketing": _table(
        "bank_marketing",
        "y",
        "Bank marketing",
        note="With `duration`, as the field does, although it is known only after the call.",
    ),
    "credit-default": _table("credit_default", "default", "Credit default"),
    "oil-spill": _table("oil_spill", "class", "Oil spill", note="Eight positives a fold."),
    "sms-spam": Measured(
        "SMS spam",
        Task("texts", ("sms_spam",), "label", inputs="text"),
        IN_FOLDS,
        TABLES,
        note="Distinct messages only: one that is there twice would stand on both sides.",
    ),
}
SIX = ("mammography", "phoneme", "adult", "bank-marketing", "credit-default", "oil-spill")
"""The tables of the target."""
