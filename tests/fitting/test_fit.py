"""`fit` from data to evidence, and every wrong input with its own error before training."""

from __future__ import annotations

import json
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import mlexpert
from mlexpert.errors import InputError, RunError
from mlexpert.fitted import Fitted
from mlexpert.recipe import Recipe
from mlexpert.recipes import get
from mlexpert.storage.model_files import PICKLES
from mlexpert.training import checkpoint, checkpoint_clock, trainer
from tests.small_data import images, table

ROWS = table(300)


def quick(**fields) -> Recipe:
    return get("imbalanced-cls", **{"epochs": 2, "batch_size": 64, **fields})


def fit(ds, run_dir: Path, **arguments) -> Fitted:
    return quick().fit(ds, run_dir=run_dir, progress=False, **arguments)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on a csv file, with a home folder that lives as long."""
    folder = tmp_path_factory.mktemp("finished")
    ROWS.to_csv(folder / "rows.csv", index=False)
    quick().fit(folder / "rows.csv", target="bought", run_dir=folder / "run", progress=False)
    return folder / "run"


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished run, to damage at will."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


# What a run leaves, and what it gives


def test_the_run_folder_holds_all_there_is_to_know(finished: Path) -> None:
    facts = json.loads((finished / "run.json").read_text())
    assert facts["status"] == "finished"
    assert facts["recipe"] == "imbalanced-cls" and facts["version"] == 1 and facts["seed"] == 0
    assert facts["config"]["epochs"] == 2 and facts["config"]["lr"] > 0
    assert sum(part["rows"] for part in facts["data"]["parts"].values()) == 300
    assert facts["packages"]["torch"] and facts["environment"]["device"] == "cpu"
    rows = [json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines()]
    assert [row["split"] for row in rows] == [*["train", "validation"] * 2, "train_clean"]
    curve = [row["calibrated_log_loss"] for row in rows if row["split"] == "validation"]
    assert facts["best"]["value"] == min(curve)
    assert {"best", "last", "decision", "leakage", "schema"} <= facts.keys()


def test_evaluate_is_a_plain_dict_of_the_decision_and_of_argmax(finished: Path) -> None:
    metrics = Fitted.from_run(finished).evaluate()
    assert all(type(value) is float for value in metrics.values())
    assert {"pr_auc", "roc_auc", "brier", "balanced_accuracy", "argmax_balanced_accuracy"} <= set(
        metrics
    )


def test_evaluate_on_rows_of_ones_own(finished: Path) -> None:
    fitted = mlexpert.load(finished / "model")
    fresh = table(100, seed=5)
    metrics = fitted.evaluate(fresh)
    expected = (fitted.predict(fresh) == fresh["bought"]).mean()
    assert metrics["accuracy"] == pytest.approx(expected)
    with pytest.raises(InputError, match=r"evaluate needs a run.*evaluate\(ds\)"):
        fitted.evaluate()


def test_evaluate_asks_for_no_role_but_the_target(tmp_path: Path) -> None:
    rows = ROWS.assign(shop=np.arange(len(ROWS)) % 40)
    fitted = fit(rows, tmp_path, target="bought", group="shop", subgroups=["city"])
    assert fitted.evaluate(ROWS)["accuracy"] > 0.5
    assert fitted.evaluate(ROWS.iloc[:1])["accuracy"] in (0.0, 1.0)
    with pytest.raises(InputError, match="'bought'"):
        fitted.evaluate(ROWS.drop(columns="bought"))
    with pytest.raises(InputError, match="'perhaps'"):
        fitted.evaluate(ROWS.assign(bought="perhaps"))


def test_a_run_that_is_not_finished_or_torn_says_so(run: Path) -> None:
    facts = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**facts, "status": "interrupted"}))
    with pytest.raises(InputError, match="interrupted, not finished"):
        Fitted.from_run(run)
    (run / "run.json").write_text("{")
    with pytest.raises(InputError, match=r"run\.json cannot be read"):
        Fitted.from_run(run)


def test_final_test_opens_once_and_a_second_opening_is_written_down(run: Path) -> None:
    fitted = Fitted.from_run(run)
    first = fitted.final_test(reason="table 1")
    low, high = first["intervals"]["balanced_accuracy"]
    assert low <= first["balanced_accuracy"] <= high
    second = fitted.final_test(reason="a second look")
    assert second["balanced_accuracy"] == first["balanced_accuracy"]
    assert [opening["reason"] for opening in fitted.final_tests()] == ["table 1", "a second look"]
    assert [opening["number"] for opening in fitted.final_tests()] == [1, 2]
    assert len((run / "ledger.jsonl").read_text().splitlines()) == 2
    page = fitted.report().read_text()
    assert "table 1" in page and "a second look" in page


def test_final_test_needs_a_reason_and_a_run(run: Path) -> None:
    with pytest.raises(InputError, match="reason"):
        Fitted.from_run(run).final_test(reason=" ")
    with pytest.raises(InputError, match="final_test needs a run"):
        mlexpert.load(run / "model").final_test(reason="none")


def test_final_test_refuses_data_that_changed(tmp_path: Path) -> None:
    ROWS.to_csv(tmp_path / "rows.csv", index=False)
    fit(tmp_path / "rows.csv", tmp_path / "run", target="bought")
    ROWS.iloc[:-1].to_csv(tmp_path / "rows.csv", index=False)
    with pytest.raises(InputError, match="has changed since"):
        Fitted.from_run(tmp_path / "run").final_test(reason="x")


def test_the_test_split_of_data_in_memory_is_with_what_fit_returned(tmp_path: Path) -> None:
    fitted = fit(ROWS, tmp_path / "run", target="bought")
    assert fitted.final_test(reason="x")["accuracy"] > 0
    with pytest.raises(InputError, match="in memory, which is gone.*not trained again"):
        Fitted.from_run(tmp_path / "run").final_test(reason="x")
    again = fit(ROWS, tmp_path / "run", target="bought")
    assert again.final_test(reason="y")["accuracy"] > 0


def test_a_second_fit_of_a_finished_run_does_not_train_again(
    run: Path, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer.Trainer, "run", lambda *_: pytest.fail("it trained"))
    again = fit(finished.parent / "rows.csv", run, target="bought")
    expected = Fitted.from_run(finished).evaluate()
    assert again.evaluate() == pytest.approx(expected, nan_ok=True, abs=0)


def test_a_run_folder_of_another_run_is_refused_with_the_difference(run: Path) -> None:
    with pytest.raises(InputError, match=r"config\.lr.*fresh=True"):
        quick(lr=0.5).fit(ROWS, target="bought", run_dir=run, progress=False)
    with pytest.raises(InputError, match=r"data\.fingerprint"):
        fit(table(250, seed=9), run, target="bought")
    fitted = quick(lr=0.5).fit(ROWS, target="bought", run_dir=run, progress=False, fresh=True)
    assert fitted.facts["config"]["lr"] == 0.5


def test_a_folder_that_is_no_run_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    for fresh in (False, True):
        with pytest.raises(InputError, match="not a run folder.*left alone"):
            fit(ROWS, tmp_path, target="bought", fresh=fresh)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_predict_proba_keeps_the_natural_prior_and_predict_corrects_for_it(tmp_path: Path) -> None:
    rows = table(3000, rare=0.1)
    fitted = get("imbalanced-cls", epochs=8).fit(
        rows, target="bought", run_dir=tmp_path, progress=False
    )
    fresh = table(3000, seed=1, rare=0.1)
    yes = list(fitted.classes_).index("yes")
    assert fitted.predict_proba(fresh)[:, yes].mean() == pytest.approx(0.1, abs=0.03)
    assert (fitted.predict(fresh) == "yes").mean() > 0.2
    metrics = fitted.evaluate(fresh)
    assert metrics["balanced_accuracy"] > metrics["argmax_balanced_accuracy"] + 0.1
    assert metrics["argmax_accuracy"] > metrics["accuracy"]


def test_criteria_stand_in_the_record(tmp_path: Path) -> None:
    fitted = fit(ROWS, tmp_path, target="bought", criteria={"balanced_accuracy": 0.99})
    assert fitted.facts["criteria"] == {"balanced_accuracy": 0.99}
    assert "failed" in fitted.report().read_text()


# Wrong input: its own error, before training, and nothing half-written


def refused(ds, tmp_path: Path, match: str, **arguments) -> None:
    with pytest.raises(InputError, match=match):
        fit(ds, tmp_path / "run", **arguments)
    assert not (tmp_path / "run").exists()


def test_empty_data(tmp_path: Path) -> None:
    refused(ROWS.iloc[:0], tmp_path, "(?i)no rows|empty", target="bought")
    refused((np.empty((0, 3)), np.empty(0, int)), tmp_path, "(?i)no rows|empty")


def test_one_class_only(tmp_path: Path) -> None:
    refused(ROWS.assign(bought="no"), tmp_path, "'no'", target="bought")


def test_a_class_with_fewer_rows_than_splits(tmp_path: Path) -> None:
    rows = pd.concat([ROWS, ROWS.iloc[:2].assign(bought="perhaps", age=[1.0, 2.0])])
    refused(rows, tmp_path, "'perhaps'.*2 rows", target="bought")


def test_infinity_in_a_feature(tmp_path: Path) -> None:
    rows = ROWS.copy()
    rows.loc[17, "age"] = np.inf
    refused(rows, tmp_path, "'age'.*17", target="bought")


def test_nan_in_an_array(tmp_path: Path) -> None:
    inputs = np.random.default_rng(0).normal(size=(100, 3))
    inputs[17, 1] = np.nan
    labels = np.arange(100) % 2
    refused((inputs, labels), tmp_path, "NaN.*'x1'.*17.*DataFrame")
    refused((torch.tensor(inputs), labels), tmp_path, "NaN.*'x1'.*17.*DataFrame")


def test_nan_in_an_image(tmp_path: Path) -> None:
    pixels, labels = images()
    pixels = pixels / 255
    pixels[7, 0, 0] = np.nan
    refused((pixels, labels), tmp_path, "(?i)nan")


@pytest.mark.parametrize("gap", [None, np.nan])
def test_a_target_that_is_missing(tmp_path: Path, gap) -> None:
    rows = ROWS.astype({"bought": object})
    rows.loc[23, "bought"] = gap
    refused(rows, tmp_path, "'bought'.*23", target="bought")


def test_infinity_in_the_target(tmp_path: Path) -> None:
    labels = np.arange(100, dtype=float) % 2
    labels[3] = np.inf
    refused((np.random.default_rng(0).normal(size=(100, 3)), labels), tmp_path, "(?i)infinit")


def test_a_target_column_that_is_not_there(tmp_path: Path) -> None:
    refused(ROWS, tmp_path, "'bougth'.*'bought'", target="bougth")
    refused(ROWS, tmp_path, "target=.*", inputs=["age"])


def test_a_target_that_is_all_unique(tmp_path: Path) -> None:
    rows = ROWS.assign(bought=[f"customer {i}" for i in range(len(ROWS))])
    refused(rows, tmp_path, "'bought'", target="bought")
    refused(ROWS, tmp_path, "'age'", target="age")


def test_labels_of_mixed_type(tmp_path: Path) -> None:
    rows = ROWS.astype({"bought": object})
    rows.loc[::2, "bought"] = 1
    refused(rows, tmp_path, "'bought'.*(int.*str|str.*int)", target="bought")


def test_test_rows_that_repeat_in_train(tmp_path: Path) -> None:
    train, test = ROWS.iloc[:200], ROWS.iloc[190:].copy()
    test.loc[test.index[0], "bought"] = "no" if test["bought"].iloc[0] == "yes" else "yes"
    refused({"train": train, "test": test}, tmp_path, "10.*leakage=", target="bought")
    with pytest.warns(UserWarning, match="leakage audit.*10"):
        fitted = fit(
            {"train": train, "test": test}, tmp_path / "run", target="bought", leakage="report"
        )
    assert any(finding["severity"] == "error" for finding in fitted.facts["leakage"])
    assert fitted.facts["data"]["parts"]["test"]["rows"] == 110


def test_a_class_that_only_the_test_split_has(tmp_path: Path) -> None:
    test = ROWS.iloc[200:].copy()
    test.iloc[0, test.columns.get_loc("bought")] = "perhaps"
    refused({"train": ROWS.iloc[:200], "test": test}, tmp_path, "'perhaps'", target="bought")


def test_a_corrupt_image_in_a_folder_is_named(tmp_path: Path) -> None:
    from PIL import Image

    pixels, labels = images()
    for number, (picture, label) in enumerate(zip(pixels, labels, strict=True)):
        folder = tmp_path / "pictures" / ("day", "night")[label]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(folder / f"{number}.png")
    victim = next((tmp_path / "pictures/night").iterdir())
    victim.write_bytes(victim.read_bytes()[:60])
    refused(tmp_path / "pictures", tmp_path, victim.name)
    victim.unlink()
    fitted = fit(tmp_path / "pictures", tmp_path / "run")
    assert list(fitted.classes_) == ["day", "night"]


def test_unknown_recipe_version_and_field() -> None:
    with pytest.raises(InputError, match="'imbalanced-cls'"):
        get("imbalanced-clf")
    with pytest.raises(InputError, match="version '9'.*1"):
        get("imbalanced-cls@9")
    with pytest.raises(InputError, match="Did you mean 'epochs'"):
        get("imbalanced-cls", epoch=3)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epochs", 0),
        ("epochs", "ten"),
        ("lr", -1.0),
        ("batch_size", 2.5),
        ("precision", "fp8"),
        ("validation", 1.0),
        ("test", 0.9),
        ("microbatch", 65),
        ("patience", -1),
        ("seed", True),
        ("seed", -1),
        ("lr", float("inf")),
        ("ema", 1.0),
    ],
)
def test_values_that_cannot_be_meant(field: str, value) -> None:
    with pytest.raises(InputError, match=field):
        quick(**{field: value})


@pytest.mark.parametrize("field", ["shift", "flip", "pretrained", "image_size"])
def test_fields_of_images_on_a_table(tmp_path: Path, field: str) -> None:
    with pytest.raises(InputError, match=f"{field}=.*images.*tabular"):
        quick(**{field: field in ("flip", "pretrained") or 3}).fit(
            ROWS, target="bought", run_dir=tmp_path / "run"
        )
    assert not (tmp_path / "run").exists()


def test_fp16_without_a_gpu_is_refused(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(InputError, match="fp16.*GPU"):
        quick(precision="fp16").fit(ROWS, target="bought", run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_predicting_rows_of_another_shape(finished: Path) -> None:
    fitted = mlexpert.load(finished)
    with pytest.raises(InputError, match="'age'"):
        fitted.predict(ROWS.drop(columns="age"))
    shuffled = ROWS[["city", "bought", "income", "age"]].assign(extra=1)
    assert np.array_equal(fitted.predict(shuffled), fitted.predict(ROWS))
    unseen = ROWS.assign(city="Atlantis", income=np.nan)
    assert np.isfinite(fitted.predict_proba(unseen)).all()


# A model folder that is not as it was saved


@pytest.mark.parametrize("name", ["weights.safetensors", "model.json"])
def test_a_missing_file(run: Path, name: str) -> None:
    (run / "model" / name).unlink()
    with pytest.raises(InputError, match=f"{name}.*missing"):
        mlexpert.load(run / "model")


@pytest.mark.parametrize("name", ["weights.safetensors", "model.json"])
def test_an_altered_file(run: Path, name: str) -> None:
    path = run / "model" / name
    whole = bytearray(path.read_bytes())
    whole[-20] ^= 1
    path.write_bytes(whole)
    with pytest.raises(InputError, match=f"{name}.*altered"):
        mlexpert.load(run / "model")


def test_a_foreign_file(run: Path) -> None:
    (run / "model" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"notes\.txt was not saved with it"):
        mlexpert.load(run / "model")


@pytest.mark.parametrize("ending", sorted(PICKLES))
def test_a_pickle(run: Path, ending: str) -> None:
    (run / "model" / f"extra{ending}").write_bytes(b"anything")
    with pytest.raises(InputError, match=f"extra{ending}.*pickle"):
        mlexpert.load(run / "model")


def test_a_pickle_under_another_name(run: Path) -> None:
    import pickle

    (run / "model" / "config.json").write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(InputError, match=r"config\.json.*pickle"):
        mlexpert.load(run / "model")


def test_a_folder_that_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"not a saved model.*model\.json"):
        mlexpert.load(tmp_path)


def test_a_recipe_version_that_is_gone(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlexpert import recipes

    rows = tuple(row for row in recipes.CATALOGUE if row.name != "imbalanced-cls")
    monkeypatch.setattr(recipes, "CATALOGUE", rows)
    with pytest.raises(InputError, match="imbalanced-cls@1.*pip install mlexpert=="):
        mlexpert.load(run / "model")


def test_saving_over_something_else_is_refused(finished: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(InputError, match="not a saved model.*left alone"):
        mlexpert.load(finished).save(tmp_path)


# Arguments of fit


def test_arguments_that_cannot_be_meant(tmp_path: Path) -> None:
    refused(ROWS, tmp_path, "track='wandb'", target="bought", track="wandb")
    refused(ROWS, tmp_path, "leakage='ignore'", target="bought", leakage="ignore")
    refused(ROWS, tmp_path, "criteria: 'brier'", target="bought", criteria={"brier": "low"})


# Disk


def test_a_read_only_run_folder(tmp_path: Path) -> None:
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        with pytest.raises(InputError, match="read-only.*run_dir="):
            fit(ROWS, tmp_path / "run", target="bought")
    finally:
        tmp_path.chmod(stat.S_IRWXU)


def test_a_run_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="run_dir="):
        fit(ROWS, tmp_path / "file" / "run", target="bought")


def test_a_disk_that_is_full_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, *_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", full)
        patched.setattr(trainer.Trainer, "run", lambda *_: pytest.fail("it trained"))
        with pytest.raises(RunError, match="No space left on device.*run_dir="):
            fit(ROWS, tmp_path / "run", target="bought")


def test_a_disk_without_room_for_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(9, 8, 1000))
    monkeypatch.setattr(trainer.Trainer, "run", lambda *_: pytest.fail("it trained"))
    with pytest.raises(RunError, match="0 MiB free.*need about"):
        fit(ROWS, tmp_path / "run", target="bought")


def test_a_disk_that_fills_up_in_the_middle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, payload: bytes) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(checkpoint, "_flush", full)
        patched.setattr(checkpoint_clock, "CHECKPOINT_EVERY", 0.0)
        with pytest.raises(RunError, match="No space left on device.*intact"):
            fit(ROWS, tmp_path / "run", target="bought")
    assert json.loads((tmp_path / "run/run.json").read_text())["status"] == "failed"
    assert fit(ROWS, tmp_path / "run", target="bought").facts["status"] == "finished"


# A copy that was changed


def test_a_changed_copy_under_the_old_name_is_not_taken_for_the_original(tmp_path: Path) -> None:
    from mlexpert.copying import copy_recipe, recipe_in

    file = copy_recipe("imbalanced-cls", tmp_path / "mine.py")
    for change, loads in (("", True), ("\n# another idea\n", False)):
        file.write_text(file.read_text() + change)
        mine = recipe_in(file)
        run_dir = tmp_path / f"run{loads}"
        mine(epochs=1).fit(ROWS, target="bought", run_dir=run_dir, progress=False)
        assert mlexpert.load(run_dir / "model", recipe=mine).predict(ROWS).shape == (300,)
        if loads:
            assert mlexpert.load(run_dir / "model").recipe.name == "imbalanced-cls"
        else:
            with pytest.raises(InputError, match="copy of imbalanced-cls@1 that was changed"):
                mlexpert.load(run_dir / "model")


# Tracking


def test_tensorboard_gets_what_the_record_gets(tmp_path: Path) -> None:
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    fitted = fit(ROWS, tmp_path, target="bought", track="tensorboard")
    (file,) = tmp_path.rglob("events.out.tfevents.*")
    read = events.EventAccumulator(str(file.parent))
    read.Reload()
    curve = [event.value for event in read.Scalars("validation/log_loss")]
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    expected = [row["log_loss"] for row in rows if row["split"] == "validation"]
    assert curve == pytest.approx(expected)
    assert fitted.facts["status"] == "finished"


def test_a_tracker_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib import util

    monkeypatch.setattr(util, "find_spec", lambda _: None)
    refused(ROWS, tmp_path, r"mlexpert\[tensorboard\]", target="bought", track="tensorboard")


# What a second look found


def test_an_edited_recipe_does_not_take_up_the_run_of_its_former_self(tmp_path: Path) -> None:
    from mlexpert.copying import copy_recipe, recipe_in

    file = copy_recipe("imbalanced-cls", tmp_path / "mine.py")
    run_dir = tmp_path / "run"
    recipe_in(file)(epochs=1).fit(ROWS, target="bought", run_dir=run_dir, progress=False)
    file.write_text(file.read_text() + "\n# another idea\n")
    with pytest.raises(InputError, match="source_hash"):
        recipe_in(file)(epochs=1).fit(ROWS, target="bought", run_dir=run_dir, progress=False)


def test_saving_replaces_a_saved_model_and_nothing_else(finished: Path, tmp_path: Path) -> None:
    fitted = mlexpert.load(finished)
    fitted.save(tmp_path / "model")
    fitted.save(tmp_path / "model")
    (tmp_path / "model/notes.txt").write_text("mine")
    (tmp_path / "other").mkdir()
    (tmp_path / "other/model.json").write_text('{"of": "another library"}')
    (tmp_path / "file").write_text("")
    for name in ("model", "other", "file"):
        with pytest.raises(InputError, match="left alone"):
            fitted.save(tmp_path / name)
    assert (tmp_path / "model/notes.txt").exists() and (tmp_path / "other/model.json").exists()


def test_a_stop_or_an_error_while_a_model_is_replaced_loses_none(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted, folder = mlexpert.load(finished), tmp_path / "model"
    fitted.save(folder)
    card = (folder / "model.json").read_bytes()
    rename = Path.rename

    def fails(error: BaseException) -> Callable[[Path, Path], Path]:
        def into_place(self: Path, to: Path) -> Path:
            if self.name.startswith(".writing-"):
                raise error
            return rename(self, to)

        return into_place

    for error, seen in ((OSError(5, "I/O error"), RunError), (KeyboardInterrupt(), None)):
        with monkeypatch.context() as patched:
            patched.setattr(Path, "rename", fails(error))
            with pytest.raises(seen or KeyboardInterrupt):
                fitted.save(folder)
        left = folder if seen else tmp_path / ".replaced-model"
        assert (left / "model.json").read_bytes() == card
    fitted.save(folder)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_line_that_a_full_disk_tore_does_not_stop_a_resume(tmp_path: Path) -> None:
    fit(ROWS, tmp_path, target="bought")
    facts = json.loads((tmp_path / "run.json").read_text())
    (tmp_path / "run.json").write_text(json.dumps({**facts, "status": "failed"}))
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 8, "epo')
    assert fit(ROWS, tmp_path, target="bought").facts["status"] == "finished"
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(row["epoch"], row["split"]) for row in rows[:4]] == [
        *((1, "train"), (1, "validation")),
        *((2, "train"), (2, "validation")),
    ]


def test_numbers_of_numpy_are_numbers() -> None:
    recipe = quick(lr=np.float64(0.1), epochs=np.int64(3))
    assert (type(recipe.lr), type(recipe.epochs)) == (float, int)


def test_memory_that_runs_out_is_an_error_with_advice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_memory(*_) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    with monkeypatch.context() as patched:
        patched.setattr(trainer.Trainer, "run", no_memory)
        with pytest.raises(RunError, match="Out of memory on cpu.*microbatch="):
            fit(ROWS, tmp_path, target="bought")
    assert json.loads((tmp_path / "run.json").read_text())["status"] == "failed"
