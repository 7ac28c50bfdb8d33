"""The files of a saved model: each with its digest, and none that executes."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from mlexpert.errors import InputError

FORMAT = 1
CARD, WEIGHTS = "model.json", "weights.safetensors"
PICKLES = {".pkl", ".pickle", ".joblib", ".pt", ".pth", ".bin", ".ckpt", ".dill"}


def write_card(folder: Path, facts: dict[str, Any]) -> None:
    """Write the card of a model folder, with the digests of all files that are there.

    Raises:
        OSError: If the disk is full or read-only.
    """
    files = {path: _digest(folder / path) for path in _files(folder)}
    card = {"format": FORMAT, **facts, "files": files}
    card["digest"] = _card_digest(card)
    (folder / CARD).write_text(json.dumps(card, indent=1))


def may_replace(folder: Path) -> bool:
    """Tell whether a folder is empty, or holds a saved model and nothing besides."""
    if not folder.is_dir():
        return False
    files = _files(folder)
    try:
        card = json.loads((folder / CARD).read_text()) if files else None
        return card is None or (
            card["digest"] == _card_digest(card) and set(files) <= {CARD, *card["files"]}
        )
    except (OSError, ValueError, KeyError, TypeError):
        return False


def checked_card(folder: Path) -> dict[str, Any]:
    """Return the card of a model folder, once every file in it is found to be as it was saved.

    Raises:
        InputError: If a file is missing, altered, foreign or a pickle.
    """
    if not (folder / CARD).is_file():
        found = (
            ", ".join(sorted(path.name for path in folder.iterdir())[:5])
            if folder.is_dir()
            else "no such folder"
        )
        raise InputError(
            f"{folder} is not a saved model: {CARD} is missing ({found or 'it is empty'})."
        )
    pickles = [name for name in _files(folder) if _is_pickle(folder / name)]
    if pickles:
        raise InputError(
            f"{folder} holds {pickles[0]}, which is or may be a pickle: loading one runs whatever "
            "code is in it. A saved model has none; do not load it, and find out who put it there."
        )
    try:
        card = json.loads((folder / CARD).read_text())
        whole = card["digest"] == _card_digest(card)
        listed: dict[str, str] = card["files"]
    except (ValueError, KeyError, TypeError):
        whole, listed = False, {}
    if not whole:
        raise InputError(
            f"{folder / CARD} was altered or torn since it was saved. Save the model again."
        )
    if card["format"] != FORMAT:
        raise InputError(
            f"{folder} is written in format {card['format']}, and this version reads {FORMAT}. "
            f"Install the version that wrote it: pip install mlexpert=={card['mlexpert']}."
        )
    present = set(_files(folder)) - {CARD}
    for problem, names in (
        ("is missing", set(listed) - present),
        ("was not saved with it", present - set(listed)),
    ):
        if names:
            raise InputError(f"{folder} is not as it was saved: {sorted(names)[0]} {problem}.")
    altered = [name for name, digest in listed.items() if _digest(folder / name) != digest]
    if altered:
        raise InputError(
            f"{folder} is not as it was saved: {altered[0]} was altered (another digest)."
        )
    return card


def _files(folder: Path) -> list[str]:
    return sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    )


def _is_pickle(path: Path) -> bool:
    """Tell a pickle by its ending, its first opcode (protocol 2 on), or torch's zip."""
    with path.open("rb") as file:
        start = file.read(4)
    magic = len(start) > 1 and start[0] == 0x80 and 2 <= start[1] <= 5
    return path.suffix.lower() in PICKLES or (
        path.suffix != ".safetensors" and (magic or start == b"PK\x03\x04")
    )


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _card_digest(card: dict[str, Any]) -> str:
    rest = {key: value for key, value in card.items() if key != "digest"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()
