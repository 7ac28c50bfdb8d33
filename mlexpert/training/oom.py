"""Telling an out-of-memory error from any other."""

from __future__ import annotations

import torch

_SAID_BY = (
    "can't allocate memory",  # torch's CPU allocator raises a plain RuntimeError
    "not enough memory",
    "std::bad_alloc",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "could not create a memory object",  # oneDNN
    "could not create a primitive",
    "Resource temporarily unavailable",  # a thread whose stack found no room
)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether `error` says that memory ran out, on the CPU or on a GPU."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(said in str(error) for said in _SAID_BY)
