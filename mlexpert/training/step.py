"""One optimiser step of a global batch, whatever pieces it takes.

The gradient is that of the whole batch: sums over micro-batches and processes, divided once by the
true count. Running out of memory changes the pieces, never the step.
"""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from mlexpert.data.memory import available_bytes
from mlexpert.errors import RunError
from mlexpert.training.activation_checkpointing import checkpoint_blocks
from mlexpert.training.evaluation import LARGEST
from mlexpert.training.gradient_health import GradientHealth, where_it_began
from mlexpert.training.method import Batch, Method
from mlexpert.training.oom import is_out_of_memory
from mlexpert.training.phases import OFF, Phases
from mlexpert.training.pieces import evenly, rows_of_a_piece
from mlexpert.training.precision import Engine
from mlexpert.training.rewind import Rewind

Number = Tensor | float


@dataclass
class Cut:
    """How a global batch is cut, and what was done to make it fit."""

    size: int
    """Most rows of a micro-batch."""
    width: int | None = None
    """Tokens of a row for which that size was confirmed; shorter rows get more of them."""
    checkpointing: bool = False
    """Whether blocks compute their activations again in backward."""
    tight: bool = False
    """Whether freed memory goes back to the system at once."""
    retries: int = 0
    """How often memory ran out in mid-run, and the step was made of smaller pieces."""
    looks: int = LARGEST
    """Rows that are looked at together in an evaluation."""


class NotFinite(Exception):
    """A loss that is NaN or infinite; its text says where that began."""


class Step:
    """Moves the weights once for each global batch.

    Args:
        model: On the engine's device.
        method: Its loss and hooks.
        optimizer: Over the model's parameters.
        engine: Device, precision and processes.
        cut: How to cut a batch; changed where memory runs out.
        clip_norm: Largest gradient norm; 0 does not clip.
        seed: Of the run: with several processes each draws dropout masks of its own.
        on_retry: Called after memory ran out, with the new cut and the error's text.
    """

    def __init__(
        self,
        model: nn.Module,
        method: Method,
        optimizer: Optimizer,
        engine: Engine,
        cut: Cut,
        *,
        clip_norm: float,
        seed: int,
        on_retry: Callable[[Cut, str], None],
    ) -> None:
        self.model, self.method, self.optimizer = model, method, optimizer
        self.engine, self.processes, self.cut = engine, engine.processes, cut
        self.clip_norm, self.seed, self.on_retry = clip_norm, seed, on_retry
        self.phases: Phases = OFF
        self.rewind = Rewind([model, method], engine.device)

    def __call__(
        self, batch: Batch, number: int, *, look: bool, health: GradientHealth | None = None
    ) -> tuple[bool, Number, Number]:
        """Move the weights by one global batch.

        Args:
            batch: The global batch, drawn; with several processes each is given all of it.
            number: Of the step, counted over the whole run.
            look: Whether to look at the loss; on a GPU that waits for it.
            health: Measures this step's gradients and update.

        Returns:
            Whether the weights moved (fp16 may skip), the summed loss of this process's rows, and
            the count of all rows.

        Raises:
            NotFinite: If the loss is looked at and is not finite; the weights are still those
                before the step.
            RunError: If memory ran out and nothing smaller is left to try.
        """
        own = self._own_rows(batch)
        self.rewind.mark()
        while True:
            parts = self._parts(own, batch)
            single = self.processes.count == 1 and len(parts) == 1
            total, count, error = self._accumulate(parts, batch, number, whole=single)
            if error is not None and self.engine.is_sharded:
                raise RunError(
                    f"Memory ran out in step {number}: {error}. A sharded model cannot repeat a "
                    "step, of which its processes have exchanged a part; fit again with a smaller "
                    "microbatch=, in a new run_dir."
                )
            failed, seen = error is not None, float(total) if look else 0.0
            if self.processes.count > 1:
                failed, count, seen = self._agree(failed, float(count), seen)
            if not failed:
                break
            self._make_smaller(error or "in another process", batch, number)
            self.rewind.back()
        if look and not math.isfinite(seen):
            self.rewind.back()

            def again() -> None:
                self._accumulate(parts, batch, number, whole=single)

            where = where_it_began(self.model, again)  # in all, for the sake of a sharded model
            raise NotFinite(self._whose(where, float(total)))
        if self.processes.count > 1:
            self._sum_over_processes()

        with self.phases("optimizer"):
            self.engine.unscale(self.optimizer)
            if not single:
                _scale_gradients(self.model, len(batch) / count)
            self.method.after_backward(self.model)
            if health is not None:
                health.before()
            if self.clip_norm:
                nn.utils.clip_grad_norm_(self.model.parameters(), self.clip_norm)
            moved = self._move(number)
        return moved, total, count

    def _accumulate(
        self, parts: list[Batch], batch: Batch, number: int, *, whole: bool
    ) -> tuple[Number, Number, str | None]:
        """Run forward and backward of every piece.

        Args:
            parts: This process's micro-batches.
            batch: The global batch.
            number: Of the step.
            whole: Whether a single part is the whole batch: divided by its own count, for good.
                Otherwise by the number of examples for now.

        Returns:
            The summed loss and its count, and the text of the error if memory ran out: handled
            outside of the `except` frame, whose traceback would hold on to the tensors.
        """
        self.optimizer.zero_grad(set_to_none=True)
        # A sharded model takes the mean over processes where this wants the sum.
        examples = len(batch) / (self.processes.count if self.engine.is_sharded else 1)
        total: Number = 0.0
        count: Number = 0.0
        try:
            with self._own_random_numbers(number):
                for piece in parts:
                    with self.phases("forward"), self.engine.autocast():
                        loss = self.method.loss(self.model, piece)
                    with self.phases("backward"):
                        self.engine.backward(loss.total, loss.count if whole else examples)
                    seen = loss.total.detach()
                    # What is added to nothing is not added: it would cost the step 1 % on a CPU.
                    total, count = (
                        (seen, loss.count) if whole else (total + seen, count + loss.count)
                    )
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return total, count, str(error)
        return total, count, None

    def _parts(self, own: Batch, batch: Batch) -> list[Batch]:
        """Cut this process's rows; all processes make as many pieces as the largest share needs."""
        count = -(-self._largest_share(batch) // self._rows(batch))
        if self.engine.is_sharded:  # there, each has to pass as often as the others, with a row
            count = min(count, len(batch) // self.processes.count)
        return [piece for piece in evenly(own, count) if len(piece)]

    def _rows(self, batch: Batch) -> int:
        return min(
            self._largest_share(batch), rows_of_a_piece(self.cut.size, self.cut.width, batch)
        )

    def _largest_share(self, batch: Batch) -> int:
        return -(-len(batch) // self.processes.count)

    def _own_rows(self, batch: Batch) -> Batch:
        if self.processes.count == 1:
            return batch
        rows = self.processes.share(len(batch))
        return batch.map(lambda column: column[rows])

    def _own_random_numbers(self, number: int) -> AbstractContextManager:
        """With several processes each draws its own masks, and all go on from one state."""
        if self.processes.count == 1:
            return nullcontext()
        return _seeded(hash((self.seed, number, self.processes.rank)), self.engine.device)

    def _agree(self, failed: bool, count: float, seen: float) -> tuple[bool, float, float]:
        """Exchange who ran out of memory, before anything else.

        Were a gradient exchanged first, a process that failed would leave the others waiting in it.
        """
        failures, counts, losses = self.processes.total([failed, count, seen])
        return failures > 0, counts, losses

    def _sum_over_processes(self) -> None:
        if not self.engine.is_sharded:  # there, backward has done it
            self.processes.sum_gradients(list(self.model.parameters()))
        self.processes.mean_(_running_statistics(self.model))

    def _make_smaller(self, error: str, batch: Batch, number: int) -> None:
        """Find a smaller way to do the same step."""
        self.optimizer.zero_grad(set_to_none=True)
        gc.collect()
        if self.engine.device.type == "cuda":
            torch.cuda.empty_cache()
        rows = self._rows(batch)
        if rows > 1:
            self.cut.size = -(-rows // 2)
            self.cut.width = None if self.cut.width is None else batch.inputs.shape[1]
        elif not self.cut.checkpointing and checkpoint_blocks(self.model):
            self.cut.checkpointing = True
        else:
            raise RunError(
                f"Memory ran out in step {number} with a single row: {error}. On this machine "
                f"{available_bytes() >> 20} MiB are available. Smaller inputs or a smaller model "
                "need less."
            )
        self.cut.retries += 1
        self.cut.looks = min(self.cut.looks, self.cut.size)
        self.on_retry(self.cut, error)

    def _whose(self, where: str, own_loss: float) -> str:
        """Say in which process a loss is not finite; the others saw nothing but that it was one."""
        if self.processes.count == 1:
            return where
        mine = [rank == self.processes.rank for rank in range(self.processes.count)]
        is_broken = not math.isfinite(own_loss)
        broken = self.processes.total([float(is_broken and own) for own in mine])
        return where if is_broken else f"that of process {broken.index(1.0)}, which says where"

    def _move(self, number: int) -> bool:
        try:
            return self.engine.step(self.optimizer)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise RunError(
                f"Memory ran out inside the optimiser's step {number}, half of which may be done: "
                f"{error}. It is not repeated. With more memory, fit again with the same run_dir= "
                "to go on from the last checkpoint; a smaller microbatch= is a new run."
            ) from error


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed % 2**63)
        yield


def _running_statistics(model: nn.Module) -> list[Tensor]:
    """Return the running means and variances that this step moved, of BatchNorm in train mode."""
    return [
        statistic
        for module in model.modules()
        if isinstance(module, nn.modules.batchnorm._NormBase) and module.training
        for statistic in (module.running_mean, module.running_var)
        if statistic is not None
    ]


def _scale_gradients(model: nn.Module, factor: Number) -> None:
    """Correct a division by the number of examples to one by the true count."""
    if isinstance(factor, Tensor) or factor != 1.0:
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter.grad.mul_(factor)
