"""The catalogue: what it finds and refuses, and that what it reads without importing is true."""

from __future__ import annotations

import ast
import dataclasses
import json
from pathlib import Path

import pytest

from mlexpert import InputError, recipes
from mlexpert.recipe_card import read_card

ROWS = pytest.mark.parametrize("row", recipes.CATALOGUE, ids=lambda r: f"{r.name}@{r.version}")


@ROWS
def test_the_card_read_from_the_file_is_what_the_class_has(row):
    card = read_card(row.file, row.class_name)
    recipe = recipes.recipe_class(f"{row.name}@{row.version}")
    assert (card.name, card.version) == (recipe.name, recipe.version) == (row.name, row.version)
    read = {field.name: field.default for field in card.fields}
    assert read == {field.name: field.default for field in dataclasses.fields(recipe)}
    types = {field.name: field.type for field in card.fields}
    assert {name: ast.unparse(ast.parse(text)) for name, text in types.items()} == {
        field.name: ast.unparse(ast.parse(str(field.type))) for field in dataclasses.fields(recipe)
    }


def test_every_recipe_file_has_a_row_and_no_two_rows_clash():
    folder = Path(recipes.__file__).parent
    files = {file for file in folder.rglob("*.py") if file.name != "__init__.py"}
    assert files == {row.file for row in recipes.CATALOGUE}
    pins = [(row.name, row.version) for row in recipes.CATALOGUE]
    assert len(set(pins)) == len(pins)


def test_get_returns_a_frozen_recipe_with_the_fields_that_were_set():
    recipe = recipes.get("imbalanced-cls", epochs=3, seed=7)
    assert (recipe.epochs, recipe.seed) == (3, 7)
    with pytest.raises(dataclasses.FrozenInstanceError):
        recipe.epochs = 4


def test_a_name_means_the_newest_version_and_a_pin_its_own(monkeypatch):
    first = recipes.CATALOGUE[0]
    newer = dataclasses.replace(first, version=first.version + 1)
    monkeypatch.setattr(recipes, "CATALOGUE", (newer, *recipes.CATALOGUE))
    assert recipes.find(first.name) == newer
    assert recipes.find(f"{first.name}@{first.version}") == first
    assert recipes.names().count(first.name) == 1


@pytest.mark.parametrize(
    ("name", "fields", "says"),
    [
        ("imbalanced-clss", {}, "Did you mean 'imbalanced-cls'?"),
        ("nothing like it", {}, "There are: adversarial-cls"),
        ("imbalanced-cls@99", {}, "no version '99' here; there is: 1"),
        ("imbalanced-cls@", {}, "no version ''"),
        ("imbalanced-cls", {"epoch": 3}, "Did you mean 'epochs'?"),
        ("imbalanced-cls", {"zzzzzz": 3}, "Its fields are: seed, epochs"),
        ("imbalanced-cls", {"epochs": "three"}, "epochs='three'"),
    ],
)
def test_what_does_not_exist_is_refused_by_name(name, fields, says):
    with pytest.raises(InputError) as error:
        recipes.get(name, **fields)
    assert says in str(error.value)


def test_describe_is_plain_data():
    described = recipes.describe("imbalanced-cls")
    assert json.loads(json.dumps(described)) == described
    assert {"name", "version", "claim", "paper", "differs", "results", "fields", "source"} <= set(
        described
    )
    assert Path(described["source"]).is_file()
