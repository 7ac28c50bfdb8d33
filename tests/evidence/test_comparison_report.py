"""The report of a comparison: what it says, what it draws, and where its links lead."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import fake_comparison
import fake_run
import numpy as np
import pytest
from fake_comparison import ADJUSTED, FOCAL, PLAIN
from page import Page

from mlexpert.errors import InputError
from mlexpert.evidence.comparison.report import render_comparison, write_comparison
from mlexpert.evidence.comparison.results import recalls_of
from mlexpert.evidence.record import read_run

SMALL = replace(fake_run.KINDS["sealed"], largest=300, imbalance=10.0, epochs=2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three recipes and three seeds, of which one run failed."""
    root = tmp_path_factory.mktemp("comparison") / "of three"
    return fake_comparison.write(root, SMALL, lost=[(FOCAL, 1)])


@pytest.fixture(scope="module")
def page(folder):
    return Page(render_comparison(folder).read_text())


def results(folder):
    return json.loads((folder / "comparison.json").read_text())["results"]


def test_it_names_the_best_the_repeats_and_the_test(page):
    assert page.words.count(f"{ADJUSTED} has the best balanced accuracy on validation") == 1
    assert "different random splits of one data set" in page.words
    assert "Nadeau and Bengio 2003" in page.words and "only large differences" in page.words
    assert "Test sealed" in page.words or "test sealed" in page.words


def test_every_section_is_there_and_linked(page):
    ids = ["summary", "metrics", "differences", "classes", "runs", "left-out", "setup"]
    assert [one for one in page.ids if one in ids] == ids
    assert len(page.ids) == len(set(page.ids))
    inside = [link[1:] for link in page.links if link.startswith("#")]
    assert inside[: len(ids)] == ids and set(inside) <= set(page.ids)  # the rest are of figures


def test_it_says_what_failed_and_what_was_left_out_and_why(page):
    assert f"{FOCAL}, seed 1 failed: out of <b>memory" in page.words
    assert f"imbalanced-cls/smote {fake_comparison.REASON}" in page.words
    assert "2 of 3 runs" in page.words and "1 run failed" in page.words


def test_a_recipe_that_lacks_a_run_has_no_rank_and_is_not_tested(folder):
    found = results(folder)
    assert found["ranking"] == [ADJUSTED, PLAIN] and FOCAL in found["means"]
    assert {one["name"] for one in found["differences"]["balanced_accuracy"]} == {PLAIN}
    assert found["comparisons"] == 1


def test_it_is_one_file_without_script_or_network(page):
    assert "script" not in page.tags and "img" not in page.tags
    outside = [link for link in page.links if not link.startswith("#")]
    assert outside and all(re.fullmatch(r"[\w.-]+/\d/report\.html", link) for link in outside)


def test_links_lead_to_the_reports_of_the_runs(tmp_path):
    kind = replace(SMALL, names=("a", "b"), largest=80)
    skills = {PLAIN: 1.0, ADJUSTED: 2.0}
    root = fake_comparison.write(tmp_path / "c", kind, skills, seeds=[0], varies="rows")
    page = Page(write_comparison(root).read_text())
    links = [link for link in page.links if not link.startswith("#")]
    assert len(links) == 2 and all((root / link).is_file() for link in links)
    assert "paired bootstrap" in page.words and "nothing of another split" in page.words


def test_equal_folders_give_equal_bytes(folder):
    assert render_comparison(folder).read_bytes() == render_comparison(folder).read_bytes()


def test_dots_lie_where_the_numbers_are(folder):
    """Means in order from left to right are drawn in that order, and each row at its own height."""
    source = render_comparison(folder).read_text()
    figure = next(one for one in source.split("<figure>") if "<b>Balanced accuracy</b>" in one)
    drawn = re.findall(r'<use href="#\w+" x="([\d.]+)" y="([\d.]+)" style="([^"]*)"', figure)
    means = [(float(x), float(y)) for x, y, style in drawn if "var(--validation)" in style]
    assert len(means) == 3
    order = sorted(means, key=lambda place: place[1])  # from the top: the ranks, then the rest
    found = results(folder)["means"]
    values = [found[name]["balanced_accuracy"]["value"] for name in (ADJUSTED, PLAIN, FOCAL)]
    places = [x for x, _ in order]
    assert np.corrcoef(values, places)[0, 1] == pytest.approx(1.0, abs=1e-4)


def test_recalls_are_means_over_the_seeds(folder, page):
    found = results(folder)["recalls"]
    runs = [read_run(folder / "imbalanced-cls" / str(seed)) for seed in range(3)]
    expected = np.mean([recalls_of(run.validation.predictions) for run in runs], axis=0)
    assert found["values"][ADJUSTED] == pytest.approx(list(expected))
    predictions = runs[0].validation.predictions
    own = [
        (predictions.decisions[predictions.targets == k] == k).mean()
        for k in range(predictions.num_classes)
    ]
    assert recalls_of(predictions) == pytest.approx(own)
    for name in fake_run.FASHION:
        assert name in page.words


def test_a_baseline_that_lacks_a_run_is_not_replaced_in_silence(tmp_path):
    root = fake_comparison.write(tmp_path / "c", SMALL, baseline=FOCAL, lost=[(FOCAL, 1)])
    said = f"The baseline {FOCAL} lacks a run, so the others are compared with the best"
    assert said in Page(render_comparison(root).read_text()).words
    assert results(root)["reference"] == ADJUSTED and results(root)["chosen"]


def test_a_baseline_that_was_named_needs_fewer_comparisons(tmp_path):
    kind = replace(SMALL, names=("a", "b", "c"), largest=100)
    root = fake_comparison.write(tmp_path / "c", kind, baseline=PLAIN)
    found = results(root)
    assert (found["reference"], found["chosen"], found["comparisons"]) == (PLAIN, False, 2)
    words = Page(render_comparison(root).read_text()).words
    assert f"over the 2 comparisons with {PLAIN}" in words
    assert f"less that of {PLAIN}" in words


def test_a_plain_difference_of_rows_passes_however_many_recipes_there_are(tmp_path):
    """Holm multiplies the smallest p-value, 2 in the number of resamples, by the comparisons."""
    kind = replace(SMALL, names=("a", "b"), largest=300, imbalance=2.0)
    names = [f"family/{number}" for number in range(8)]
    skills = dict(zip(names, [4.0, *[0.0] * 7], strict=True))
    root = fake_comparison.write(tmp_path / "c", kind, skills, seeds=[0], varies="rows")
    found = results(root)
    assert (found["comparisons"], found["resamples"]) == (28, 1400)
    adjusted = [one["adjusted"] for one in found["differences"]["pr_auc"]]
    assert found["best"] == names[0] and max(adjusted) < 0.05
    assert "1,400 resamples" in Page(render_comparison(root).read_text()).words


def test_many_classes_are_drawn_rather_than_listed(tmp_path):
    kind = replace(fake_run.KINDS["hundred"], largest=40, imbalance=4.0, openings=0, epochs=1)
    root = fake_comparison.write(
        tmp_path / "c", kind, {PLAIN: 1.0, ADJUSTED: 2.0}, seeds=[0, 1], varies="training"
    )
    source = render_comparison(root).read_text()
    assert 'aria-label="recall of each class by recipe"' in source
    assert "only chance in training varies" in Page(source).words


def test_a_folder_without_a_finished_comparison_is_refused(tmp_path):
    with pytest.raises(InputError, match="comparison.json: not there"):
        render_comparison(tmp_path)
    (tmp_path / "comparison.json").write_text('{"status": "running"}')
    with pytest.raises(InputError, match="does not describe a finished comparison"):
        render_comparison(tmp_path)
