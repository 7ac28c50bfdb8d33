"""A made-up but believable record of attacks, added to a run folder of `fake_run`.

`python tests/evidence/fake_attacks.py FOLDER` writes some kinds below FOLDER and renders them.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

THREAT = {
    "norm": "linf", "epsilon": 0.3, "unit": "of the pixel range, 0 to 1", "low": 0.0, "high": 1.0,
    "knowledge": "white-box", "budgets": None,
}  # fmt: skip
CIFAR = THREAT | {"epsilon": 8 / 255}
TABLE = THREAT | {
    "epsilon": 1.0, "unit": "of each column's budget", "low": None, "high": None,
    "budgets": {"amount": 0.5, "age <b>": 2.0},
}  # fmt: skip
ATTACKS = (
    ("PGD, margin loss", {"steps": 20, "restarts": 1, "step_size": 0.0375}, 951, 2.9),
    ("APGD-CE", {"steps": 100, "restarts": 1}, 938, 9.4),
    ("APGD-T", {"steps": 100, "targets": 9, "loss": "targeted DLR"}, 905, 71.2),
    ("Square", {"queries": 5000, "seed": 0}, 899, 64.0),
    ("FAB-T", {"steps": 100, "targets": 9}, 899, 88.5),
)
"""Name, parameters, rows of 1000 that stand after it, seconds."""
CHECKS = (
    ("iterative_stronger", "Many steps are stronger than one", "passed", "PGD 0.951, FGSM 0.968"),
    ("more_steps", "Twice the steps change less than .5 points", "passed", "0.2 points"),
    ("black_box_not_stronger", "Attacks without gradients are not stronger", "{square}",
     "Square alone broke 6 rows that all attacks by gradients had left"),
    ("noise_weaker", "Noise of the same size is weaker", "passed", "0.979 under noise"),
    ("unbounded", "Without a bound nothing is left", "passed", "0.000 at ε = 1"),
    ("transfer", "Attacks on another model are not stronger", "not measured",
     "no other <b>model</b> was given"),
)  # fmt: skip


def wilson(correct: int, rows: int) -> list[float]:
    """Return the 95 % interval of Wilson's score."""
    z, share = 1.959964, correct / rows
    middle = (share + z * z / (2 * rows)) / (1 + z * z / rows)
    reach = z / (1 + z * z / rows) * math.sqrt(share * (1 - share) / rows + z**2 / (4 * rows**2))
    return [middle - reach, middle + reach]


def share(correct: int, rows: int) -> dict[str, Any]:
    return {"accuracy": correct / rows, "interval": wilson(correct, rows), "correct": correct}


def record_of(
    threat: dict[str, Any], part: str, trained: dict[str, Any] | None, verdict: str
) -> dict[str, Any]:
    """Return a record as `mlexpert.attack` writes it."""
    standing = [982, *(left for _, _, left, _ in ATTACKS)]
    epsilon = threat["epsilon"]
    at = np.linspace(-1, 1, 21)
    losses = 0.05 + 2.2 / (1 + np.exp(-6 * (at[None] - 0.35))) + 0.25 * at[:, None] ** 2
    kinds = {"gaussian_noise": 0.05, "defocus_blur": 0.03, "contrast": 0.11, "jpeg": 0.01}
    return {
        "part": part, "created": "2026-11-22T09:00:00+00:00", "mlexpert": "0.1.0", "seed": 0,
        "num_rows": 1000, "total_rows": 1200, "threat": threat, "trained": trained,
        "clean": share(982, 1000), "robust": share(standing[-1], 1000),
        "attacks": [
            {"name": name, "parameters": parameters, "standing_before": before,
             "standing_after": after, "seconds": seconds}
            for before, (name, parameters, after, seconds) in zip(standing, ATTACKS, strict=False)
        ],
        "checks": [
            {"name": name, "title": title, "detail": detail,
             "verdict": said.format(square="passed" if verdict == "trusted" else "suspect")}
            for name, title, said, detail in CHECKS
        ],
        "verdict": verdict,
        "sweep": [
            {"epsilon": epsilon * times, "accuracy": 0.982 / (1 + math.exp(7 * (times - 1.55)))}
            for times in (0, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 2, 2.5, 3)
        ],
        "corruptions": [
            {"name": name, "severity": severity, "accuracy": 0.98 - slope * severity**1.3}
            for name, slope in kinds.items() for severity in range(1, 6)
        ],
        "landscape": {"span": epsilon, "losses": losses.tolist()},
        "validity": {"largest": epsilon, "lowest": 0.0, "highest": 1.0, "outside": 0},
        "zero_gradients": 0.013,
    }  # fmt: skip


def pictures_of(channels: int, side: int, epsilon: float) -> dict[str, np.ndarray]:
    """Return eight made-up pictures and what an attack may have made of them."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    rings = [np.exp(-(((np.hypot(x, y) - 0.15 - 0.08 * k) / 0.15) ** 2)) for k in range(8)]
    clean = np.repeat(np.array(rings)[:, None], channels, axis=1)
    signs = np.sign(rng.normal(size=(8, channels, side // 4, side // 4)))
    moved = clean + epsilon * signs.repeat(4, axis=2).repeat(4, axis=3)
    targets = np.arange(8)
    return {
        "clean": clean.astype(np.float32),
        "adversarial": moved.clip(0, 1).astype(np.float32),
        "targets": targets,
        "before": np.where(targets == 6, 2, targets),
        "after": (targets + 1 + (targets % 3)) % 8,
    }


def add(
    run_dir: Path,
    *,
    threat: dict[str, Any] = THREAT,
    part: str = "test",
    trained: dict[str, Any] | None = THREAT,
    verdict: str = "trusted",
    pictures: tuple[int, int] | None = (1, 28),
    **changes: Any,
) -> Path:
    """Add a record to a run folder, and return the record's file.

    Args:
        run_dir: Folder that `fake_run.write` wrote.
        threat: What the attacks were allowed.
        part: The split.
        trained: What training prepared for; it is written into `run.json`, too.
        verdict: On the record.
        pictures: Channels and side of the pictures; None writes none.
        **changes: To the record.
    """
    say(run_dir, trained)
    folder = run_dir / "attacks"
    folder.mkdir(exist_ok=True)
    file = folder / f"{part}-{threat['norm']}-{threat['epsilon']:g}.json"
    file.write_text(json.dumps(record_of(threat, part, trained, verdict) | changes))
    if pictures:
        arrays = pictures_of(*pictures, threat["epsilon"])
        save_file(arrays, file.with_suffix(".safetensors"))
    return file


def say(run_dir: Path, trained: dict[str, Any] | None, **facts: Any) -> None:
    """Write into `run.json` what training prepared for."""
    run = json.loads((run_dir / "run.json").read_text())
    run |= facts | ({"threat": trained} if trained else {})
    (run_dir / "run.json").write_text(json.dumps(run))


def add_curves(run_dir: Path) -> None:
    """Write the error and loss under attack into each epoch of the history."""
    file = run_dir / "metrics.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    for row in rows:
        if row["split"] == "validation":
            row["robust_log_loss"] = row["log_loss"] + 0.4 + 0.01 * row["epoch"]
            row["robust_error"] = 1 - row["accuracy"] + 0.15 * math.exp(-row["epoch"] / 9) + 0.03
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


if __name__ == "__main__":
    import fake_run

    from mlexpert.evidence.report import render

    home = Path(sys.argv[1])
    for kind in ("mnist", "several", "table", "none"):
        folder = fake_run.write(home / kind, fake_run.KINDS["fashion"])
        if kind != "none":
            add_curves(folder)
        if kind == "mnist":
            add(folder, verdict="suspect")
        if kind == "several":
            add(folder, threat=CIFAR, trained=CIFAR, pictures=(3, 32))
            add(folder, threat=CIFAR, trained=CIFAR, pictures=(3, 32), part="validation")
            l2 = CIFAR | {"norm": "l2", "epsilon": 0.5}
            add(folder, threat=l2, trained=CIFAR, verdict="invalid", pictures=(3, 32))
        if kind == "table":
            add(folder, threat=TABLE, trained=None, pictures=None, corruptions=[], landscape=None)
        say(folder, THREAT if kind == "none" else None, criteria={"robust_accuracy": 0.85})
        print(render(folder))
