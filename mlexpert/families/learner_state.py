"""What a method needs besides the model to learn on: its memory, penalties and teacher."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from mlexpert.blocks.backbones.restoring import restored_folder
from mlexpert.recipe import Parts
from mlexpert.training.checkpoint import make_room, write_tensors
from mlexpert.training.method import Task
from mlexpert.training.methods.continual import ContinualMethod

FOLDER, TENSORS, REST = "learner", "state.safetensors", "state.json"


def write_learner(method: ContinualMethod, folder: Path) -> None:
    """Write a method's state into a folder of the saved model."""
    state = method.state_dict()
    tensors = {name: value for name, value in state.items() if isinstance(value, Tensor)}
    plain = {name: value for name, value in state.items() if name not in tensors}
    folder.mkdir(parents=True)
    write_tensors(folder / TENSORS, tensors)
    (folder / REST).write_text(json.dumps({"task": method.number, "plain": plain}))


def put_back(method: ContinualMethod, model: nn.Module) -> None:
    """Give a method the state of the saved model that is being restored, where one is."""
    saved = restored_folder()
    if saved is None or not (saved / FOLDER).is_dir():
        return
    rest = json.loads((saved / FOLDER / REST).read_text())
    replay(method, model, rest["task"])
    tensors = load_file(saved / FOLDER / TENSORS)
    make_room(method, tensors, torch.device("cpu"))
    method.load_state_dict({**tensors, **rest["plain"]})


def replay(method: ContinualMethod, model: nn.Module, task: int) -> None:
    """Begin the tasks up to this one again: what a method makes then has to be there."""
    counts = torch.zeros_like(method.classes.task_of_class)
    for number in range(task + 1):
        method.begin_task(model, Task(number, counts))


def take_over(before: Parts, now: Parts) -> None:
    """Give new parts the weights, the memory and all else that trained ones have.

    New classes make some tensors longer along one axis: what was there comes first, and the rest
    stays as it was built.

    Args:
        before: Trained on the tasks so far; left alone.
        now: Built for these tasks and those that follow.
    """
    old, new = before.method, now.method
    assert isinstance(old, ContinualMethod) and isinstance(new, ContinualMethod)
    replay(new, now.network.model, old.number)
    now.network.model.load_state_dict(_fitting(before.network.model, now.network.model))
    state = _fitting(old, new)
    make_room(new, {k: v for k, v in state.items() if isinstance(v, Tensor)}, torch.device("cpu"))
    new.load_state_dict(state)


def _fitting(before: nn.Module, now: nn.Module) -> dict[str, Any]:
    """Return the state of one module in the shapes of another."""
    there, found = now.state_dict(), dict(before.state_dict())
    for name, value in found.items():
        if isinstance(value, Tensor):
            found[name] = _longer(value.detach().cpu(), there.get(name))
    return found


def _longer(value: Tensor, there: Any) -> Tensor:
    """Return a tensor, in the place of the leading part of a longer one where it is shorter."""
    if not isinstance(there, Tensor) or there.shape == value.shape or there.ndim != value.ndim:
        return value
    whole = there.detach().cpu().clone()
    whole[tuple(slice(0, size) for size in value.shape)] = value
    return whole
