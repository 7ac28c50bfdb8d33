"""What comes in: reading, roles, schema, splits, the sealed test, leakage and fingerprints.

    from mlexpert.data import long_tail, permuted, rotated, stream

The names below are loaded when they are first used: importing this package imports nothing slow.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlexpert.data.long_tailed import long_tail
    from mlexpert.data.tasks.streams import Stream, stream
    from mlexpert.data.tasks.transformed import permuted, rotated

__all__ = ["Stream", "long_tail", "permuted", "rotated", "stream"]

_HOMES = {
    "Stream": "mlexpert.data.tasks.streams",
    "long_tail": "mlexpert.data.long_tailed",
    "permuted": "mlexpert.data.tasks.transformed",
    "rotated": "mlexpert.data.tasks.transformed",
    "stream": "mlexpert.data.tasks.streams",
}


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used (PEP 562)."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'mlexpert.data' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
