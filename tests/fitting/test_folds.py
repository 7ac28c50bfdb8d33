"""Ensembles of folds: what the members say, what the whole makes of it, stops, saving."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.numpy import load_file
from sklearn.metrics import log_loss

import mlexpert
from mlexpert.blocks.decisions.argmax import Argmax
from mlexpert.blocks.decisions.identity import Identity
from mlexpert.blocks.decisions.label_thresholds import LabelThresholds
from mlexpert.blocks.decisions.prior_adjusted import PriorAdjusted
from mlexpert.blocks.decisions.rebalanced import Rebalanced
from mlexpert.data.schema import Schema, ValueStats
from mlexpert.errors import InputError
from mlexpert.fitted import Fitted
from mlexpert.fitted.ensemble import Ensemble, logits_saying
from mlexpert.fitting.folds import _by_place, _mean
from mlexpert.preparation import Roles, prepare, prepare_folds
from mlexpert.recipe import Recipe
from mlexpert.recipes import get
from mlexpert.training import trainer
from mlexpert.training.interrupt import Interrupted
from tests.small_data import of_kind, table

FOLDS = 3
ROWS = table(240)
FRESH = table(60, seed=4)


def quick(name: str = "tabular-cls", **fields) -> Recipe:
    small = {"epochs": 2, "batch_size": 64, "precision": "fp32", "members": 4, "width": 16}
    return get(name, **{**small, **fields})


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("data") / "rows.csv"
    ROWS.to_csv(file, index=False)
    return file


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of an ensemble on a csv file."""
    run_dir = tmp_path_factory.mktemp("finished") / "run"
    fit(data, run_dir)
    return run_dir


def fit(data, run_dir: Path, recipe: Recipe | None = None, **arguments) -> Fitted:
    shared = {"target": "bought", "subgroups": ["city"], "folds": FOLDS, "progress": False}
    return (recipe or quick()).fit(data, run_dir=run_dir, **{**shared, **arguments})


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished run, to damage at will."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def test_every_row_that_is_not_test_is_told_by_the_member_that_did_not_train_on_it(
    finished: Path, data: Path
) -> None:
    arrays = load_file(finished / "predictions/validation.safetensors")
    roles = Roles(target="bought", subgroups=["city"])
    folds = prepare_folds(quick(), data, roles, FOLDS)
    assert sum(len(fold.splits.validation) for fold in folds) == len(arrays["targets"])
    ensemble = Fitted.from_run(finished)
    said = np.empty_like(arrays["probabilities"])
    for number, fold in enumerate(folds):
        member = Fitted.from_run(finished / "folds" / str(number))
        assert member.facts["data"]["split_fingerprint"] == fold.facts["split_fingerprint"]
        said[fold.validation_rows] = member.predict_proba(fold.splits.validation.inputs)
        labels = ensemble.classes_[arrays["targets"][fold.validation_rows]]
        assert labels.tolist() == fold.splits.validation.targets.tolist()
    tempered = torch.softmax(
        torch.tensor(said).log() / float(ensemble.parts.decide.temperature), dim=1
    )
    np.testing.assert_allclose(arrays["probabilities"], tempered, atol=1e-5)
    loss = log_loss(arrays["targets"], arrays["probabilities"])
    assert ensemble.evaluate()["log_loss"] == pytest.approx(loss, abs=1e-5)


def test_the_members_share_the_sealed_test_and_nothing_of_it_is_trained_on(
    finished: Path, data: Path
) -> None:
    facts = json.loads((finished / "run.json").read_text())
    alone = prepare(quick(), data, Roles(target="bought"))
    assert alone.splits.test is not None
    assert facts["data"]["parts"]["test"]["rows"] == len(alone.splits.test)
    assert facts["data"]["fingerprint"] == alone.facts["fingerprint"]
    trained = facts["data"]["parts"]["train"]["rows"]
    assert trained + len(alone.splits.test) == len(ROWS)
    assert facts["schema"]["class_counts"] == facts["data"]["parts"]["validation"]["class_counts"]
    assert sum(facts["schema"]["class_counts"]) == trained


def test_the_whole_is_the_mean_of_the_members(finished: Path) -> None:
    ensemble = Fitted.from_run(finished)
    assert isinstance(ensemble, Ensemble) and len(ensemble.members) == FOLDS
    mean = np.mean([member.predict_proba(FRESH) for member in ensemble.members], axis=0)
    temperature = float(ensemble.parts.decide.temperature)
    raised = mean ** (1 / temperature)
    np.testing.assert_allclose(
        ensemble.predict_proba(FRESH), raised / raised.sum(axis=1, keepdims=True), atol=1e-5
    )
    seeds = [member.recipe.seed for member in ensemble.members]
    assert seeds == [0, 1, 2] and ensemble.recipe.seed == 0


def test_numbers_are_averaged_in_the_users_unit(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(0, 5, len(ROWS))
    rows = ROWS.assign(bought=(ROWS["age"] + noise) * 1000 + 5e5)
    reg = quick("tabular-reg", epochs=4)
    ensemble = fit(rows, tmp_path, reg, subgroups=None)
    assert isinstance(ensemble, Ensemble)
    mean = np.mean([member.predict(FRESH) for member in ensemble.members], axis=0)
    np.testing.assert_allclose(ensemble.predict(FRESH), mean, rtol=1e-9)
    arrays = load_file(tmp_path / "predictions/validation.safetensors")
    assert ensemble.evaluate()["rmse"] == pytest.approx(
        np.sqrt(np.mean((arrays["predictions"] - arrays["targets"]) ** 2))
    )
    assert np.isin(arrays["targets"], rows["bought"]).all()
    assert ensemble.importance(repeats=1)[0]["column"] == "age"
    assert ensemble.final_test(reason="table 1")["rmse"] > 0
    assert ensemble.report().is_file()


def test_labels_of_several_are_averaged_by_their_probability(tmp_path: Path) -> None:
    rows = ROWS.assign(old=(ROWS["age"] > 40).astype(int), rome=(ROWS["city"] == "Rome") * 1)
    ensemble = fit(rows.drop(columns="bought"), tmp_path, target=["old", "rome"], subgroups=None)
    assert isinstance(ensemble, Ensemble)
    mean = np.mean([member.predict_proba(FRESH) for member in ensemble.members], axis=0)
    odds = (mean / (1 - mean)) ** (1 / float(ensemble.parts.decide.temperature))
    np.testing.assert_allclose(ensemble.predict_proba(FRESH), odds / (1 + odds), atol=1e-5)
    assert ensemble.evaluate()["hamming_loss"] <= 0.5


@pytest.mark.parametrize("kind", ["text", "image"])
def test_other_kinds_of_rows(kind: str, tmp_path: Path) -> None:
    ds = of_kind(kind)
    recipe = get("imbalanced-cls", epochs=1, batch_size=64)
    target = "label" if kind == "text" else None
    ensemble = recipe.fit(ds, target=target, folds=2, run_dir=tmp_path / "run", progress=False)
    x = ds["message"].tolist()[:9] if kind == "text" else ds[0][:9]
    again = mlexpert.load(ensemble.save(tmp_path / "model"))
    np.testing.assert_array_equal(again.predict_proba(x), ensemble.predict_proba(x))
    shown = json.loads((tmp_path / "run/examples.json").read_text())
    assert len(shown) == 24 and shown == sorted(shown, key=lambda row: -row["loss"])


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (Argmax([90, 9, 1]), [[0.7, 0.2, 0.1]]),
        (Argmax([90, 9, 1], class_weight=torch.tensor([0.5, 2.0, 30.0])), [[0.7, 0.2, 0.1]]),
        (PriorAdjusted([90, 9, 1]), [[0.7, 0.2, 0.1]]),
        (LabelThresholds(3), [[0.7, 0.9, 0.0625]]),
        (Identity(ValueStats(500.0, 20.0, 0.0, 1000.0)), [512.5]),
    ],
)
def test_a_rule_says_again_what_its_logits_were_made_of(rule, said) -> None:
    objective = {LabelThresholds: "multilabel", Identity: "regression"}.get(type(rule))
    schema = Schema("tabular", (0, 1, 2), (), (), objective or "classification")
    wanted = torch.tensor(said)
    logits = logits_saying(wanted, rule, schema)
    torch.testing.assert_close(rule.probabilities(logits).to(wanted.dtype), wanted)


def test_a_joint_rule_decides_as_its_member_does_whatever_strength_was_fitted() -> None:
    rule = Rebalanced([90, 9, 1], torch.tensor([0.1, 1.0, 10.0]).log())
    rule.calibration.temperature.fill_(2.0)
    rule.calibration.strength.fill_(0.4)
    logits = 3 * torch.randn(500, 3, generator=torch.Generator().manual_seed(0))
    schema = Schema("tabular", (0, 1, 2), (), (), "classification")
    natural = rule.probabilities(logits)
    joint = Rebalanced.joint([rule, rule])
    again = logits_saying(natural, joint, schema)
    torch.testing.assert_close(joint.probabilities(again), natural)
    assert torch.equal(joint.decide(again), rule.decide(logits))


def test_class_weights_are_not_taken_off_twice(tmp_path: Path) -> None:
    recipe = quick(class_weight={"no": 1.0, "yes": 8.0}, epochs=6)
    rows = table(600, rare=0.2)
    ensemble = fit(rows, tmp_path, recipe, subgroups=None)
    fresh = table(600, seed=8, rare=0.2)
    yes = list(ensemble.classes_).index("yes")
    assert ensemble.predict_proba(fresh)[:, yes].mean() == pytest.approx(0.2, abs=0.06)
    assert (ensemble.predict(fresh) == "yes").mean() > 0.35


# The run folder


def test_curves_are_the_mean_over_the_folds(finished: Path) -> None:
    def lines(folder: Path) -> list[dict]:
        return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]

    whole = lines(finished)
    assert [(row["split"], row["epoch"]) for row in whole[:4]] == [
        *(("train", 1), ("validation", 1)),
        *(("train", 2), ("validation", 2)),
    ]
    folds = [lines(finished / "folds" / str(number)) for number in range(FOLDS)]
    for place, row in enumerate(whole[:4]):
        name = "loss" if row["split"] == "train" else "log_loss"
        assert row[name] == pytest.approx(np.mean([fold[place][name] for fold in folds]))
    assert whole[-1]["split"] == "train_clean"


def test_stages_are_joined_with_their_like_though_folds_begin_them_another_time() -> None:
    def rows(stage: int, epochs: range, loss: float) -> list[dict]:
        return [{"split": "train", "task": stage, "epoch": e, "loss": loss + e} for e in epochs]

    first = _by_place(rows(0, range(1, 3), 0.0) + rows(1, range(3, 5), 50.0))
    second = _by_place(rows(0, range(1, 6), 0.0) + rows(1, range(6, 8), 60.0))
    common = [place for place in first if place in second]
    assert common == [("train", 0, 0), ("train", 0, 1), ("train", 1, 0), ("train", 1, 1)]
    joined = [_mean([first[place], second[place]]) for place in common]
    assert [row["epoch"] for row in joined] == [1, 2, 5, 6]  # 4.5 and 5.5
    assert [row["loss"] for row in joined] == [1, 2, 59.5, 60.5]


def test_importance_is_the_mean_over_the_folds(finished: Path) -> None:
    whole = json.loads((finished / "importance.json").read_text())
    files = [finished / f"folds/{number}/importance.json" for number in range(FOLDS)]
    for row in whole["columns"]:
        means = [
            own["mean"]
            for file in files
            for own in json.loads(file.read_text())["columns"]
            if own["column"] == row["column"]
        ]
        assert row["mean"] == pytest.approx(np.mean(means))
    again = {row["column"]: row for row in Fitted.from_run(finished).importance(repeats=3)}
    first = whole["columns"][0]
    assert again[first["column"]] == pytest.approx(first)


def test_the_whole_is_judged_and_reported_as_any_run(run: Path) -> None:
    ensemble = Fitted.from_run(run)
    assert ensemble.facts["status"] == "finished" and ensemble.facts["folds"] == FOLDS
    tested = ensemble.final_test(reason="table 1")
    low, high = tested["intervals"]["accuracy"]
    assert low <= tested["accuracy"] <= high
    assert "table 1" in ensemble.report().read_text()
    groups = json.loads((run / "predictions/validation_subgroups.json").read_text())["rows"]
    assert sum(row["rows"] for row in groups) == ensemble.facts["data"]["parts"]["train"]["rows"]


def test_a_second_fit_does_not_train_again(
    run: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer.Trainer, "run", lambda *_: pytest.fail("it trained"))
    assert isinstance(fit(data, run), Ensemble)
    with pytest.raises(InputError, match="folds: 3 there, 2 here"):
        fit(data, run, folds=2)
    with pytest.raises(InputError, match="folds: 3 there, None here"):
        fit(data, run, folds=None)


def test_an_interrupt_in_the_last_fold_changes_nothing(
    data: Path,
    finished: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    move, moves = trainer.Trainer._move, []

    def stop_in_the_last(self: trainer.Trainer, batch) -> None:
        move(self, batch)
        moves.append(self.folder.path.name)
        if moves.count("2") == 3:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patched:
        patched.setattr(trainer.Trainer, "_move", stop_in_the_last)
        with pytest.raises(Interrupted, match=rf"fold 3 of 3.*folds=3 and run_dir='{tmp_path}"):
            fit(data, tmp_path / "run")
    facts = json.loads((tmp_path / "run/run.json").read_text())
    assert facts["status"] == "interrupted"
    with pytest.raises(InputError, match="interrupted, not finished"):
        Fitted.from_run(tmp_path / "run")
    first = tmp_path / "run/folds/0/model/weights.safetensors"
    written = first.stat().st_mtime_ns
    ensemble = fit(data, tmp_path / "run", progress=True)
    said = capsys.readouterr().err
    assert "fold 3 of 3" in said and "fold 2 of 3" not in said
    assert first.stat().st_mtime_ns == written
    np.testing.assert_array_equal(
        ensemble.predict_proba(FRESH), Fitted.from_run(finished).predict_proba(FRESH)
    )


def test_the_record_keeps_the_worst_finding_of_any_fold(tmp_path: Path) -> None:
    apart = table(40, seed=9)
    folds = prepare_folds(quick(), {"train": ROWS, "test": apart}, Roles(target="bought"), FOLDS)
    validated_first = ROWS.iloc[folds[0].validation_rows[:1]]  # so that fold 1 trains without it
    ds = {"train": ROWS, "test": pd.concat([apart, validated_first])}
    with pytest.warns(UserWarning, match="leakage audit"):
        ensemble = fit(ds, tmp_path / "run", subgroups=None, leakage="report")
    severities = {one["check"]: one["severity"] for one in ensemble.facts["leakage"]}
    assert len(severities) == len(ensemble.facts["leakage"])
    assert "error" in severities.values()
    with pytest.raises(InputError, match="occur"):
        fit(ds, tmp_path / "refused", subgroups=None)


def test_fresh_forgets_the_folds(run: Path, data: Path) -> None:
    single = fit(data, run, folds=None, fresh=True)
    assert type(single) is Fitted and not (run / "folds").exists()


# Saving


def test_a_saved_ensemble_predicts_as_before(finished: Path, tmp_path: Path) -> None:
    ensemble = Fitted.from_run(finished)
    ensemble.save(tmp_path / "model")
    for folder in (tmp_path / "model", finished, finished / "model"):
        again = mlexpert.load(folder)
        assert isinstance(again, Ensemble)
        np.testing.assert_array_equal(again.predict_proba(FRESH), ensemble.predict_proba(FRESH))
        np.testing.assert_array_equal(again.predict(FRESH), ensemble.predict(FRESH))
    card = json.loads((tmp_path / "model/model.json").read_text())
    assert card["members"] == FOLDS
    alone = mlexpert.load(tmp_path / "model/member-1")
    np.testing.assert_array_equal(
        alone.predict_proba(FRESH), ensemble.members[1].predict_proba(FRESH)
    )
    ensemble.save(tmp_path / "model")


@pytest.mark.parametrize("name", ["member-1/weights.safetensors", "member-2/model.json"])
def test_an_altered_or_missing_member(run: Path, name: str) -> None:
    path = run / "model" / name
    whole = bytearray(path.read_bytes())
    whole[-20] ^= 1
    path.write_bytes(whole)
    with pytest.raises(InputError, match=f"{name}.*altered"):
        mlexpert.load(run / "model")
    path.unlink()
    with pytest.raises(InputError, match=f"{name}.*missing"):
        mlexpert.load(run / "model")


# Wrong input


@pytest.mark.parametrize("folds", [1, 0, 2.0, True, "3"])
def test_a_number_of_folds_that_cannot_be_meant(tmp_path: Path, folds) -> None:
    with pytest.raises(InputError, match="folds="):
        fit(ROWS, tmp_path / "run", folds=folds, subgroups=None)
    assert not (tmp_path / "run").exists()


def test_a_number_of_folds_from_numpy() -> None:
    assert len(prepare_folds(quick(), ROWS, Roles(target="bought"), np.int64(2))) == 2


def test_more_folds_than_rows_of_a_class(tmp_path: Path) -> None:
    rows = pd.concat([ROWS, ROWS.iloc[:4].assign(bought="perhaps", age=[1.0, 2.0, 3.0, 4.0])])
    with pytest.raises(InputError, match="perhaps"):
        fit(rows, tmp_path / "run", folds=5, subgroups=None)
    assert not (tmp_path / "run").exists()


def test_sample_weights_reach_every_member_and_the_common_decision(tmp_path: Path) -> None:
    rows = ROWS.assign(counts=np.where(ROWS["bought"] == "yes", 6.0, 1.0))
    plain = fit(ROWS, tmp_path / "plain", subgroups=None, recipe=quick(epochs=4))
    heavy = fit(
        rows, tmp_path / "heavy", subgroups=None, sample_weight="counts", recipe=quick(epochs=4)
    )
    yes = list(plain.classes_).index("yes")
    lift = heavy.predict_proba(FRESH)[:, yes].mean() - plain.predict_proba(FRESH)[:, yes].mean()
    assert lift > 0.15
    assert "counts" not in [column.name for column in heavy.schema.columns]
