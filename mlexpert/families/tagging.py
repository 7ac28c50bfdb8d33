"""What recipes share that give every word of a sentence a tag: part of speech, or entity spans."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, ClassVar

import numpy as np
import torch

from mlexpert.data.examples import Examples
from mlexpert.data.nearest import listing
from mlexpert.data.schema import Schema
from mlexpert.data.sequences.sentences import read_sentences
from mlexpert.data.sequences.word_codes import describe_words, encode_words
from mlexpert.data.splits import Splits
from mlexpert.errors import InputError
from mlexpert.evidence.sequences.spans import count_spans, mark_spans, spans_of
from mlexpert.families.sequences import SequenceRecipe
from mlexpert.recipe import NO_ROLES, Network, Parts
from mlexpert.training.methods.tagging import NO_TAG, NO_WORD, tags_said
from mlexpert.training.plan import Data

SHOWN = 12
"""Sentences that a report shows."""


@dataclass(frozen=True, kw_only=True)
class TaggingRecipe(SequenceRecipe):
    """A recipe that gives every word of a sentence a tag."""

    predicts: ClassVar = "tags"
    kinds: ClassVar = ("words",)

    def read(self, ds: Any, roles: Mapping[str, Any] = NO_ROLES) -> dict[str, Examples]:
        """Return sentences with their tags: "all", or the user's own split.

        Raises:
            InputError: If the data cannot be used as it is, or names a role that means nothing.
        """
        self.refuse_roles(roles, allowed=("target", "inputs"))
        for name in ("target", "inputs"):
            if isinstance(roles.get(name), list | tuple):
                raise InputError(f"{name}={roles[name]!r}: name one column.")
        return read_sentences(ds, target=roles.get("target"), inputs=roles.get("inputs"))

    def divide(self, parts: Mapping[str, Examples]) -> Splits:
        """Return the parts; a note names tags that train lacks, which count as wrong."""
        splits = super().divide(parts)
        known = set(chain.from_iterable(_targets(splits.train)))
        counts = Counter(chain.from_iterable(chain(*map(_targets, parts.values()))))
        strange = {tag: count for tag, count in counts.items() if tag not in known}
        if not strange:
            return splits
        shown = ", ".join(f"{tag} ({count:,} words)" for tag, count in sorted(strange.items())[:10])
        note = f"tags that train lacks, of validation or test, count as wrong: {shown}"
        noted = replace(splits.train, notes=(*splits.train.notes, note))
        return replace(splits, train=noted)

    def describe(self, train: Examples) -> Schema:
        """Return words, characters and tags of the training sentences.

        Raises:
            InputError: If there is one tag only.
        """
        counts = Counter(chain.from_iterable(_targets(train)))
        if len(counts) < 2:
            raise InputError(
                f"the train split holds one tag only, {listing(counts)}: nothing is to be learned."
            )
        tags = tuple(sorted(counts))
        return Schema(
            kind="words",
            classes=tags,
            class_names=tags,
            class_counts=tuple(counts[tag] for tag in tags),
            objective="tags",
            num_rows=len(train),
            words=describe_words(list(train.inputs)),
        )

    def encode(self, network: Network, examples: Examples, schema: Schema) -> Data:
        """Return sentences with targets (N, T) of the longest of them."""
        numbers = {tag: number for number, tag in enumerate(schema.classes)}
        longest = max(map(len, examples.inputs))
        targets = torch.full((len(examples), longest), NO_WORD)
        for row, tags in enumerate(_targets(examples)):
            targets[row, : len(tags)] = torch.tensor([numbers.get(tag, NO_TAG) for tag in tags])
        return Data(network.encode(examples), targets)

    def said(self, parts: Parts, examples: Examples, schema: Schema) -> dict[str, np.ndarray]:
        """Return right tags and words (N,), and spans where tags mark them."""
        true, said = _targets(examples), self.tags(parts, examples, schema)
        right = [sum(map(str.__eq__, a, b)) for a, b in zip(true, said, strict=True)]
        counts = {
            "right": np.array(right, dtype=np.float64),
            "tokens": np.array([len(tags) for tags in true], dtype=np.float64),
        }
        return counts | (count_spans(true, said) if marks_spans(schema) else {})

    def tags(self, parts: Parts, examples: Examples, schema: Schema) -> list[list[str]]:
        """Return the tags of each sentence."""
        assert schema.words is not None, "sentences were described"
        store = encode_words(examples.inputs, schema.words)
        numbers = tags_said(parts.network.model, store)
        return [[str(schema.classes[number]) for number in row] for row in numbers]

    def illustrate(self, parts: Parts, examples: Examples, schema: Schema) -> dict[str, Any]:
        """Return measures by tag and by kind of entity, and some sentences with their tags."""
        true, said = _targets(examples), self.tags(parts, examples, schema)
        right: Counter[str] = Counter()
        for a, b in zip(true, said, strict=True):
            right.update(tag for tag, other in zip(a, b, strict=True) if tag == other)
        held, given = Counter(chain.from_iterable(true)), Counter(chain.from_iterable(said))
        shown: dict[str, Any] = {
            "by_tag": [
                {"tag": tag, **_measures(right[tag], given[tag], held[tag]), "words": held[tag]}
                for tag in sorted(held)
            ],
            "by_entity": [],
            "examples": [
                {"words": list(examples.inputs[row]), "true": list(true[row]), "said": said[row]}
                for row in _telling(true, said)
            ],
        }
        if marks_spans(schema):
            shown["by_entity"] = _by_entity(true, said)
        return shown


def marks_spans(schema: Schema) -> bool:
    """Return whether the tags of training mark spans."""
    return mark_spans([str(tag) for tag in schema.classes])


def entity_error(schema: Schema) -> Callable[[list[list[int]], list[list[int]]], float]:
    """Return what maps tags, true and said, as class numbers, to 1 - F1 of the entities."""
    names = [str(tag) for tag in schema.classes]

    def error(true: list[list[int]], said: list[list[int]]) -> float:
        # A tag that training lacks is an entity that nobody can find.
        tags = [[names[number] if number >= 0 else "S-" for number in row] for row in true]
        counts = count_spans(tags, [[names[number] for number in row] for row in said])
        sums = {name: float(values.sum()) for name, values in counts.items()}
        there = sums["given"] + sums["true"]
        return 1.0 - (2 * sums["found"] / there if there else 0.0)

    return error


def _targets(examples: Examples) -> list[tuple[str, ...]]:
    assert examples.targets is not None, "sentences are read with their tags"
    return list(examples.targets)


def _telling(true: list[tuple[str, ...]], said: list[list[str]]) -> list[int]:
    """Return sentences, half of them with an error where there are as many."""
    wrong = [row for row, tags in enumerate(true) if list(tags) != said[row]][: SHOWN // 2]
    others = [row for row in range(len(true)) if row not in wrong][: SHOWN - len(wrong)]
    return sorted([*wrong, *others])


def _by_entity(true: list[tuple[str, ...]], said: list[list[str]]) -> list[dict[str, Any]]:
    found: Counter[str] = Counter()
    given: Counter[str] = Counter()
    held: Counter[str] = Counter()
    for a, b in zip(true, said, strict=True):
        spans, others = set(spans_of(a)), set(spans_of(b))
        for count, these in ((found, spans & others), (given, others), (held, spans)):
            count.update(kind for kind, _, _ in these)
    return [
        {"tag": kind, **_measures(found[kind], given[kind], held[kind]), "spans": held[kind]}
        for kind in sorted(held | given)
    ]


def _measures(found: int, given: int, held: int) -> dict[str, float | None]:
    """Return precision, recall and F1; None where nothing is there to be divided by."""
    return {
        "precision": found / given if given else None,
        "recall": found / held if held else None,
        "f1": 2 * found / (given + held) if given + held else None,
    }
