"""What iCaRL does at a task's end: exemplars are chosen, and means are taken of all of them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlexpert.blocks.layers.nearest_mean_head import NearestMeanHead
from mlexpert.blocks.reaching import reaching
from mlexpert.blocks.replay.exemplars import Exemplars
from mlexpert.training.method import Task

AT_ONCE = 256
"""Exemplars whose features are computed together."""


@torch.no_grad()
def choose_exemplars(memory: Exemplars, model: nn.Module, task: Task) -> None:
    """Keep rows of a task, by herding on what the model makes of them.

    Args:
        memory: Where they are kept; all others lose their least important ones.
        model: Has a `NearestMeanHead`; in eval mode.
        task: With its rows.

    Raises:
        InputError: If the memory has no room for a row of each class.
    """
    assert task.batches is not None, "the trainer gives a task's end its rows"
    seen = [(_directions(model, batch.inputs), batch.targets) for batch in task.batches()]
    features, targets = map(torch.cat, zip(*seen, strict=True))
    slot_of = memory.choose(features.flatten(1), targets, task.number)
    for batch in task.batches():
        slots, slot_of = slot_of[: len(batch)], slot_of[len(batch) :]
        memory.write(slots, batch.inputs, batch.targets, task.number, batch.weights)


@torch.no_grad()
def answer_by_means(memory: Exemplars, model: nn.Module) -> None:
    """Give the model's head the mean feature of each class's exemplars.

    Args:
        memory: Has exemplars.
        model: Has a `NearestMeanHead`; in eval mode.
    """
    head = head_of_means(model)
    sums, known = torch.zeros_like(head.means), torch.zeros_like(head.known)
    for piece in memory.pieces(AT_ONCE):
        features = _directions(model, piece.inputs)
        sums.index_add_(-2, piece.targets, features.movedim(0, -2).to(sums.dtype))
        known[piece.targets] = True
    head.remember(sums, known)  # a mean is scaled to norm 1: the sum does as well


def head_of_means(model: nn.Module) -> NearestMeanHead:
    """Return the head of a model that has a `NearestMeanHead`."""
    return next(part for part in model.modules() if isinstance(part, NearestMeanHead))


@torch.no_grad()
def linear_logits(model: nn.Module, inputs: Tensor) -> Tensor:
    """Return what the linear layer in the head says, whatever the mode: (B, K) or (B, M, K)."""
    head = head_of_means(model)
    return head.linear(reaching(head, model, inputs))


def _directions(model: nn.Module, inputs: Tensor) -> Tensor:
    """Return features (B, F) or (B, M, F) of norm 1."""
    return F.normalize(reaching(head_of_means(model), model, inputs), dim=-1)
