"""Expert training recipes for PyTorch: one file each, on one trainer, with the evidence built in.

    from mlexpert.recipes import get

    fitted = get("imbalanced-cls", epochs=20).fit("demo")
    fitted.evaluate()

Importing this package imports neither torch nor anything else that is slow: the names below are
loaded when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mlexpert.errors import InputError, RunError

if TYPE_CHECKING:
    from mlexpert.comparing.compare import compare
    from mlexpert.comparing.comparison import Comparison
    from mlexpert.fitted import Fitted
    from mlexpert.fitted.loading import load
    from mlexpert.recipe import Recipe
    from mlexpert.recipes import describe, get, names
    from mlexpert.robustness.attacking import attack
    from mlexpert.robustness.result import Robustness

__version__ = "0.1.0"

__all__ = [
    "Comparison",
    "Fitted",
    "InputError",
    "Recipe",
    "Robustness",
    "RunError",
    "__version__",
    "attack",
    "compare",
    "describe",
    "get",
    "load",
    "names",
]

_HOMES = {
    "Comparison": "mlexpert.comparing.comparison",
    "Fitted": "mlexpert.fitted",
    "Recipe": "mlexpert.recipe",
    "Robustness": "mlexpert.robustness.result",
    "attack": "mlexpert.robustness.attacking",
    "compare": "mlexpert.comparing.compare",
    "describe": "mlexpert.recipes",
    "get": "mlexpert.recipes",
    "load": "mlexpert.fitted.loading",
    "names": "mlexpert.recipes",
}
_SUBPACKAGES = frozenset({"blocks", "data", "evidence", "recipes", "training"})


def __getattr__(name: str) -> Any:
    """Load a public name, or a part of the package, when it is first used (PEP 562)."""
    if name in _SUBPACKAGES:
        return import_module(f"mlexpert.{name}")
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'mlexpert' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES, *_SUBPACKAGES})
