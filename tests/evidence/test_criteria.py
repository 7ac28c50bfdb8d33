from __future__ import annotations

import json
from dataclasses import replace

import fake_run
import numpy as np
import pytest

from mlexpert.data.ledger import Ledger
from mlexpert.evidence.class_guardrails import class_shift, largest_ece, prior_loss
from mlexpert.evidence.criteria import verdicts
from mlexpert.evidence.metrics import classification_metrics
from mlexpert.evidence.predictions import Predictions
from mlexpert.evidence.record import PartRecord, read_run

SMALL = replace(fake_run.KINDS["fashion"], num_test=600)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return fake_run.write(tmp_path_factory.mktemp("runs") / "run", SMALL)


def part(probabilities, targets, counts, decisions=None) -> PartRecord:
    probabilities = np.asarray(probabilities, dtype=float)
    decisions = probabilities.argmax(axis=1) if decisions is None else decisions
    metrics = classification_metrics(probabilities, decisions, targets, train_counts=counts)
    return PartRecord(
        "validation", Predictions(probabilities, decisions, targets), None, metrics, {}
    )


def answer(record, question: str):
    return next(one for one in verdicts(record) if one.question == question)


def with_run(record, **facts):
    return replace(record, run={**record.run, **facts})


def drawn(num_rows: int, num_classes: int = 3, seed: int = 0, sharpen: float = 1.0):
    """Return probabilities that come true, raised to a power, and targets drawn from them."""
    rng = np.random.default_rng(seed)
    true = rng.dirichlet(np.ones(num_classes), size=num_rows)
    targets = (true.cumsum(axis=1) > rng.random((num_rows, 1))).argmax(axis=1)
    said = true**sharpen
    return said / said.sum(axis=1, keepdims=True), targets


class TestCriteria:
    def test_larger_is_better_unless_it_is_an_error(self, folder):
        record = read_run(folder)
        values = record.shown.metrics
        asked = {
            "accuracy": values["accuracy"] - 0.01,
            "macro_f1": values["macro_f1"] + 0.01,
            "ece": values["ece"] + 0.01,
            "brier": values["brier"] - 0.01,
        }
        record = with_run(record, criteria=asked)
        found = {one.question: one for one in verdicts(record) if one.asked}
        assert [one.status for one in found.values()] == ["passed", "failed", "passed", "failed"]
        assert found["accuracy"].required.startswith("at least")
        assert found["ece"].required.startswith("at most")

    def test_an_interval_that_holds_the_bound_is_mentioned(self, folder):
        record = read_run(folder)
        low, high = record.test.intervals["accuracy"]
        record = with_run(record, criteria={"accuracy": low + 0.001, "roc_auc": 0.2})
        assert f"{low:.3f} to {high:.3f}" in answer(record, "accuracy").measured
        assert "interval" not in answer(record, "roc_auc").measured

    def test_unknown_and_undefined_metrics_are_not_measured(self, folder):
        record = with_run(read_run(folder), criteria={"no_such_metric": 0.5})
        assert answer(record, "no_such_metric").status == "not measured"
        record = with_run(record, criteria={"macro_f2": 0.1})
        assert "Did you mean 'macro_f1'?" in answer(record, "macro_f2").measured
        binary = part([[0.9, 0.1], [0.2, 0.8]], np.array([0, 1]), [500, 500])
        record = replace(with_run(record, criteria={"few_shot": 0.1}), test=None, validation=binary)
        record = with_run(record, schema={"class_names": ["a", "b"], "class_counts": [500, 500]})
        assert answer(record, "few_shot").status == "not measured"

    def test_without_predictions_nothing_passes(self, tmp_path):
        record = read_run(fake_run.write(tmp_path / "run", fake_run.KINDS["starting"]))
        record = with_run(record, leakage=[])
        assert {one.status for one in verdicts(record)} == {"not measured"}


class TestLeakage:
    @pytest.mark.parametrize(
        ("severities", "status"),
        [
            (["ok", "note", "skipped"], "passed"),
            (["ok", "warning"], "failed"),
            (["error"], "failed"),
            (["skipped", "skipped"], "not measured"),
            ([], "not measured"),
        ],
    )
    def test_status(self, folder, severities, status):
        findings = [{"check": name, "severity": name, "message": ""} for name in severities]
        record = with_run(read_run(folder), leakage=findings)
        assert answer(record, "The leakage audit is clean").status == status


class TestOpenedOnce:
    QUESTION = "The test split was opened once"

    def test_once_passes(self, folder):
        assert answer(read_run(folder), self.QUESTION).status == "passed"

    def test_twice_fails(self, tmp_path):
        run = fake_run.write(tmp_path / "run", replace(SMALL, openings=2))
        assert answer(read_run(run), self.QUESTION).status == "failed"

    def test_sealed_is_not_measured(self, tmp_path):
        run = fake_run.write(tmp_path / "run", replace(SMALL, openings=0))
        assert answer(read_run(run), self.QUESTION).status == "not measured"

    def test_an_edited_or_missing_ledger_fails(self, tmp_path):
        run = fake_run.write(tmp_path / "run", SMALL)
        ledger = run / "ledger.jsonl"
        ledger.write_text(ledger.read_text().replace("paper table 1", "just a look"))
        found = answer(read_run(run), self.QUESTION)
        assert found.status == "failed"
        assert "edited" in found.measured
        ledger.unlink()
        found = answer(read_run(run), self.QUESTION)
        assert found.status == "failed"
        assert "missing" in found.measured

    def test_openings_by_other_runs_count(self, tmp_path):
        run = fake_run.write(tmp_path / "run", SMALL)
        ledger = Ledger(fake_run.FINGERPRINT, home=run / "home")
        ledger.append(reason="another run", run="other", recipe="x@1")
        ledger.export(run / "ledger.jsonl")
        assert answer(read_run(run), self.QUESTION).measured.startswith("2 openings")


class TestGuardrails:
    COUNTS = np.array([200, 200, 200])

    def record(self, folder, validation):
        schema = {"class_names": ["a", "b", "c"], "class_counts": self.COUNTS.tolist()}
        record = with_run(read_run(folder), schema=schema)
        return replace(record, test=None, validation=validation)

    def test_noise_does_not_beat_guessing(self, folder):
        rng = np.random.default_rng(0)
        question = "Better than always guessing one class"
        answers = []
        for _ in range(40):
            noise = part(rng.dirichlet(np.ones(3), 300), rng.integers(0, 3, 300), self.COUNTS)
            answers.append(answer(self.record(folder, noise), question).status)
        assert answers.count("passed") <= 4
        skilled = part(*drawn(300), self.COUNTS)
        assert answer(self.record(folder, skilled), question).status == "passed"

    def test_probabilities_are_compared_with_the_training_frequencies(self, folder):
        question = "Probabilities say more than class frequencies"
        targets = np.array([0, 1, 2, 0, 1, 2])
        sure = np.eye(3)[(targets + 1) % 3] * 0.97 + 0.01
        assert prior_loss(part(sure, targets, self.COUNTS), self.COUNTS) == pytest.approx(np.log(3))
        wrong = self.record(folder, part(sure, targets, self.COUNTS))
        right = self.record(folder, part(np.eye(3)[targets] * 0.4 + 0.2, targets, self.COUNTS))
        assert answer(wrong, question).status == "failed"
        assert answer(right, question).status == "passed"

    @pytest.mark.parametrize("num_rows", [100, 5000])
    def test_calibration_is_judged_with_its_noise(self, folder, num_rows):
        question = "Probabilities are calibrated"
        honest = [
            answer(
                self.record(folder, part(*drawn(num_rows, seed=seed), self.COUNTS)), question
            ).status
            for seed in range(20)
        ]
        assert honest.count("passed") >= 17
        boastful = part(*drawn(num_rows, sharpen=4.0), self.COUNTS)
        assert answer(self.record(folder, boastful), question).status == "failed"

    def test_always_saying_no_is_not_calibrated_for_a_rare_class(self):
        targets = np.zeros(10_000, dtype=int)
        targets[:200] = 1
        never = part(np.tile([0.999, 0.001], (10_000, 1)), targets, [9800, 200])
        assert never.metrics["ece"] < 0.05
        assert never.metrics["ece"] > largest_ece(never, np.array([9800, 200]))

    def test_a_test_split_of_other_frequencies_is_noticed(self):
        counts = np.array([900, 90, 10])
        rng = np.random.default_rng(0)
        uniform = np.full((300, 3), 1 / 3)
        natural = part(uniform, rng.choice(3, 300, p=counts / 1000), counts)
        balanced = part(uniform, np.arange(300) % 3, counts)
        assert not class_shift(natural, counts)
        assert class_shift(balanced, counts)

    def test_calibration_is_then_judged_on_validation(self, folder):
        record = read_run(folder)
        assert class_shift(record.test, record.train_counts)
        assert answer(record, "Probabilities are calibrated").measured.endswith("on validation")

    def test_the_rule_is_compared_with_argmax(self, folder):
        question = "The decision rule beats plain argmax"
        probabilities = np.array([[0.6, 0.3, 0.1]] * 3)
        targets = np.array([0, 1, 2])
        better = part(probabilities, targets, self.COUNTS, decisions=np.array([0, 1, 0]))
        worse = part(probabilities, targets, self.COUNTS, decisions=np.array([1, 0, 0]))
        same = part(probabilities, targets, self.COUNTS)
        for one, status in ((better, "passed"), (worse, "failed"), (same, "not measured")):
            assert answer(self.record(folder, one), question).status == status


class TestGap:
    QUESTION = "What was learnt carries over to new rows"

    def record(self, folder, train, validation, name="train", metric="loss"):
        history = (
            {"split": name, "epoch": 3, metric: train},
            {"split": "validation", "epoch": 3, "log_loss": validation},
        )
        record = with_run(read_run(folder), best={"epoch": 3, "metric": "log_loss", "value": 0})
        return replace(record, history=history)

    def test_memorised_rows_fail_and_learnt_ones_pass(self, folder):
        assert answer(self.record(folder, 0.2, 0.4), self.QUESTION).status == "passed"
        assert answer(self.record(folder, 0.0, 1.4), self.QUESTION).status == "failed"

    def test_training_loss_above_that_of_validation_measures_no_gap(self, folder):
        found = answer(self.record(folder, 0.6, 0.4), self.QUESTION)
        assert found.status == "not measured"
        assert "augmentation" in found.measured

    def test_a_clean_training_loss_is_preferred(self, folder):
        record = self.record(folder, 0.0, 0.4, name="train_clean", metric="log_loss")
        noisy = {"split": "train", "epoch": 3, "loss": 0.9}
        record = replace(record, history=(noisy, *record.history))
        assert "0.000 on training rows" in answer(record, self.QUESTION).measured

    def test_losses_of_weighted_rows_or_classes_are_not_compared_with_guessing(self, folder):
        record = self.record(folder, 0.2, 0.4)
        for facts in (
            {"data": {**record.run["data"], "weights": {"mean": 1.0, "low": 0.5, "high": 2.0}}},
            {"config": {**record.run["config"], "class_weight": "balanced"}},
        ):
            found = answer(with_run(record, **facts), self.QUESTION)
            assert (found.status, "by their weights" in found.measured) == ("not measured", True)

    def test_without_losses(self, folder):
        record = replace(self.record(folder, 0, 0), history=())
        assert answer(record, self.QUESTION).status == "not measured"


def test_verdicts_survive_a_passage_through_json(folder):
    run = json.loads((folder / "run.json").read_text())
    del run["criteria"], run["leakage"]
    record = replace(read_run(folder), run=run)
    assert answer(record, "The leakage audit is clean").status == "not measured"
