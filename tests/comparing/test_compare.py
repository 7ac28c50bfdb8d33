"""Several recipes on one data set: equal splits, repeats, going on, failing, and the results."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

import mlexpert
from mlexpert.errors import InputError, RunError
from mlexpert.fitting import fit as fitting
from mlexpert.recipes import get
from mlexpert.recipes.imbalanced_cls.plain import Plain
from mlexpert.training.interrupt import Interrupted
from tests.small_data import images, numbers, table

NAMES = ["imbalanced-cls", "imbalanced-cls/plain"]
SHORT = {"epochs": 1, "batch_size": 64}
GIVEN = {"target": "bought", "fields": SHORT, "progress": False}


@dataclass(frozen=True, kw_only=True)
class Stops(Plain):
    """Fails to build where it is told to."""

    name: ClassVar[str] = "stops"
    error: ClassVar[type[BaseException] | None] = RunError

    def build(self, schema):
        if self.error is not None:
            raise self.error("nothing can be built")
        return super().build(schema)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Two recipes on a table, with two seeds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLEXPERT_HOME", str(tmp_path_factory.mktemp("home")))
        folder = tmp_path_factory.mktemp("runs") / "compared"
        return mlexpert.compare(NAMES, table(150), seeds=2, run_dir=folder, **GIVEN)


@pytest.fixture
def fits(monkeypatch):
    """The run folders that are trained in."""
    trained = []
    fit_one = fitting.fit_one

    def noted(recipe, prepared, path, *args, **given):
        trained.append(f"{path.parent.name}/{path.name}")
        return fit_one(recipe, prepared, path, *args, **given)

    monkeypatch.setattr(fitting, "fit_one", noted)
    return trained


def run_json(found, name, seed):
    return json.loads((found.run_dir(name, seed) / "run.json").read_text())


def test_every_recipe_gets_the_same_split_and_every_seed_another(found):
    splits = {
        (name, seed): run_json(found, name, seed)["data"]["split_fingerprint"]
        for name in NAMES
        for seed in (0, 1)
    }
    assert len(set(splits.values())) == 2
    for seed in (0, 1):
        assert splits[NAMES[0], seed] == splits[NAMES[1], seed]
    assert {run_json(found, name, 1)["seed"] for name in NAMES} == {1}
    assert found.facts["results"]["varies"] == "splits"


def test_the_table_has_the_means_of_the_runs_own_metrics(found):
    assert set(found.table.index) == set(NAMES) and found.best == found.table.index[0]
    for name in NAMES:
        own = [
            mlexpert.Fitted.from_run(found.run_dir(name, seed)).evaluate()["balanced_accuracy"]
            for seed in (0, 1)
        ]
        assert found.table.loc[name, "balanced_accuracy"] == pytest.approx(np.mean(own))
        assert (found.table.loc[name, "runs"], found.run_dir(name).name) == (2, "0")
    assert found.table["balanced_accuracy"].is_monotonic_decreasing
    assert (found.table["balanced_accuracy_low"] <= found.table["balanced_accuracy"]).all()


def test_the_difference_is_that_of_the_pairs(found):
    runs = found.runs.pivot(index="seed", columns="recipe", values="balanced_accuracy")
    other = next(name for name in NAMES if name != found.best)
    (row,) = found.differences.query("metric == 'balanced_accuracy'").itertuples()
    assert (row.recipe, row.reference) == (other, found.best)
    assert row.difference == pytest.approx((runs[other] - runs[found.best]).mean())
    assert found.table.loc[other, "difference"] == pytest.approx(row.difference)


def test_the_sealed_test_stays_sealed(found, home):
    assert not list(found.path.rglob("final_test.json"))
    assert all(run["test"] is None for run in found.facts["runs"])


def test_the_report_links_to_every_run(found):
    text = found.report().read_text()
    for run in found.facts["runs"]:
        assert f'href="{run["run"]}/report.html"' in text
        assert (found.path / run["run"] / "report.html").is_file()
    assert found.facts["data"]["fingerprint"] in text


def test_a_finished_comparison_is_read_again_and_not_trained_again(found, fits):
    again = mlexpert.compare(NAMES, table(150), seeds=2, run_dir=found.path, **GIVEN)
    assert fits == [] and again.table.equals(found.table)
    assert mlexpert.Comparison(found.path).best == found.best
    with pytest.raises(InputError, match=r"imbalanced-cls: epochs is 1 there, 2 here"):
        mlexpert.compare(
            NAMES, table(150), seeds=2, run_dir=found.path, **{**GIVEN, "fields": {"epochs": 2}}
        )
    with pytest.raises(InputError, match="it differs in the data"):
        mlexpert.compare(NAMES, table(151), seeds=2, run_dir=found.path, **GIVEN)


def test_a_failing_recipe_does_not_lose_the_others(tmp_path):
    several = {"good": "imbalanced-cls/plain", "bad": Stops(), "twin": "imbalanced-cls/plain"}
    found = mlexpert.compare(several, table(120), seeds=1, run_dir=tmp_path / "c", **GIVEN)
    assert found.failed == {"bad": "seed 0: nothing can be built"}
    assert set(found.table.index) == {"good", "twin"}
    # The same recipe twice, with the same seed: no difference, and no claim of one.
    assert found.differences["difference"].eq(0).all()
    assert not found.differences["adjusted"].lt(0.05).any()
    assert "bad, seed 0 failed: nothing can be built" in found.report().read_text()


def test_an_interrupted_comparison_says_how_to_go_on_and_does(tmp_path, monkeypatch, fits):
    monkeypatch.setattr(Stops, "error", KeyboardInterrupt)
    given = {**GIVEN, "run_dir": tmp_path / "c", "seeds": 1}
    several = {"first": get("imbalanced-cls/plain"), "second": Stops()}
    with pytest.raises(Interrupted, match=r"second, seed 0 \(run 2 of 2\).*run_dir="):
        mlexpert.compare(several, table(120), **given)
    with pytest.raises(InputError, match="interrupted, not finished"):
        mlexpert.Comparison(tmp_path / "c")
    monkeypatch.setattr(Stops, "error", None)
    fits.clear()
    found = mlexpert.compare(several, table(120), **given)
    assert fits == ["second/0"] and len(found.table) == 2


def test_where_every_run_fails_the_error_says_why(tmp_path):
    with pytest.raises(RunError, match=r"every run failed; the first one, of a: nothing can be"):
        mlexpert.compare(
            {"a": Stops(), "b": Stops()}, table(100), seeds=1, run_dir=tmp_path / "c", **GIVEN
        )


def test_own_splits_leave_only_chance_in_training(tmp_path):
    rows = table(160).drop_duplicates(["age", "income", "city"])
    parts = {"train": rows[:90], "validation": rows[90:125], "test": rows[125:]}
    given = {**GIVEN, "final_test": "compared", "baseline": NAMES[1]}
    found = mlexpert.compare(NAMES, parts, seeds=[3, 5], run_dir=tmp_path / "c", **given)
    results = found.facts["results"]
    assert (results["varies"], results["part"]) == ("training", "test")
    assert found.runs["seed"].tolist() == [3, 3, 5, 5]
    assert set(found.differences["reference"]) == {NAMES[1]}
    for run in found.facts["runs"]:
        opened = json.loads((found.path / run["run"] / "final_test.json").read_text())
        assert [one["reason"] for one in opened] == ["compared"]
        assert run["test"]["accuracy"] == pytest.approx(opened[0]["metrics"]["accuracy"])
    mlexpert.compare(NAMES, parts, seeds=[3, 5], run_dir=tmp_path / "c", **given)
    opened = json.loads((found.run_dir(NAMES[0]) / "final_test.json").read_text())
    assert len(opened) == 1  # it is not opened again


def test_numbers_are_ranked_by_the_smaller_error(tmp_path):
    several = {"slow": get("tabular-reg", lr=1e-5), "usual": "tabular-reg"}
    found = mlexpert.compare(
        several, numbers(150), seeds=1, run_dir=tmp_path / "c", fields=SHORT, progress=False
    )
    assert found.table["rmse"].is_monotonic_increasing and found.table.index[0] == found.best
    assert found.facts["results"]["recalls"] is None
    assert "Root mean squared error" in found.report().read_text()


def refused(match, recipes=NAMES, ds=None, **given):
    with pytest.raises(InputError, match=match):
        mlexpert.compare(recipes, table(100) if ds is None else ds, **{**GIVEN, **given})


def test_wrong_calls_are_refused_before_anything_is_trained(cwd, fits):
    refused(
        r"none of these recipes has a field 'epoch'.*Did you mean 'epochs'", fields={"epoch": 1}
    )
    refused("seeds= , not|by seeds=", fields={"seed": 1})
    refused("no recipe is named 'imbalanced-clss'", ["imbalanced-clss", NAMES[1]])
    refused("at least two recipes", ["imbalanced-cls/plain"])
    refused("called 'imbalanced-cls'", ["imbalanced-cls", get("imbalanced-cls", epochs=2)])
    refused("baseline='plain' takes no part", baseline="plain")
    refused(
        r"'balanced_acuracy' cannot be compared.*'balanced_accuracy'", metrics="balanced_acuracy"
    )
    refused("'rmse' cannot be compared", metrics=["rmse"])
    refused("seeds=0", seeds=0)
    refused("seeds=\\[1, 1\\]", seeds=[1, 1])
    refused("needs a reason", final_test=" ")
    refused("no test split", final_test="why", fields={"test": 0})
    refused("same splits", {"a": get(NAMES[0]), "b": get(NAMES[1], validation=0.2)})
    refused("predicts values", {"a": get(NAMES[0]), "b": "tabular-reg"})
    refused("takes image", [NAMES[0], "image-cls"])
    (cwd / "mine").mkdir()
    (cwd / "mine" / "notes.txt").write_text("mine")
    refused("comparison.json is missing", run_dir=cwd / "mine")
    assert fits == [] and not (cwd / "runs").exists()


def test_a_family_stands_for_its_recipes_and_those_that_do_not_take_the_data_are_left_out(
    monkeypatch,
):
    from mlexpert.comparing.admission import admit
    from mlexpert.comparing.entrants import entrants_of
    from mlexpert.preparation import Roles

    family = [one for one in mlexpert.names() if one.split("/")[0] == "imbalanced-cls"]
    assert [one.name for one in entrants_of("imbalanced-cls")] == family
    both = entrants_of(["imbalanced-cls", "tabular-cls"])  # among others it is the recipe
    assert [one.name for one in both] == ["imbalanced-cls", "tabular-cls"]
    monkeypatch.setattr(Plain, "kinds", ("text",))
    rows, labels = images(60)
    entrants = entrants_of(["imbalanced-cls"])
    admitted = admit(entrants, (rows, labels), Roles(), seed=0, leakage="refuse")
    assert "imbalanced-cls/plain" not in [one.name for one in admitted.entrants]
    assert re.match("imbalanced-cls/plain takes text", admitted.left_out["imbalanced-cls/plain"])
