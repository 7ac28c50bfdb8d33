"""What the report says of how a model was trained: arithmetic, memory, gradients and time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from markupsafe import Markup

from mlexpert.evidence import training_figures
from mlexpert.evidence.layers import read_layers
from mlexpert.evidence.record import RunRecord

MIB = 2**20
NOTABLE = 32 * MIB
"""Peak from which an error of the prediction is worth a sentence."""
LEAST_RATIO, LARGEST_RATIO = 1e-5, 1e-1
"""Layers outside of these in the last epoch are named: about 1e-3 is healthy."""
MOST_NAMED = 6
LONGEST_ERROR = 120


def training(record: RunRecord) -> dict[str, Any]:
    """Return how the model was trained; parts that an older run did not write are None."""
    run = record.run
    memory = run.get("memory") or {}
    return {
        "facts": _facts(run, memory),
        "arithmetic": _arithmetic(run.get("arithmetic") or {}),
        "memory": _memory(memory),
        "cautions": list(_cautions(run, memory)),
        "health": _health(record),
        "profile": _profile(record.profile),
    }


def _facts(run: Mapping[str, Any], memory: Mapping[str, Any]) -> list[tuple[str, str | None]]:
    environment, config = run.get("environment") or {}, run.get("config") or {}
    arithmetic = run.get("arithmetic") or {}
    device, processes = environment.get("device"), environment.get("processes")
    model = environment.get("cpu" if str(device).startswith("cpu") else "gpu")
    precision = arithmetic.get("precision") or config.get("precision")
    return [
        ("Device", f"{device}: {model}" if device and model else device),
        (
            "Processes",
            f"{processes}, sharing one model (FSDP2)"
            if environment.get("sharded")
            else processes and str(processes),
        ),
        ("Precision", _arithmetic_name(precision, arithmetic.get("channels_last"))),
        ("Batch", _rows(config.get("batch_size"))),
        ("Micro-batch", _microbatch(environment, config, memory)),
    ]


def _microbatch(
    environment: Mapping[str, Any], config: Mapping[str, Any], memory: Mapping[str, Any]
) -> str | None:
    settled = memory.get("cut") or memory
    if "size" in settled:
        width = settled.get("width")
        return f"{_rows(settled['size'])} of {width:,} tokens" if width else _rows(settled["size"])
    asked, batch = config.get("microbatch", "auto"), config.get("batch_size")
    if isinstance(asked, int):
        return _rows(asked)
    if batch is None or (asked == "auto" and not environment.get("sharded")):
        return None
    return _rows(-(-batch // (environment.get("processes") or 1)))


def _arithmetic(arithmetic: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return why this precision, and the trials with how many times as fast each was."""
    if not arithmetic.get("why"):
        return None
    trials = arithmetic.get("trials") or []
    chosen = (arithmetic.get("precision"), bool(arithmetic.get("channels_last")))
    plainest = trials[0].get("seconds") if trials else None
    rows = []
    for trial in trials:
        tried, seconds = trial["arithmetic"], trial.get("seconds")
        layout = bool(tried.get("channels_last"))
        rows.append(
            {
                "name": _arithmetic_name(tried["precision"], layout),
                "chosen": (tried["precision"], layout) == chosen,
                "ms": 1e3 * seconds if seconds else None,
                "gain": plainest / seconds if plainest and seconds else None,
                "loss": trial.get("loss"),
                "loss_change": trial.get("loss_change"),
                "cosine": trial.get("cosine"),
                "error": (trial.get("error") or "").partition("\n")[0][:LONGEST_ERROR],
            }
        )
    return {"why": arithmetic["why"].rstrip("."), "trials": rows}


def _memory(memory: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return why this micro-batch, and the probes in MiB."""
    if not memory.get("why"):
        return None
    measured = memory.get("measured")
    probes = [
        {
            "size": probe["size"],
            "chosen": probe["size"] == memory.get("size"),
            "predicted": _mib(probe.get("predicted")),
            "expected": _mib(probe.get("expected")),
            "measured": _mib(probe.get("measured")),
            "fits": "too few rows for BatchNorm"
            if probe.get("too_few_rows")
            else "fits"
            if probe.get("fits")
            else "does not fit",
        }
        for probe in memory.get("probes") or []
    ]
    return {
        "why": memory["why"].rstrip("."),
        "probes": probes,
        "error_percent": memory.get("error_percent") if (measured or 0) >= NOTABLE else None,
        "unpredicted": memory.get("unpredicted") or "",
    }


def _cautions(run: Mapping[str, Any], memory: Mapping[str, Any]) -> Iterator[str]:
    """Yield a sentence for each thing that a reader of the results should know."""
    config, cut = run.get("config") or {}, memory.get("cut") or {}
    retries = cut.get("retries")
    if retries:
        often = "once" if retries == 1 else f"{retries} times"
        error = str(memory.get("error") or "no message").rstrip(".")
        yield (
            f"Memory ran out {often} in mid-run ({error}). The step was repeated with the same "
            f"rows in micro-batches of {cut['size']:,}, as were all after it; none was lost."
        )
    processes = (run.get("environment") or {}).get("processes") or 1
    asked = config.get("microbatch")
    size = (cut or memory).get("size") or (asked if isinstance(asked, int) else 0)
    share = memory.get("batch_size") or -(-(config.get("batch_size") or 0) // processes)
    is_cut = 0 < size < share
    if is_cut or processes > 1:
        pieces = f"micro-batches of {size:,} rows" if is_cut else "shares"
        by = f" by {processes} processes" if processes > 1 else ""
        yield (
            f"A batch is computed in {pieces}{by}. Its gradient is that of the whole batch; "
            "BatchNorm's statistics, if the network has them, are those of each piece, and dropout "
            "masks fall differently."
        )
    if memory.get("checkpointing") or cut.get("checkpointing"):
        yield (
            "Activations are computed again in the backward pass, since a single row did not fit "
            "otherwise. The gradient is the same; a step pays for a second forward pass."
        )


def _health(record: RunRecord) -> dict[str, Any] | None:
    """Return the figure of update ratios, what stands out, and the last epoch's table."""
    layers = read_layers(record.health)
    if layers is None:
        return None
    last = layers.ratios[:, -1]
    # A schedule that ends at zero would make every layer look still.
    at_peak = last / _share_of_peak_lr(record, layers.epochs[-1])
    still = [name for name, ratio in zip(layers.names, at_peak, strict=True) if ratio < LEAST_RATIO]
    wild = [name for name, ratio in zip(layers.names, last, strict=True) if ratio > LARGEST_RATIO]
    sentences = []
    if still:
        sentences.append(
            f"{_named(still)} hardly {_verb(still)} in the last epoch: the update ratio is below "
            "1e-5, at the peak learning rate too."
        )
    if wild:
        sentences.append(
            f"{_named(wild)} {_verb(wild)} by more than a tenth of the weights in one step in the "
            "last epoch: the learning rate may be too high there."
        )
    shown = layers.at_most(training_figures.MOST_ROWS)
    return {
        "figure": Markup(training_figures.update_ratios(shown)),
        "merged": len(shown.names) < len(layers.names),
        "num_layers": len(layers.names),
        "sentences": sentences,
        "table": layers.last_rows,
    }


def _share_of_peak_lr(record: RunRecord, epoch: int) -> float:
    """Return the learning rate of an epoch's first step over the largest of the run."""
    epochs, rates = record.curve("train", "lr")  # of each epoch's last step
    before = rates[epochs < epoch]
    return float(before[-1] / rates.max()) if len(before) and before[-1] > 0 else 1.0


def _profile(profile: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if not profile or not profile.get("phases"):
        return None
    operators = profile.get("operators") or []
    on_gpu = any(row.get("self_device_ms_per_step") for row in operators)
    return {
        "device": profile["device"],
        "num_steps": profile.get("num_steps"),
        "skipped": profile.get("skipped_steps", 0),
        "ms_per_step": sum(row["ms_per_step"] for row in profile["phases"]),
        "phases": profile["phases"],
        "operators": operators,
        "traced": profile.get("traced_steps", 0),
        "on_gpu": on_gpu,
    }


def _verb(names: list[str]) -> str:
    return "moves" if len(names) == 1 else "move"


def _named(names: list[str]) -> str:
    rest = len(names) - MOST_NAMED
    if rest > 0:
        return f"{', '.join(names[:MOST_NAMED])} and {rest} more"
    return " and ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)


def _arithmetic_name(precision: str | None, channels_last: bool | None) -> str | None:
    return f"{precision}, channels-last" if precision and channels_last else precision


def _rows(count: int | None) -> str | None:
    return None if count is None else f"{count:,} {'row' if count == 1 else 'rows'}"


def _mib(size: int | None) -> float | None:
    return None if size is None else size / MIB
