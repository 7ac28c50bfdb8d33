from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from mlexpert.data.memory import available_bytes

V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
V2 = ("memory.max", "memory.current", "inactive_file")
UNLIMITED = "9223372036854771712"  # what version 1 shows where there is no limit


def group(folder: Path, names: tuple[str, str, str], limit: int | str, used: int, cache: int = 0):
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in zip(names[:2], (limit, used), strict=True):
        (folder / name).write_text(f"{value}\n")
    (folder / "memory.stat").write_text(f"active_file 77\n{names[2]} {cache}\nslab 5\n")


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    (tmp_path / "proc").mkdir()
    return tmp_path / "proc"


def test_version_2_counts_the_page_cache_as_free(tmp_path: Path, proc: Path) -> None:
    (proc / "cgroup").write_text("0::/a/b\n")
    group(tmp_path / "a/b", V2, 5000, 4000, cache=300)
    assert available_bytes(tmp_path, proc) == 1300


def test_version_1_counts_the_page_cache_as_free(tmp_path: Path, proc: Path) -> None:
    (proc / "cgroup").write_text("8:pids:/other\n4:cpu,memory:/a/b\n0::/\n")
    group(tmp_path / "memory/a/b", V1, 5000, 4000, cache=300)
    group(tmp_path / "memory/other", V1, 1, 0)  # the group of another controller
    assert available_bytes(tmp_path, proc) == 1300


@pytest.mark.parametrize("tight", ["", "a", "a/b", "a/b/c"])
def test_the_tightest_ancestor_counts(tmp_path: Path, proc: Path, tight: str) -> None:
    (proc / "cgroup").write_text("0::/a/b/c\n")
    for folder in ("", "a", "a/b", "a/b/c"):
        group(tmp_path / "unified" / folder, V2, 900 if folder == tight else "max", 200)
    assert available_bytes(tmp_path, proc) == 700


def test_a_container_sees_its_own_group_at_the_root(tmp_path: Path, proc: Path) -> None:
    (proc / "cgroup").write_text("4:memory:/kubepods/pod7/cafe\n0::/../../cafe\n")
    group(tmp_path / "memory", V1, 5000, 1000)
    assert available_bytes(tmp_path, proc) == 4000


def test_being_throttled_is_as_bad_as_a_limit(tmp_path: Path, proc: Path) -> None:
    group(tmp_path, V2, 5000, 1000)
    (tmp_path / "memory.high").write_text("3000\n")
    assert available_bytes(tmp_path, proc) == 2000


@pytest.mark.parametrize("limit", ["max", UNLIMITED, "", "?"])
def test_no_limit_is_none(tmp_path: Path, proc: Path, limit: str) -> None:
    group(tmp_path, V2, limit, 1000)
    group(tmp_path / "memory", V1, limit, 1000)
    free = psutil.virtual_memory().available
    assert available_bytes(tmp_path, proc) == pytest.approx(free, rel=0.2)


def test_nothing_is_left_above_the_limit(tmp_path: Path, proc: Path) -> None:
    group(tmp_path, V2, 1000, 2000)
    assert available_bytes(tmp_path, proc) == 0


def test_missing_files_say_nothing(tmp_path: Path) -> None:
    free = psutil.virtual_memory().available
    nowhere = tmp_path / "nowhere"
    assert available_bytes(nowhere, nowhere) == pytest.approx(free, rel=0.2)


@pytest.mark.skipif(sys.platform != "linux", reason="ulimit -v is enforced on Linux")
@pytest.mark.parametrize("kind", ["RLIMIT_AS", "RLIMIT_DATA"])
def test_a_ulimit_is_what_the_kernel_grants(kind: str) -> None:
    script = rf"""
import mmap, re, resource
from mlexpert.data.memory import available_bytes
used = dict(re.findall(r'(\w+):\s+(\d+)', open('/proc/self/status').read()))
name = 'VmSize' if {kind!r} == 'RLIMIT_AS' else 'VmData'
limit = int(used[name]) * 1024 + 300 * 2**20
resource.setrlimit(resource.{kind}, (limit, limit))
room = available_bytes()
mmap.mmap(-1, room - 2**21, flags=mmap.MAP_PRIVATE).close()
try:
    mmap.mmap(-1, room + 2**21, flags=mmap.MAP_PRIVATE)
except OSError:
    print(room)
"""
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert 250 * 2**20 < int(out.stdout) <= 300 * 2**20, out.stderr
