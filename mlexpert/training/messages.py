"""What training says to people: how it is done, why it ends, and that memory ran out."""

from __future__ import annotations

import signal
import warnings
from dataclasses import asdict
from pathlib import Path

from mlexpert.errors import RunError
from mlexpert.training.interrupt import Interrupted
from mlexpert.training.plan import Plan
from mlexpert.training.precision import Engine
from mlexpert.training.step import Cut
from mlexpert.training.tracking import RunFolder


def description(engine: Engine, plan: Plan, cut: Cut) -> str:
    """Say what trains: processes, precision, and in what pieces."""
    count = engine.processes.count
    pieces = f" in pieces of {cut.size}" if cut.size * count < plan.batch_size else ""
    rows = f"{plan.batch_size} rows a step{pieces}"
    return ", ".join(
        [
            f"{count} process{'es' if count > 1 else ''} on {engine.device.type}",
            engine.precision,
            rows if plan.batch_tokens is None else f"at most {plan.batch_tokens:,} tokens a step",
        ]
    )


def stopped(
    by: signal.Signals, step: int, steps: int, kept: Path, folder: RunFolder
) -> Interrupted:
    """Say after which of all steps training was stopped, and how it goes on."""
    return Interrupted(
        f"Stopped by {by.name} after step {step} of {steps}; {kept} is kept. To go on, fit again "
        f"with run_dir={str(folder.path)!r}."
    )


def not_finite(what: str, step: int, epoch: int, where: str, folder: RunFolder) -> RunError:
    """Say what is NaN or infinite, when and where, and what is kept; epochs count from 1."""
    kept = sorted(folder.checkpoints.glob("step-*"))
    state = f"The checkpoint {kept[-1]} is kept." if kept else "There is no checkpoint yet."
    return RunError(
        f"{what} is not finite at step {step} (epoch {epoch}): {where}. "
        f"{state} A lower lr or clip_norm=1.0 usually helps, in a new run_dir."
    )


def say_retry(step: int, cut: Cut, error: str, folder: RunFolder) -> None:
    """Write down that memory ran out; every step from this one on is cut this way."""
    how = ", activations computed again in backward" if cut.checkpointing else ""
    warnings.warn(
        f"Memory ran out in step {step}; it is repeated in pieces of {cut.size} rows{how}. No step "
        "is lost.",
        stacklevel=2,
    )
    memory = folder.facts.get("memory", {})
    folder.update(memory={**memory, "cut": asdict(cut), "error": error[:200]})


def say_over(why: str, epoch: int, folder: RunFolder) -> None:
    """Say and write down that a method ended training after an epoch, counted from 1, and why."""
    warnings.warn(f"Training ends after epoch {epoch}: {why}", stacklevel=2)
    folder.update(ended={"epoch": epoch, "why": why})
