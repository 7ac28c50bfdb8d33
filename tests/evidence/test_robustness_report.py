"""The report's section on attacks: as trained, under other threats, of tables, and not measured."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
from pathlib import Path

import fake_attacks
import fake_run
import numpy as np
import pytest
from fake_attacks import CIFAR, TABLE, THREAT
from page import Page
from PIL import Image
from scipy.stats import binomtest

from mlexpert.evidence import plots
from mlexpert.evidence.criteria import verdicts
from mlexpert.evidence.record import read_run
from mlexpert.evidence.report import render
from mlexpert.evidence.robustness import figures as robustness_figures
from mlexpert.evidence.robustness.headlines import robust_cards, robust_rows, robust_sentence
from mlexpert.evidence.robustness.record import ThreatRecord
from mlexpert.evidence.robustness.sections import robustness
from mlexpert.evidence.robustness.words import threat_name, threat_sentence

BARE = {"pictures": None, "landscape": None, "sweep": []}
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


@pytest.fixture(scope="module")
def suspect(blank, tmp_path_factory):
    """A run under suspicion with its report; figures of other sections are not laid out."""
    run = copy_of(blank, tmp_path_factory.mktemp("suspect") / "run")
    fake_attacks.add(run, verdict="suspect")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plots, "to_svg", lambda figure, title: "<svg></svg>")
        return source_of(run)


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


def test_the_section_is_there_and_needs_nothing_else(suspect):
    page = Page(suspect)
    assert "robustness" in page.ids and "#robustness" in page.links
    assert not page.tags & {"script", "link", "iframe", "object"}
    assert {link[:5] for link in page.links if not link.startswith("#")} == {"data:"}
    assert "#00fe" not in suspect, "a colour of the figures was left unnamed"
    assert "nan" not in page.words.lower().split()
    assert "<b>model</b>" not in suspect and "no other <b>model</b> was given" in page.words
    assert len(section(suspect)) < 150_000


def test_the_same_folder_gives_the_same_section(run):
    fake_attacks.add(run)
    record = read_run(run)
    assert robustness(record) == robustness(record)


def test_an_ordinary_run_has_no_such_section(run, no_svg):
    page = Page(source_of(run))
    assert "robustness" not in page.ids and "attack" not in page.words.lower()
    record = read_run(run)
    assert robustness(record) is None
    assert (robust_sentence(record), robust_cards(record), robust_rows(record)) == ("", [], [])


def test_a_run_that_nobody_attacked_says_what_to_do(run, no_svg):
    fake_attacks.say(run, CIFAR, criteria={"robust_accuracy": 0.1})
    source = source_of(run)
    assert "The model was trained against L∞, ε = 8/255." in words(source)
    assert "Not measured" in words(source)
    assert f"<code>mlexpert attack {run.name}</code>" in section(source)
    question = "The attacks leave no doubt about the robust accuracy"
    assert answer(run, question).status == "not measured"
    assert answer(run, "robust_accuracy").status == "not measured"


def test_numbers_of_the_tables_are_those_of_the_record(run, no_svg):
    fake_attacks.add(run)
    (found,) = robustness(read_run(run))["records"]
    standing = [982, *(left for _, _, left, _ in fake_attacks.ATTACKS)]
    rows = found["attacks"]
    assert [row["before"] for row in rows] == standing[:-1]
    assert [row["after"] for row in rows] == standing[1:]
    assert sum(row["gain"] for row in rows) == 982 - 899
    assert rows[2]["points"] == pytest.approx(3.3)
    assert rows[0]["parameters"] == "steps 20, restarts 1, step size 0.0375"
    assert found["seconds"] == pytest.approx(sum(one[3] for one in fake_attacks.ATTACKS))
    for card, correct in zip(found["cards"], (982, 899), strict=True):
        ends = binomtest(correct, 1000).proportion_ci(method="wilson")
        assert card["interval"] == f"{ends.low:.3f} to {ends.high:.3f}"
        assert card["note"].startswith(f"{correct} of 1,000 test rows, drawn from 1,200, are")
    kinds = found["corruptions"]["rows"]
    assert kinds[0]["name"] == "jpeg" and kinds[-1]["name"] == "contrast"
    assert kinds[0]["mean"] == pytest.approx(np.mean(kinds[0]["cells"]))


def test_the_page_has_the_worst_case_and_every_check(suspect):
    text = words(suspect)
    assert "PGD, margin losssteps 20, restarts 1, step size 0.0375982951313.1 %2.9 s" in text
    assert "Worst casea row stands if no attack broke it1,00089910110.1 %3 min 56 s" in text
    assert "the 18 rows decided wrongly without an attack count as broken" in text
    for _, title, _, detail in fake_attacks.CHECKS:
        assert f"{title}{detail}" in text
    assert "? suspect Take the robust accuracy as an upper bound" in text
    assert "Attacks without gradients are not stronger: suspect" in text


def test_the_trained_threat_comes_first_and_test_before_validation(run, no_svg):
    for threat, part in ((L2, "test"), (CIFAR, "validation"), (CIFAR, "test"), (THREAT, "given")):
        fake_attacks.add(run, threat=threat, part=part, trained=CIFAR, **BARE)
    record = read_run(run)
    order = [(one.threat.norm, one.threat.epsilon, one.part) for one in record.attacks]
    small = CIFAR["epsilon"]
    assert order == [
        ("linf", small, "test"), ("linf", small, "validation"), ("l2", 0.5, "test"),
        ("linf", 0.3, "given"),
    ]  # fmt: skip
    found = robustness(record)
    assert [one["warning"] != "" for one in found["records"]] == [False, False, True, True]
    assert (
        "trained against L∞, ε = 8/255, and attacked by L2, ε = 0.5"
        in (found["records"][2]["warning"])
    )
    assert [row["as_trained"] for row in found["overview"]] == [True, True, False, False]
    text = words(source_of(run))
    assert text.count(" as trained") == 2 and text.count("Threat model") == 4


def test_a_threat_in_words():
    pixels = ThreatRecord("linf", 8 / 255, "of the pixel range, 0 to 1", 0.0, 1.0)
    assert threat_name(pixels) == "L∞, ε = 8/255"
    assert "by more than ε = 8/255 (0.03137) of the pixel range, 0 to 1" in threat_sentence(pixels)
    assert "stays between 0 and 1" in threat_sentence(pixels)
    assert "(white-box)" in threat_sentence(pixels)
    table = ThreatRecord("linf", 1.0, "times the budget of each column", budgets={"age": 2.0})
    assert threat_name(table) == "L∞, a budget for each column"
    table = ThreatRecord("linf", 0.1, "standard deviations of each column", budgets={"age": 1.3})
    assert "its own budget, ε = 0.1 standard deviations of each column; " in threat_sentence(table)
    assert threat_name(ThreatRecord("linf", 0.031, "of the pixel range")) == "L∞, ε = 0.031"
    assert threat_name(ThreatRecord("l2", 1.0, "of the pixel range")) == "L2, ε = 1"
    assert "Euclidean length" in threat_sentence(ThreatRecord("l2", 0.5))
    assert "add up to at most ε = 12" in threat_sentence(ThreatRecord("l1", 12.0))
    blind = threat_sentence(ThreatRecord("l2", 0.5, knowledge="black-box"))
    assert "not its weights" in blind and "white-box" not in blind


def test_a_threat_is_the_same_by_its_budgets():
    def of(epsilon, **budgets):
        return ThreatRecord("linf", epsilon, budgets=budgets)

    assert of(1.0, age=2.0, sex=0.0).is_like(of(0.1, age=2.0 + 1e-9))
    assert not of(1.0, age=2.0).is_like(of(1.0, age=2.1))
    assert not of(1.0, age=2.0).is_like(ThreatRecord("linf", 1.0))
    assert not ThreatRecord("linf", 8 / 255).is_like(ThreatRecord("linf", 0.031))
    assert ThreatRecord("linf", 0.3).is_like(ThreatRecord("linf", float(np.float32(0.3))))


def test_a_table_names_its_budgets_and_what_it_lacks(run, no_svg):
    fake_attacks.add(run, threat=TABLE, trained=None, pictures=None, corruptions=[], landscape=None)
    source = source_of(run)
    text = words(source)
    assert "no column moves by more than its own budget" in text
    assert "age <b>2.000" in text and "<b>2.000" not in source
    assert "The model was not trained against any attack." in text
    assert "Not measured: the loss about an input." in text
    assert "<img" not in section(source)


@pytest.mark.parametrize(("channels", "epsilon", "factor"), [(1, 0.3, "1.5"), (3, 8 / 255, "15")])
def test_pictures_show_the_difference_magnified(run, no_svg, channels, epsilon, factor):
    fake_attacks.add(run, threat=THREAT | {"epsilon": epsilon}, pictures=(channels, 28))
    record = read_run(run)
    (found,) = robustness(record)["records"]
    shown = found["pictures"]
    assert shown["factor"] == factor and len(shown["rows"]) == 8
    first = shown["rows"][6]
    assert (first["target"], first["before"]) == ("Shirt", "Pullover")
    kept = record.attacks[0].pictures
    images = []
    for uri, crisp in first["images"]:
        assert crisp
        image = Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))
        images.append(np.asarray(image, dtype=float).reshape(28, 28, channels) / 255)
    clean, moved, difference = images
    assert np.abs(clean - kept.clean[6].transpose(1, 2, 0)).max() < 0.003
    assert np.abs(0.5 + float(factor) * (moved - clean) - difference).max() < 0.02 * float(factor)
    change = kept.adversarial[6] - kept.clean[6]
    assert difference[np.abs(change.transpose(1, 2, 0)) < 1e-6] == pytest.approx(0.5, abs=0.01)


def test_a_magnification_never_leaves_the_range():
    rng = np.random.default_rng(0)
    clean = np.zeros((1, 1, 8, 8))
    for size in (0.9, 0.5, 0.3, 8 / 255, 1e-3, 1e-6):
        moved = clean + size * np.sign(rng.normal(size=clean.shape))
        factor = robustness_figures.magnification(clean, moved)
        assert factor >= 1 and (factor == 1 or factor * size <= 0.5 + 1e-6)
    assert robustness_figures.magnification(clean, clean) == 1


def test_figures_show_chance_radius_and_worst_case(suspect):
    sweep, landscape = re.findall(r"<svg.*?</svg>", section(suspect), re.DOTALL)
    assert "guessing 0.1" in sweep and "ε = 0.3" in sweep
    assert "of the pixel range, 0 to 1" in sweep and "var(--test)" in sweep
    assert "nan" not in sweep + landscape
    assert "along the gradient" in landscape


def test_a_landscape_that_is_flat_is_drawn(run):
    flat = {"span": 0.3, "losses": np.full((5, 5), 2.3).tolist()}
    fake_attacks.add(run, pictures=None, landscape=flat)
    (found,) = robustness(read_run(run))["records"]
    assert found["landscape"].startswith("<svg")


def test_training_curves_under_attack(run, monkeypatch):
    drawn = []
    monkeypatch.setattr(plots, "to_svg", lambda figure, title: drawn.append(title) or "<svg></svg>")
    fake_attacks.add_curves(run)
    source = source_of(run)
    assert "error under attack over epochs" in drawn
    assert "Attacked are validation rows under PGD" in source


def test_every_row_of_the_page_counts_its_rows_alike(run, no_svg):
    fake_attacks.add(run, pictures=None, total_rows=1000)
    (found,) = robustness(read_run(run))["records"]
    assert "899 of 1,000 test rows are" in found["cards"][1]["note"]
    facts = json.loads((run / "attacks" / "test-linf-0.3.json").read_text())
    assert found["standing"] == facts["robust"]["correct"]
    assert re.fullmatch(r"0\.3; ε is 0\.3", dict(found["facts"])["Largest change"])
