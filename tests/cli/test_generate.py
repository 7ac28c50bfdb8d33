"""Texts on the command line: a model is fitted, and goes on with a prompt."""

from __future__ import annotations

from pathlib import Path

import pytest

import mlexpert
from mlexpert.cli import main
from mlexpert.fitted.language import FittedLanguageModel
from tests.small_data import table
from tests.small_sequences import documents


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("texts")
    (folder / "book.txt").write_text("\n".join(documents()), encoding="utf-8")
    small = ["--set", "steps=8", "--set", "context=16", "--set", "dim=32", "--epochs", "2"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLEXPERT_HOME", str(tmp_path_factory.mktemp("home")))
        with pytest.raises(SystemExit) as end:
            call = ["fit", "language-model", str(folder / "book.txt"), "--quiet", *small]
            main([*call, "--run-dir", str(folder / "run")])
    assert not end.value.code
    return folder / "run"


def test_a_text_goes_on_as_in_python(call, run: Path) -> None:
    asked = ["--max-new-tokens", 30, "--temperature", 0.8, "--top-k", 9, "--top-p", 0.95]
    code, out, _ = call("generate", run, "--prompt", "the ", *asked, "--seed", 3)
    fitted = mlexpert.load(run)
    assert isinstance(fitted, FittedLanguageModel)
    expected = fitted.generate("the ", 30, temperature=0.8, top_k=9, top_p=0.95, seed=3)
    assert code == 0 and out == f"the {expected}\n" and len(expected) == 30
    assert call("generate", run, "--prompt", "cat", "--max-new-tokens", 0)[1] == "cat\n"


def test_what_cannot_be_is_refused_in_one_line(call, run: Path, tmp_path: Path) -> None:
    code, out, err = call("generate", run, "--prompt", "\u0416")
    assert code == 2 and out == "" and err.startswith("error:") and "\u0416" in err
    assert call("generate", run, "--top-k", 0)[0] == 2
    table(120).to_csv(tmp_path / "rows.csv", index=False)
    small = ["--epochs", "1", "--quiet", "--set", "members=2", "--set", "width=8"]
    fitted = ["fit", "tabular-cls", tmp_path / "rows.csv", "--target", "bought", *small]
    assert call(*fitted, "--run-dir", tmp_path / "other")[0] == 0
    code, _, err = call("generate", tmp_path / "other")
    assert code == 2 and "tabular-cls, which generates no text" in err
