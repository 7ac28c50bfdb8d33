"""What recipes share that make one sequence of another: of spelling its sound, say."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from mlexpert.data.examples import Examples
from mlexpert.data.schema import Schema, TextStats
from mlexpert.data.sequences.symbols import (
    FIRST,
    are_strings,
    describe_symbols,
    encode_symbols,
    padded,
    symbols_in,
)
from mlexpert.data.sequences.transduction_pairs import joined, read_pairs, symbols_of
from mlexpert.errors import InputError
from mlexpert.evidence.sequences.edit_distance import edits
from mlexpert.families.sequences import SequenceRecipe
from mlexpert.recipe import NO_ROLES, Network, Parts
from mlexpert.training.methods.transduction import NO_TOKEN, decode
from mlexpert.training.plan import Data

SHOWN = 20
"""Pairs that a report shows."""


@dataclass(frozen=True, kw_only=True)
class TransductionRecipe(SequenceRecipe):
    """A recipe that makes one sequence of another."""

    predicts: ClassVar = "transduction"
    kinds: ClassVar = ("words",)

    unit: Literal["characters", "words"] = "characters"
    """What strings are read by: characters, or words between white space."""

    def read(self, ds: Any, roles: Mapping[str, Any] = NO_ROLES) -> dict[str, Examples]:
        """Return pairs of sequences: "all", or the user's own split.

        Raises:
            InputError: If the data cannot be used as it is, or names a role that means nothing.
        """
        self.refuse_roles(roles, allowed=("target", "inputs"))
        for name in ("target", "inputs"):
            if isinstance(roles.get(name), list | tuple):
                raise InputError(f"{name}={roles[name]!r}: name one column.")
        named = {"target": roles.get("target"), "inputs": roles.get("inputs")}
        return read_pairs(ds, unit=self.unit, **named)

    def describe(self, train: Examples) -> Schema:
        """Return the symbols of the training pairs, and how long these are."""
        assert train.targets is not None, "pairs are read with their targets"
        return Schema(
            kind="words",
            classes=(),
            class_names=(),
            class_counts=(),
            objective="transduction",
            num_rows=len(train),
            text=describe_symbols(list(train.inputs), are_strings=False),
            target_text=describe_symbols(
                self._targets(train), are_strings=isinstance(train.targets[0], str)
            ),
        )

    def encode(self, network: Network, examples: Examples, schema: Schema) -> Data:
        """Return sources with targets (N, T) of the longest of them."""
        _, stats = both(schema)
        targets = padded(self._targets(examples), stats, NO_TOKEN)
        return Data(network.encode(examples), targets)

    def answers(
        self,
        parts: Parts,
        examples: Examples,
        schema: Schema,
        *,
        beam: int = 1,
        length_penalty: float = 0.0,
        max_length: int | None = None,
    ) -> list[tuple[str, ...]]:
        """Return what is said of each source, as symbols.

        Args:
            parts: Trained.
            examples: The sources.
            schema: Of the training rows.
            beam: Answers that are kept at a time; 1 is greedy.
            length_penalty: Exponent of the penalty, which favours long answers.
            max_length: Most symbols of an answer; None allows about twice what training has, or
                twice the longest source.
        """
        sources, targets = both(schema)
        store = encode_symbols(examples.inputs, sources)
        longest = max(targets.length_p99, int(store.offsets.diff().max()))
        room = 2 * longest + 10 if max_length is None else max_length + 1
        symbols = symbols_in(targets)
        said = decode(
            parts.network.model, store, max_length=room, beam=beam, length_penalty=length_penalty
        )
        if max_length is not None:
            said = [ids[:max_length] for ids in said]
        return [tuple(symbols[number - FIRST] for number in ids) for ids in said]

    def said(self, parts: Parts, examples: Examples, schema: Schema) -> dict[str, np.ndarray]:
        """Return of each row (N,) whether it is exact, edits, and the target's length."""
        said, true = self.answers(parts, examples, schema), self._targets(examples)
        distance = [edits(a, b) for a, b in zip(said, true, strict=True)]
        return {
            "exact": np.array([one == 0 for one in distance], dtype=np.float64),
            "edits": np.array(distance, dtype=np.float64),
            "length": np.array([len(target) for target in true], dtype=np.float64),
            "rows": np.ones(len(true)),
        }

    def illustrate(self, parts: Parts, examples: Examples, schema: Schema) -> dict[str, Any]:
        """Return some pairs with what is said, and how often it is exact by length."""
        said, true = self.answers(parts, examples, schema), self._targets(examples)
        right = [a == b for a, b in zip(said, true, strict=True)]
        by_length: dict[int, list[bool]] = defaultdict(list)
        for source, is_right in zip(examples.inputs, right, strict=True):
            by_length[len(source)].append(is_right)
        wrong = [row for row, is_right in enumerate(right) if not is_right][: SHOWN // 2]
        others = [row for row, is_right in enumerate(right) if is_right][: SHOWN - len(wrong)]
        return {
            "examples": [
                {
                    "source": joined(examples.inputs[row], self.unit),
                    "target": joined(true[row], self.unit),
                    "said": joined(said[row], self.unit),
                }
                for row in sorted([*wrong, *others])
            ],
            "by_length": [
                {"length": length, "rows": len(rows), "accuracy": sum(rows) / len(rows)}
                for length, rows in sorted(by_length.items())
            ],
        }

    def in_user_terms(self, said: list[tuple[str, ...]], schema: Schema) -> list[Any]:
        """Return answers as the training targets came: strings, or lists."""
        if are_strings(both(schema)[1]):
            return [joined(symbols, self.unit) for symbols in said]
        return [list(symbols) for symbols in said]

    def _targets(self, examples: Examples) -> list[tuple[str, ...]]:
        assert examples.targets is not None, "pairs are read with their targets"
        return [symbols_of(target, self.unit) for target in examples.targets]


def both(schema: Schema) -> tuple[TextStats, TextStats]:
    """Return what is known of sources and of targets."""
    assert schema.text is not None and schema.target_text is not None, "pairs were described"
    return schema.text, schema.target_text
