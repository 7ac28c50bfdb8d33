"""The peak memory of a training step, known before anything is allocated.

The step is made with fake tensors, which have shapes and no data (torch's FakeTensorMode), and what
is alive is counted operation by operation. What operations take inside of themselves is not seen;
`hidden` adds what is known of it.
"""

from __future__ import annotations

import copy
import weakref
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.optim import Optimizer
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mlexpert.training.memory.held import tensors_of
from mlexpert.training.memory.hidden import LSTM, lstm_workspace, passing_bytes
from mlexpert.training.memory.rehearse import Autocast, rehearse
from mlexpert.training.method import Batch, Method

BLOCK = {"cpu": 64, "cuda": 512}
"""Bytes that the allocator of a device rounds up to."""


@dataclass(frozen=True)
class Prediction:
    """What a training step takes beyond what exists before the first one.

    Attributes:
        peak: Bytes; None where a fake run cannot follow the model or the method.
        floor: Bytes of these that stay between steps: gradients and the optimiser's state.
        reason: Why there is no prediction.
    """

    peak: int | None
    floor: int | None = None
    reason: str = ""


def predict_peak(
    model: nn.Module,
    method: Method,
    optimizer: Optimizer,
    batch: Batch,
    size: int,
    *,
    width: int | None = None,
    autocast: Autocast = nullcontext,
) -> Prediction:
    """Predict the peak of micro-batches of `size` rows, and neither allocate nor change anything.

    Args:
        model: As it is before training.
        method: As it is before training. Where it, the model or the optimiser looks at a number in
            a tensor, there is no prediction.
        optimizer: Over the model's parameters.
        batch: The global batch, drawn.
        size: Most rows of a micro-batch.
        width: Length in tokens for which `size` rows are allowed; None for inputs of one size.
        autocast: Makes the context of a forward pass.
    """
    try:
        with FakeTensorMode(allow_non_fake_inputs=True) as mode:
            fakes, known = _fake_copies(mode, model, method, optimizer, batch)
            with LiveBytes(known, BLOCK.get(batch.inputs.device.type, 1)) as live:
                rehearse(*fakes, size, width=width, autocast=autocast)
    except Exception as error:  # Anything may go wrong in code that never met a fake tensor.
        return Prediction(None, reason=f"{type(error).__name__}: {str(error).split(chr(10))[0]}")
    return Prediction(live.peak, live.now)


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of all tensors that operations make, while they are alive.

    Args:
        known: Tensors that exist already and do not count.
        block: Bytes that a tensor is rounded up to.
    """

    def __init__(self, known: Iterable[Tensor] = (), block: int = 1) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.block = block
        # torch keeps a storage's Python object as long as the storage, so the reference is enough.
        self._seen: dict[int, weakref.ref] = {}
        for tensor in known:
            self._see(tensor, counts=False)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        """Run the operation and count what it made."""
        made = func(*args, **(kwargs or {}))
        if func is LSTM and not made[3].numel():  # a real one has its size
            made = (*made[:3], lstm_workspace(*args))
        for leaf in (made,) if isinstance(made, Tensor) else tree_leaves(made):
            if isinstance(leaf, Tensor):
                self._see(leaf)
        self.peak = max(self.peak, self.now + passing_bytes(func, args, made))
        return made

    def _see(self, tensor: Tensor, *, counts: bool = True) -> None:
        storage = tensor.untyped_storage()
        key = id(storage)
        known = self._seen.get(key)
        if known is not None and known() is storage:
            return
        size = -(-storage.nbytes() // self.block) * self.block if counts else 0

        def gone(_: object) -> None:
            self.now -= size
            self._seen.pop(key, None)

        self._seen[key] = weakref.ref(storage, gone)
        self.now += size
        self.peak = max(self.peak, self.now)


def _fake_copies(
    mode: FakeTensorMode, model: nn.Module, method: Method, optimizer: Optimizer, batch: Batch
) -> tuple[tuple[nn.Module, Method, Optimizer, Batch], list[Tensor]]:
    """Return copies whose every tensor is fake, and those tensors."""
    columns = [batch.inputs, batch.targets, batch.index]
    columns += [] if batch.weights is None else [batch.weights]
    real = {id(tensor): tensor for tensor in (*tensors_of(model, method, optimizer), *columns)}
    # A deep copy takes what its memo has for an object, so that nothing real is copied.
    memo: dict[int, Any] = {key: _fake(mode, tensor) for key, tensor in real.items()}
    fakes = list(memo.values())
    copies = copy.deepcopy((model, method, optimizer), memo)
    return (*copies, batch.map(lambda column: memo[id(column)])), fakes


def _fake(mode: FakeTensorMode, tensor: Tensor) -> Tensor:
    fake = mode.from_tensor(tensor)
    if isinstance(tensor, nn.Parameter) and not isinstance(fake, nn.Parameter):
        return nn.Parameter(fake, requires_grad=tensor.requires_grad)
    return fake
