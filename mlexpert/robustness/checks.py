"""The sanity list of a robust accuracy: what a sound evaluation shows, and a broken one does not.

Papers: Athalye et al. 2018, arXiv:1802.00420, section 3.1; Carlini et al. 2019, arXiv:1902.06705,
sections 3 and 5.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from mlexpert.blocks.attacks.attacked import logits_at
from mlexpert.blocks.attacks.fgsm import fgsm
from mlexpert.blocks.attacks.margins import margin
from mlexpert.robustness.measures import FACTORS, gradients
from mlexpert.robustness.result import Check
from mlexpert.robustness.result import Outcome as Word
from mlexpert.robustness.scene import CHEAP_STEPS, Scene, whole_box

POINTS = 0.005
"""Share of rows by which two accuracies may differ: half a point."""
LEFT_OF_UNBOUNDED, FLAT = 0.02, 0.01
"""Shares of rows that may stand under an unbounded attack, and have no slope."""
DRAWS, QUERIES, FEW = 10, 300, 64
"""Noises a row, queries of Square, and rows for what is dearer than ten steps of PGD."""
NO_GRADIENT = "The model has no gradient."


def run_checks(
    scene: Scene, sweep: Sequence[dict[str, float]], broken: Tensor, show: Callable[..., None]
) -> list[Check]:
    """Return the sanity list, but for validity, in its order.

    Args:
        scene: What is looked at.
        sweep: Of `sweep_of`.
        broken: (n,) whether the sweep's attack broke the sampled rows at the threat itself.
        show: Is told the progress.
    """
    if not bool(scene.outcome.clean_correct.any()):
        why = "No row is decided rightly before the attack."
        return [Check(name, title, "not measured", why) for name, title in TITLES.items()]
    makers: list[Callable[[], Check]] = [
        lambda: reproducible(scene),
        lambda: black_box_not_stronger(scene),
        lambda: unbounded_reaches_zero(scene),
        lambda: falls_with_epsilon(scene, sweep),
        lambda: more_steps_not_stronger(scene),
        lambda: single_step_not_stronger(scene, broken),
        lambda: noise_not_stronger(scene, broken),
        lambda: has_slope(scene),
    ]
    found = []
    for number, make in enumerate(makers):
        show("checks", number, len(makers))
        found.append(make())
    show("checks", len(makers), len(makers))
    found.append(_check("transfer", "not measured", "No other model was given to attack from."))
    return found


TITLES = {
    "reproducible": "The model answers the same twice",
    "black_box_not_stronger": "Queries alone are not stronger than gradients",
    "unbounded_reaches_zero": "Without a bound, the attack breaks everything",
    "falls_with_epsilon": "A larger epsilon never leaves more rows standing",
    "more_steps_not_stronger": "Twice the steps change less than half a point",
    "single_step_not_stronger": "One step is not stronger than several",
    "noise_not_stronger": "Noise is not stronger than gradients",
    "has_slope": "Gradients are finite and not zero",
    "transfer": "Attacks from another model are not stronger",
}


def reproducible(scene: Scene) -> Check:
    """Ask twice about some rows: a model that draws at random needs attacks that average."""
    rows = scene.sample(FEW)
    first, again = (logits_at(scene.model, scene.inputs[rows]) for _ in range(2))
    apart = float((first - again).abs().max())
    detail = f"Logits of {len(rows)} rows differ by {apart:.2g} at most."
    if apart <= 1e-4 * (1 + float(first.abs().max())):
        return _check("reproducible", "passed", detail)
    return _check(
        "reproducible", "suspect", f"{detail} It draws at random; average gradients over draws."
    )


def black_box_not_stronger(scene: Scene) -> Check:
    """Count the rows that only Square broke, or that it breaks now of those still standing."""
    name, outcome = "black_box_not_stronger", scene.outcome
    if not scene.has_gradient:
        return _check(name, "not measured", NO_GRADIENT)
    names = [gain.name for gain in outcome.gains]
    tried = [place for place, one in enumerate(names) if one.startswith("Square")]
    if tried == list(range(len(names))):
        return _versus_gradients(scene)
    if tried:
        only = sum(int((outcome.broken_by == place).sum()) for place in tried)
        detail = f"Square broke {only} of {len(scene)} rows that gradients before it did not."
        return _check(name, _unless(only, len(scene)), detail)
    rows = scene.standing(FEW)
    if not len(rows):
        return _check(name, "passed", "Gradients left no row standing.")
    if scene.threat.norm == "l1":
        return _check(name, "not measured", "There is no attack by queries in l1.")
    only = int(scene.by_queries(rows, scene.threat, QUERIES).sum())
    detail = f"Square ({QUERIES} queries) breaks {only} of {len(rows)} rows that stood."
    return _check(name, _unless(only, len(rows)), detail)


def _versus_gradients(scene: Scene) -> Check:
    """Attack by gradients what queries alone left: the number is then too high."""
    rows = scene.standing()
    more = int(scene.by_gradient(rows, scene.threat, 2 * CHEAP_STEPS).sum()) if len(rows) else 0
    detail = f"Gradients break {more} of {len(rows)} rows that Square left."
    if more:
        detail += " The robust accuracy is too high; attack='auto' takes both."
    return _check("black_box_not_stronger", _unless(more, len(rows)), detail)


def unbounded_reaches_zero(scene: Scene) -> Check:
    """Let the attacker set every value to anything: what stands then stands for another reason."""
    name, rows = "unbounded_reaches_zero", scene.correct(FEW)
    threat, number = whole_box(scene.threat, scene.inputs), len(rows)
    left = rows
    if scene.has_gradient:
        for steps in (2 * CHEAP_STEPS, 10 * CHEAP_STEPS):
            if len(left):
                left = left[~scene.by_gradient(left, threat, steps)]
    by_gradient = len(left)
    if by_gradient <= LEFT_OF_UNBOUNDED * number:
        return _check(name, "passed", f"PGD leaves {by_gradient} of {number} rows.")
    left = left[~scene.by_queries(left, threat, QUERIES)]
    detail = f"PGD leaves {by_gradient} of {number} rows, and Square of these {len(left)}."
    if not scene.has_gradient:
        detail = f"Square leaves {len(left)} of {number} rows."
    if len(left) <= LEFT_OF_UNBOUNDED * number:
        word: Word = "suspect" if scene.has_gradient else "passed"
        return _check(name, word, detail)
    if isinstance(scene.threat.epsilon, Tensor) and scene.threat.epsilon.numel() > 1:
        detail += " Columns that may not be moved can decide a row."
        return _check(name, "suspect", detail)
    return _check(name, "failed", f"{detail} The attack does not reach this model.")


def falls_with_epsilon(scene: Scene, sweep: Sequence[dict[str, float]]) -> Check:
    """Look whether the sweep rises anywhere."""
    values = [point["accuracy"] for point in sweep]
    rise = max(after - before for before, after in pairwise(values))
    number = len(scene.sample())
    said = ", ".join(f"{value:.1%}" for value in values)
    detail = f"Accuracy from 0 to {FACTORS[-1]:g} epsilon: {said} ({number} rows)."
    return _check("falls_with_epsilon", _unless(round(rise * number), number), detail)


def more_steps_not_stronger(scene: Scene) -> Check:
    """Attack some rows that stand with twice the steps; count them as a share of all rows."""
    name = "more_steps_not_stronger"
    if not scene.has_gradient:
        return _check(name, "not measured", NO_GRADIENT)
    rows, all_standing = scene.standing(), int((~scene.outcome.broken).sum())
    if not len(rows):
        return _check(name, "passed", "No row stands that more steps could break.")
    steps = max(2 * scene.steps, 2 * CHEAP_STEPS)
    more = int(scene.by_gradient(rows, scene.threat, steps).sum())
    points = more / len(rows) * all_standing / len(scene)
    detail = (
        f"PGD of {steps} steps breaks {more} of {len(rows)} rows that stood: "
        f"{100 * points:.1f} points of all."
    )
    # A single row of a sample may be more than half a point, and says little.
    return _check(name, "suspect" if more > 1 and points > POINTS else "passed", detail)


def single_step_not_stronger(scene: Scene, broken: Tensor) -> Check:
    """Hold one step beside the sweep's several on the same rows."""
    name = "single_step_not_stronger"
    if not scene.has_gradient:
        return _check(name, "not measured", NO_GRADIENT)
    rows = scene.sample()
    moved = fgsm(scene.model, scene.inputs[rows], scene.targets[rows], scene.threat)
    one, several = int(scene.wrong(moved, rows).sum()), int(broken.sum())
    detail = f"FGSM leaves {len(rows) - one} of {len(rows)} rows, PGD {len(rows) - several}."
    return _check(name, _unless(one - several, len(rows)), detail)


def noise_not_stronger(scene: Scene, broken: Tensor) -> Check:
    """Hold random points of the ball beside the sweep's attack on the same rows."""
    rows = scene.sample()
    noisy, several = int(scene.by_noise(rows, DRAWS).sum()), int(broken.sum())
    name, left = "PGD" if scene.has_gradient else "Square", len(rows) - several
    detail = f"{DRAWS} noises leave {len(rows) - noisy} of {len(rows)} rows, {name} {left}."
    return _check("noise_not_stronger", _unless(noisy - several, len(rows)), detail)


def has_slope(scene: Scene) -> Check:
    """Count rows whose margin has no slope, or one that is not finite."""
    if not scene.has_gradient:
        return _check("has_slope", "not measured", NO_GRADIENT)
    rows = scene.correct()
    gradient = gradients(scene, rows, margin)
    flat = int((gradient == 0).all(dim=1).sum())
    wild = int((~torch.isfinite(gradient)).any(dim=1).sum())
    detail = f"Of {len(rows)} rows the margin of {flat} has no slope, and of {wild} no finite one."
    doubtful = wild > 0 or flat > FLAT * len(rows)
    return _check("has_slope", "suspect" if doubtful else "passed", detail)


def _unless(more: int, number: int) -> Word:
    """Return "suspect" for more rows than half a point of all, and than one."""
    return "suspect" if more > max(1, POINTS * number) else "passed"


def _check(name: str, verdict: Word, detail: str) -> Check:
    return Check(name, TITLES[name], verdict, detail)
