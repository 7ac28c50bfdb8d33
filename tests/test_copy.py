"""A recipe's copy: verbatim, never over a file, and loadable; test_recipes.py runs it."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import mlexpert
from mlexpert import InputError, RunError, recipes
from mlexpert.copying import copy_recipe, recipe_in
from mlexpert.recipe_card import file_of, source_hash

NAMES = pytest.mark.parametrize("name", recipes.names())


@pytest.fixture
def table(cwd) -> Path:
    rng = np.random.default_rng(0)
    y = rng.random(300) < 0.3
    pd.DataFrame({"x": rng.normal(y * 1.5), "z": rng.normal(size=300), "label": y}).to_csv(
        "rows.csv", index=False
    )
    return cwd / "rows.csv"


@NAMES
def test_a_copy_is_verbatim_under_a_header_with_its_origin(name, cwd):
    text = copy_recipe(name, "mine.py").read_text()
    original = recipes.find(name).file.read_text()
    assert text.endswith(original)
    header = text.removesuffix(original)
    assert all(line.startswith("#") for line in header.splitlines())
    assert f"mlexpert {mlexpert.__version__}, recipe {name}@" in header
    (found,) = re.findall(r"\b[0-9a-f]{64}\b", header)
    assert found == hashlib.sha256(original.encode()).hexdigest()


def test_what_a_changed_copy_trained_loads_with_its_class_only(table):
    file = copy_recipe("imbalanced-cls", "mine.py")
    text = file.read_text().replace('= "imbalanced-cls"', '= "mine"')
    file.write_text(
        text.replace("class ImbalancedCls", "class Mine").replace("(ImbalancedCls)", "(Mine)")
    )
    mine = recipe_in(file)
    assert (mine.__name__, mine.name) == ("Mine", "mine")
    fitted = mine(epochs=1).fit("rows.csv", target="label", progress=False)
    fitted.save("model")
    with pytest.raises(InputError, match="catalogue"):
        mlexpert.load("model")
    frame = pd.read_csv("rows.csv")
    again = mlexpert.load("model", recipe=mine)
    np.testing.assert_array_equal(again.predict_proba(frame), fitted.predict_proba(frame))


def test_only_a_changed_copy_has_another_hash(cwd):
    original = recipes.find("imbalanced-cls").file
    copy = copy_recipe("imbalanced-cls", "mine.py")
    assert file_of(recipe_in(copy)) == copy.resolve()
    assert source_hash(copy) == source_hash(original)
    copy.write_text(copy.read_text() + "\n# changed\n")
    assert source_hash(copy) != source_hash(original)


def test_the_default_file_is_the_recipes_own_name_here(cwd):
    assert copy_recipe("imbalanced-cls/plain") == Path("plain.py")
    assert (cwd / "plain.py").is_file()


def test_a_file_is_never_overwritten(cwd):
    Path("mine.py").write_text("precious")
    with pytest.raises(InputError, match="not overwritten"):
        copy_recipe("imbalanced-cls", "mine.py")
    assert Path("mine.py").read_text() == "precious"


def test_what_cannot_be_copied_is_refused(cwd):
    with pytest.raises(InputError, match="no recipe is named"):
        copy_recipe("nonsense", "mine.py")
    with pytest.raises(InputError, match=r"\.py"):
        copy_recipe("imbalanced-cls", "mine.txt")
    with pytest.raises(RunError, match="cannot be written"):
        copy_recipe("imbalanced-cls", "none/mine.py")


def test_a_file_that_fails_when_imported_is_refused_by_name(cwd):
    file = copy_recipe("imbalanced-cls", "broken.py")
    file.write_text(
        file.read_text().replace("from typing", "import no_such_module\nfrom typing", 1)
    )
    with pytest.raises(InputError, match=r"broken\.py: fails .*no_such_module"):
        recipe_in(file)


@pytest.mark.parametrize("moved", ["mlexpert.families.classification", "mlexpert.data.schema"])
def test_a_copy_of_another_version_is_told_to_be_copied_again(moved, cwd):
    file = copy_recipe("imbalanced-cls", "mine.py")
    text = file.read_text()
    file.write_text(text.replace(f"from {moved} ", "from mlexpert.formerly "))
    assert file.read_text() != text
    with pytest.raises(InputError, match=r"formerly.*another version.*copy the recipe again"):
        recipe_in(file)
