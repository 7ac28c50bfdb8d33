"""Checkpoints that are whole or absent: written beside, flushed, renamed, known by their digest.

Tensors are safetensors and all else is JSON; there is no pickle, so loading a checkpoint executes
nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import warnings
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.optim import Optimizer

from mlexpert.errors import RunError
from mlexpert.training.sharding import like, whole

if TYPE_CHECKING:
    from typing_extensions import Buffer  # collections.abc has it from Python 3.12 on

TENSORS, STATE = "tensors.safetensors", "state.json"
KEPT = 2
DTYPES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16",
    torch.complex64: "C64", torch.int64: "I64", torch.int32: "I32", torch.int16: "I16",
    torch.int8: "I8", torch.uint64: "U64", torch.uint32: "U32", torch.uint16: "U16",
    torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip
"""Their names in the safetensors format."""


def write(folder: Path, step: int, tensors: dict[str, Tensor], state: dict[str, Any]) -> Path:
    """Write the checkpoint of `step` under `folder`, and drop all but the last two.

    Raises:
        RunError: If the disk is full or the folder cannot be written; earlier checkpoints are
            intact.
    """
    final = folder / f"step-{step:09d}"
    beside = folder / f".writing-{step:09d}"
    try:
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
        digest = write_tensors(beside / TENSORS, tensors)
        body = json.dumps({**state, "step": step, "digest": digest}).encode()
        seal = hashlib.sha256(body).hexdigest()
        _flush(beside / STATE, body + b"\n" + seal.encode())
        shutil.rmtree(final, ignore_errors=True)
        beside.rename(final)
    except OSError as error:
        shutil.rmtree(beside, ignore_errors=True)
        raise RunError(
            f"The checkpoint of step {step} could not be written to {folder}: {error.strerror}. "
            "Earlier checkpoints are intact; make room and fit again to go on."
        ) from error
    # Later ones than the one just written can only be damaged: training went on from before them.
    all_of_them = sorted(folder.glob("step-*"))
    kept = [path for path in all_of_them if path <= final][-KEPT:]
    for old in all_of_them:
        if old not in kept:
            shutil.rmtree(old, ignore_errors=True)
    return final


def read_newest(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Return tensors and state of the newest whole checkpoint, or None where there is none.

    A torn or altered checkpoint is passed over with a warning that names it.
    """
    for candidate in sorted(folder.glob("step-*"), reverse=True):
        try:
            body, _, seal = (candidate / STATE).read_bytes().rpartition(b"\n")
            state = json.loads(body)
            with (candidate / TENSORS).open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            is_whole = (
                hashlib.sha256(body).hexdigest().encode() == seal and digest == state["digest"]
            )
        except (OSError, ValueError, KeyError):
            is_whole = False
        if is_whole:
            return load_file(candidate / TENSORS), state
        warnings.warn(
            f"The checkpoint {candidate} is damaged (another digest); the one before it is used.",
            stacklevel=2,
        )
    return None


def pack(
    model: nn.Module, method: nn.Module, optimizer: Optimizer, extra: dict[str, Tensor]
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return all that training would need to go on, as named tensors and a JSON-able rest.

    The tensors are those that training goes on changing: they are to be written before it does. Of
    a sharded model every process has to ask, and gets whole tensors.
    """
    state = {f"model.{name}": value for name, value in model.state_dict().items()}
    state |= {f"method.{name}": value for name, value in method.state_dict().items()}
    state |= {f"extra.{name}": value for name, value in extra.items()}
    tensors = {name: value for name, value in state.items() if isinstance(value, Tensor)}
    packed = optimizer.state_dict()
    rest: dict[str, Any] = {
        "groups": packed["param_groups"],
        "slots": {},
        "plain": {name: value for name, value in state.items() if name not in tensors},
    }
    for index, slots in packed["state"].items():
        for name, value in slots.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer.{index}.{name}"] = value
            else:
                rest["slots"].setdefault(str(index), {})[name] = value
    # By name: to gather a sharded one, all processes have to come to it at the same time.
    tensors = {name: whole(tensors[name].detach()) for name in sorted(tensors)}
    tensors["rng.cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["rng.cuda"] = torch.cuda.get_rng_state()
    return tensors, rest


def unpack(
    tensors: dict[str, Tensor],
    rest: dict[str, Any],
    model: nn.Module,
    method: nn.Module,
    optimizer: Optimizer,
) -> dict[str, Tensor]:
    """Put a packed state back in place, and return the extra tensors."""
    there, plain = model.state_dict(), rest["plain"]
    weights = {name: like(value, there[name]) for name, value in under("model.", tensors).items()}
    model.load_state_dict({**weights, **under("model.", plain)})
    of_method = under("method.", tensors)
    make_room(method, of_method, next(model.parameters()).device)
    method.load_state_dict({**of_method, **under("method.", plain)})
    state: dict[int, dict[str, Any]] = {
        int(index): dict(slots) for index, slots in rest["slots"].items()
    }
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for key, value in under("optimizer.", tensors).items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = like(value, parameters[int(index)])
    groups = [_with_tuples(group) for group in rest["groups"]]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
    torch.set_rng_state(tensors["rng.cpu"])
    if "rng.cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["rng.cuda"])
    return under("extra.", tensors)


def make_room(method: nn.Module, saved: dict[str, Tensor], device: torch.device) -> None:
    """Give a method buffers as large as the saved ones: a memory of rows grows while it trains."""
    for name, value in saved.items():
        owner, _, own = name.rpartition(".")
        try:
            module = method.get_submodule(owner)
        except AttributeError:  # loading says so
            continue
        held = dict(module.named_buffers(recurse=False)).get(own)
        if own not in module._parameters and (held is None or held.shape != value.shape):
            module.register_buffer(own, torch.empty_like(value, device=device))


def under(prefix: str, named: dict[str, Any]) -> dict[str, Any]:
    """Return what has a name that starts with `prefix`, without it."""
    return {
        name.removeprefix(prefix): value for name, value in named.items() if name.startswith(prefix)
    }


def _with_tuples(group: dict[str, Any]) -> dict[str, Any]:
    """JSON has no tuples; Adam's betas are one."""
    return {
        key: tuple(value) if isinstance(value, list) and key != "params" else value
        for key, value in group.items()
    }


def write_tensors(path: Path, tensors: dict[str, Tensor]) -> str:
    """Write a safetensors file and return its digest, holding the bytes of one tensor at a time.

    The library makes the bytes of all of them first: the memory of a second model and optimiser,
    which a process near its limit does not have.
    """
    header, offset = {}, 0
    for name, tensor in tensors.items():
        end = offset + tensor.nbytes
        shape, dtype = list(tensor.shape), DTYPES[tensor.dtype]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    text = text.ljust(-(-len(text) // 8) * 8)  # tensors begin at multiples of 8
    digest = hashlib.sha256()
    with path.open("wb") as file:
        beginning = (len(text).to_bytes(8, "little"), text)
        for part in chain(beginning, map(_bytes, tensors.values())):
            digest.update(part)
            file.write(part)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


def _bytes(tensor: Tensor) -> Buffer:
    flat = tensor.detach().to("cpu").contiguous().reshape(-1)
    return cast("Buffer", flat.view(torch.uint8).numpy())


def _flush(path: Path, payload: bytes) -> None:
    with path.open("wb") as file:
        file.write(payload)
        file.flush()
        os.fsync(file.fileno())
