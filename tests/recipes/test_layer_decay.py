"""The field `layer_decay`, from the recipe to the optimiser's groups."""

from __future__ import annotations

import pytest

from mlexpert.errors import InputError
from mlexpert.preparation import Roles, prepare
from mlexpert.recipe import Parts
from mlexpert.recipes import get
from tests.small_data import of_kind


def parts_of(kind: str, layer_decay: float) -> Parts:
    recipe = get("imbalanced-cls", lr=0.1, layer_decay=layer_decay)
    schema = prepare(recipe, of_kind(kind), Roles()).schema
    return recipe.settle(schema).build(schema)


@pytest.mark.parametrize(("kind", "blocks"), [("image", 3), ("text", 1)])
def test_the_rate_falls_from_the_head_to_the_embeddings(kind: str, blocks: int) -> None:
    groups = parts_of(kind, 0.5).optimizer.param_groups
    rates = [group["lr"] for group in groups]
    assert sorted(set(rates)) == pytest.approx([0.1 * 0.5**k for k in range(blocks + 1, -1, -1)])
    assert {rate for rate in rates if rate == rates[0]} == {0.1}
    assert {group["lr"] for group in parts_of(kind, 1.0).optimizer.param_groups} == {0.1}


def test_a_table_has_no_layers_to_decay() -> None:
    parts_of("tabular", 1.0)
    with pytest.raises(InputError, match="no blocks"):
        parts_of("tabular", 0.9)


@pytest.mark.parametrize("value", [0.0, -1.0, 1.5])
def test_values_that_cannot_be_meant_are_refused(value: float) -> None:
    with pytest.raises(InputError, match=rf"layer_decay={value}.*above 0 and at most 1"):
        get("imbalanced-cls", layer_decay=value)
