"""What this benchmark shares with that of the classification recipes, which stands beside it."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))
sys.path.append(str(Path(__file__).parents[1] / "classification"))

from clock import Clock, peak_bytes
from rivals_texts import tfidf
from tasks import FOLDS, SMOKE_ROWS, Rows, Split, Task

__all__ = ["FOLDS", "SMOKE_ROWS", "Clock", "Rows", "Split", "Task", "peak_bytes", "tfidf"]
