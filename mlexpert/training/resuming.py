"""All that a checkpoint keeps of a training, and how a run goes on from it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlexpert.training import checkpoint
from mlexpert.training.activation_checkpointing import checkpoint_blocks
from mlexpert.training.memory.allocator import give_back_at_once
from mlexpert.training.plan import Position
from mlexpert.training.settling import compute_by
from mlexpert.training.step import Cut

if TYPE_CHECKING:
    from mlexpert.training.trainer import Trainer


def save(trainer: Trainer) -> Path:
    """Write a checkpoint; of several processes all take part, and the first writes.

    Raises:
        RunError: If the disk is full; earlier checkpoints are intact.
    """
    extra = {f"kept.{name}": value for name, value in trainer.kept.values.items()}
    if trainer.average is not None:
        extra |= {f"average.{name}": value for name, value in trainer.average.state().items()}
    optimizer = trainer.stretch.stage.optimizer
    tensors, rest = checkpoint.pack(trainer.model, trainer.method, optimizer, extra)
    scaler = trainer.engine.scaler
    state: dict[str, Any] = {
        "position": asdict(trainer.at),
        "optimizer": rest,
        "cut": asdict(trainer.cut),
        "arithmetic": trainer.arithmetic,
        "memory": trainer.folder.facts.get("memory", {}),
        "scaler": scaler.state_dict() if scaler else None,
    }
    folder, step = trainer.folder.checkpoints, trainer.at.step
    return Path(
        trainer.processes.first_does(lambda: str(checkpoint.write(folder, step, tensors, state)))
    )


def go_on(trainer: Trainer) -> bool:
    """Put the newest whole checkpoint in place, and its task; return whether there was one."""
    trainer.processes.first_does(lambda: None)  # the first one may be clearing the folder yet
    found = checkpoint.read_newest(trainer.folder.checkpoints)
    step = str(found[1]["step"] if found else 0)
    trainer.processes.same_everywhere(step, "newest checkpoint")
    if found is None:
        trainer.folder.forget_after(epoch=0, step=0)
        return False
    tensors, state = found
    at = Position(**state["position"])
    # What a method makes at the start of its tasks has to be there for its state to be put into.
    for stretch in trainer.stream[: at.task]:
        trainer.method.begin_task(trainer.model, stretch.task)
    trainer.begin(at)
    _decide_as_before(trainer, state)
    optimizer = trainer.stretch.stage.optimizer
    extra = checkpoint.unpack(tensors, state["optimizer"], trainer.model, trainer.method, optimizer)
    if trainer.engine.scaler is not None:
        trainer.engine.scaler.load_state_dict(state["scaler"])
    trainer.kept.restore(checkpoint.under("kept.", extra))
    if trainer.average is not None:
        trainer.average.restore(checkpoint.under("average.", extra))
    trainer.loss_sum = at.loss_sum if trainer.processes.is_first else 0.0
    trainer.loss_count = at.loss_count
    trainer.folder.forget_after(epoch=at.epoch, step=at.step)
    return True


def _decide_as_before(trainer: Trainer, state: dict[str, Any]) -> None:
    """Compute and cut as the run began, whatever would be decided now."""
    trainer.arithmetic = state["arithmetic"]
    compute_by(trainer.arithmetic, trainer.model, trainer.engine)
    trainer.folder.update(arithmetic=trainer.arithmetic, memory=state["memory"])
    trainer.cut = Cut(**state["cut"])
    if trainer.cut.checkpointing:
        checkpoint_blocks(trainer.model)
    if trainer.cut.tight:
        give_back_at_once()
