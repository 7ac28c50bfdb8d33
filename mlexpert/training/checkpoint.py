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
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.optim import Optimizer

from mlexpert.errors import RunError

TENSORS, STATE = "tensors.safetensors", "state.json"
KEPT = 2


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
        payload = save({name: tensor.contiguous() for name, tensor in tensors.items()})
        digest = hashlib.sha256(payload).hexdigest()
        body = json.dumps({**state, "step": step, "digest": digest}).encode()
        seal = hashlib.sha256(body).hexdigest()
        _flush(beside / TENSORS, payload)
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
            payload = (candidate / TENSORS).read_bytes()
            state = json.loads(body)
            whole = (
                hashlib.sha256(body).hexdigest().encode() == seal
                and hashlib.sha256(payload).hexdigest() == state["digest"]
            )
        except (OSError, ValueError, KeyError):
            whole = False
        if whole:
            return load(payload), state
        warnings.warn(
            f"The checkpoint {candidate} is damaged (another digest); the one before it is used.",
            stacklevel=2,
        )
    return None


def pack(
    model: nn.Module, method: nn.Module, optimizer: Optimizer, extra: dict[str, Tensor]
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return all that training would need to go on, as named tensors and a JSON-able rest."""
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    tensors |= {f"method.{name}": value for name, value in method.state_dict().items()}
    tensors |= {f"extra.{name}": value for name, value in extra.items()}
    packed = optimizer.state_dict()
    rest: dict[str, Any] = {"groups": packed["param_groups"], "slots": {}}
    for index, slots in packed["state"].items():
        for name, value in slots.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer.{index}.{name}"] = value
            else:
                rest["slots"].setdefault(str(index), {})[name] = value
    # Tensors that share memory would be refused by safetensors, and what training goes on changing
    # must not change here.
    tensors = {name: value.detach().to("cpu", copy=True) for name, value in tensors.items()}
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
    model.load_state_dict(under("model.", tensors))
    method.load_state_dict(under("method.", tensors))
    state: dict[int, dict[str, Any]] = {
        int(index): dict(slots) for index, slots in rest["slots"].items()
    }
    for key, value in under("optimizer.", tensors).items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = value
    groups = [_with_tuples(group) for group in rest["groups"]]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
    torch.set_rng_state(tensors["rng.cpu"])
    if "rng.cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["rng.cuda"])
    return under("extra.", tensors)


def under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors whose names start with `prefix`, without it."""
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }


def _with_tuples(group: dict[str, Any]) -> dict[str, Any]:
    """JSON has no tuples; Adam's betas are one."""
    return {
        key: tuple(value) if isinstance(value, list) and key != "params" else value
        for key, value in group.items()
    }


def _flush(path: Path, payload: bytes) -> None:
    with path.open("wb") as file:
        file.write(payload)
        file.flush()
        os.fsync(file.fileno())
