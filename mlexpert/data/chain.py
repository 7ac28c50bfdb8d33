"""A chain of entries, each of which holds the hash of the one before."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from mlexpert.errors import RunError


@dataclass(frozen=True)
class Entry:
    """One opening of a sealed test split."""

    number: int
    """1 for the first opening."""
    time: str
    """UTC, ISO 8601."""
    reason: str
    run: str
    """Folder or name of the run that opened it."""
    recipe: str
    previous: str
    """Hash of the entry before; for the first, a hash of the data's fingerprint."""
    hash: str
    """SHA-256 of the canonical JSON of all other fields."""


def read_chain(path: Path, fingerprint: str) -> tuple[Entry, ...]:
    """Read and check a chain, or an exported copy of one.

    Args:
        path: File of JSON lines.
        fingerprint: Fingerprint of the data that it is about.

    Returns:
        Its entries, oldest first.

    Raises:
        RunError: If the file cannot be read, or an entry was edited, removed, reordered or is not
            about this data.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"cannot read the ledger {path}: {error}") from error
    chain: list[Entry] = []
    previous = _genesis(fingerprint)
    for number, line in enumerate(lines, start=1):
        entry = _parse(line)
        if entry is None:
            raise RunError(altered(path, f"line {number} is not an entry"))
        if entry.number != number or entry.previous != previous:
            raise RunError(altered(path, f"line {number} does not follow the one before"))
        if entry.hash != _hash(entry):
            raise RunError(altered(path, f"entry {number} was edited"))
        chain.append(entry)
        previous = entry.hash
    return tuple(chain)


def altered(path: Path, what: str) -> str:
    """Return the message about a ledger that does not fit together."""
    return (
        f"the ledger {path} was altered: {what}. Results on this test split can no longer be "
        "vouched for; restore the file from a copy (each run keeps one), or move it away to start "
        "again and say so"
    )


def next_entry(
    chain: Sequence[Entry], fingerprint: str, *, time: str, reason: str, run: str, recipe: str
) -> Entry:
    """Return the entry that goes on with a chain, or begins that of a fingerprint."""
    previous = chain[-1].hash if chain else _genesis(fingerprint)
    draft = Entry(len(chain) + 1, time, reason, run, recipe, previous, hash="")
    return replace(draft, hash=_hash(draft))


def _genesis(fingerprint: str) -> str:
    return hashlib.sha256(f"mlexpert ledger of {fingerprint}".encode()).hexdigest()


def _hash(entry: Entry) -> str:
    content = {name: value for name, value in asdict(entry).items() if name != "hash"}
    return hashlib.sha256(_canonical(content).encode()).hexdigest()


def as_line(entry: Entry) -> str:
    """Return an entry as its line in the file, without the end of line."""
    return _canonical(asdict(entry))


def _canonical(content: dict) -> str:
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def _parse(line: str) -> Entry | None:
    try:
        content = json.loads(line)
    except ValueError:
        return None
    if not isinstance(content, dict) or set(content) != {field.name for field in fields(Entry)}:
        return None
    return Entry(**content)
