"""The data of each task, divided as its protocol says."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mlexpert.data.sequences.made import grapheme_task, reverse_task, sort_task

RULES = {"reverse": reverse_task, "sort": sort_task, "grapheme": grapheme_task}
SHARE = 0.9
"""Of a text without an official split that is trained on."""


@dataclass(frozen=True)
class Texts:
    """What is trained on, what validates, and what is scored in the end."""

    train: str
    validation: str
    test: str


@dataclass(frozen=True)
class Series:
    """Rows of a table in the order of time, by part.

    Attributes:
        train: The oldest.
        validation: What follows.
        test: What is forecast in the end, behind the rows that its first window looks back at.
    """

    train: pd.DataFrame
    validation: pd.DataFrame
    test: pd.DataFrame


@dataclass(frozen=True)
class Labelled:
    """Sequences with a class each: arrays (T,) or (T, C), whatever their T."""

    train: tuple[list[np.ndarray], np.ndarray]
    test: tuple[list[np.ndarray], np.ndarray]
    name: str = ""


def read_texts(about: Mapping[str, Any], data: Path, *, smoke: bool) -> Texts:
    """Return the texts of a task; a smoke run takes little of each."""

    def text_of(name: str) -> str:
        return gzip.decompress((data / name).read_bytes()).decode()

    if "test" in about:
        texts = [text_of(about[name]) for name in ("train", "validation", "test")]
    else:
        whole = text_of(about["train"])
        cut = int(SHARE * len(whole))
        texts = [whole[:cut], whole[cut:], whole[cut:]]
    # Train is not cut as short: what it lacks of the characters would not be known.
    return Texts(texts[0][:300_000], texts[1][:2000], texts[2][:2000]) if smoke else Texts(*texts)


def read_series(
    about: Mapping[str, Any], data: Path, context: int, horizon: int, *, smoke: bool
) -> Series:
    """Return the parts of a table, of which a smoke run takes few test rows."""
    table = pd.read_csv(data / f"{about['file']}.csv.gz", parse_dates=["date"])
    if about["rows"]:
        train, validation, test = about["rows"]
    else:
        train, test = int(0.7 * len(table)), int(0.2 * len(table))
        validation = len(table) - train - test
    if smoke:
        train, validation, test = context + 2 * horizon, 2 * horizon, 2 * horizon
    ends = np.cumsum([0, train, validation, test])
    parts = [table.iloc[a:b].reset_index(drop=True) for a, b in pairwise(ends)]
    before = table.iloc[ends[2] - context : ends[2]]
    return Series(parts[0], parts[1], pd.concat([before, parts[2]], ignore_index=True))


def read_audio(held: int | None, data: Path, *, smoke: bool) -> Labelled:
    """Return recordings (T,) in [-1, 1] by the official split, or with a speaker held out."""
    table = pd.read_parquet(data / "fsdd.parquet")
    if held is None:
        is_test, name = (table["split"] == "test").to_numpy(), "official"
    else:
        name = sorted(table["speaker"].unique())[held]
        is_test = (table["speaker"] == name).to_numpy()

    def rows(chosen: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
        own = table[chosen].head(60 if smoke else len(table))
        waves = [np.asarray(one, dtype=np.float32) / 32768 for one in own["audio"]]
        return waves, own["label"].to_numpy()

    return Labelled(rows(~is_test), rows(is_test), name)


def set_files(data: Path) -> list[Path]:
    """Return the files of labelled series, in the order of their names."""
    return sorted(data.glob("ts_*.npz"))


def read_set(number: int, data: Path) -> Labelled:
    """Return a set of labelled series (T, C); what was padded is cut off."""
    path = set_files(data)[number]
    held = np.load(path)
    if "X" in held:
        of = held["environment"] == 3
        parts = [(held["X"][own], held["y"][own], held["length"][own]) for own in (~of, of)]
    else:
        parts = [
            (held[f"X_{part}"], held[f"y_{part}"], held[f"length_{part}"])
            for part in ("train", "test")
        ]
    train, test = (
        ([row[:, :length].T.copy() for row, length in zip(x, lengths, strict=True)], y)
        for x, y, lengths in parts
    )
    return Labelled(train, test, path.stem.removeprefix("ts_"))


def read_pairs(rule: str, *, smoke: bool) -> tuple[Any, Any]:
    """Return pairs to train on, and test pairs whose sources are not among these."""
    make = RULES[rule]
    train, drawn = make(200 if smoke else 10_000, seed=0), make(50 if smoke else 1000, seed=1)
    known = set(train[0])
    test = [pair for pair in zip(*drawn, strict=True) if pair[0] not in known]
    return train, ([source for source, _ in test], [target for _, target in test])
