"""Reports, verdicts and metrics of models of sequences."""

from __future__ import annotations

import re

import fake_sequences
import numpy as np
import pytest
from page import Page

from mlexpert.errors import InputError
from mlexpert.evidence.bootstrap import intervals_of
from mlexpert.evidence.criteria import verdicts
from mlexpert.evidence.objectives import metrics_of
from mlexpert.evidence.record import read_run
from mlexpert.evidence.report import render
from mlexpert.evidence.sequences.metrics import CountedPredictions

OBJECTIVES = tuple(fake_sequences.COUNTS)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    home = tmp_path_factory.mktemp("runs")
    return {one: fake_sequences.write(home / one, one) for one in OBJECTIVES}


@pytest.fixture(scope="module")
def sources(runs):
    return {name: render(run).read_text(encoding="utf-8") for name, run in runs.items()}


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_one_file_that_needs_nothing_else(sources, objective):
    source = sources[objective]
    page = Page(source)
    assert all(link.startswith(("#", "data:image/")) for link in page.links)
    assert not page.tags & {"script", "link", "iframe", "object", "further"}
    assert not re.search(r"https?:|@import|url\((?!#)", source)
    assert "#00fe" not in source, "a colour of the figures was left unnamed"
    assert not {"nan", "inf"} & set(page.words.lower().split())
    assert "answers" in page.ids and not {"classes", "predictions"} & set(page.ids)


def test_each_family_shows_its_answers(sources):
    words = {name: Page(source).words for name, source in sources.items()}
    assert "hear me speak" in words["tokens"] and "bits a byte" in words["tokens"]
    assert "Ann went to <b>Rome</b>" in words["tags"]
    assert "Rome</b>: O for B-place <i>" in words["tags"]
    assert "none" in words["tags"] and "person12" in words["tags"]
    assert "b>a" in words["transduction"]
    assert "north: load" in words["forecast"] and "hold 80 %" in words["forecast"]
    assert "seasonal naive0.60000.5000" in words["forecast"]


def test_verdicts_ask_what_needs_no_model(runs):
    found = {name: {one.question: one for one in verdicts(read_run(run))} for name, run in
             runs.items()}  # fmt: skip
    assert found["tokens"]["Better than guessing tokens alike"].status == "passed"
    assert found["tokens"]["The loss is not too good to be true"].status == "passed"
    assert found["tags"]["Better than giving every word the most common tag"].status == "passed"
    assert found["forecast"]["Better than repeating the last season"].status == "passed"
    assert found["tokens"]["loss"].status == "passed" and found["tokens"]["loss"].asked
    assert found["tags"]["loss"].status == "not measured"
    carried = found["tokens"]["What was learnt carries over to new rows"]
    assert carried.status == "passed"


def test_without_answers_the_report_says_so(runs, tmp_path):
    run = fake_sequences.write(tmp_path / "run", "tags", opened=False)
    (run / "sequences.json").unlink()
    assert "has not shown its answers yet" in Page(render(run).read_text()).words


def test_metrics_are_ratios_of_sums_and_not_means_of_ratios():
    counts = {"nats": np.array([1.0, 30.0]), "tokens": np.array([1.0, 10.0]),
              "bytes": np.array([2.0, 20.0])}  # fmt: skip
    found = metrics_of("tokens", counts, train_counts=())
    assert found["loss"] == pytest.approx(31 / 11)
    assert found["perplexity"] == pytest.approx(np.exp(31 / 11))
    assert found["bits_per_byte"] == pytest.approx(31 / 22 / np.log(2))
    spans = {name: np.array([value, 0.0]) for name, value in
             {"right": 3, "tokens": 4, "found": 1, "given": 2, "true": 3}.items()}  # fmt: skip
    found = metrics_of("tags", spans, train_counts=())
    assert found["entity_f1"] == pytest.approx(2 * (1 / 2 * 1 / 3) / (1 / 2 + 1 / 3))
    nothing = {**spans, "true": np.zeros(2), "given": np.zeros(2), "found": np.zeros(2)}
    assert np.isnan(metrics_of("tags", nothing, train_counts=())["entity_f1"])


def test_an_interval_covers_what_the_rows_vary(runs):
    rng = np.random.default_rng(1)
    counts = fake_sequences.token_counts(rng, 400)
    interval = intervals_of("tokens", counts, train_counts=())["loss"]
    assert interval.low < 1.6 < interval.high < interval.low + 0.06


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ({"tokens": np.ones(2)}, "nats"),
        ({"nats": np.ones(2), "tokens": np.ones(3)}, "one count a row"),
        ({"nats": np.array([np.nan]), "tokens": np.ones(1)}, "non-finite"),
        ({"nats": np.empty(0), "tokens": np.empty(0)}, "at least one row"),
    ],
)
def test_counts_that_cannot_be_are_refused(counts, words):
    with pytest.raises(InputError, match=words):
        CountedPredictions("tokens", counts)
