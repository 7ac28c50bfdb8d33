"""The command line as a user meets it: what it prints, what it writes, how it ends."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import mlexpert
from mlexpert import recipes
from mlexpert.cli import main


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> Path:
    """A csv of 400 rows in which two noisy columns tell of a rare class."""
    rng = np.random.default_rng(0)
    rare = rng.random(400) < 0.15
    frame = pd.DataFrame(
        {
            "amount": rng.normal(rare * 1.5),
            "count": rng.poisson(1 + 2 * rare),
            "label": np.where(rare, "rare", "usual"),
        }
    )
    path = tmp_path_factory.mktemp("data") / "rows.csv"
    frame.to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def run_dir(table, tmp_path_factory) -> Path:
    """The folder of a finished run, made by `fit`."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLEXPERT_HOME", str(tmp_path_factory.mktemp("home")))
        with pytest.raises(SystemExit) as end:
            fit = ["fit", "imbalanced-cls", str(table), "--target", "label", "--quiet"]
            main([*fit, "--epochs", "2", "--set", "batch-size=64", "--run-dir", str(folder)])
    assert not end.value.code
    return folder


def test_list_and_show(call):
    code, out, _ = call("list")
    assert code == 0
    for name in recipes.names():
        assert name in out
    code, out, _ = call("show", "imbalanced-cls@1")
    described = recipes.describe("imbalanced-cls")
    assert code == 0 and described["claim"] in out and described["paper"] in out
    for field in described["fields"]:
        assert re.search(rf"^ {field['name']} ", out, flags=re.MULTILINE)


def test_the_help_of_fit_has_a_flag_for_every_field_with_its_docstring(call, monkeypatch):
    monkeypatch.setenv("COLUMNS", "250")  # choices on one line, or they stand between the words
    code, out, _ = call("fit", "imbalanced-cls", "--help")
    text = re.sub(r"[\s│]+", "", out)
    assert code == 0
    for field in recipes.describe("imbalanced-cls")["fields"]:
        assert f"--{field['name'].replace('_', '-')} " in out
        assert re.sub(r"\s", "", field["doc"]) in text


def test_no_field_is_hidden_by_an_argument_of_fit(call):
    _, out, _ = call("fit", "--help")
    shared = set(re.findall(r"--([a-z-]+)", out))
    for row in recipes.CATALOGUE:
        fields = {item["name"].replace("_", "-") for item in recipes.describe(row.name)["fields"]}
        assert fields & shared == set()


def test_fit_records_the_fields_that_were_set(run_dir):
    config = json.loads((run_dir / "run.json").read_text())["config"]
    assert (config["epochs"], config["batch_size"], config["seed"]) == (2, 64, 0)


def test_a_finished_run_says_that_it_was_not_trained_again(call, run_dir, table):
    args = ["fit", "imbalanced-cls", table, "--target", "label", "--quiet", "--epochs", "2"]
    before = json.loads((run_dir / "run.json").read_text())["finished"]
    time.sleep(1)  # the record counts in seconds
    code, out, _ = call(*args, "--set", "batch-size=64", "--run-dir", run_dir)
    assert code == 0 and "finished already and not trained again" in out
    assert json.loads((run_dir / "run.json").read_text())["finished"] == before


def test_evaluate_shows_the_decision_beside_argmax_and_both_epochs(call, run_dir):
    code, out, _ = call("evaluate", run_dir)
    metrics = mlexpert.Fitted.from_run(run_dir).evaluate()
    assert code == 0
    row = re.search(r"balanced_accuracy +([\d.]+) +([\d.]+)", out)
    assert [float(value) for value in row.groups()] == pytest.approx(
        [metrics["balanced_accuracy"], metrics["argmax_balanced_accuracy"]], abs=5e-5
    )
    assert re.search(r"Selected epoch \d.*; last epoch \d", out)


def test_evaluate_says_that_the_last_epoch_was_kept(call, run_dir, tmp_path):
    run = shutil.copytree(run_dir, tmp_path / "run")
    about = json.loads((run / "run.json").read_text())
    about["config"]["keep"] = "last"
    (run / "run.json").write_text(json.dumps(about))
    code, out, _ = call("evaluate", run)
    assert code == 0 and "Kept the last epoch, 2, with calibrated_log_loss" in out
    assert "Selected epoch" not in out


def test_final_test_prints_intervals_and_counts_openings(call, run_dir):
    for number in (1, 2):
        code, out, _ = call("evaluate", run_dir, "--final-test", "a test")
        assert code == 0
        assert re.search(r"balanced_accuracy +[\d.]+ +[\d.]+ to [\d.]+", out)
        assert re.search(r"^ *few_shot *$", out, flags=re.MULTILINE)
        assert f"Opening {number} of this sealed test split" in out
        assert (run_dir / "report.html").is_file()


def test_report_is_written_again(call, run_dir):
    report = run_dir / "report.html"
    report.unlink(missing_ok=True)
    code, out, _ = call("report", run_dir)
    assert code == 0 and str(report) in out and report.is_file()


def test_predict_writes_decisions_and_probabilities(call, run_dir, table, tmp_path):
    output = tmp_path / "predictions.csv"
    code, out, _ = call("predict", run_dir, table, "--output", output)
    assert code == 0 and "400 rows" in out
    with output.open() as file:
        rows = list(csv.DictReader(file))
    fitted = mlexpert.load(run_dir)
    frame = pd.read_csv(table).drop(columns="label")
    assert [row["prediction"] for row in rows] == fitted.predict(frame).tolist()
    written = [[float(row[f"probability_{label}"]) for label in fitted.classes_] for row in rows]
    np.testing.assert_allclose(written, fitted.predict_proba(frame), atol=1e-6)


def test_predict_names_the_images_of_a_folder(call, cwd):
    from PIL import Image

    shades = np.random.default_rng(0).integers(0, 90, (40, 8, 8)).astype(np.uint8)
    for number, shade in enumerate(shades):
        folder = cwd / "pictures" / ("dark", "light")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(shade + np.uint8(150 * (number % 2))).save(folder / f"{number:02d}.png")
    code, _, err = call(
        "fit", "imbalanced-cls", "pictures", "--epochs", "1", "--quiet", "--run-dir", "run"
    )
    assert code == 0, err
    code, out, _ = call("predict", "run", "pictures")
    rows = list(csv.DictReader(out.splitlines()))
    assert code == 0
    assert [row["file"] for row in rows] == sorted(
        path.relative_to("pictures").as_posix() for path in Path("pictures").rglob("*.png")
    )
    single = mlexpert.load("run").predict_proba(cwd / "pictures" / "light")
    light = [float(row["probability_light"]) for row in rows if row["file"].startswith("light/")]
    np.testing.assert_allclose(light, single[:, 1], atol=1e-6)


def test_predict_never_overwrites(call, run_dir, table, tmp_path):
    output = tmp_path / "mine.csv"
    output.write_text("precious")
    code, _, err = call("predict", run_dir, table, "--output", output)
    assert code == 2 and "exists" in err and output.read_text() == "precious"


def test_what_cannot_be_written_is_a_failed_run(call, run_dir, table, tmp_path):
    code, _, err = call("predict", run_dir, table, "--output", tmp_path / "none" / "mine.csv")
    assert code == 1 and err.startswith("failed: ") and "cannot be written" in err


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["fit", "imbalanced-clss", "x.csv", "--epochs", "3"], "Did you mean 'imbalanced-cls'?"),
        (["fit", "imbalanced-cls@9", "x.csv"], "no version '9'"),
        (["fit", "imbalanced-cls", "x.csv", "--epoch", "3"], "--epochs"),
        (["fit", "imbalanced-cls", "x.csv", "--set", "epoch=3"], "Did you mean 'epochs'?"),
        (["fit", "imbalanced-cls", "x.csv", "--epochs", "three"], "takes int | None"),
        (["fit", "imbalanced-cls", "x.csv", "--epochs", "0"], "at least 1"),
        (["fit", "imbalanced-cls", "x.csv", "--criterion", "pr_auc"], "metric=number"),
        (["fit", "imbalanced-cls", "none.csv"], "none.csv"),
        (["fit", "imbalanced-cls", "demo", "--final-test", " "], "needs a reason"),
        (["show", "imbalanced"], "imbalanced-cls"),
        (["fit", "imbalanced-cls", "x.csv", "--criterion", "pr_auc=nan"], "metric=number"),
        (["fit", "mine.py", "x.csv"], "python mine.py x.csv"),
        (["evaluate", "no-run"], "not a run folder"),
        (["evaluate", "no-run", "--final-test", ""], "--final-test needs a reason"),
        (["report", "no-run"], "run.json"),
        (["predict", "no-run", "x.csv"], "no-run"),
        (["bench", "no-family"], "no benchmark of 'no-family'"),
        (["copy", "imbalanced-cls", "copy.txt"], ".py"),
        (["fly"], "fly"),
    ],
)
def test_a_wrong_call_ends_with_2_and_one_message(call, cwd, args, says):
    code, _, err = call(*args)
    assert code == 2
    assert says in err and "Traceback" not in err
    assert list(cwd.iterdir()) == []


def test_a_finding_of_the_audit_is_one_line(call, cwd):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": rng.normal(size=200), "label": np.repeat(["a", "b"], 100)})
    frame["told"] = (frame["label"] == "a") + rng.normal(scale=0.01, size=200)
    frame.to_csv("told.csv", index=False)
    program = "import sys; from mlexpert.cli import main; main(sys.argv[1:])"
    args = ["fit", "imbalanced-cls", "told.csv", "--target", "label", "--epochs", "1", "--quiet"]
    done = subprocess.run(
        [sys.executable, "-c", program, *args], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"^warning: leakage audit: .*'told'", done.stderr, flags=re.MULTILINE)
    assert "UserWarning" not in done.stderr


def test_ctrl_c_ends_with_130_and_says_how_to_go_on(table, tmp_path):
    folder = tmp_path / "run"
    args = ["fit", "imbalanced-cls", str(table), "--target", "label", "--epochs", "100000"]
    args += ["--patience", "0", "--run-dir", str(folder), "--quiet"]
    process = subprocess.Popen(
        [sys.executable, "-m", "mlexpert", *args],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    until = time.monotonic() + 100
    record = folder / "metrics.jsonl"
    while not (record.is_file() and record.stat().st_size) and time.monotonic() < until:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "interrupted: " in err and str(folder) in err and "Traceback" not in err
    assert json.loads((folder / "run.json").read_text())["status"] == "interrupted"
    assert list((folder / "checkpoints").iterdir())
