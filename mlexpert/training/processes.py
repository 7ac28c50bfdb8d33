"""What the trainer needs of several processes: sums, one that goes first, and no silent hang.

Each process works on its share of a global batch without any communication, and the gradients are
added up once. Numbers and texts travel over gloo on the CPU also where gradients travel over NCCL,
so that a GPU need not be synchronised for them.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from types import TracebackType
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.distributed_c10d import (
    PrefixStore,
    ProcessGroup,
    ReduceOp,
    Work,
    _get_default_store,
)

from mlexpert.errors import InputError, RunError
from mlexpert.training.buckets import cut, cut_into_buckets, pack, unpack
from mlexpert.training.roll_call import RollCall

PATIENCE = timedelta(minutes=10)
"""For how long another process may be waited for; the timeout of the process group too."""
LOOK_EVERY = timedelta(seconds=0.25)
"""How often a process that waits looks whether another one has failed."""
SUM, LEAST = ReduceOp.SUM, ReduceOp.MIN

_generations = itertools.count()


class Processes:
    """The processes that train together; where there is only one, every method is trivial.

    All of them must call the same methods in the same order, except `report_failure`. An exception
    that leaves the `with` block is reported to the others; one in which torch says that a
    connection broke, in an exchange that is not made here, becomes a `RunError` with the culprit.

    Attributes:
        rank: This process, from 0.
        count: Number of processes.
        patience: Seconds for which another process may be waited for.
    """

    _control: ProcessGroup
    _roll_call: RollCall

    def __init__(self) -> None:
        self.rank, self.count = 0, 1
        self.patience = PATIENCE.total_seconds()

    @classmethod
    def here(cls) -> Processes:
        """Return the processes of torch's process group, or this one alone where there is none."""
        here = cls()
        if not dist.is_initialized() or dist.get_world_size() == 1:
            return here
        here.rank, here.count = dist.get_rank(), dist.get_world_size()
        # Patience is counted in `_wait`: nothing limits the time that process 0 works for all.
        control = dist.new_group(backend="gloo", timeout=timedelta(days=7))
        assert isinstance(control, ProcessGroup)
        here._control = control
        store = PrefixStore(f"mlexpert/{next(_generations)}", _get_default_store())
        here._roll_call = RollCall(store, here.rank, here.count)
        return here

    def __enter__(self) -> Processes:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None or self.count == 1:
            return
        if _is_lost_connection(error):
            raise self._roll_call.explain("died while the processes exchanged tensors") from error
        self.report_failure(error)

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    def share(self, length: int) -> slice:
        """Return this process's even, contiguous part of `length` rows, cut as `tensor_split`."""
        size, rest = divmod(length, self.count)
        start = self.rank * size + min(self.rank, rest)
        return slice(start, start + size + (self.rank < rest))

    def total(self, values: Sequence[float]) -> list[float]:
        """Return the sums over the processes, in double precision."""
        if self.count == 1:
            return list(values)
        numbers = torch.tensor(values, dtype=torch.float64)
        self._reduce(numbers, SUM, "numbers were added up")
        return numbers.tolist()

    def smallest(self, value: int) -> int:
        """Return the least value of all processes."""
        if self.count == 1:
            return value
        number = torch.tensor(value)
        self._reduce(number, LEAST, "numbers were compared")
        return int(number)

    @torch.no_grad()
    def mean_(self, tensors: Sequence[Tensor]) -> None:
        """Average floating-point tensors on one device in place, like BatchNorm's statistics."""
        if self.count == 1 or not tensors:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        self._reduce(flat, SUM, "statistics were averaged")
        for tensor, mean in zip(tensors, cut(flat / self.count, tensors), strict=True):
            tensor.copy_(mean)

    @torch.no_grad()
    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Add the gradients up over the processes, in flat buckets that travel at the same time.

        A gradient that some processes lack counts as zero there; one that all lack stays None.

        Args:
            parameters: The same in every process; those without `requires_grad` are left alone.
        """
        if self.count == 1:
            return
        buckets = cut_into_buckets(parameters)
        flats = [pack(bucket) for bucket in buckets]
        works = [self._start(flat, SUM) for flat in flats]
        for bucket, flat, work in zip(buckets, flats, works, strict=True):
            self._wait(work, flat, "gradients were added up")
            unpack(flat, bucket)

    def gather_rows(self, rows: Tensor, sizes: Sequence[int]) -> Tensor:
        """Return the rows of all processes, in the order of their ranks, on the tensor's device.

        Args:
            rows: (n, ...) the rows of this process.
            sizes: The number of rows of each process.
        """
        if self.count == 1:
            return rows
        padded = rows.new_zeros(max(sizes), *rows.shape[1:])
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in sizes]
        work = dist.all_gather(parts, padded, group=self._group(padded), async_op=True)
        self._wait(work, padded, "rows were gathered")
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])

    def first_does(self, work: Callable[[], Any]) -> Any:
        """Let process 0 do some work, for as long as it takes, and return its result everywhere.

        Args:
            work: Returns what JSON can hold.

        Raises:
            InputError: Everywhere, if the work raised one.
            RunError: Everywhere, if the work raised one; elsewhere, if it raised anything else.
        """
        if self.count == 1:
            return work()
        if not self.is_first:
            answer = json.loads(self._from_first(b""))
            kind = {"InputError": InputError, "RunError": RunError}.get(answer["kind"])
            if kind is not None:
                raise kind(answer["value"])
            return answer["value"]
        try:
            answer = json.dumps({"kind": "result", "value": work()})
        except BaseException as error:
            self._from_first(json.dumps(self._failure(error)).encode())
            raise
        self._from_first(answer.encode())
        return json.loads(answer)["value"]

    def same_everywhere(self, text: str, what: str) -> None:
        """Make sure that all processes hold the same text.

        Args:
            text: Like the fingerprint of the data.
            what: Its name in the error.

        Raises:
            InputError: Everywhere, naming the processes that differ from the first.
        """
        if self.count == 1:
            return
        digest = torch.tensor(list(hashlib.sha256(text.encode()).digest()), dtype=torch.uint8)
        digests = self.gather_rows(digest[None], [1] * self.count)
        odd = [str(rank) for rank, row in enumerate(digests) if not row.equal(digests[0])]
        if odd:
            raise InputError(
                f"Process {' and '.join(odd)} of {self.count} has another {what} than process 0. "
                "Start all of them with the same command, code and data."
            )

    def report_failure(self, error: BaseException) -> None:
        """Tell the other processes why this one ends; they raise it instead of waiting for ever."""
        if self.count > 1:
            self._roll_call.report(error)

    def _failure(self, error: BaseException) -> dict[str, str]:
        if isinstance(error, InputError):
            return {"kind": "InputError", "value": str(error)}
        if isinstance(error, RunError):
            return {"kind": "RunError", "value": str(error)}
        seen = f"{type(error).__name__}: {error}"
        return {"kind": "RunError", "value": f"Process 0 of {self.count} failed: {seen}"}

    def _from_first(self, text: bytes) -> bytes:
        """Return the bytes that process 0 hands in; what the others hand in is ignored."""
        what = "process 0 worked for all"
        length = torch.tensor(len(text))
        work = dist.broadcast(length, 0, group=self._control, async_op=True)
        self._wait(work, length, what, for_ever=True)
        content = torch.frombuffer(bytearray(text.ljust(int(length))), dtype=torch.uint8)
        work = dist.broadcast(content, 0, group=self._control, async_op=True)
        self._wait(work, content, what)
        return content.numpy().tobytes()

    def _group(self, tensor: Tensor) -> ProcessGroup | None:
        return self._control if tensor.device.type == "cpu" else None

    def _start(self, tensor: Tensor, op: ReduceOp.RedOpType) -> Work:
        return dist.all_reduce(tensor, op, group=self._group(tensor), async_op=True)

    def _reduce(self, tensor: Tensor, op: ReduceOp.RedOpType, what: str) -> None:
        self._wait(self._start(tensor, op), tensor, what)

    def _wait(
        self, work: Work | None, tensor: Tensor, what: str, *, for_ever: bool = False
    ) -> None:
        """Wait for the end of an operation, or raise who is to blame that it does not end."""
        assert work is not None  # torch returns None to a process outside of the group
        if tensor.device.type != "cpu":
            work.wait()  # only orders the streams; the next numbers on the CPU show who is gone
            return
        end = time.monotonic() + self.patience
        while not _ends_soon(work):
            if self._roll_call.is_called():
                raise self._roll_call.explain(f"died while {what}")
            if time.monotonic() > end and not for_ever:
                limit = f"{self.patience:.0f} s"
                raise self._roll_call.explain(f"has not answered for {limit} while {what}")
        try:
            work.wait()
        except RuntimeError as error:
            raise self._roll_call.explain(f"died while {what}") from error


def _ends_soon(work: Work) -> bool:
    with suppress(RuntimeError):  # either it takes longer, or it failed and `wait` says so again
        work.wait(LOOK_EVERY)
    return work.is_completed()


def _is_lost_connection(error: BaseException) -> bool:
    return isinstance(error, dist.DistError) or (
        isinstance(error, RuntimeError) and "gloo/transport" in str(error)
    )


@torch.no_grad()
def add_up(rows: Tensor) -> Tensor:
    """Return the sum of a tensor over the processes of torch's group, for methods' own use.

    All processes have to call it at the same time. Where there is only one, it is the tensor.
    """
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        rows = rows.clone()
        dist.all_reduce(rows)
    return rows


def shape_somewhere(rows: Tensor | None, most: int) -> tuple[int, ...]:
    """Return the shape that a tensor has in all processes that have it.

    All processes have to call it at the same time.

    Args:
        rows: The tensor, or None where this process has none.
        most: How many processes may have it. Only where they are fewer than there are is anything
            exchanged.

    Raises:
        ValueError: If no process has it.
    """
    count = dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1
    shapes = [None if rows is None else tuple(rows.shape)]
    if most < count:
        shapes = shapes * count
        dist.all_gather_object(shapes, shapes[0])
    found = next((shape for shape in shapes if shape is not None), None)
    if found is None:
        raise ValueError("no process has the tensor whose shape is asked for")
    return found


def leave_group() -> bool:
    """End the process group, after which each process is alone; return whether this is the first.

    A group that is still there when the interpreter ends may end it with an error.
    """
    if not (dist.is_available() and dist.is_initialized()):
        return True
    is_first = dist.get_rank() == 0
    dist.destroy_process_group()
    return is_first
