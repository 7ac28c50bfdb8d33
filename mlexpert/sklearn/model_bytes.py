"""A saved model in memory: its files, by name, for whoever stores bytes and not folders."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from mlexpert.fitted import Fitted
from mlexpert.fitted.loading import load


def to_bytes(fitted: Fitted) -> dict[str, bytes]:
    """Return what `Fitted.save` writes, safetensors and JSON, by file name."""
    with tempfile.TemporaryDirectory(prefix="mlexpert-") as folder:
        saved = fitted.save(Path(folder) / "model")
        return {
            path.relative_to(saved).as_posix(): path.read_bytes()
            for path in sorted(saved.rglob("*"))
            if path.is_file()
        }


def from_bytes(files: Mapping[str, bytes]) -> Fitted:
    """Return the model that `to_bytes` took apart.

    Raises:
        InputError: If a file is missing or altered, or the recipe's version is not in this package.
    """
    with tempfile.TemporaryDirectory(prefix="mlexpert-") as folder:
        for name, content in files.items():
            path = Path(folder) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return load(folder)
