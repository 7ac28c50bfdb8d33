"""A sealed test split: rows that cannot be looked at by accident, and how they are opened."""

from __future__ import annotations

from typing import NoReturn

import numpy as np

from mlexpert.data.examples import Examples, Kind
from mlexpert.data.ledger import Entry, Ledger
from mlexpert.errors import InputError

__all__ = ["Entry", "Ledger", "Sealed", "open_sealed"]

_MESSAGE = "the test split is sealed; use fitted.final_test(reason=...)"


class Sealed:
    """A test split that raises when it is iterated, indexed, copied, or asked for its targets.

    What an audit needs without looking at a row stays open: the length, the digests of the inputs,
    groups and times. Sealed against accidents and habits, pickling and `copy` among them; whoever
    goes through private names has decided to break the seal.

    Attributes:
        kind: What one input is.
        digests: (N, 2) uint64 digests of the inputs, without labels.
        fingerprint: Fingerprint of the whole data, which names the ledger.
        groups: (N,) group of each row, or None.
        times: (N,) time of each row, or None.
    """

    __slots__ = ("__rows", "digests", "fingerprint", "groups", "kind", "times")

    def __init__(self, examples: Examples, digests: np.ndarray, fingerprint: str) -> None:
        """Seal the rows."""
        self.__rows = examples
        self.kind: Kind = examples.kind
        self.digests = digests
        self.fingerprint = fingerprint
        self.groups = examples.groups
        self.times = examples.times

    def __len__(self) -> int:
        return len(self.digests)

    def __repr__(self) -> str:
        return f"Sealed({len(self)} {self.kind} rows)"

    def _release(self) -> Examples:
        return self.__rows

    @property
    def inputs(self) -> NoReturn:
        """Refuse."""
        raise InputError(_MESSAGE)

    @property
    def targets(self) -> NoReturn:
        """Refuse."""
        raise InputError(_MESSAGE)

    @property
    def subgroups(self) -> NoReturn:
        """Refuse."""
        raise InputError(_MESSAGE)

    def select(self, indices: np.ndarray, part: str | None = None) -> NoReturn:
        """Refuse."""
        raise InputError(_MESSAGE)

    def __iter__(self) -> NoReturn:
        raise InputError(_MESSAGE)

    def __getitem__(self, index: object) -> NoReturn:
        raise InputError(_MESSAGE)

    def __contains__(self, row: object) -> NoReturn:
        raise InputError(_MESSAGE)

    def __reversed__(self) -> NoReturn:
        raise InputError(_MESSAGE)

    def __array__(self, dtype: object = None, copy: bool | None = None) -> NoReturn:
        raise InputError(_MESSAGE)

    def __copy__(self) -> NoReturn:
        raise InputError(_MESSAGE)

    def __deepcopy__(self, memo: object) -> NoReturn:
        raise InputError(_MESSAGE)

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise InputError(_MESSAGE)

    def __getstate__(self) -> NoReturn:
        raise InputError(_MESSAGE)


def open_sealed(
    sealed: Sealed, ledger: Ledger, *, reason: str, run: str, recipe: str = ""
) -> Examples:
    """Write the opening down, and only then hand out the rows.

    Args:
        sealed: The test split.
        ledger: The ledger of the same data; `ledger.last` is the new entry afterwards.
        reason: Why the test split is opened; not empty.
        run: Folder or name of the run.
        recipe: Recipe with its version.

    Returns:
        The test rows.

    Raises:
        InputError: If the reason is empty, or the ledger is that of other data.
        RunError: If the opening could not be written down, or the ledger was altered; the rows stay
            sealed.
    """
    if ledger.fingerprint != sealed.fingerprint:
        raise InputError(
            f"this ledger is about other data: it is for fingerprint {ledger.fingerprint[:12]}..., "
            f"the test split belongs to {sealed.fingerprint[:12]}..."
        )
    ledger.append(reason=reason, run=run, recipe=recipe)
    return sealed._release()
