"""One training, or one round of a comparison, in a process of its own; `run.py` starts it.

    python train_one.py WHAT OUTPUT    # WHAT is JSON, OUTPUT is where its line goes

`fit_...` seconds are those of all of `fit`: reading and auditing, training, recording; `loop_...`
those of the training loop, `Trainer.run` for ours. CPU seconds are those of the process.
"""

from __future__ import annotations

import math
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from borrowed import peak_bytes
from one_process import write_lines
from ours import Found, of_classes, of_forecasts, of_language, of_pairs, of_tags
from peers import FOLDER, NEEDS, PACKAGES
from protocol import ATTENTION, HELD_SPEAKERS, LOOP, TASKS, Measured, is_ours
from reading import Texts, read_audio, read_pairs, read_series, read_set, read_texts
from rivals_forecasts import by_hand, by_neuralforecast
from rivals_language import by_loop, by_trainer
from rivals_series import by_aeon
from speed import generated, one_round

VERSIONS = ("mlexpert", "torch", "transformers", "tokenizers", "aeon", "numba", "neuralforecast")
SMOKE_STEPS = 4


@dataclass(frozen=True)
class Job:
    """A method on a task; `fields` are those of our recipes."""

    task: Measured
    name: str
    method: str
    seed: int
    data: Path
    fields: Found
    smoke: bool

    def texts(self) -> Texts:
        """Return the texts of the task, or those of characters."""
        about = self.task.about or TASKS["tiny-shakespeare"].about
        return read_texts(about, self.data, smoke=self.smoke)


def measured(what: dict[str, Any]) -> Found:
    """Train and judge, and return the line."""
    task, smoke = TASKS[what["task"]], what["smoke"]
    fields = task.fields_of(what["method"], what["seed"])
    if smoke:
        fields |= {"epochs": 1, "precision": "fp32"}
        fields |= {"steps": SMOKE_STEPS} if "steps" in fields else {}
    job = Job(task, what["task"], what["method"], what["seed"], Path(what["data"]), fields, smoke)
    found = MEASURES[task.kind](job)
    return {**rounded(found), "peak_mib": round(peak_bytes() / 2**20)}


def language(job: Job) -> Found:
    texts, steps = job.texts(), job.fields["steps"]
    if is_ours(job.method):
        found = of_language(job.method, texts, job.fields)
    else:
        about = {**job.task.fields, "lr": job.task.about["lr"]}
        if job.method == LOOP:
            found = by_loop(texts, about, job.seed, steps)
        else:
            found = by_trainer(texts, about, job.seed, steps, tempfile.mkdtemp(prefix="trainer-"))
    nats = found.pop("nats")
    if "test" in job.task.about:  # of words; the end of a line is one, as in the literature
        words = len(texts.test.split()) + texts.test.count("\n")
        found["word_perplexity"] = math.exp(min(nats / words, 700.0))
    return {**found, "steps": steps}


def forecast(job: Job) -> Found:
    sizes, smoke = (job.fields["context"], job.fields["horizon"]), job.smoke
    rows = read_series(job.task.about, job.data, *sizes, smoke=smoke)
    if is_ours(job.method):
        found = of_forecasts(job.method, rows, job.fields)
    elif job.method in NEEDS:
        lr = job.task.about["lr"]
        found = by_neuralforecast(job.method, rows, *sizes, lr, smoke=smoke)
    else:
        found = by_hand(job.method, rows, *sizes, job.task.about["period"])
    counts = [len(rows.train), len(rows.validation), len(rows.test) - sizes[0]]
    return {**found, "rows": counts}


def classes(job: Job) -> Found:
    if job.task.kind == "audio":
        held = job.seed if job.name == HELD_SPEAKERS else None
        rows = read_audio(held, job.data, smoke=job.smoke)
    else:
        rows = read_set(job.seed, job.data)
    if is_ours(job.method):
        found = of_classes(job.method, rows, job.fields)
    else:
        found = by_aeon(job.method, rows, 0)
    return {**found, "fold": rows.name, "rows": [len(rows.train[1]), len(rows.test[1])]}


def tags(job: Job) -> Found:
    about = job.task.about
    return of_tags(
        job.method, job.data, about["file"], about["target"], job.fields, smoke=job.smoke
    )


def pairs(job: Job) -> Found:
    train, test = read_pairs(job.task.about["rule"], smoke=job.smoke)
    found = of_pairs(job.method, train, test, job.fields)
    return {**found, "rows": [len(train[0]), len(test[0])]}


def generation(job: Job) -> Found:
    fields = job.fields | ({"context": 48} if job.smoke else {})
    return generated(job.method, job.texts(), fields)


def mixers(job: Job) -> Found:
    from mixers import measure

    sizes = (64, 2) if job.smoke else (1024, 15)
    lines = measure(*sizes, list(dict.fromkeys((ATTENTION, job.method))))
    attention, own = lines[0], lines[-1]
    return {
        "fp32_ms": own["fp32"],
        "bf16_ms": own["bf16"],
        "of_attention": float(own["fp32"]) / float(attention["fp32"]),
        "state_kib": own["state"],
        "parameters": own["parameters"],
    }


MEASURES: dict[str, Callable[[Job], Found]] = {
    "language": language,
    "speed": lambda job: one_round(job.method, job.task, job.texts(), job.fields),
    "generation": generation,
    "forecast": forecast,
    "audio": classes,
    "series": classes,
    "tags": tags,
    "pairs": pairs,
    "mixers": mixers,
}


def rounded(found: Found) -> Found:
    """Return what was found, with the digits that mean something."""
    return {k: round(v, 9) if isinstance(v, float) else v for k, v in found.items()}


if __name__ == "__main__":
    sys.path.extend(str(FOLDER / name) for name in PACKAGES)  # where they say what version they are
    write_lines(lambda what: [measured(what)], VERSIONS)
