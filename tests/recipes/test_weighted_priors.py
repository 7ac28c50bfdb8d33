"""What rows weigh is in every prior that is taken off again."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from mlexpert.blocks.decisions.threshold import Threshold
from mlexpert.preparation import Roles, prepare
from mlexpert.recipes import get
from tests.small_data import table

PRIORS = {
    "imbalanced-cls": lambda parts: parts.decide.log_prior,
    "imbalanced-cls/logit-adjusted-loss": lambda parts: -parts.method.loss_of.log_weight,
    "tabular-cls": lambda parts: -parts.method.loss_of.class_weight.log(),
}


@pytest.mark.parametrize("name", PRIORS)
@pytest.mark.parametrize("unit", [1.0, 0.37])
def test_the_prior_is_that_of_weighted_rows(name: str, unit: float) -> None:
    """A row that weighs three is three rows, and only ratios of weights matter."""
    rows = table()
    three = rows.assign(weight=np.where(rows["bought"] == "yes", 3.0 * unit, unit))
    fields = {"class_weight": "balanced"} if name == "tabular-cls" else {}
    recipe = get(name, **fields)
    schema = prepare(recipe, three, Roles("bought", sample_weight="weight")).schema
    no, yes = schema.class_counts
    torch.testing.assert_close(
        torch.tensor(schema.prior_counts),
        torch.tensor([no, 3.0 * yes]) * (no + yes) / (no + 3.0 * yes),
    )
    prior = PRIORS[name](recipe.settle(schema).build(schema)).double()
    torch.testing.assert_close(
        (prior[1] - prior[0]).exp().item(), 3.0 * yes / no, rtol=1e-5, atol=0
    )


def test_the_positive_class_is_the_rarer_by_rows_whatever_they_weigh() -> None:
    rule = Threshold([90, 10], "f1", prior_counts=[30.0, 70.0])
    assert rule.positive == 1
    assert rule.unfitted().log_odds.item() == pytest.approx(math.log(7 / 3))
