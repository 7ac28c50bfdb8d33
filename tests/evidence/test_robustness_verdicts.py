"""What head and verdicts of the report say of attacks, and what it does with broken records."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import fake_attacks
import fake_run
import pytest
from fake_attacks import CIFAR, THREAT
from page import Page
from safetensors.numpy import load_file, save_file

from mlexpert.evidence import plots
from mlexpert.evidence.criteria import verdicts
from mlexpert.evidence.record import read_run
from mlexpert.evidence.report import render
from mlexpert.evidence.robustness import figures as robustness_figures
from mlexpert.evidence.robustness.headlines import robust_cards, robust_rows, robust_sentence

L2 = CIFAR | {"norm": "l2", "epsilon": 0.5}


@pytest.fixture(scope="module")
def blank(tmp_path_factory):
    """A sealed run without attacks, to be copied by those that change it."""
    return fake_run.write(tmp_path_factory.mktemp("runs") / "run", fake_run.KINDS["sealed"])


@pytest.fixture
def run(blank, tmp_path):
    """A run folder of this test's own."""
    return copy_of(blank, tmp_path / "own")


@pytest.fixture
def no_svg(monkeypatch):
    """Figures are not laid out, which takes time."""
    for module in (plots, robustness_figures):
        monkeypatch.setattr(module, "to_svg", lambda figure, title: "<svg></svg>")


def copy_of(run, folder):
    return Path(shutil.copytree(run, folder))


def source_of(run) -> str:
    return render(run).read_text(encoding="utf-8")


def section(source: str) -> str:
    return source[source.index('<section id="robustness">') :].partition("</section>")[0]


def words(source: str) -> str:
    return Page(section(source) + "</section>").words


def answer(run, question: str):
    return next(one for one in verdicts(read_run(run)) if one.question == question)


def asked(run, bound: float):
    fake_attacks.say(run, None, criteria={"robust_accuracy": bound})
    return answer(run, "robust_accuracy")


def test_head_of_the_report_and_table_of_all_metrics(run, no_svg):
    fake_attacks.add(run, part="validation")
    text = Page(source_of(run)).words
    assert (
        "Under attack (L∞, ε = 0.3) 89.9 % of 1,000 validation rows are still decided rightly "
        "(95 % interval 87.9 to 91.6 %); 98.2 % without an attack."
    ) in text
    assert "Robust accuracy (L∞, ε = 0.3)higher0.899" in text
    record = read_run(run)
    (card,) = robust_cards(record)
    assert card["name"] == "Robust accuracy" and card["value"] == "0.899"
    fake_attacks.add(run, part="test", robust=fake_attacks.share(880, 1000), verdict="invalid")
    record = read_run(run)
    (row,) = robust_rows(record)
    assert (row["validation"], row["test"]) == ("0.899", "0.880")
    assert row["interval_note"] == "Wilson, of 1,000 rows"
    (card,) = robust_cards(record)
    assert card["name"] == "Robust accuracy (test)", "the other cards are of validation"
    assert card["note"].count("Invalid") == 1
    assert robust_sentence(record).endswith("This number is invalid.")


@pytest.mark.parametrize(
    ("verdict", "bound", "status"),
    [
        ("trusted", 0.899, "passed"),
        ("trusted", 0.9, "failed"),
        ("suspect", 0.899, "not measured"),  # it may be lower
        ("suspect", 0.9, "failed"),
        ("invalid", 0.1, "not measured"),
        ("invalid", 0.95, "not measured"),
        (None, 0.1, "not measured"),
    ],
)
def test_a_criterion_on_robust_accuracy(run, verdict, bound, status):
    fake_attacks.add(run, pictures=None, verdict=verdict)
    found = asked(run, bound)
    assert found.asked and found.status == status
    assert found.required == f"at least {bound:g}"
    assert ("leaves that open" in found.measured) == (status != "not measured")
    assert asked(run, 0.95).measured.startswith("0.899 on test (L∞, ε = 0.3)")


def test_a_criterion_needs_the_trained_threat(run):
    fake_attacks.add(run, threat=L2, trained=THREAT, pictures=None)
    found = asked(run, 0.5)
    assert found.status == "not measured"
    assert "it was trained against another threat, L∞, ε = 0.3" in found.measured
    fake_attacks.add(run, trained=THREAT, pictures=None)
    assert asked(run, 0.5).status == "passed"


def test_a_criterion_of_a_run_without_attacks_and_of_an_ordinary_model(run):
    assert asked(run, 0.5).status == "not measured"
    fake_attacks.add(run, trained=None, pictures=None)
    assert asked(run, 0.5).status == "passed"


@pytest.mark.parametrize(
    ("verdict", "status"), [("trusted", "passed"), ("suspect", "failed"), ("invalid", "failed")]
)
def test_a_verdict_on_the_attacks(run, verdict, status):
    fake_attacks.add(run, pictures=None, verdict=verdict)
    found = answer(run, "The attacks leave no doubt about the robust accuracy")
    assert found.status == status and verdict in found.measured
    assert ("without gradients" in found.measured) == (verdict != "trusted")


BROKEN = {
    "sweep": [{"epsilon": 0.1}],
    "corruptions": [{"name": "jpeg", "severity": "mild", "accuracy": 0.5}],
    "landscape": {"span": 0.3, "losses": [[1.0, None], [1.0, 2.0]]},
    "attacks": [{"name": "PGD"}],
    "checks": "none",
    "verdict": "fine",
    "clean": 0.9,
}


def test_fields_that_are_broken_are_named_and_left_out(run, no_svg):
    fake_attacks.add(run, pictures=None, **BROKEN)
    record = read_run(run)
    file = "attacks/test-linf-0.3.json"
    assert {name for name in record.missing if name.startswith(file)} == {
        f"{file}: {key}" for key in BROKEN
    }
    text = words(source_of(run))
    assert "0.899" in text and "this record lists no attacks" in text
    assert "Clean accuracy" not in text and "not measured The record holds no verdict" in text
    assert "Not measured: accuracy without an attack" in text


@pytest.mark.parametrize(
    "content", ["{", "[]", "null", '{"part": "test"}', '{"part": "test", "threat": {"norm": 1}}']
)
def test_files_that_are_no_record_are_named(run, content):
    (run / "attacks").mkdir()
    (run / "attacks" / "x.json").write_text(content)
    record = read_run(run)
    assert record.attacks == () and "attacks/x.json" in record.missing


def test_pictures_that_cannot_be_read_are_named(run, no_svg):
    file = fake_attacks.add(run).with_suffix(".safetensors")
    arrays = load_file(file)
    for change in ({"clean": arrays["clean"][:3]}, {"after": arrays["after"][:3]}):
        save_file(arrays | change, file)
        record = read_run(run)
        assert record.attacks[0].pictures is None and f"attacks/{file.name}" in record.missing
    file.write_bytes(b"no pictures")
    assert f"attacks/{file.name}" in read_run(run).missing
    assert "What the attacks did" not in words(source_of(run))


def test_the_report_says_why_training_ended(run, no_svg):
    why = "the robust accuracy on validation fell from 0.700 to 0.100."
    facts = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**facts, "ended": {"epoch": 4, "why": why}}))
    assert f"Training ended after epoch 4: {why}" in Page(render(run).read_text()).text
