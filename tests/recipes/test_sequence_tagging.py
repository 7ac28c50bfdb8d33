"""sequence-tagging: learns from words and letters, counts strange tags, and survives saving."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import mlexpert
from mlexpert.errors import InputError
from mlexpert.evidence.sequences.spans import spans_of
from mlexpert.fitted.tagging import FittedTagger
from mlexpert.recipes import get
from mlexpert.training.method import Batch
from mlexpert.training.methods.tagging import Tagging

SMALL = {"dim": 32, "word_dim": 16, "num_filters": 16, "affix_dim": 8, "precision": "fp32"}


def sentences(num: int, seed: int = 0) -> tuple[list[list[str]], list[list[str]]]:
    """Return made sentences: capitalised pairs behind "mr" are persons, others places."""
    rng = np.random.default_rng(seed)
    words, tags = [], []
    for _ in range(num):
        row, said = [], []
        for _ in range(int(rng.integers(1, 6))):
            name = "".join(rng.choice(list("bcdfgaeiou"), 5)).capitalize()
            kind = rng.integers(3)
            row += [["mr", name, name[::-1].capitalize()], ["in", name], ["runs"]][kind]
            said += [["O", "B-person", "I-person"], ["O", "B-place"], ["O"]][kind]
        words.append(row)
        tags.append(said)
    return words, tags


def fitted(data: Any, run_dir: Path, **fields: Any) -> FittedTagger:
    model = get("sequence-tagging", **{**SMALL, **fields}).fit(
        data, run_dir=run_dir, progress=False
    )
    assert isinstance(model, FittedTagger)
    return model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> FittedTagger:
    run_dir = tmp_path_factory.mktemp("tagging") / "run"
    return fitted(sentences(400), run_dir, epochs=8, lr=0.01, test=0.1)


def test_names_that_training_never_met_are_found(model: FittedTagger) -> None:
    assert model.recipe.crf is True  # type: ignore[attr-defined]
    found = model.evaluate(sentences(100, seed=5))
    assert found["entity_f1"] > 0.95 and found["tag_accuracy"] > 0.97


def test_one_tag_a_word_whatever_the_sentence(model: FittedTagger) -> None:
    words = [["mr", "Xyz", "Abc"], [], ["runs"], ["ありがとう", "🎉" * 99, ""]]
    said = model.predict(words)
    assert [len(row) for row in said] == [3, 0, 1, 3]
    assert said == [model.predict([row])[0] for row in words]
    assert model.predict([]) == []


def test_saved_and_loaded_says_the_same(model: FittedTagger, tmp_path: Path) -> None:
    words = sentences(20, seed=3)[0]
    assert mlexpert.load(model.save(tmp_path / "model")).predict(words) == model.predict(words)


def test_metrics_are_those_of_the_tags(model: FittedTagger) -> None:
    words, true = sentences(50, seed=8)
    said = model.predict(words)
    found = model.evaluate((words, true))
    pairs = [(a, b) for x, y in zip(true, said, strict=True) for a, b in zip(x, y, strict=True)]
    assert found["tag_accuracy"] == pytest.approx(np.mean([a == b for a, b in pairs]))
    spans = [(set(spans_of(a)), set(spans_of(b))) for a, b in zip(true, said, strict=True)]
    both = sum(len(a & b) for a, b in spans)
    assert found["entity_recall"] == pytest.approx(both / sum(len(a) for a, _ in spans))


def test_tags_that_training_lacks_count_as_wrong(tmp_path: Path) -> None:
    words, tags = sentences(60)
    data = {
        "train": (words, tags),
        "validation": ([["Abc"], ["in", "Abc"]], [["B-new"], ["O", "O"]]),
    }
    trained = fitted(data, tmp_path / "run", epochs=1, test=0)
    assert "B-new (1 words)" in " ".join(trained.facts["data"]["notes"])
    right = sum(a == b for a, b in zip(trained.predict([["in", "Abc"]])[0], "OO", strict=True))
    assert trained.evaluate()["tag_accuracy"] == pytest.approx(right / 3)
    assert trained.evaluate(([["Abc"]], [["B-other"]]))["tag_accuracy"] == 0


@pytest.mark.parametrize("fields", [{"encoder": "transformer"}, {"batch_size": 8}, {"crf": True}])
def test_parts_of_speech(fields: dict[str, Any], tmp_path: Path) -> None:
    words, tags = sentences(60)
    nouns = [["NOUN" if tag != "O" else "VERB" for tag in row] for row in tags]
    trained = fitted((words, nouns), tmp_path / "run", epochs=3, lr=0.01, **fields)
    found = trained.evaluate()
    assert set(found) == {"tag_accuracy"} and found["tag_accuracy"] > 0.9


def test_the_illustration_adds_up(model: FittedTagger) -> None:
    rows = model._all_held(model.run_dir).validation[0]  # type: ignore[arg-type]
    shown = model.recipe.illustrate(model.parts, rows, model.schema)  # type: ignore[attr-defined]
    assert sum(one["words"] for one in shown["by_tag"]) == sum(map(len, rows.inputs))
    true = sum(len(spans_of(tags)) for tags in rows.targets)
    assert sum(one["spans"] for one in shown["by_entity"]) == true
    for one in shown["examples"]:
        assert model.predict([one["words"]]) == [one["said"]]


def test_what_is_refused(tmp_path: Path) -> None:
    words, tags = sentences(10)
    with pytest.raises(InputError, match="one tag only"):
        fitted((words, [["O"] * len(row) for row in words]), tmp_path / "run")
    with pytest.raises(InputError, match="takes no group="):
        get("sequence-tagging").fit((words, tags), group="x")
    with pytest.raises(InputError, match="dim"):
        get("sequence-tagging", dim=33)


def test_real_parts_of_speech_are_learnt(real_data: Path, tmp_path: Path) -> None:
    data = real_data / "ud_ewt_dev.parquet"
    trained = fitted(data, tmp_path / "run", epochs=2, lr=0.01, dim=64, test=0)
    assert trained.evaluate()["tag_accuracy"] > 0.75


def test_what_a_missed_entity_costs_is_added_to_the_score_of_outside() -> None:
    scores = torch.tensor([[[2.0, 0.0], [1.0, 3.0], [0.0, 0.0]]])
    tagger = _Fixed(scores)
    batch = Batch(torch.ones(1, 3), torch.tensor([[0, 1, -100]]), torch.tensor([0]))
    plain = Tagging(outside=0).loss(tagger, batch)
    dear = Tagging(outside=0, miss_cost=2.0).loss(tagger, batch)
    raised = torch.tensor([[2.0, 0.0], [3.0, 3.0]])
    for loss, these in ((plain, scores[0, :2]), (dear, raised)):
        expected = torch.nn.functional.cross_entropy(these, torch.tensor([0, 1]), reduction="sum")
        torch.testing.assert_close(loss.total, expected)
        assert loss.count == 2


class _Fixed(torch.nn.Module):
    """A tagger without a chain that says the same of all sentences."""

    crf = None

    def __init__(self, scores: torch.Tensor) -> None:
        super().__init__()
        self.scores = scores

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.scores
