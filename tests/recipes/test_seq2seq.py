"""seq2seq: learns to reverse and to sort, answers as it was asked, and survives saving."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import mlexpert
from mlexpert.data.sequences.made import reverse_task, sort_task
from mlexpert.errors import InputError
from mlexpert.fitted.transduction import FittedTransducer
from mlexpert.recipes import get

SMALL = {"dim": 64, "num_layers": 1, "dropout": 0.0, "batch_tokens": 256, "lr": 4e-3}
LETTERS = "abcdefgh"


def fitted(data: Any, run_dir: Path, **fields: Any) -> FittedTransducer:
    model = get("seq2seq", **{**SMALL, "precision": "fp32", **fields}).fit(
        data, run_dir=run_dir, progress=False
    )
    assert isinstance(model, FittedTransducer)
    return model


@pytest.mark.parametrize("task", [reverse_task, sort_task])
def test_the_rule_is_learnt(task: Any, tmp_path: Path) -> None:
    data = task(4_000, alphabet=LETTERS)
    model = fitted(data, tmp_path / "run", epochs=7, microbatch=None, validation=0.05, test=0)
    found = model.evaluate(task(300, alphabet=LETTERS, seed=9))
    assert found["sequence_accuracy"] > 0.95 and found["token_error_rate"] < 0.03


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> FittedTransducer:
    run_dir = tmp_path_factory.mktemp("small") / "run"
    return fitted(reverse_task(120, max_length=5, alphabet=LETTERS), run_dir, epochs=2)


def test_odd_sources_are_answered(small: FittedTransducer) -> None:
    said = small.predict(["", "ab", "Éxx", "a" * 60])
    assert len(said) == 4 and all(isinstance(one, str) for one in said)
    assert small.predict([]) == []
    assert small.predict(["abc"], max_length=2)[0] == small.predict(["abc"])[0][:2]


def test_answers_do_not_depend_on_the_others(small: FittedTransducer) -> None:
    sources = reverse_task(40, max_length=9, alphabet=LETTERS, seed=3)[0]
    together = small.predict(sources)
    assert together == [small.predict([source])[0] for source in sources]
    assert len(small.predict(sources, beam=3)) == 40


def test_saved_and_loaded_says_the_same(small: FittedTransducer, tmp_path: Path) -> None:
    sources = ["abc", "hgfed"]
    loaded = mlexpert.load(small.save(tmp_path / "model"))
    assert loaded.predict(sources) == small.predict(sources)


def test_lists_are_answered_by_lists(tmp_path: Path) -> None:
    sources = [["on", "off"][: 1 + row % 2] * (1 + row % 7) for row in range(60)]
    pairs = (sources, [row[::-1] for row in sources])
    model = fitted(pairs, tmp_path / "run", epochs=1, dim=16, unit="words", num_heads=2)
    assert all(isinstance(one, list) for one in model.predict([["on"], ["off", "on"]]))


def test_the_illustration_says_what_was_said(small: FittedTransducer) -> None:
    rows = small._all_held(small.run_dir).validation[0]  # type: ignore[arg-type]
    shown = small.recipe.illustrate(small.parts, rows, small.schema)  # type: ignore[attr-defined]
    assert sum(one["rows"] for one in shown["by_length"]) == len(rows)
    exact = sum(one["rows"] * one["accuracy"] for one in shown["by_length"]) / len(rows)
    assert exact == pytest.approx(small.evaluate()["sequence_accuracy"])
    for one in shown["examples"]:
        assert small.predict([one["source"]]) == [one["said"]]


def test_what_is_refused(small: FittedTransducer) -> None:
    for asked in ({"beam": 0}, {"max_length": 0}, {"length_penalty": -1.0}):
        with pytest.raises(InputError, match=next(iter(asked))):
            small.predict(["a"], **asked)
    with pytest.raises(InputError, match="multiple of 8"):
        get("seq2seq", dim=10)
    with pytest.raises(InputError, match="takes no group="):
        get("seq2seq").fit((["a"], ["b"]), group="x")
