"""Says, while a model is built, that its weights come from a saved one: nothing is fetched."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

_folder: ContextVar[Path | None] = ContextVar("restored_folder", default=None)


@contextmanager
def restoring(folder: Path) -> Iterator[None]:
    """Build models inside this context from the files of a saved model, with random weights.

    The weights are loaded over them afterwards, so pretrained ones would be fetched in vain, and a
    model that was fine-tuned would need a network to be opened.

    Args:
        folder: The saved model's folder.
    """
    token = _folder.set(Path(folder))
    try:
        yield
    finally:
        _folder.reset(token)


def restored_folder() -> Path | None:
    """Return the folder of the model that is being restored, or None where a new one is built."""
    return _folder.get()
