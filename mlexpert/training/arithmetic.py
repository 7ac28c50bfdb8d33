"""What `auto` decides before the first step: precision and memory layout, by trying them.

On a CPU that has bf16 it may halve a step or slow it down; that depends on the processor and on the
model, so a few steps are timed. A stopwatch decides differently now and then, and equal seeds are
to give equal weights, so a decision is remembered on the machine.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from operator import itemgetter
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from mlexpert.environment import environment, processor_has_bf16
from mlexpert.training.method import Batch, Method
from mlexpert.training.remembered import recall, remember
from mlexpert.training.trial import Arithmetic, Trial, try_all

BF16_GAIN, LAYOUT_GAIN = 1.25, 1.15
"""How many times as fast a step has to be. A layout changes nothing but the order of sums."""
MOST_ROWS = 256
"""That are tried: they tell what a larger batch would, and a step of thousands of images takes a
quarter of a minute."""
NO_HALF = "this processor has no instructions for bf16"
LEAST_COSINE, LARGEST_LOSS_CHANGE = 0.97, 0.01
"""Of bf16's gradient to fp32's, and relative of its loss. Sound networks have .985 and .001 or
better (benchmarks/precision); one whose logits lie around 100, which bf16 rounds to halves, .38."""


@dataclass(frozen=True)
class Choice:
    """The arithmetic of a run, a sentence that says why, and what was measured for it just now."""

    arithmetic: Arithmetic
    why: str
    trials: tuple[Trial, ...] = ()

    def record(self) -> dict[str, Any]:
        """Return the choice as JSON, for the run record."""
        trials = [  # without NaN, which JSON lacks and which is unequal to itself
            {name: value for name, value in asdict(trial).items() if value == value}
            for trial in self.trials
        ]
        return {**asdict(self.arithmetic), "why": self.why, "trials": trials}


def choose_arithmetic(
    model: nn.Module,
    method: Method,
    batch: Batch,
    *,
    precision: str,
    channels_last: bool | Literal["auto"],
    home: Path,
    clock: Callable[[], float] = time.thread_time,
) -> Choice:
    """Settle "auto": by rule on a GPU, by trial or from memory on a CPU.

    Copies are tried: model, method and random numbers stay what they are, bit for bit.

    Args:
        model: On the run's device, in train mode, as training starts from it.
        method: After `begin_task`.
        batch: The first micro-batch, on that device, not yet drawn.
        precision: "fp32", "bf16", "fp16" or "auto".
        channels_last: Whether images lie channels-last, or "auto"; other inputs never do.
        home: Folder of mlexpert's own files, where decisions are remembered.
        clock: Returns the CPU seconds of this thread.
    """
    device = batch.inputs.device.type
    if batch.inputs.ndim != 4:
        channels_last = False
    no_half = precision == "auto" and device == "cpu" and not processor_has_bf16()
    known = [NO_HALF] if no_half else []
    among = ["fp32"] if no_half else ["fp32", "bf16"]
    precisions = among if precision == "auto" else [precision]
    layouts = [False, True] if channels_last == "auto" else [channels_last]
    wanted = [Arithmetic(name, layout) for name in precisions for layout in layouts]
    if len(wanted) == 1:
        return Choice(wanted[0], f"{wanted[0]}: {'; '.join(known) or 'as asked'}.")
    if device != "cpu":
        # What matrix units are made for: half precision, channels-last.
        native = device == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        name = precisions[-1] if native else precisions[0]
        ruled = Arithmetic(name, layouts[-1] if name != "fp32" else layouts[0])
        return Choice(ruled, f"{ruled}: by rule on {device}, not measured.")
    if len(wanted) == 4:  # bf16 gains little from it (0.8 to 1.2 times as fast), too little to tell
        wanted.remove(Arithmetic("bf16", channels_last=True))
    batch = batch.map(itemgetter(slice(MOST_ROWS)))
    memory, key = home / "arithmetic.json", _key(model, method, batch, wanted)
    earlier = _earlier(recall(memory, key), wanted)
    if earlier is not None:
        return earlier
    choice = _judge(try_all(model, method, batch, wanted, clock), known)
    if choice.trials[0].error:  # training will meet it too, and is prepared
        return choice
    entry = {**asdict(choice.arithmetic), "why": choice.why}
    held = remember(memory, key, entry)
    return choice if held == entry else _earlier(held, wanted) or choice


def _earlier(entry: dict[str, Any] | None, wanted: list[Arithmetic]) -> Choice | None:
    """Return the choice that an entry remembers; one that makes no sense remembers none."""
    entry = entry or {}
    arithmetic = Arithmetic(entry.get("precision", ""), entry.get("channels_last", False))
    why = f"{entry.get('why')} Measured earlier on this machine."
    return Choice(arithmetic, why) if arithmetic in wanted else None


def _judge(trials: list[Trial], known: list[str]) -> Choice:
    """Take bf16 where it is clearly faster and agrees, or else channels-last where it is faster.

    Args:
        trials: Of what is in question.
        known: What was settled without a trial, in words.
    """
    tried = {trial.arithmetic: trial for trial in trials}
    chosen, reasons = trials[0], list(known)
    if chosen.error:
        why = f"{chosen.arithmetic}: a first step failed ({chosen.error})."
        return Choice(chosen.arithmetic, why, tuple(trials))
    steps: tuple[tuple[str, dict[str, Any], float], ...] = (
        ("bf16", {"precision": "bf16"}, BF16_GAIN),
        ("channels_last", {"channels_last": True}, LAYOUT_GAIN),
    )
    for name, change, asked in steps:
        rival = tried.get(replace(chosen.arithmetic, **change), chosen)
        if rival is chosen:  # not in question
            continue
        better, reason = _compare(chosen, rival, asked)
        reasons.append(f"{name} {reason}")
        chosen = rival if better else chosen
    return Choice(chosen.arithmetic, f"{chosen.arithmetic}: {'; '.join(reasons)}.", tuple(trials))


def _compare(chosen: Trial, rival: Trial, asked: float) -> tuple[bool, str]:
    """Return whether `rival` is the better choice, and why."""
    if rival.error:
        return False, f"failed ({rival.error})"
    agrees = rival.cosine >= LEAST_COSINE and rival.loss_change <= LARGEST_LOSS_CHANGE
    # A layout cannot but agree, except that dropout masks fall elsewhere.
    if not agrees and rival.arithmetic.precision != chosen.arithmetic.precision:
        return False, (
            f"does not agree (its loss differs by {rival.loss_change:.1%}, the cosine of its "
            f"gradient is {rival.cosine:.3f})"
        )
    gain = chosen.seconds / rival.seconds
    if gain < asked:
        return False, f"is {gain:.2f} times as fast, and {asked} is asked for"
    return True, f"is {gain:.2f} times as fast"


def _key(model: nn.Module, method: Method, batch: Batch, wanted: list[Arithmetic]) -> str:
    """Return a digest of all that decides; not the threads, since one is measured."""
    tensors = [*model.named_parameters(), *model.named_buffers()]
    facts = {
        "cpu": [environment()["cpu"], torch.backends.cpu.get_cpu_capability()],
        "torch": torch.__version__,
        "wanted": list(map(str, wanted)),
        "types": [f"{type(part).__module__}.{type(part).__qualname__}" for part in (model, method)],
        "tensors": [(name, list(value.shape), str(value.dtype)) for name, value in tensors],
        "inputs": [list(batch.inputs.shape), str(batch.inputs.dtype)],
    }
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()
