"""Small data of every kind, each with a signal that a model can find in seconds."""

from __future__ import annotations

import numpy as np
import pandas as pd

WORDS = {"spam": ("prize", "win", "cash", "free"), "ham": ("meeting", "lunch", "tomorrow", "home")}


def table(rows: int = 200, seed: int = 0, rare: float = 0.25) -> pd.DataFrame:
    """Two numeric columns, one with gaps, and a categorical one; the rarer class is "yes"."""
    rng = np.random.default_rng(seed)
    label = rng.random(rows) < rare
    age = rng.normal(40, 10, rows) + 12 * label
    income = rng.lognormal(3, 1, rows)
    income[rng.random(rows) < 0.1] = np.nan
    city = np.where(rng.random(rows) < 0.5 + 0.3 * label, "Rome", "Oslo")
    target = np.where(label, "yes", "no")
    return pd.DataFrame({"age": age, "income": income, "city": city, "bought": target})


def numbers(rows: int = 200, seed: int = 0) -> pd.DataFrame:
    """The table above, with a price as target that its columns tell but for some noise."""
    frame = table(rows, seed).drop(columns="bought")
    noise = np.random.default_rng(seed).normal(0, 50, rows)
    price = 1000 + 20 * frame["age"] + 300 * (frame["city"] == "Rome") + noise
    return frame.assign(target=price)


def images(rows: int = 80, size: int = 12, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Grey images (N, H, W) with a bright top (class 0), or a bright bottom (class 1)."""
    rng = np.random.default_rng(seed)
    labels = (rng.random(rows) < 0.3).astype(np.int64)
    pixels = rng.integers(0, 120, (rows, size, size))
    half = size // 2
    pixels[labels == 0, :half] += 100
    pixels[labels == 1, half:] += 100
    return pixels.astype(np.uint8), labels


def texts(rows: int = 120, seed: int = 0) -> pd.DataFrame:
    """Messages of a few words, of which some tell the class."""
    rng = np.random.default_rng(seed)
    labels = np.where(rng.random(rows) < 0.3, "spam", "ham")
    fill = np.array(["the", "a", "we", "see", "you", "at", "on", "it", "for", "now"])
    lines = [
        " ".join(rng.permutation([*rng.choice(fill, 5), *rng.choice(WORDS[label], 3)]))
        + f" {number}"
        for number, label in enumerate(labels)
    ]
    return pd.DataFrame({"message": lines, "label": labels})


def series(rows: int = 120, seed: int = 0) -> pd.DataFrame:
    """Noise of 10 to 30 steps with a slow wave in it ("slow"), or a fast one ("fast")."""
    rng = np.random.default_rng(seed)
    labels = np.where(rng.random(rows) < 0.3, "fast", "slow")
    waves = [
        np.sin(np.arange(rng.integers(10, 31)) / (0.6 if label == "fast" else 3))
        for label in labels
    ]
    noisy = [(wave + rng.normal(0, 0.2, len(wave))).astype(np.float32) for wave in waves]
    return pd.DataFrame({"wave": noisy, "label": labels})


def of_kind(kind: str, num_classes: int = 2):
    """Return data of a kind, as `fit` takes it; a third class is half of the most frequent one."""
    if kind == "image":
        pixels, labels = images()
        third = np.flatnonzero(labels == 0)[::2] if num_classes == 3 else []
        pixels[third] = pixels[third].swapaxes(1, 2)
        labels[third] = 2
        return pixels, labels
    if kind == "series":
        rows = series()
        if num_classes == 3:
            third = rows.index[rows["label"] == "slow"][::2]
            rows.loc[third, "label"] = "other"
            rows.loc[third, "wave"] = rows.loc[third, "wave"] + 3
        return rows
    rows = table().rename(columns={"bought": "label"}) if kind == "tabular" else texts()
    if num_classes == 3:
        third = rows.index[rows["label"] == rows["label"].mode()[0]][::2]
        rows.loc[third, "label"] = "other"
        if kind == "tabular":
            rows.loc[third, "age"] += 40
        else:
            rows.loc[third, "message"] = "votes poll " + rows.loc[third, "message"]
    return rows
