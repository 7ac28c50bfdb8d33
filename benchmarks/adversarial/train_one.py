"""One training, or one attack, in a process of its own; `run.py` starts it.

    python train_one.py WHAT OUTPUT    # WHAT is JSON, OUTPUT is where its line goes

`train_...` seconds are those of all of `fit`: reading and auditing, training, recording;
`loop_...` those of the training loop. CPU seconds are those of the process. The test rows are
attacked once, after it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from borrowed import Clock, peak_bytes
from foreign import FOREIGN, attacked_by
from judged import fit_timed, judged, over_epochs
from one_process import write_lines
from peers import FOLDER
from protocol import TASKS
from speed import SPEEDS, one_round

VERSIONS = (
    "mlexpert",
    "torch",
    "torchattacks",
    "foolbox",
    "adversarial-robustness-toolbox",
)


def measured(what: dict[str, Any]) -> dict[str, Any]:
    """Train and attack, or attack alone, and return the line."""
    name, method, smoke = what["task"], what["method"], what["smoke"]
    data = Path(what["data"])
    task = TASKS.get(name, TASKS["mnist"])
    split = task.split(data, smoke=smoke)
    if name in SPEEDS:
        return rounded(one_round(name, method, split, smoke=smoke))
    if name == FOREIGN:
        return rounded(attacked_by(method, split, smoke=smoke))
    fields = task.fields_of(method, what["seed"])
    if smoke:
        fields |= {"epochs": 1, "validation": 0.1}
    clock = Clock()
    fitted, loop = fit_timed(method, fields, split.train)
    trained = clock.lap()
    return {
        **rounded(judged(fitted, split.test, task, smoke=smoke)),
        **rounded(over_epochs(fitted)),
        **{f"train_{unit}": value for unit, value in trained.items()},
        **{f"loop_{unit}": value for unit, value in loop.items()},
        "peak_mib": round(peak_bytes() / 2**20),
        "rows": [len(split.train), len(split.test)],
    }


def rounded(found: dict[str, Any]) -> dict[str, Any]:
    """Return what was found, with the digits that mean something."""
    return {k: round(v, 9) if isinstance(v, float) else v for k, v in found.items()}


if __name__ == "__main__":
    sys.path.append(str(FOLDER))  # where the peers say what version they are
    write_lines(lambda what: [measured(what)], VERSIONS)
