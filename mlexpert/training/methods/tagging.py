"""A tag for each word: the loss of a sentence's tags, and what a model says of sentences.

Papers: Lafferty et al. 2001 (conditional random fields); Huang et al. 2015, arXiv:1508.01991,
section 2.3 (a CRF on top of a bidirectional LSTM); Mohit et al. 2012, "Recall-oriented learning of
named entities in Arabic Wikipedia", section 4 (what a missed entity costs).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlexpert.blocks.backbones.tagger import Tagger
from mlexpert.data.batches import RaggedStore, batches
from mlexpert.data.token_budget import cut_by_tokens
from mlexpert.training.method import Batch, Examined, Loss, Method

NO_WORD, NO_TAG = -100, -1
"""In targets: padding, and a word whose tag the training rows do not have."""
AT_ONCE = 8_192
"""Words that are looked at together."""


class Tagging(Method):
    """The negative log-likelihood of tags, summed over words.

    With a chain a sentence's tags are one event; without, each word's tag is one of its own.

    Args:
        outside: Number of the tag "O"; None where there is none.
        miss_cost: Added in training to the score of "O" at words of entities, so that these have to
            be surer: most words are outside, and what is new would be taken for one of them.
        entity_error: Maps the tags that are true and those that are said, sentences of class
            numbers, to 1 - F1 of the entities; None where tags mark no spans.
    """

    def __init__(
        self,
        *,
        outside: int | None = None,
        miss_cost: float = 0.0,
        entity_error: Callable[[list[list[int]], list[list[int]]], float] | None = None,
    ) -> None:
        super().__init__()
        self.outside, self.miss_cost, self.entity_error = outside, miss_cost, entity_error

    def loss(self, model: nn.Module, batch: Batch) -> Loss:
        """Return the nats of a micro-batch's tags, and its words."""
        tagger = cast(Tagger, model)
        scores = tagger(batch.inputs).float()  # sums over a chain need more than half precision
        if self.outside is not None and self.miss_cost:
            targets = _cut(batch.targets, scores)
            missed = targets.ge(0) & targets.ne(self.outside)
            cost = torch.zeros_like(scores[0, 0])
            cost[self.outside] = self.miss_cost
            scores = scores + missed[..., None] * cost
        return _nats(tagger, scores, batch)

    @torch.no_grad()
    def examine(self, model: nn.Module, rows: Iterator[Batch]) -> Examined:
        """Return loss and share of wrong tags, each a ratio of sums over words.

        A tag that training does not have is wrong, and left out of the loss.
        """
        tagger = cast(Tagger, model)
        nats = counted = wrong = words = 0.0
        true: list[list[int]] = []
        said: list[list[int]] = []
        for batch in rows:
            scores = tagger(batch.inputs).float()
            loss = _nats(tagger, scores, batch)
            nats, counted = nats + float(loss.total), counted + float(loss.count)
            mask, targets = tagger.mask(batch.inputs), _cut(batch.targets, scores)
            best = decided(tagger, scores, mask)
            wrong += float((best.ne(targets) & mask).sum())
            words += float(mask.sum())
            if self.entity_error is not None:
                true += _sentences(targets, mask)
                said += _sentences(best, mask)
        found = {"loss": nats / max(1.0, counted), "tag_error": wrong / max(1.0, words)}
        if self.entity_error is not None:
            found["entity_error"] = self.entity_error(true, said)
        return Examined(found)


def _nats(model: Tagger, scores: Tensor, batch: Batch) -> Loss:
    """Return the loss of a batch of which these are the scores (B, T, K)."""
    targets = _cut(batch.targets, scores)
    if model.crf is None:
        known = targets.ge(0)
        losses = F.cross_entropy(
            scores.flatten(0, 1), targets.where(known, NO_WORD).flatten(), reduction="none"
        )
        return Loss(losses.sum(), known.sum())
    mask = model.mask(batch.inputs)
    known = targets.ne(NO_TAG).all(dim=1, keepdim=True)  # a chain with a gap has no likelihood
    likely = model.crf.log_likelihood(scores, targets.clamp(min=0), mask)
    return Loss(-likely.where(known[:, 0], 0.0).sum(), (mask & known).sum())


def _cut(targets: Tensor, scores: Tensor) -> Tensor:
    """Return targets (B, T) of the longest sentence of all, cut to the longest of the batch."""
    return targets[:, : scores.shape[1]]


def decided(model: Tagger, scores: Tensor, mask: Tensor) -> Tensor:
    """Return the decided tags (B, T): the best chain, or the best of each word."""
    if model.crf is None:
        return scores.argmax(dim=-1)
    best: Any = model.crf.viterbi(scores.float(), mask)
    return best[0]


@torch.inference_mode()
def tags_said(model: nn.Module, store: RaggedStore) -> list[list[int]]:
    """Return the decided tags of each sentence, as class numbers; the model is put in eval mode.

    Args:
        model: A tagger, wherever it is.
        store: The encoded sentences; one without words gets no tags.
    """
    tagger = cast(Tagger, model.eval())
    device = next(tagger.parameters()).device
    lengths = store.offsets.diff()
    said: list[list[int]] = [[] for _ in range(len(lengths))]
    order = torch.arange(len(lengths))[lengths > 0]
    cuts = cut_by_tokens(order, lengths, AT_ONCE * tagger.width)
    for inputs, _, index in batches(store, torch.zeros(len(lengths)), cuts):
        inputs = inputs.to(device)
        mask = tagger.mask(inputs)
        best = decided(tagger, tagger(inputs), mask)
        for row, tags in zip(index.tolist(), _sentences(best, mask), strict=True):
            said[row] = tags
    return said


def _sentences(tags: Tensor, mask: Tensor) -> list[list[int]]:
    """Return tags (B, T) as lists of those of words."""
    lengths = mask.sum(dim=1).tolist()
    return [row[:length] for row, length in zip(tags.tolist(), lengths, strict=True)]
