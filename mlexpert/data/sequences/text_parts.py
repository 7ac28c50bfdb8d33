"""One text cut into train, validation and a sealed test, one after the other.

Places of one text are no rows that could be dealt at random: a window of validation would stand
between two of train, which all but tell what it holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from mlexpert.data.examples import Examples, Part
from mlexpert.data.fingerprint import fingerprint, row_digests, split_fingerprint
from mlexpert.data.seal import Sealed
from mlexpert.data.splits import Splits
from mlexpert.errors import InputError

PARTS: tuple[Part, ...] = ("train", "validation", "test")


def cut_text(parts: Mapping[str, Examples], *, validation: float, test: float) -> Splits:
    """Cut the parts that the user did not bring out of one text: train stands first.

    Args:
        parts: "all" or "train", of one text; and "validation" or "test" where the user has them.
        validation: Share of the text's characters.
        test: Share of the text's characters; 0 for no test at all.

    Raises:
        InputError: If a part would be empty.
    """
    own = {"validation": validation, "test": test}
    shares = {name: share for name, share in own.items() if name not in parts and share}
    shares = {"train": 1.0 - sum(shares.values()), **shares}
    made = _cut(parts["all" if "all" in parts else "train"], shares)
    user_made = tuple(name for name in PARTS[1:] if name in parts)
    made |= {name: replace(parts[name], part=name) for name in PARTS[1:] if name in parts}
    digests = {name: row_digests(rows) for name, rows in made.items()}
    whole = fingerprint(parts)
    how = ", ".join(f"{name} ({share:.0%})" for name, share in shares.items())
    return Splits(
        train=made["train"],
        validation=made["validation"],
        test=Sealed(made["test"], digests["test"], whole) if "test" in made else None,
        how=f"one text cut in its order: {how}",
        user_made=user_made,
        fingerprint=whole,
        split_fingerprint=split_fingerprint(made, digests),
        digests=digests,
        absent={},
    )


def _cut(rows: Examples, shares: Mapping[str, float]) -> dict[str, Examples]:
    """Return the parts of one text, in the order of the shares, which add up to 1."""
    text = str(rows.inputs[0])
    made: dict[str, Examples] = {}
    begin, done = 0, 0.0
    for name in PARTS:
        if name not in shares:
            continue
        done += shares[name] * len(text)
        piece = np.empty(1, dtype=object)
        piece[0] = text[begin : round(done)]
        if not piece[0].strip():
            raise InputError(
                f"the text has {len(text)} characters, of which none are left for {name}: give "
                "more text."
            )
        made[name] = replace(rows, inputs=piece, part=name)
        begin = round(done)
    return made
