"""How much memory may still be taken: what the machine has free, or what its limits allow."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import psutil

CGROUP = Path("/sys/fs/cgroup")
PROC = Path("/proc/self")


def available_bytes(cgroup: Path = CGROUP, proc: Path = PROC) -> int:
    """Return the bytes that this process can still take without being killed or refused.

    That is the least of what the machine has free, of what every control group from the process's
    own up to the root allows, and of what `ulimit -v` and `ulimit -d` allow.

    Args:
        cgroup: Where control groups are mounted; versions 1 and 2 are both read.
        proc: What the kernel says of this process.
    """
    free = psutil.virtual_memory().available
    return max(0, min([free, *_room_in_cgroups(cgroup, proc), *_room_in_ulimits(proc)]))


def _room_in_cgroups(cgroup: Path, proc: Path) -> Iterator[int]:
    for folder in _cgroup_folders(cgroup, proc):
        for limits, used, reclaimable in (
            (("memory.max", "memory.high"), "memory.current", "inactive_file"),
            (("memory.limit_in_bytes",), "memory.usage_in_bytes", "total_inactive_file"),
        ):
            # Files read once fill the page cache, which the kernel gives up before it kills.
            cache = _numbers(folder / "memory.stat").get(reclaimable, 0)
            for limit in limits:
                try:
                    room = int((folder / limit).read_text()) - int((folder / used).read_text())
                except (OSError, ValueError):  # No such limit here, or "max".
                    continue
                yield room + cache


def _cgroup_folders(cgroup: Path, proc: Path) -> set[Path]:
    """Return the folders of this process's groups and of all their ancestors.

    In a container the mount may show the container's own group at its root, though the kernel names
    a longer path: folders that do not exist are harmless.
    """
    roots = {1: (cgroup, cgroup / "memory"), 2: (cgroup, cgroup / "unified")}
    folders = {*roots[1], *roots[2]}
    try:
        lines = (proc / "cgroup").read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        for root in roots[1 if controllers else 2]:
            folder = root
            for part in Path(path).parts[1:]:
                if part != "..":  # Above what this namespace can see.
                    folder = folder / part
                    folders.add(folder)
    return folders


def _room_in_ulimits(proc: Path) -> Iterator[int]:
    try:
        import resource
    except ImportError:  # Windows has no such limits.
        return
    used = _numbers(proc / "status")
    for kind, name in ((resource.RLIMIT_AS, "VmSize"), (resource.RLIMIT_DATA, "VmData")):
        limit, _ = resource.getrlimit(kind)
        if limit != resource.RLIM_INFINITY and name in used:
            yield limit - used[name] * 1024  # The kernel writes kB and means KiB.


def _numbers(file: Path) -> dict[str, int]:
    """Return the whole numbers of a file of lines such as `VmSize:   1234 kB`."""
    try:
        lines = re.findall(r"^(\w+):?\s+(\d+)", file.read_text(), re.MULTILINE)
    except OSError:
        return {}
    return {name: int(number) for name, number in lines}
