"""Small data of sequences, each with something that a model can find in seconds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

WORDS = ("the", "cat", "dog", "sees", "hears", "a", "bird", "and", "runs")


def documents(rows: int = 60, seed: int = 0) -> list[str]:
    """Return texts of a few words, in which the same words come after one another."""
    rng = np.random.default_rng(seed)
    lines = []
    for number in range(rows):
        animals = rng.choice(["cat", "dog", "bird"], 4)
        lines.append(" ".join(f"the {one} sees a {one}" for one in animals) + f". {number}")
    return lines


def tagged(rows: int = 60, seed: int = 0) -> pd.DataFrame:
    """Return sentences whose names are capitalised and marked, and their tags."""
    rng = np.random.default_rng(seed)
    words, tags = [], []
    for number in range(rows):
        name = str(rng.choice(["Ann", "Bob", "Eve"]))
        words.append([str(one) for one in rng.choice(WORDS, 3)] + [name, f"w{number}"])
        tags.append(["O", "O", "O", "B-person", "O"])
    return pd.DataFrame({"words": words, "tags": tags})


def pairs(rows: int = 80, seed: int = 0) -> pd.DataFrame:
    """Return short strings and the same in capitals."""
    rng = np.random.default_rng(seed)
    sources = ["".join(rng.choice(list("abcd"), rng.integers(2, 6))) for _ in range(rows)]
    return pd.DataFrame({"source": sources, "target": [one.upper() for one in sources]})


def hourly(rows: int = 400, seed: int = 0) -> pd.DataFrame:
    """Return two columns over hours, with a day's season and some noise."""
    rng = np.random.default_rng(seed)
    angle = 2 * np.pi * np.arange(rows) / 24
    return pd.DataFrame(
        {
            "date": pd.date_range("2024-01-01", periods=rows, freq="h"),
            "load": 10 + np.sin(angle) + rng.normal(size=rows) / 10,
            "heat": 3 * np.cos(angle) + rng.normal(size=rows) / 10,
        }
    )


DATA: dict[str, Any] = {
    "tokens": documents,
    "tags": tagged,
    "transduction": pairs,
    "forecast": hourly,
}
"""By what is predicted."""
QUICK = {
    "tokens": {"steps": 8, "context": 16, "dim": 16, "num_layers": 1, "num_heads": 2},
    "tags": {"dim": 32, "word_dim": 16, "num_filters": 16},
    "transduction": {"dim": 32, "num_layers": 1, "num_heads": 2},
    "forecast": {"context": 24, "horizon": 6},
}
"""Fields with which a recipe trains in a moment."""
