"""How much a model withstands: attacks on it, and whether what they find can be trusted."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mlexpert.blocks.attacks.attacked import attacked, logits_at
from mlexpert.blocks.attacks.ensemble import run_attempts
from mlexpert.errors import InputError
from mlexpert.fitted import Fitted
from mlexpert.robustness.checks import TITLES, run_checks
from mlexpert.robustness.corruptions import corruption_accuracy
from mlexpert.robustness.marked_rows import without_marks
from mlexpert.robustness.measures import landscape, sweep_of, zero_gradients
from mlexpert.robustness.plans import plan
from mlexpert.robustness.probe import probe
from mlexpert.robustness.progress import AttackProgress
from mlexpert.robustness.result import Check, Pictures, Robustness, Share, verdict_of, write_record
from mlexpert.robustness.scene import Scene, spaced
from mlexpert.robustness.settings import (
    AskedThreat,
    AttackName,
    Settings,
    threat_to_columns,
    threat_to_pixels,
)
from mlexpert.robustness.subject import (
    Subject,
    require_attackable,
    subject_of_fitted,
    subject_of_module,
)
from mlexpert.robustness.validity import validity_of

CORRUPTED = 500
"""Rows whose corrupted images are looked at."""
SHOWN = 8
"""Broken images that are kept for the report."""

Show = Callable[[str, int, int], None]


def attack(
    model: Fitted | nn.Module,
    ds: Any = None,
    *,
    attack: AttackName = "auto",
    norm: str | None = None,
    epsilon: float | None = None,
    steps: int | None = None,
    restarts: int | None = None,
    rows: int | None = 1000,
    budgets: Mapping[str, float] | None = None,
    reason: str | None = None,
    checks: bool = True,
    seed: int = 0,
    batch_size: int = 500,
    progress: bool = True,
) -> Robustness:
    """Attack a model and say how many rows it still decides rightly, and whether to believe that.

    A decision is the most probable class, whatever the model's own rule corrects for. Parameters,
    buffers, modes and torch's random numbers are afterwards as they were. Of a run the record goes
    into its folder, below `attacks/`, where the report finds it.

    Args:
        model: What `fit` or `load` returned, of images or tables with one class a row; or a torch
            module that maps inputs (B, ...) to logits (B, K).
        ds: Labelled rows as `Fitted.evaluate` takes them; None takes the run's validation rows.
            With a module, a pair: inputs (N, ...), floats in [0, 1] or bytes, and class indices.
        attack: "auto" is AutoAttack's ensemble, "quick" a shorter one; or one attack alone.
        norm: "linf", "l2" or "l1". None: the one that the model was trained for, or "linf".
        epsilon: How far an input may be moved: of images in [0, 1], so 8/255 and not 8; of tables
            in standard deviations of each numeric column. None: what the model was trained for.
        steps: Of "pgd" (50) or "apgd" (100), or queries of "square" (5000).
        restarts: Random starts of "pgd" (10).
        rows: Most rows that are attacked, chosen at random; None for all.
        budgets: Of tables, in place of epsilon: numeric column to how far it may be moved, in its
            own unit. Other columns stay. Categories and missing values always do.
        reason: Opens the sealed test split and attacks its rows; the ledger keeps the reason.
        checks: Whether to make the sanity checks, the sweep, and the corruptions of images. Without
            them no verdict is "trusted".
        seed: Of the choice of rows and of all that attacks draw.
        batch_size: Rows that are attacked together; of no effect on the result but rounding.
        progress: Whether to show bars.

    Raises:
        InputError: If model, rows or threat cannot be meant; nothing is opened or written then.
        RunError: If the ledger or the record cannot be written.

    Example:
        >>> import torch, mlexpert
        >>> model = torch.nn.Identity().eval()  # the larger of two numbers
        >>> rows = torch.tensor([[0.9, 0.2], [0.55, 0.4]]), torch.tensor([0, 0])
        >>> found = mlexpert.attack(model, rows, epsilon=0.1, progress=False)
        >>> found.clean.correct, found.robust.correct
        (2, 1)
    """
    settings = Settings(attack, steps, restarts, rows, seed, batch_size)
    if isinstance(model, Fitted):
        trained = model.facts.get("threat")
        asked = _threat_to(model, norm, epsilon, budgets, trained)
        _require_one(ds, reason)
        _refuse(settings, asked)
        subject = subject_of_fitted(model, ds, reason, rows, seed)
    elif isinstance(model, nn.Module):
        trained = None
        _require_none(budgets=budgets, reason=reason)
        subject = subject_of_module(model, ds, rows, seed)
        values = subject.inputs[0].numel()
        asked = threat_to_pixels(norm, epsilon, num_values=values)
        _refuse(settings, asked)
        _warn_of_training(model)
    else:
        raise InputError(
            f"{type(model).__name__} cannot be attacked; give what fit or load returned, or a "
            "torch module that returns logits."
        )
    if trained is not None and not asked.is_like(trained):
        warnings.warn(_other_threat(asked, trained), UserWarning, stacklevel=2)
    with AttackProgress(shown=progress) as bars:
        found = _attacked(subject, settings, asked, trained, checks, bars.show)
    if subject.run_dir is None:
        return found
    return replace(found, path=write_record(subject.run_dir, found))


def _attacked(
    subject: Subject,
    settings: Settings,
    asked: AskedThreat,
    trained: dict[str, Any] | None,
    with_checks: bool,
    show: Show,
) -> Robustness:
    """Attack the rows, look at how it went, and put everything together."""
    model, inputs, targets = subject.model, subject.inputs, subject.targets
    threat = asked.of_columns(subject.columns, inputs) if subject.columns else asked.of_pixels()
    by_gradient = settings.attack != "square"
    num_classes, has_gradient = probe(model, inputs, targets, needs_gradient=by_gradient)
    attempts = plan(settings, num_classes, asked.norm)
    with attacked(model):
        outcome = run_attempts(
            model, inputs, targets, threat, attempts, rows=settings.batch_size, on_progress=show
        )
        scene = Scene(
            model, inputs, targets, threat, asked.epsilon, outcome,
            max((int(one.parameters.get("steps", 0)) for one in attempts), default=0),
            has_gradient, settings.seed, settings.batch_size,
        )  # fmt: skip
        validity, valid = validity_of(scene)
        sweep, found, corrupted = _examined(scene, with_checks, show)
        checks = (valid, *found, _as_trained(asked, trained))
        total = len(inputs)
        return Robustness(
            part=subject.part,
            threat=asked.to_dict(),
            trained=trained,
            clean=Share(int(outcome.clean_correct.sum()), total),
            robust=Share(total - int(outcome.broken.sum()), total),
            attacks=tuple(vars(gain) for gain in outcome.gains),
            checks=checks,
            verdict=verdict_of(checks),
            sweep=sweep,
            corruptions=corrupted,
            adversarial=_as_given(outcome.adversarial, subject),
            broken=outcome.broken.cpu(),
            rows_seen={"num_rows": total, "total_rows": subject.total_rows},
            seed=settings.seed,
            landscape=landscape(scene) if with_checks else None,
            validity=validity,
            zero_gradients=zero_gradients(scene) if with_checks else None,
            pictures=_pictures(scene),
        )


def _examined(
    scene: Scene, with_checks: bool, show: Show
) -> tuple[tuple[dict[str, float], ...], list[Check], tuple[dict[str, Any], ...]]:
    """Return the sweep, the sanity list, and the accuracies on corrupted images."""
    if not with_checks:
        why = "It was not asked for."
        unmade = [Check(name, title, "not measured", why) for name, title in TITLES.items()]
        return (), unmade, ()
    sweep, broken = sweep_of(scene)
    rows = scene.sample(CORRUPTED)
    corrupted = corruption_accuracy(
        scene.model,
        scene.inputs[rows],
        scene.targets[rows],
        seed=scene.seed,
        batch_size=scene.batch_size,
    )
    return sweep, run_checks(scene, sweep, broken, show), corrupted


def _threat_to(
    fitted: Fitted,
    norm: str | None,
    epsilon: float | None,
    budgets: Mapping[str, float] | None,
    trained: dict[str, Any] | None,
) -> AskedThreat:
    require_attackable(fitted)
    schema = fitted.schema
    if schema.kind == "tabular":
        return threat_to_columns(norm, epsilon, budgets, schema.columns, trained=trained)
    _require_none(budgets=budgets)
    image = schema.image
    assert image is not None, "an image schema has image statistics"
    values = image.channels * image.height * image.width
    return threat_to_pixels(norm, epsilon, num_values=values, trained=trained)


def _refuse(settings: Settings, asked: AskedThreat) -> None:
    if settings.attack == "square" and asked.norm == "l1":
        raise InputError("attack='square' knows 'linf' and 'l2'; take attack='apgd' with 'l1'.")


def _require_one(ds: Any, reason: str | None) -> None:
    if ds is not None and reason is not None:
        raise InputError("Give either rows (ds=) or a reason to open the test split, not both.")
    if reason is not None and not (isinstance(reason, str) and reason.strip()):
        raise InputError(f"reason={reason!r}; say why the test split is opened: 'table 1'.")


def _require_none(**given: Any) -> None:
    for name, value in given.items():
        if value is not None:
            whose = {"budgets": "tables", "reason": "runs, which have a test split"}[name]
            raise InputError(f"{name}={value!r} is for {whose}; leave it out here.")


def _warn_of_training(model: nn.Module) -> None:
    if model.training:
        warnings.warn(
            "The model is in training mode; it is attacked in eval mode, as it would answer, and "
            "put back afterwards.",
            UserWarning,
            stacklevel=3,
        )


def _other_threat(asked: AskedThreat, trained: Mapping[str, Any]) -> str:
    return (
        f"The model was trained for {trained['norm']} {float(trained['epsilon']):.4g} and is "
        f"attacked with {asked.norm} {asked.epsilon:.4g}; the record says both."
    )


def _as_trained(asked: AskedThreat, trained: Mapping[str, Any] | None) -> Check:
    name, title = "threat_as_trained", "The threat is the one that was trained for"
    if trained is None:
        return Check(name, title, "not measured", "The model was trained for no threat.")
    if asked.is_like(trained):
        return Check(name, title, "passed", f"{asked.norm} {asked.epsilon:.4g}.")
    return Check(name, title, "not measured", _other_threat(asked, trained))


def _as_given(adversarial: Tensor, subject: Subject) -> Tensor:
    """Return adversarial inputs (N, ...) in the form of the inputs, on the CPU."""
    columns = len(subject.columns)
    return (without_marks(adversarial, columns) if columns else adversarial).cpu()


def _pictures(scene: Scene) -> Pictures | None:
    """Return some images that an attack broke; None of other inputs, or where it broke none."""
    broken = (scene.outcome.broken_by >= 0).nonzero().squeeze(1)
    if scene.inputs.ndim != 4 or scene.inputs.shape[1] not in (1, 3) or not len(broken):
        return None
    rows = spaced(broken, SHOWN)
    clean, moved = scene.inputs[rows], scene.outcome.adversarial[rows]
    decided = [logits_at(scene.model, one).argmax(dim=1) for one in (clean, moved)]

    def plain(values: Tensor, dtype: torch.dtype) -> np.ndarray:
        return np.ascontiguousarray(values.to("cpu", dtype).numpy())

    return Pictures(
        plain(clean, torch.float32),
        plain(moved, torch.float32),
        *(plain(one, torch.int64) for one in (scene.targets[rows], *decided)),
    )
