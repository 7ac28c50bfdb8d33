"""Reports and verdicts of labels, of numbers and of folds."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
from dataclasses import replace

import fake_objectives
import fake_run
import numpy as np
import pytest
from page import Page
from PIL import Image
from safetensors.numpy import load_file
from sklearn import metrics as sk

from mlexpert.evidence.criteria import verdicts
from mlexpert.evidence.record import read_run
from mlexpert.evidence.report import render
from mlexpert.evidence.values import figures as value_figures


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    home = tmp_path_factory.mktemp("runs")
    labels = fake_objectives.write(home / "labels", "multilabel", num_rows=500)
    values = fake_objectives.write(home / "values", "regression", num_rows=500)
    folds = fake_objectives.write(home / "folds", "regression", num_rows=600, folds=3, openings=0)
    pictures = fake_run.write(home / "pictures", replace(fake_run.KINDS["sealed"], epochs=3))
    fake_objectives.add_texts(labels)
    fake_objectives.add_rows(values)
    fake_objectives.add_pictures(pictures, fake_run.FASHION)
    return {"labels": labels, "values": values, "folds": folds, "pictures": pictures}


@pytest.fixture(scope="module")
def sources(runs):
    return {name: render(run).read_text(encoding="utf-8") for name, run in runs.items()}


@pytest.fixture(scope="module")
def pages(sources):
    return {name: Page(source) for name, source in sources.items()}


def answers(run) -> dict[str, str]:
    return {one.question: one.status for one in verdicts(read_run(run))}


@pytest.mark.parametrize("kind", ["labels", "values", "folds", "pictures"])
def test_one_file_that_needs_nothing_else(sources, pages, kind):
    source, page = sources[kind], pages[kind]
    assert all(link.startswith(("#", "data:image/")) for link in page.links)
    assert not page.tags & {"script", "link", "iframe", "object", "i>owner"}
    assert not re.search(r"https?:|@import|url\((?!#)", source)
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)
    assert "#00fe" not in source, "a colour of the figures was left unnamed"
    assert not {"nan", "inf"} & set(page.words.lower().split())
    assert len(source) < 400_000


def test_sections_follow_the_objective(pages):
    assert {"labels", "probabilities", "examples", "subgroups"} <= set(pages["labels"].ids)
    assert {"predictions", "examples", "importance", "subgroups"} <= set(pages["values"].ids)
    assert {"folds", "predictions"} <= set(pages["folds"].ids)
    assert not {"classes", "labels", "probabilities"} & set(pages["values"].ids)
    assert "folds" not in pages["values"].ids


def test_numbers_are_those_of_scikit_learn(runs, pages):
    arrays = load_file(runs["values"] / "predictions/test.safetensors")
    rmse = sk.root_mean_squared_error(arrays["targets"], arrays["predictions"])
    half, most = np.quantile(abs(arrays["targets"] - arrays["predictions"]), [0.5, 0.9])
    words = pages["values"].words
    assert f"Root mean squared error {rmse:,.0f} 95 %:" in words
    assert f"within {half:,.0f} of the truth, and 90 % within {most:,.0f}" in words
    arrays = load_file(runs["labels"] / "predictions/test.safetensors")
    f1 = sk.f1_score(arrays["targets"], arrays["decisions"], average="micro")
    assert f"micro F1 is {f1:.3f}" in pages["labels"].words


def test_only_a_rule_of_decision_is_said_to_be_chosen(pages):
    assert "on which the epoch was chosen" in pages["values"].words
    assert "on which epoch and decision rule were chosen" in pages["labels"].words


def test_criteria_read_in_their_own_direction(pages):
    words = pages["values"].words
    assert "at most 50,000" in words and "at most 10,000 away from 0" in words
    assert "at least 0.95" in words and "it says nothing of the model" in words
    assert "at most 0.05" in pages["labels"].words


def test_labels_stand_by_support_with_their_thresholds(runs, sources):
    source = sources["labels"]
    table = source[source.index('<section id="labels">') : source.index("Labels taken for one")]
    rows = re.findall(r'<th scope="row">([^<]*)</th>.*?([\d.]+)</td></tr>', table)
    support = load_file(runs["labels"] / "predictions/test.safetensors")["targets"].sum(axis=0)
    order = np.argsort(-support, kind="stable")
    names = [fake_objectives.LABELS[k].replace("<b>&", "&lt;b&gt;&amp;") for k in order]
    assert [name for name, _ in rows] == names
    assert {threshold for _, threshold in rows} == {"0.40", "0.50"}


def test_what_a_user_named_is_escaped(sources, pages):
    for kind, named in (("labels", "foliage <b>&"), ("values", "<i>owner"), ("values", "w <b>&")):
        assert named not in sources[kind] and named in pages[kind].words


def test_weights_are_a_line_of_the_data(pages):
    assert (
        "Rows count by the weights in w <b>&, from 0.25 to 4, in training" in pages["values"].words
    )


def test_folds_show_each_score_and_their_spread(runs, pages):
    scores = []
    for number in (1, 2, 3):
        arrays = load_file(runs["folds"] / f"folds/{number}/predictions/validation.safetensors")
        scores.append(sk.root_mean_squared_error(arrays["targets"], arrays["predictions"]))
        assert f"{number}200{scores[-1]:,.0f}" in pages["folds"].words
    mean, deviation = np.mean(scores), np.std(scores, ddof=1)
    assert f"Mean{mean:,.0f} ± {deviation:,.0f}" in pages["folds"].words
    assert "out of fold" in pages["folds"].words
    assert "A line for each fold" in pages["folds"].words


@pytest.mark.parametrize("how", ["one", "all"])
def test_folds_that_are_gone_are_said(tmp_path, runs, monkeypatch, how):
    monkeypatch.setattr("mlexpert.evidence.plots.to_svg", lambda figure, title: "<svg></svg>")
    run = shutil.copytree(runs["folds"], tmp_path / "run")
    shutil.rmtree(run / "folds" / ("2" if how == "one" else ""))
    words = Page(render(run).read_text(encoding="utf-8")).words
    assert f"{'2' if how == 'one' else '0'} of 3 could be read" in words


def test_worst_pictures_are_small_sharp_and_inside_of_the_page(sources, pages):
    pictures = [link for link in pages["pictures"].links if link.startswith("data:")]
    assert len(pictures) > 24  # some stand beside the pair that they belong to, too
    kind, _, text = pictures[-1].partition(",")
    assert kind == "data:image/png;base64"
    assert Image.open(io.BytesIO(base64.b64decode(text))).size == (28, 28)
    assert sources["pictures"].count('class="crisp"') == len(pictures)
    assert "decided Ankle boot" in pages["pictures"].words


def test_pictures_beside_counts_of_another_split_say_so(tmp_path, monkeypatch, pages):
    monkeypatch.setattr("mlexpert.evidence.plots.to_svg", lambda figure, title: "<svg></svg>")
    run = fake_run.write(tmp_path / "run", replace(fake_run.KINDS["fashion"], num_test=200))
    fake_objectives.add_pictures(run, fake_run.FASHION)
    said = "Counts are of test rows, pictures of validation rows"
    assert said in Page(render(run).read_text(encoding="utf-8")).words
    assert said not in pages["pictures"].words  # of which the test split is sealed


def test_large_pictures_are_reduced_and_foreign_files_left_alone(tmp_path, runs, monkeypatch):
    monkeypatch.setattr("mlexpert.evidence.plots.to_svg", lambda figure, title: "<svg></svg>")
    run = shutil.copytree(runs["pictures"], tmp_path / "run")
    found = json.loads((run / "examples.json").read_text())[:4]
    Image.new("RGBA", (900, 300)).save(run / "large.png")
    Image.new("L", (5, 5)).save(tmp_path / "outside.png")
    (run / "no-picture.png").write_text("<svg>")
    names = ("large.png", "../outside.png", "no-picture.png", "gone.png")
    for one, name in zip(found, names, strict=True):
        one |= {"file": name, "target": "Bag", "decision": "Bag"}
    (run / "examples.json").write_text(json.dumps(found))
    (link,) = [
        link
        for link in Page(render(run).read_text(encoding="utf-8")).links
        if link.startswith("data:")
    ]
    picture = Image.open(io.BytesIO(base64.b64decode(link.partition(",")[2])))
    assert (picture.format, picture.size) == ("JPEG", (256, 85))


def test_worst_rows_and_texts_are_tables(pages):
    assert "480,000" in pages["values"].words and "median income" in pages["values"].words
    words = pages["labels"].words
    assert "beach, sunset, foliage <b>&night" in words and "no label" in words
    assert "that of all labels being as decided" in words


def test_importance_says_how_many_columns_are_idle(runs, pages):
    found = json.loads((runs["values"] / "importance.json").read_text())["columns"]
    idle = sum(one["mean"] <= 2 * one["std"] for one in found)
    assert 0 < idle < len(found)
    assert f"{idle} of {len(found)} columns show no loss" in pages["values"].words


@pytest.mark.parametrize("name", ["examples.json", "importance.json"])
@pytest.mark.parametrize("content", ["[", "{}", "[3]", '{"columns": []}'])
def test_what_is_broken_costs_only_its_section(tmp_path, runs, monkeypatch, name, content):
    monkeypatch.setattr("mlexpert.evidence.plots.to_svg", lambda figure, title: "<svg></svg>")
    monkeypatch.setattr(value_figures, "to_svg", lambda figure, title: "<svg></svg>")
    run = shutil.copytree(runs["values"], tmp_path / "run")
    (run / name).write_text(content)
    page = Page(render(run).read_text(encoding="utf-8"))
    assert name.removesuffix(".json") not in page.ids and "predictions" in page.ids


class TestVerdicts:
    def replaced(self, tmp_path, runs, kind, **arrays):
        from safetensors.numpy import save_file

        run = shutil.copytree(runs[kind], tmp_path / "run")
        file = run / "predictions/test.safetensors"
        save_file(load_file(file) | arrays, file)
        return answers(run)

    def test_skill_passes(self, runs):
        found = answers(runs["values"])
        assert found["Better than predicting the mean"] == "passed"
        # Its rows have weights, which the losses of training carry and those of new rows do not.
        assert found["What was learnt carries over to new rows"] == "not measured"
        found = answers(runs["labels"])
        assert found["Better than giving every row the same labels"] == "passed"
        assert found["Probabilities say more than label frequencies"] == "passed"

    def test_noise_about_the_mean_does_not_beat_it(self, tmp_path, runs):
        targets = load_file(runs["values"] / "predictions/test.safetensors")["targets"]
        noise = np.random.default_rng(0).normal(0, targets.std() / 20, len(targets))
        found = self.replaced(tmp_path, runs, "values", predictions=targets.mean() + noise)
        assert found["Better than predicting the mean"] == "failed"
        assert found["Predictions are right on average"] == "passed"

    def test_a_bias_is_found(self, tmp_path, runs):
        arrays = load_file(runs["values"] / "predictions/test.safetensors")
        biased = arrays["targets"] + 20_000.0
        biased[::2] -= 10_000.0
        found = self.replaced(tmp_path, runs, "values", predictions=biased)
        assert found["Predictions are right on average"] == "failed"

    def test_stating_frequencies_is_no_skill(self, tmp_path, runs):
        schema = json.loads((runs["labels"] / "run.json").read_text())["schema"]
        prior = np.array(schema["class_counts"]) / schema["num_rows"]
        size = (500, len(prior))
        probabilities = np.broadcast_to(prior * 1.5, size).astype(np.float32).copy()
        decisions = np.zeros(size, dtype=np.uint8)
        decisions[:, 0] = 1
        found = self.replaced(
            tmp_path, runs, "labels", probabilities=probabilities, decisions=decisions
        )
        assert found["Better than giving every row the same labels"] == "failed"
        assert found["Probabilities say more than label frequencies"] == "failed"

    def test_thresholds_of_one_half_are_not_measured(self, tmp_path, runs):
        arrays = load_file(runs["labels"] / "predictions/test.safetensors")
        half = (arrays["probabilities"] >= 0.5).astype(np.uint8)
        found = self.replaced(tmp_path, runs, "labels", decisions=half)
        assert found["The decision rule beats a threshold of one half"] == "not measured"

    def test_without_predictions_nothing_passes(self, tmp_path, runs):
        for kind in ("labels", "values"):
            run = shutil.copytree(runs[kind], tmp_path / kind)
            shutil.rmtree(run / "predictions")
            (run / "final_test.json").unlink()
            (run / "ledger.jsonl").unlink()
            record = replace(read_run(run), run={**read_run(run).run, "leakage": []})
            assert {one.status for one in verdicts(record)} == {"not measured"}


def test_quantiles_of_errors_follow_the_predictions():
    rng = np.random.default_rng(0)
    predictions = rng.uniform(0, 10, 20_000)
    errors = rng.normal(size=20_000) * predictions
    where, quantiles = value_figures.error_quantiles(predictions, errors)
    assert quantiles.shape == (20, 5)
    assert quantiles[:, 3] == pytest.approx(0.674 * where, rel=0.2, abs=0.1)
    few = value_figures.error_quantiles(predictions[:39], errors[:39])
    assert len(few[0]) == 0


@pytest.mark.parametrize("num_rows", [1, 2, 60])
def test_few_and_equal_numbers_are_drawn(tmp_path, runs, num_rows):
    from safetensors.numpy import save_file

    run = shutil.copytree(runs["values"], tmp_path / "run")
    numbers = np.full(num_rows, 3.0)
    arrays = {"predictions": numbers, "targets": numbers}
    save_file(arrays, run / "predictions/test.safetensors")
    assert "predictions" in Page(render(run).read_text(encoding="utf-8")).ids
