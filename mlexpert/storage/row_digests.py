"""The digests of a run's rows by part: what tells whether a row was trained on, or judged by."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save

from mlexpert.training.tracking import write_bytes

FILE = "digests.safetensors"


def row_keys(digests: np.ndarray) -> np.ndarray:
    """Return digests (N, 2) as one key each (N,)."""
    return np.ascontiguousarray(digests, dtype=np.uint64).view("u8,u8").ravel()


def write_digests(run_dir: Path, digests: Mapping[str, np.ndarray]) -> None:
    """Write the digests (N, 2) of each part into a run folder.

    Raises:
        RunError: If the disk is full or read-only.
    """
    plain = {name: np.ascontiguousarray(rows, dtype=np.uint64) for name, rows in digests.items()}
    write_bytes(run_dir / FILE, save(plain))


def read_digests(run_dir: Path | None) -> dict[str, np.ndarray]:
    """Return the digests (N, 2) of a run's rows by part; none where there is no such record."""
    if run_dir is None or not (run_dir / FILE).is_file():
        return {}
    return load_file(run_dir / FILE)
