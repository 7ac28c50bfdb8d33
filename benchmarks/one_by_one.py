"""What benchmarks share that train many methods: one process after the other, and a line for each.

A run that was stopped goes on with what has no line yet, and the page is made of the lines alone.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.progress import Progress


@dataclass(frozen=True)
class Todo:
    """One training, or one round of a comparison of speed."""

    task: str
    method: str
    seed: int


def parser_of(about: str, tasks: Iterable[str]) -> argparse.ArgumentParser:
    """Return the options that all of them have.

    Args:
        about: What is measured.
        tasks: Names that `--task` takes.
    """
    parser = argparse.ArgumentParser(description=about)
    names = list(tasks)
    parser.add_argument("--smoke", action="store_true", help="a short run, to see that it works")
    parser.add_argument(
        "--task",
        action="append",
        choices=names,
        metavar="NAME",
        help=f"of these alone: {'; '.join(names)}",
    )
    parser.add_argument("--method", action="append", metavar="NAME", help="these methods alone")
    parser.add_argument("--seeds", type=int, metavar="N", help="at most N seeds or folds of each")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="of each training (1)")
    parser.add_argument("--page", action="store_true", help="write results.md again, and no more")
    return parser


def refuse_unknown(
    parser: argparse.ArgumentParser, options: argparse.Namespace, known: Iterable[str]
) -> None:
    """End with an error that lists the methods, where one is asked for that there is not."""
    known = sorted(set(known))
    for name in options.method or []:
        if name not in known:
            parser.error(f"no method {name!r}; there are {'; '.join(known)}")


def data_folder() -> Path:
    """Return where the real data lie.

    Raises:
        SystemExit: If they do not.
    """
    data = Path(os.environ.get("MLEXPERT_DATA", "../shared/data"))
    if not data.is_dir():
        raise SystemExit(f"{data} is no folder; set MLEXPERT_DATA to where the real data lies")
    return data


def lines_of(folder: Path, options: argparse.Namespace) -> Path:
    """Return the file of the lines; a smoke run leaves those of the folder alone."""
    place = Path(tempfile.mkdtemp()) if options.smoke else folder
    return place / "results.jsonl"


def read_lines(path: Path) -> list[dict]:
    """Return the lines of a file, none where there is no file yet."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def run_all(
    todos: Iterable[Todo],
    script: Path,
    options: argparse.Namespace,
    lines: Path,
    write_page: Callable[[list[dict], Path], None],
) -> None:
    """Measure one after the other, add the lines, and write the page of all lines.

    Args:
        todos: What is to be measured.
        script: Is given a training as JSON, and the file that it writes its list of lines into.
        options: Of `parser_of`.
        lines: The file of the lines; the page stands beside it.
        write_page: Writes it.

    Raises:
        SystemExit: At the end, with what failed; the rest is measured nevertheless.
    """
    data, failed = data_folder(), []
    todos = [] if options.page else list(todos)
    with Progress() as progress:
        bar = progress.add_task("", total=len(todos))
        for todo in todos:
            progress.update(bar, description=f"{todo.task} {todo.seed}: {todo.method}")
            try:
                rows = measured(todo, script, options, data)
            except RuntimeError as error:
                failed.append(f"{todo}: {error}")
                continue
            with lines.open("a") as file:
                file.writelines(json.dumps(row) + "\n" for row in rows)
            progress.advance(bar)
    page = lines.with_name("results.md")
    write_page(read_lines(lines), page)
    print(page.read_text() if options.smoke else f"Wrote {page}")
    if failed:
        raise SystemExit("\n".join(["Failed:", *failed]))


def measured(todo: Todo, script: Path, options: argparse.Namespace, data: Path) -> list[dict]:
    """Run one training in its own process and return its lines.

    Raises:
        RuntimeError: With the end of what it said, if it failed.
    """
    about = {"threads": options.threads, "smoke": options.smoke, "data": str(data.resolve())}
    threads = {name: str(options.threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "lines.json"
        ended = subprocess.run(
            [sys.executable, str(script), json.dumps({**asdict(todo), **about}), str(output)],
            # What it writes (runs, what it remembers of this machine) is of no use to the next.
            env={**os.environ, **threads, "TMPDIR": folder, "MLEXPERT_HOME": folder},
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        if ended.returncode:
            raise RuntimeError(ended.stderr[-2000:])
        found = json.loads(output.read_text())
    known = {**asdict(todo), "commit": commit(), "threads": options.threads}
    return [{**known, **line} for line in found]


def commit() -> str:
    """Return the commit that is measured, or "unknown" outside of a checkout."""
    ended = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return ended.stdout.strip() or "unknown"
