"""The ledger of openings of a sealed test split: one hash-chained file for each data set.

What is evident and what is not. Each entry holds the hash of the one before, and the first holds a
hash of the data's fingerprint, so an entry that was edited, removed from the middle, reordered, or
taken from another ledger breaks the chain. A chain alone cannot show that its *end* was cut off; a
head file beside it holds the number and hash of the last entry, which makes that evident too, and
so does the copy that every run keeps. Somebody who rewrites chain, head and copies together, or
deletes them all, or works under another home folder, leaves no trace: the ledger is tamper-evident
to the careless and the forgetful, not tamper-proof against the determined. And the data are the
rows as the recipe reads them: with other `inputs=` the same file is other data, with a ledger of
its own.
"""

from __future__ import annotations

import json
import os
import re
from datetime import UTC, datetime
from pathlib import Path

from mlexpert.data.chain import Entry, altered, as_line, next_entry, read_chain
from mlexpert.errors import InputError, RunError

__all__ = ["Entry", "Ledger", "default_home", "read_chain"]


class Ledger:
    """The openings of one data set's test split, in `<home>/ledger/<fingerprint>.jsonl`."""

    def __init__(self, fingerprint: str, home: Path | None = None) -> None:
        """Name the ledger of a data set; nothing is written yet.

        Args:
            fingerprint: Fingerprint of the data, 64 hexadecimal digits.
            home: Folder of mlexpert's own files; by default the environment's MLEXPERT_HOME, else
                ~/.mlexpert.

        Raises:
            InputError: If `fingerprint` is not one.
        """
        if not re.fullmatch(r"[0-9a-f]{64}", fingerprint):
            raise InputError(
                f"a data fingerprint has 64 hexadecimal digits, this is {fingerprint!r}"
            )
        self.fingerprint = fingerprint
        self.path = (home or default_home()) / "ledger" / f"{fingerprint}.jsonl"
        self.last: Entry | None = None
        """The entry that this object appended last."""

    @property
    def _head_path(self) -> Path:
        return self.path.with_suffix(".head")

    def entries(self) -> tuple[Entry, ...]:
        """Return all openings so far, oldest first.

        Raises:
            RunError: If the ledger was altered or cannot be read.
        """
        chain = read_chain(self.path, self.fingerprint) if self.path.exists() else ()
        self._check_head(chain)
        return chain

    def verify(self) -> None:
        """Check the chain and its head.

        Raises:
            RunError: If an entry was edited, removed or reordered; the message names the first that
                does not fit.
        """
        self.entries()

    def append(self, *, reason: str, run: str, recipe: str = "") -> Entry:
        """Write an opening down, safely beside other processes, and return it once it is on disk.

        Args:
            reason: Why the test split is opened; not empty.
            run: Folder or name of the run.
            recipe: Recipe with its version.

        Raises:
            InputError: If the reason is empty.
            RunError: If the ledger was altered, is locked, or cannot be written; it is then as it
                was before.
        """
        import filelock

        if not isinstance(reason, str) or not reason.strip():
            raise InputError(
                'opening the test split needs a reason: final_test(reason="table 1 of the paper")'
            )
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with filelock.FileLock(str(self.path.with_suffix(".lock")), timeout=30):
                chain = self.entries()
                entry = next_entry(
                    chain,
                    self.fingerprint,
                    time=datetime.now(UTC).isoformat(timespec="seconds"),
                    reason=reason.strip(),
                    run=run,
                    recipe=recipe,
                )
                self._write(entry)
        except filelock.Timeout as error:
            raise RunError(
                f"another process holds the ledger {self.path}; the test split stays sealed: try "
                "again"
            ) from error
        except OSError as error:
            raise RunError(
                f"cannot write the ledger {self.path} ({error.strerror or error}); the test split "
                "stays sealed: free some space, make the folder writable, or set MLEXPERT_HOME to "
                "a folder that is"
            ) from error
        self.last = entry
        return entry

    def export(self, path: Path) -> None:
        """Write a copy of the chain, which `read_chain` can check, to `path`.

        Raises:
            RunError: If the ledger was altered, or `path` cannot be written.
        """
        lines = "".join(f"{as_line(entry)}\n" for entry in self.entries())
        try:
            _replace(path, lines)
        except OSError as error:
            raise RunError(
                f"cannot write a copy of the ledger to {path}: {error.strerror or error}"
            ) from error

    def _write(self, entry: Entry) -> None:
        """Append the entry and move the head; both or neither."""
        handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        before = os.fstat(handle).st_size
        data = f"{as_line(entry)}\n".encode()
        try:
            written = 0
            while written < len(data):
                written += os.write(handle, data[written:])
            os.fsync(handle)
            _replace(self._head_path, json.dumps({"number": entry.number, "hash": entry.hash}))
        except OSError:
            os.ftruncate(handle, before)
            raise
        finally:
            os.close(handle)

    def _check_head(self, chain: tuple[Entry, ...]) -> None:
        if not self._head_path.exists():
            # The very first entry may have lost its head to a power cut; a longer chain always has
            # one.
            if len(chain) > 1:
                raise RunError(altered(self.path, f"its head file {self._head_path.name} is gone"))
            return
        try:
            head = json.loads(self._head_path.read_text())
            number, digest = int(head["number"]), str(head["hash"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RunError(altered(self.path, f"its head file cannot be read ({error})")) from error
        if number > len(chain):
            raise RunError(
                altered(self.path, f"it has {len(chain)} entries where {number} were written")
            )
        if number < 1 or chain[number - 1].hash != digest:
            raise RunError(
                altered(self.path, f"entry {number} is not the one that its head file names")
            )


def default_home() -> Path:
    """Return the folder of mlexpert's own files: MLEXPERT_HOME, else ~/.mlexpert."""
    named = os.environ.get("MLEXPERT_HOME")
    return Path(named).expanduser() if named else Path.home() / ".mlexpert"


def _replace(path: Path, text: str) -> None:
    """Write a file so that a crash leaves either the old one or the new one."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with open(draft, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)
