"""How much memory may still be taken: what the machine has free, or what the container allows."""

from __future__ import annotations

from pathlib import Path

import psutil

CGROUP = Path("/sys/fs/cgroup")
_LIMITS = (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes"))


def available_bytes(cgroup: Path = CGROUP) -> int:
    """Return the bytes that this process can still take without being killed.

    Args:
        cgroup: Where the container's limits are mounted; versions 1 and 2 are both read.
    """
    room = [psutil.virtual_memory().available]
    for folder in (cgroup, cgroup / "memory"):
        for limit, used in _LIMITS:
            try:
                room.append(int((folder / limit).read_text()) - int((folder / used).read_text()))
            except (OSError, ValueError):  # No such limit here, or "max".
                continue
    return max(0, min(room))
