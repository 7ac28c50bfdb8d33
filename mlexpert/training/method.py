"""What a paper changes about training: one loss, and six moments at which a method may act."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from torch import Tensor, nn


@dataclass(frozen=True)
class Batch:
    """Examples as the model sees them.

    Attributes:
        inputs: Images (B, C, H, W) as floats in [0, 1], token ids (B, T) with 0 for padding, or
            columns (B, D).
        targets: (B,) class indices; (B, K) shares of the classes where a method mixed rows, or 0
            and 1 for labels; (B,) standardised numbers for regression.
        index: (B,) rows of the training set that these are.
        weights: (B,) how much each row counts, or None where all count alike.
    """

    inputs: Tensor
    targets: Tensor
    index: Tensor
    weights: Tensor | None = None

    def __len__(self) -> int:
        return self.targets.shape[0]  # len() of a tensor takes a microsecond, several times a step

    def map(self, change: Callable[[Tensor], Tensor]) -> Batch:
        """Return a batch of `change(column)` for every column that it has."""
        weights = None if self.weights is None else change(self.weights)
        return Batch(change(self.inputs), change(self.targets), change(self.index), weights)


@dataclass(frozen=True)
class Task:
    """A stretch of training, mostly with its own data. Ordinary training is one task."""

    number: int
    class_counts: Tensor
    """(K,) training rows of each class."""
    batches: Callable[[], Iterator[Batch]] | None = None
    """Yields the task's training rows once more, as they came and in their order, on the device.
    Only `end_task` is given it: when a run goes on, the rows of earlier tasks are not there."""


@dataclass(frozen=True)
class Loss:
    """A sum and what it is to be divided by.

    The trainer divides by the count of the *whole* global batch, so that ragged batches and
    micro-batches give one and the same gradient.

    Attributes:
        total: Scalar, the sum over the micro-batch.
        count: What the sum is to be divided by: examples, tokens, or the sum of weights.
    """

    total: Tensor
    count: Tensor | float


def summed(losses: Tensor, batch: Batch) -> Loss:
    """Return the sum of losses (B,), each by its row's weight, over the sum of the weights."""
    if batch.weights is None:
        return Loss(losses.sum(), len(batch))
    return Loss((losses * batch.weights).sum(), batch.weights.sum())


@dataclass(frozen=True)
class Examined:
    """What a method finds out at an epoch's end, beyond what logits say.

    Attributes:
        scores: By name; they stand beside the others, and training may be monitored by one.
        over: Why the task ends here, in a sentence: its training has failed in a way that only the
            method sees. Empty where it goes on. Which weights are kept is settled as ever.
    """

    scores: dict[str, float] = field(default_factory=dict)
    over: str = ""


class Method(nn.Module):
    """A training method. Only `loss` is required.

    Buffers, teachers and weights are registered as buffers or submodules, so that devices and
    checkpoints cost no code; what else has to survive is JSON-able and goes through
    `get_extra_state`. Buffers may be registered and may grow at any time, submodules and parameters
    are made in the constructor or in `begin_task`: when a run goes on, `begin_task` is called again
    for the tasks so far, `end_task` is not, and then the state is put back. Random numbers come
    from torch's default generator, which is in checkpoints.
    """

    def loss(self, model: nn.Module, batch: Batch) -> Loss:
        """Return the loss of a micro-batch; called under autocast.

        It may be called again for the same rows, after memory ran out: what it counts, it counts in
        buffers of at most 1 MiB, which are put back then.
        """
        raise NotImplementedError

    def begin_task(self, model: nn.Module, task: Task) -> None:
        """Act before a task's first batch: a teacher's snapshot, a class mask."""

    def draw(self, model: nn.Module, batch: Batch) -> Batch:
        """Return the global batch to train on, before it is cut: replay, mixup, augmentation."""
        return batch

    def after_backward(self, model: nn.Module) -> None:
        """Act on complete, synchronised, unscaled gradients, before clipping."""

    def after_step(self, model: nn.Module, batch: Batch) -> None:
        """Act after the optimiser moved, with the global batch."""

    def examine(self, model: nn.Module, rows: Iterator[Batch]) -> Examined:
        """Return what is found on validation rows after an epoch, with the weights to be kept.

        Called in eval mode, in every process, which have to find the same.
        """
        return Examined()

    def end_task(self, model: nn.Module, task: Task) -> None:
        """Act after a task's last batch, on the weights that are kept of it, in eval mode."""
