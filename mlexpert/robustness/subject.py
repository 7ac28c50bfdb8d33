"""What is attacked: a model that returns logits, and rows that can be moved."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from mlexpert.blocks.decisions.decision import DecisionRule
from mlexpert.blocks.decisions.temperature import log_probabilities
from mlexpert.data.encode import encode_targets
from mlexpert.data.examples import MEANS, Examples
from mlexpert.data.ledger import Ledger
from mlexpert.data.schema import Categorical, Column
from mlexpert.data.seal import open_sealed
from mlexpert.errors import InputError
from mlexpert.fitted import Fitted
from mlexpert.fitted.ensemble import Ensemble
from mlexpert.robustness.marked_rows import OfMarkedRows, with_marks

SMALLEST = 1e-30
"""Probability that stands for 0 where a logarithm is taken."""


@dataclass(frozen=True)
class Subject:
    """A model and the rows that it is attacked on.

    Attributes:
        model: Maps inputs (B, ...) to logits (B, K); decisions are the most probable class.
        inputs: (N, ...) on the model's device, of images in [0, 1].
        targets: (N,) class indices.
        total_rows: Rows of the split that they were chosen from.
        part: Which split, or "given".
        columns: Of a table, what each of its D columns is; empty for other inputs.
        run_dir: Where the record goes, or None.
    """

    model: nn.Module
    inputs: Tensor
    targets: Tensor
    total_rows: int
    part: Literal["validation", "test", "given"]
    columns: tuple[Column, ...] = ()
    run_dir: Path | None = None


class Answers(nn.Module):
    """A network as an attacker asks it.

    Args:
        network: Returns logits (B, K), or (B, M, K) of members, whose probabilities are averaged.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits (B, K) of inputs (B, ...)."""
        logits = self.network(inputs)
        return log_probabilities(logits) if logits.ndim == 3 else logits


class JointAnswers(nn.Module):
    """The models of the folds of one data set: logarithms (B, K) of their mean probabilities."""

    def __init__(self, members: Sequence[nn.Module], rules: Sequence[DecisionRule]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.rules = nn.ModuleList(copy.deepcopy(rule) for rule in rules)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits (B, K) of inputs (B, ...)."""
        said = [
            rule.probabilities(member(inputs))  # type: ignore[operator]
            for member, rule in zip(self.members, self.rules, strict=True)
        ]
        return torch.stack(said).mean(dim=0).clamp_min(SMALLEST).log()


def require_attackable(fitted: Fitted) -> None:
    """Refuse a model whose inputs or answers cannot be attacked.

    Raises:
        InputError: Saying why.
    """
    schema = fitted.schema
    if schema.objective != "classification":
        what = MEANS[schema.objective]
        raise InputError(f"This model predicts {what}; attacks are on one class a row.")
    if schema.kind == "series":
        raise InputError("Attacks are on images and tables; this model reads series.")
    if schema.kind == "text":
        raise InputError("Words cannot be moved by a little; attacks are on images and tables.")
    if fitted.parts.tells_task:
        raise InputError("This model is told the task of each row, which attacks do not do.")
    if isinstance(fitted, Ensemble) and schema.kind == "tabular":
        codes = [_categories(member.schema.columns) for member in fitted.members]
        if any(one != codes[0] for one in codes):
            raise InputError(
                "The models of the folds number the categories of this table each in their own "
                "way; attack one of them: mlexpert.attack(fitted.members[0], ds)."
            )


def rows_of(
    fitted: Fitted, ds: Any, reason: str | None
) -> tuple[Examples, Literal["validation", "test", "given"]]:
    """Return labelled rows: those given, the run's own validation rows, or the opened test split.

    Args:
        fitted: The model.
        ds: Labelled rows, or None.
        reason: Why the test split is opened, which the ledger keeps; None leaves it sealed.

    Raises:
        InputError: If the rows are refused, or there are none to be had.
        RunError: If the ledger cannot be written; the split stays sealed.
    """
    if ds is not None:
        return fitted._labelled(ds), "given"
    if fitted.run_dir is None:
        raise InputError(
            "This model was loaded without a run, so there are no rows of its own; "
            "give labelled ones: mlexpert.attack(model, ds)."
        )
    if reason is None and isinstance(fitted, Ensemble):
        raise InputError(
            "Of an ensemble each validation row was trained on by all members but one. Give rows "
            "of your own (ds=, --data), or open the test split (reason=, --test)."
        )
    held = fitted._all_held(fitted.run_dir)
    if reason is None:
        (rows,) = held.validation
        return rows, "validation"
    if held.test is None:
        raise InputError("This run has no test split: it was fitted with test=0.")
    ledger, name = Ledger(held.fingerprint), f"{fitted.recipe.name}@{fitted.recipe.version}"
    rows = open_sealed(
        held.test, ledger, reason=f"attack: {reason}", run=str(fitted.run_dir), recipe=name
    )
    ledger.export(fitted.run_dir / "ledger.jsonl")
    return rows, "test"


def subject_of_fitted(
    fitted: Fitted, ds: Any, reason: str | None, most: int | None, seed: int
) -> Subject:
    """Return a fitted model with encoded rows, as many as are asked for; see `rows_of`."""
    examples, part = rows_of(fitted, ds, reason)
    kept = chosen_rows(len(examples), most, seed)
    some = examples.select(kept.numpy())
    columns, store = fitted.schema.columns, fitted.parts.network.encode(some)
    inputs = store.take(torch.arange(len(store))).contiguous()
    model = _asked(fitted)
    device = next(model.parameters()).device
    return Subject(
        model,
        (with_marks(inputs, columns) if columns else inputs).to(device),
        encode_targets(some.targets, fitted.schema).to(device),
        len(examples),
        part,
        columns,
        fitted.run_dir,
    )


def subject_of_module(model: nn.Module, ds: Any, most: int | None, seed: int) -> Subject:
    """Return a module with the rows that were given.

    Args:
        model: Maps inputs (B, ...) to logits (B, K).
        ds: A pair of inputs (N, ...), floats in [0, 1] or bytes, and class indices (N,).
        most: Rows that are attacked at most; None for all.
        seed: Which they are.

    Raises:
        InputError: If these are no such pair.
    """
    if not isinstance(ds, tuple | list) or len(ds) != 2:
        raise InputError(
            f"ds is {type(ds).__name__}; with a torch module it is a pair of inputs (N, ...) in "
            "[0, 1] and class indices (N,)."
        )
    inputs, targets = _pixels(_tensor(ds[0], "inputs")), _labels(_tensor(ds[1], "labels"))
    if len(inputs) != len(targets):
        raise InputError(f"There are {len(inputs)} inputs and {len(targets)} labels.")
    if not len(inputs):
        raise InputError("There are no rows to attack: inputs and labels are empty.")
    some = next(iter([*model.parameters(), *model.buffers()]), torch.empty(0))
    if some.is_floating_point() and some.dtype == torch.float64:
        inputs = inputs.double()
    kept = chosen_rows(len(inputs), most, seed)
    return Subject(
        model, inputs[kept].to(some.device), targets[kept].to(some.device), len(inputs), "given"
    )


def chosen_rows(total: int, most: int | None, seed: int) -> Tensor:
    """Return which rows (N',) are attacked, in their order: all, or a random choice."""
    if most is None or most >= total:
        return torch.arange(total)
    generator = torch.Generator().manual_seed(seed)
    return torch.randperm(total, generator=generator)[:most].sort().values


def _asked(fitted: Fitted) -> nn.Module:
    """Return the network of a fitted model, or of all its members, as an attacker asks it."""
    members = fitted.members if isinstance(fitted, Ensemble) else (fitted,)
    columns, networks = fitted.schema.columns, [one.parts.network.model for one in members]
    if columns:
        networks = [OfMarkedRows(one, len(columns)) for one in networks]
    if not isinstance(fitted, Ensemble):
        return Answers(networks[0])
    device = next(networks[0].parameters()).device
    return JointAnswers(networks, [member.parts.decide for member in members]).to(device)


def _categories(columns: tuple[Column, ...]) -> list[tuple[str, ...]]:
    return [one.categories if isinstance(one, Categorical) else () for one in columns]


def _tensor(values: Any, what: str) -> Tensor:
    try:
        return values.detach() if isinstance(values, Tensor) else torch.tensor(np.asarray(values))
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"The {what} are no array of numbers: {error}.") from error


def _pixels(inputs: Tensor) -> Tensor:
    """Return inputs in [0, 1] as floats.

    Raises:
        InputError: Naming the range that was seen.
    """
    if inputs.dtype == torch.uint8:
        return inputs.float() / 255
    if not inputs.is_floating_point():
        raise InputError(f"The inputs are {inputs.dtype}; give floats in [0, 1], or bytes (uint8).")
    if not inputs.numel() or inputs.ndim < 2:
        raise InputError(f"The inputs have shape {tuple(inputs.shape)}; give (N, ...), N above 0.")
    if not bool(torch.isfinite(inputs).all()):
        raise InputError("The inputs hold NaN or infinite values.")
    low, high = float(inputs.min()), float(inputs.max())
    if low < 0 or high > 1:
        hint = "divide by 255" if low >= 0 and high <= 255 else "make the scaling a layer of it"
        raise InputError(
            f"The inputs run from {low:.4g} to {high:.4g}; they have to lie in [0, 1], in which "
            f"epsilon is counted: {hint}."
        )
    return inputs if inputs.dtype == torch.float64 else inputs.float()


def _labels(targets: Tensor) -> Tensor:
    if targets.ndim != 1:
        hint = " Of one-hot rows take argmax(1)." if targets.ndim == 2 else ""
        raise InputError(f"The labels have shape {tuple(targets.shape)}, not (N,).{hint}")
    if targets.is_floating_point() or targets.is_complex() or targets.dtype == torch.bool:
        raise InputError(f"The labels are {targets.dtype}; give class indices, int64.")
    return targets.long()
