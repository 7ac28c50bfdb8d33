"""The nearest known name, for the messages of errors."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(name: str, known: Iterable[object]) -> str:
    """Return " Did you mean 'label'?" where a known name is close, else an empty string."""
    candidates = {str(one).lower(): str(one) for one in known}
    close = difflib.get_close_matches(name.lower(), candidates, n=1, cutoff=0.6)
    return f" Did you mean {candidates[close[0]]!r}?" if close else ""


def listing(names: Iterable[object], limit: int = 20) -> str:
    """Return names for a message, in quotes, the first `limit` of them."""
    every = [repr(str(name)) for name in names]
    more = f" and {len(every) - limit} more" if len(every) > limit else ""
    return ", ".join(every[:limit]) + more if every else "none"
