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
from mlexpert.training.sharding import like
from mlexpert.training.step import Cut

if TYPE_CHECKING:
    from mlexpert.training.trainer import Trainer


def save(trainer: Trainer) -> Path:
    """Write a checkpoint; of several processes all take part, and the first writes.

    Raises:
        RunError: If the disk is full; earlier checkpoints are intact.
    """
    extra = {f"best.{name}": value for name, value in trainer.best_weights.items()}
    if trainer.average is not None:
        extra |= {f"average.{name}": value for name, value in trainer.average.state().items()}
    tensors, rest = checkpoint.pack(trainer.model, trainer.method, trainer.optimizer, extra)
    scaler = trainer.engine.scaler
    state: dict[str, Any] = {
        "position": asdict(trainer.at),
        "optimizer": rest,
        "cut": asdict(trainer.step.cut),
        "arithmetic": trainer.arithmetic,
        "memory": trainer.folder.facts.get("memory", {}),
        "scaler": scaler.state_dict() if scaler else None,
    }
    folder, step = trainer.folder.checkpoints, trainer.at.step
    return Path(
        trainer.processes.first_does(lambda: str(checkpoint.write(folder, step, tensors, state)))
    )


def go_on(trainer: Trainer) -> bool:
    """Put the newest whole checkpoint in place; return whether there was one."""
    trainer.processes.first_does(lambda: None)  # the first one may be clearing the folder yet
    found = checkpoint.read_newest(trainer.folder.checkpoints)
    step = str(found[1]["step"] if found else 0)
    trainer.processes.same_everywhere(step, "newest checkpoint")
    if found is None:
        trainer.folder.forget_after(epoch=0, step=0)
        return False
    tensors, state = found
    _decide_as_before(trainer, state)
    extra = checkpoint.unpack(
        tensors, state["optimizer"], trainer.model, trainer.method, trainer.optimizer
    )
    if trainer.engine.scaler is not None:
        trainer.engine.scaler.load_state_dict(state["scaler"])
    there = trainer.model.state_dict()
    trainer.best_weights = {
        name: like(value.to(trainer.engine.device, copy=True), there[name])
        for name, value in sorted(checkpoint.under("best.", extra).items())
    }
    if trainer.average is not None:
        trainer.average.restore(checkpoint.under("average.", extra))
    trainer.at = at = Position(**state["position"])
    trainer.loss_sum = at.loss_sum if trainer.processes.is_first else 0.0
    trainer.loss_count = at.loss_count
    trainer.folder.forget_after(epoch=at.epoch, step=at.step)
    return True


def _decide_as_before(trainer: Trainer, state: dict[str, Any]) -> None:
    """Compute and cut as the run began, whatever would be decided now."""
    trainer.arithmetic = state["arithmetic"]
    compute_by(trainer.arithmetic, trainer.model, trainer.engine)
    trainer.folder.update(arithmetic=trainer.arithmetic, memory=state["memory"])
    trainer.step.cut = Cut(**state["cut"])
    if trainer.step.cut.checkpointing:
        checkpoint_blocks(trainer.model)
    if trainer.step.cut.tight:
        give_back_at_once()
