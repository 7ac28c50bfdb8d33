"""What this benchmark shares with that of the classification recipes, which stands beside it."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))
sys.path.append(str(Path(__file__).parents[1] / "classification"))

from clock import Clock, peak_bytes

__all__ = ["Clock", "peak_bytes"]
