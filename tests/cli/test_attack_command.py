"""`mlexpert attack` on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mlexpert.cli import main
from tests.small_data import images


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A run on a folder of class folders."""
    data, pairs = tmp_path_factory.mktemp("data"), zip(*images(120, size=8), strict=True)
    for row, (pixels, label) in enumerate(pairs):
        (data / f"class{label}").mkdir(exist_ok=True)
        Image.fromarray(np.asarray(pixels)).save(data / f"class{label}" / f"{row:03d}.png")
    folder = tmp_path_factory.mktemp("runs") / "run"
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as end:
        patch.setenv("MLEXPERT_HOME", str(tmp_path_factory.mktemp("home")))
        flags = ["--epochs", "1", "--batch-size", "32", "--quiet", "--run-dir", str(folder)]
        main(["fit", "image-cls", str(data), *flags])
    assert not end.value.code
    return folder


def test_a_table_a_record_and_a_report(call, run):
    code, out, err = call("attack", run, "--attack", "quick", "--epsilon", "0.2", "--quiet")
    assert code == 0, err
    assert "robust accuracy" in out and "APGD-CE" in out and "verdict" in out
    record = run / "attacks" / "validation-linf-0.2.json"
    assert str(record) in out and str(run / "report.html") in out
    assert json.loads(record.read_text())["verdict"] in out


def test_fractions_norms_rows_and_no_checks(call, run):
    code, out, err = call(
        "attack", run, "--attack", "pgd", "--epsilon", "8/255", "--norm", "l2", "--rows", "5",
        "--steps", "3", "--restarts", "2", "--seed", "4", "--no-checks", "--quiet",
    )  # fmt: skip
    assert code == 0, err
    record = json.loads((run / "attacks" / "validation-l2-0.0313725.json").read_text())
    assert record["threat"]["epsilon"] == pytest.approx(8 / 255) and record["seed"] == 4
    assert record["num_rows"] == 5 and record["attacks"][0]["parameters"]["steps"] == 3
    assert "not measured" in out


def test_the_test_split_needs_a_reason(call, run):
    for given, said in (
        (["--test"], "--test needs --reason"),
        (["--reason", "a table"], "it needs --test"),
    ):
        code, _, err = call("attack", run, "--epsilon", "0.1", *given)
        assert code == 2 and said in err
    code, out, err = call(
        "attack", run, "--attack", "fgsm", "--epsilon", "0.1", "--test", "--reason", "a table",
        "--no-checks", "--quiet",
    )  # fmt: skip
    assert code == 0 and "(test)" in out, err
    assert "attack: a table" in (run / "ledger.jsonl").read_text()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--epsilon", "8"], "8/255 = 0.0314"),
        (["--epsilon", "eight"], "--epsilon 'eight' is no number"),
        (["--epsilon", "8/0"], "--epsilon '8/0' is no number"),
        ([], "epsilon is missing"),
        (["--budget", "age"], "--budget 'age': write a column and a number"),
        (["--budget", "age=1"], "is for tables"),
        (["--epsilon", "0.1", "--norm", "l0"], "l0"),
        (["--epsilon", "0.1", "--data", "nowhere.parquet"], "nowhere.parquet"),
    ],
)
def test_wrong_calls(call, run, given, said):
    code, _, err = call("attack", run, *given, "--quiet")
    assert code == 2 and said in err and "Traceback" not in err


def test_a_folder_that_is_no_run(call, tmp_path):
    code, _, err = call("attack", tmp_path, "--epsilon", "0.1")
    assert code == 2 and "not a run folder" in err


def test_an_interrupt_leaves_nothing_half_written(call, run, monkeypatch):
    def stop(*args, **given):
        raise KeyboardInterrupt

    monkeypatch.setattr("mlexpert.robustness.attacking.run_attempts", stop)
    before = sorted((run / "attacks").glob("*"))
    code, _, err = call("attack", run, "--epsilon", "0.07", "--quiet")
    assert code == 130 and "interrupted" in err
    assert sorted((run / "attacks").glob("*")) == before
