"""What the processes share that `one_by_one` starts: what they are told, and where lines go."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable, Iterable
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from mlexpert.environment import environment


def write_lines(lines_of: Callable[[dict[str, Any]], list[dict]], packages: Iterable[str]) -> None:
    """Measure what this process was started for, and write the lines, as `python FILE WHAT OUTPUT`.

    Args:
        lines_of: Maps what is asked (task, method, seed, threads, smoke, data) to lines.
        packages: Whose versions each line names, where they are installed.
    """
    what, output = json.loads(sys.argv[1]), Path(sys.argv[2])
    torch.set_num_threads(what["threads"])
    warnings.simplefilter("ignore")
    lines = lines_of(what)
    here = machine(packages)  # afterwards: a rival may have come within reach only by then
    output.write_text(json.dumps([{**line, **here} for line in lines]))


def machine(packages: Iterable[str]) -> dict[str, Any]:
    """Return what every line says of where it was measured."""
    here, versions = environment(), {}
    for name in packages:
        with suppress(PackageNotFoundError):  # a rival that is not measured here
            versions[name] = version(name)
    return {
        "machine": here["gpu"] or here["cpu"],
        "on": "GPU" if here["gpu"] else "CPU",
        "versions": versions,
    }
