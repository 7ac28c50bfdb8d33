"""`mlexpert compare`: what it prints, and how it ends."""

from __future__ import annotations

import pytest

from mlexpert import recipes
from mlexpert.cli import main, tables
from mlexpert.comparing.comparison import Comparison
from mlexpert.errors import RunError
from mlexpert.recipes.imbalanced_cls.plain import Plain
from tests.small_data import table

NAMES = ("imbalanced-cls", "imbalanced-cls/plain")


@pytest.fixture
def call(capsys, monkeypatch, cwd):
    """Run the command line in this process; return its exit code, stdout and stderr."""
    monkeypatch.setenv("COLUMNS", "200")
    table(120).to_csv("rows.csv", index=False)

    def run(*args: object) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main(["compare", *[str(arg) for arg in args]])
        out, err = capsys.readouterr()
        return end.value.code or 0, out, err

    return run


def test_one_table_with_a_report_and_code_one_where_a_recipe_failed(call, cwd, capsys, monkeypatch):
    given = ["rows.csv", "--target", "bought", "--seeds", "1", "--quiet", "--run-dir", "c"]
    given += ["--set", "epochs=1", "--set", "batch-size=64", "--metric", "pr_auc"]
    code, out, _ = call(*NAMES, *given)
    assert code == 0 and (cwd / "c" / "report.html").is_file()
    assert "2 recipes compared on validation" in out and "has the best PR-AUC" in out
    monkeypatch.setenv("COLUMNS", "80")  # also where there is little room, no number is cut
    tables.comparison(Comparison(cwd / "c"))
    assert "…" not in capsys.readouterr().out
    monkeypatch.setenv("COLUMNS", "200")
    assert "Report: c/report.html" in out
    for name in NAMES:
        assert name in out

    def build(self, schema):
        raise RunError("nothing can be built")

    monkeypatch.setattr(Plain, "build", build)
    code, out, err = call(*NAMES, *[*given[:-2], "--metric", "brier", "--run-dir", "d"])
    assert code == 1 and "Report: d/report.html" in out and "Traceback" not in err
    assert "imbalanced-cls/plain, seed 0: nothing can be built" in err


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["rows.csv"], "names only one of them"),
        ([*NAMES], "the last word is the data, and 'imbalanced-cls/plain' is a recipe"),
        ([*NAMES, "rows.csv", "--set", "seed=1"], "given by seeds= (--seeds)"),
        (["imbalanced-clss", "rows.csv"], "Did you mean 'imbalanced-cls'?"),
        ([*NAMES, "rows.csv", "--set", "epoch=1"], "Did you mean 'epochs'?"),
        ([*NAMES, "rows.csv", "--set", "epochs=many"], "takes int | None; got 'many'"),
        ([*NAMES, "rows.csv", "--set", "epochs"], "write --set field=value"),
        ([*NAMES, "rows.csv", "--seeds", "few"], "write how many"),
        ([*NAMES, "rows.csv", "--seeds", "1,1"], "different seeds"),
        ([*NAMES, "rows.csv", "--final-test", " "], "needs a reason"),
        ([*NAMES, "nowhere.csv"], "nowhere.csv"),
        ([*NAMES, "rows.csv", "--target", "bought", "--baseline", "plain"], "takes no part"),
        ([*NAMES, "rows.csv", "--target", "bought", "--metric", "f1"], "cannot be compared"),
    ],
)
def test_a_wrong_call_ends_with_its_message_and_code_two(call, cwd, args, message, offline):
    code, out, err = call(*args)
    assert code == 2 and message in err and "Traceback" not in err + out
    assert not (cwd / "runs").exists()


def test_a_family_alone_sets_the_fields_of_all_its_recipes():
    from mlexpert.cli.comparing import _seeds, _settings

    assert _settings(["imbalanced-cls"], ["epochs=3", "batch-size=none"]) == {
        "epochs": 3,
        "batch_size": None,
    }
    assert (_seeds("3"), _seeds("0, 7"), _seeds("5,")) == (3, [0, 7], [5])
    assert len([one for one in recipes.names() if one.startswith("imbalanced-cls")]) > 1
