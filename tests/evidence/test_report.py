from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace

import fake_run
import numpy as np
import pytest
from page import Page
from safetensors.numpy import load_file, save_file
from sklearn.metrics import balanced_accuracy_score, confusion_matrix

from mlexpert.data.ledger import Ledger
from mlexpert.errors import InputError, RunError
from mlexpert.evidence import plots
from mlexpert.evidence.curves import precision_recall, roc
from mlexpert.evidence.record import read_run
from mlexpert.evidence.report import render, write_report


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """One run folder of each kind, rendered."""
    home = tmp_path_factory.mktemp("runs")
    kinds = {
        name: replace(kind, num_test=min(kind.num_test, 600))
        for name, kind in fake_run.KINDS.items()
    }
    return {name: fake_run.write(home / name, kind) for name, kind in kinds.items()}


@pytest.fixture(scope="module")
def sources(runs):
    """The report of each kind as text; the file itself is there to be rendered anew."""
    return {name: render(run).read_text(encoding="utf-8") for name, run in runs.items()}


@pytest.fixture(scope="module")
def pages(sources):
    return {name: Page(source) for name, source in sources.items()}


@pytest.fixture
def no_svg(monkeypatch):
    """Figures are put together but not laid out and written, which is what takes time."""
    monkeypatch.setattr(plots, "to_svg", lambda figure, title: "<svg></svg>")


@pytest.mark.parametrize("kind", fake_run.KINDS)
def test_one_file_that_needs_nothing_else(sources, pages, kind):
    source, page = sources[kind], pages[kind]
    assert all(link.startswith("#") for link in page.links)
    assert not page.tags & {"script", "link", "img", "iframe", "object"}
    assert not re.search(r"https?:|@import|url\((?!#)", source)
    assert len(page.ids) == len(set(page.ids))
    assert {link[1:] for link in page.links} <= set(page.ids)
    assert "#00fe" not in source, "a colour of the figures was left unnamed"
    assert "nan" not in page.words.lower().split()
    assert len(source) < 400_000


@pytest.mark.parametrize("kind", fake_run.KINDS)
def test_every_section_is_there(pages, kind):
    sections = {"summary", "verdicts", "learning", "classes", "probabilities", "data", "leakage"}
    assert sections | {"test", "training", "setup"} <= set(pages[kind].ids)


@pytest.mark.parametrize("kind", ["fashion", "hundred"])
def test_the_same_folder_gives_the_same_bytes(runs, sources, kind):
    assert render(runs[kind]).read_text(encoding="utf-8") == sources[kind]


def test_numbers_are_those_of_scikit_learn(runs, pages):
    arrays = load_file(runs["fashion"] / "predictions" / "test.safetensors")
    expected = balanced_accuracy_score(arrays["targets"], arrays["decisions"])
    plain = balanced_accuracy_score(arrays["targets"], arrays["probabilities"].argmax(axis=1))
    words = pages["fashion"].words
    assert f"mean recall over 10 classes is {expected:.3f}" in words
    assert f"{expected - plain:+.3f} against the most probable class" in words
    validation = load_file(runs["fashion"] / "predictions" / "validation.safetensors")
    other = balanced_accuracy_score(validation["targets"], validation["decisions"])
    assert f"validation {other:.3f}" in words


def test_plain_argmax_is_not_compared_with_itself(tmp_path, runs):
    run = shutil.copytree(runs["binary"], tmp_path / "run")
    for file in (run / "predictions").glob("*.safetensors"):
        arrays = load_file(file)
        save_file(arrays | {"decisions": arrays["probabilities"].argmax(axis=1)}, file)
    source = render(run).read_text(encoding="utf-8")
    words = Page(source).words
    assert "most probable class (plain argmax)" in words
    assert "against the most probable class" not in words
    assert not re.search(r"plain argmax 0\.\d", words)
    curves = source[source.index('<section id="probabilities') :].partition("</section>")[0]
    marks = re.findall(r">(plain argmax|decision rule)</text>", curves)
    assert marks == ["plain argmax", "plain argmax"]  # one on each curve


def test_small_confusion_matrix_shows_its_counts(runs, sources):
    arrays = load_file(runs["binary"] / "predictions" / "test.safetensors")
    matrix = confusion_matrix(arrays["targets"], arrays["decisions"])
    source = sources["binary"]
    table = source[source.index('<table class="confusion') :]
    cells = re.findall(r'title="[^"]* decided as [^"]*">([\d,]*)<', table)
    assert [int(cell.replace(",", "") or 0) for cell in cells] == matrix.ravel().tolist()


def test_sealed_run_shows_validation_and_says_so(pages):
    words = pages["sealed"].words
    assert "test sealed" in words
    assert "The test split is sealed and was not opened" in words
    assert "is sealed: no run has opened it" in words
    assert "95 % interval 0" not in words


def test_second_opening_is_shown(pages):
    words = pages["binary"].words
    assert "test opened 2 times" in words
    assert "What this run found each time" in words
    assert "reviewer 2 asked for <b>another</b> look" in words


@pytest.mark.parametrize("kind", ["interrupted", "starting"])
def test_unfinished_run_reads_not_measured(pages, kind):
    words = pages[kind].words
    assert "This run was interrupted" in words
    assert words.count("Not measured:") >= 3
    assert "predictions/validation.safetensors" in words


def test_what_a_user_named_is_escaped(sources, pages):
    for named in ("<b>&", "<b>another</b>", "<i>Lyon"):
        assert named not in sources["binary"]
        assert named in pages["binary"].words
    assert "calcification <b>&" in pages["binary"].words


def test_odd_class_names(tmp_path):
    names = ("$x_1$", "喵", "</svg><script>alert(1)</script>", "#00fe02 1.23456", "", "ä" * 90)
    kind = replace(fake_run.KINDS["sealed"], names=names)
    page = Page(render(fake_run.write(tmp_path / "run", kind)).read_text(encoding="utf-8"))
    assert "script" not in page.tags
    for name in names[:4]:
        assert page.words.count(name) >= 2, name


@pytest.mark.usefixtures("no_svg")
@pytest.mark.parametrize(
    ("config", "says", "says_not"),
    [
        ({}, ["The epoch with the best log loss on validation was kept", "Selected epoch"], []),
        (
            {"keep": "last", "patience": 0},
            ["weights of the last epoch were kept", "Validation chose no epoch"],
            ["Selected epoch", "with the best log loss", "epoch and decision rule were chosen"],
        ),
        (
            {"keep": "last", "patience": 4},
            ["weights of the last epoch were kept", "Validation chose when training stopped"],
            ["Selected epoch", "with the best log loss"],
        ),
    ],
    ids=["best", "last", "last, stopped early"],
)
def test_which_weights_were_kept_is_said(tmp_path, runs, config, says, says_not):
    run = shutil.copytree(runs["sealed"], tmp_path / "run")
    about = json.loads((run / "run.json").read_text())
    about["config"] |= config
    if config:
        about["best"] = about["last"]  # as fit records it
    (run / "run.json").write_text(json.dumps(about))
    words = Page(render(run).read_text(encoding="utf-8")).words
    assert [text for text in says if text not in words] == []
    assert [text for text in says_not if text in words] == []
    last = about["last"]["epoch"]
    assert f"Last epoch {last}" in words


@pytest.mark.usefixtures("no_svg")
def test_the_epoch_that_was_kept_is_one_of_the_last_stage(tmp_path, runs):
    run = shutil.copytree(runs["sealed"], tmp_path / "run")
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for row in rows:
        row |= {} if row["split"] == "train_clean" else {"task": int(row["epoch"] > 3)}
    (run / "metrics.jsonl").write_text("\n".join(map(json.dumps, rows)))
    words = Page(render(run).read_text(encoding="utf-8")).words
    kept = "The epoch with the best log loss on validation was kept, of those of the last stage"
    assert f"{kept}: it began with epoch 4, on the best weights of the one before." in words


@pytest.mark.usefixtures("no_svg")
def test_tampered_ledger_is_said(tmp_path, runs):
    run = shutil.copytree(runs["fashion"], tmp_path / "run")
    ledger = run / "ledger.jsonl"
    ledger.write_text(ledger.read_text().replace("paper table 1", "nothing"))
    words = Page(render(run).read_text(encoding="utf-8")).words
    assert "Tampered with, or not whole" in words
    assert "is intact" not in words


@pytest.mark.usefixtures("no_svg")
def test_the_ledger_at_home_is_shown_also_when_it_was_altered(tmp_path, runs):
    run = shutil.copytree(runs["sealed"], tmp_path / "run")
    other = tmp_path / "elsewhere" / "run"  # of the same name, and not this run
    ledger = Ledger(fake_run.FINGERPRINT)
    ledger.append(reason="first look", run=str(other), recipe="other@1")
    words = Page(write_report(run).read_text(encoding="utf-8")).words
    assert "test opened by other runs" in words
    assert "This run has not opened the test split; other runs on this data have" in words
    assert str(other) in words and "this run" not in words.partition("Test ledger")[2]
    ledger.path.write_text(ledger.path.read_text().replace("first look", "no look"))
    words = Page(write_report(run).read_text(encoding="utf-8")).words
    assert "Tampered with, or not whole" in words and "entry 1 was edited" in words


@pytest.mark.usefixtures("no_svg")
def test_a_run_without_a_test_split_says_so(tmp_path, runs):
    run = shutil.copytree(runs["sealed"], tmp_path / "run")
    facts = json.loads((run / "run.json").read_text())
    del facts["data"]["parts"]["test"]
    (run / "run.json").write_text(json.dumps(facts))
    words = Page(render(run).read_text(encoding="utf-8")).words
    assert "no test split" in words and "There is no test split to show by how much" in words
    assert "sealed" not in words.replace("was opened once", "")


@pytest.mark.usefixtures("no_svg")
def test_what_was_left_out_of_the_data_is_noted(tmp_path, runs):
    run = shutil.copytree(runs["sealed"], tmp_path / "run")
    facts = json.loads((run / "run.json").read_text())
    facts["data"]["notes"] = ["column(s) 'id' left out: the inputs are the images in 'image'"]
    (run / "run.json").write_text(json.dumps(facts))
    words = Page(render(run).read_text(encoding="utf-8")).words
    assert "column(s) 'id' left out: the inputs are the images in 'image'." in words


@pytest.mark.parametrize(
    "name",
    [
        "metrics.jsonl",
        "final_test.json",
        "ledger.jsonl",
        "predictions/validation.safetensors",
        "predictions/test.safetensors",
        "predictions/test_subgroups.json",
    ],
)
@pytest.mark.parametrize("how", ["missing", "broken"])
@pytest.mark.usefixtures("no_svg")
def test_a_missing_or_broken_file_costs_only_its_section(tmp_path, runs, name, how):
    run = shutil.copytree(runs["fashion"], tmp_path / "run")
    if how == "missing":
        (run / name).unlink()
    else:
        (run / name).write_bytes(b'{"half a li')
    words = Page(render(run).read_text(encoding="utf-8")).words
    assert "Leakage audit" in words
    if name.startswith("predictions"):
        assert f"{name}: {'cannot be read' if how == 'broken' else 'not there'}" in words
    assert ("By subgroup" in words) == (name != "predictions/test_subgroups.json")


def test_subgroups_show_their_numbers_and_what_the_gap_means(runs, pages):
    found = json.loads((runs["binary"] / "predictions" / "test_subgroups.json").read_text())
    gaps = {(gap["column"], gap["metric"]): gap for gap in found["gaps"]}
    words = pages["binary"].words
    gap = gaps["sex", "balanced_accuracy"]
    assert (
        f"Balanced accuracy is {gap['best_score']:.3f} where sex is {gap['best']} and "
        f"{gap['worst_score']:.3f} where it is {gap['worst']}: the model works worse there, by "
        f"{gap['gap']:.3f}."
    ) in words
    assert gaps["device", "recall"]["gap"] is None
    assert words.count("the gap needs two values of at least 30 rows") == 1
    assert "Of the rows that are calcification <b>&, " in words
    assert "on so few rows that it may be chance" in words
    small = [row for row in found["rows"] if row["small"]]
    assert words.count("fewer than 30 rows") == len(small) + 1
    assert "Subgroups" in words
    for row in found["rows"]:
        tag = " fewer than 30 rows" if row["small"] else ""
        assert f"{row['value']}{tag}{row['rows']:,} ({100 * row['share']:.1f} %)" in words


@pytest.mark.parametrize("kind", ["sealed", "starting"])
def test_without_subgroups_there_is_no_such_section(pages, kind):
    assert "ubgroup" not in pages[kind].words


def test_notes_of_intervals_stand_beside_them(runs, pages):
    notes = json.loads((runs["hundred"] / "final_test.json").read_text())[-1]["notes"]
    beside = notes["worst_class_recall"]
    assert pages["hundred"].words.count(f"Interval: {beside}.") == 1
    for note in notes.values():
        assert note in pages["hundred"].words


def test_sparse_run_json_is_enough(tmp_path, runs):
    run = tmp_path / "run"
    run.mkdir()
    full = json.loads((runs["starting"] / "run.json").read_text())
    sparse = {key: full[key] for key in ("recipe", "version", "schema")}
    (run / "run.json").write_text(json.dumps(sparse))
    assert "Not measured" in Page(render(run).read_text(encoding="utf-8")).words


def test_null_metrics_of_a_binary_problem_are_dashes(runs):
    opening = json.loads((runs["binary"] / "final_test.json").read_text())[-1]
    assert opening["metrics"]["few_shot"] is None
    record = read_run(runs["binary"])
    assert np.isnan(record.test.metrics["few_shot"])
    assert "few_shot" not in record.test.intervals


@pytest.mark.usefixtures("no_svg")
def test_test_numbers_survive_without_their_predictions(tmp_path, runs):
    run = shutil.copytree(runs["fashion"], tmp_path / "run")
    value = json.loads((run / "final_test.json").read_text())[-1]["metrics"]["mcc"]
    (run / "predictions" / "test.safetensors").unlink()
    source = render(run).read_text(encoding="utf-8")
    assert f"<td>{value:.3f}</td>" in source


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"not a run folder.*not there"):
        render(tmp_path)
    (tmp_path / "run.json").write_text("[]")
    with pytest.raises(InputError, match="does not describe a run"):
        render(tmp_path)
    assert not (tmp_path / "report.html").exists()


@pytest.mark.usefixtures("no_svg")
def test_report_that_cannot_be_written(tmp_path, runs):
    run = shutil.copytree(runs["starting"], tmp_path / "run")
    (run / "report.html").unlink(missing_ok=True)  # rendered by another test, maybe
    (run / "report.html").mkdir()
    with pytest.raises(RunError, match=r"cannot write .*report\.html"):
        render(run)
    assert not list(run.glob(".report*"))


@pytest.mark.parametrize("figure", ["precision_recall", "roc"])
@pytest.mark.parametrize("near", [(0.3, 0.7), (0.62, 0.7), (0.9, 0.5), (0.02, 0.05)])
def test_names_of_two_rules_that_nearly_agree_can_both_be_read(monkeypatch, figure, near):
    boxes = []

    def measure(figure, title):
        figure.canvas.draw()
        texts = [text for text in figure.axes[0].texts if text.get_text() != "guessing"]
        boxes.extend(text.get_window_extent() for text in texts)
        return "<svg></svg>"

    monkeypatch.setattr(plots, "to_svg", measure)
    scores, truth = np.linspace(0, 1, 50), np.arange(50) % 3 == 0
    points = [("decision rule", *near), ("plain argmax", near[0] + 0.02, near[1] + 0.01)]
    if figure == "roc":
        plots.roc_curves([(roc(scores, truth), "test")], points, title="t")
    else:
        curve = precision_recall(scores, truth)
        plots.precision_recall_curves([(curve, "test")], points, prevalence=0.3, title="t")
    first, second = boxes
    assert not first.overlaps(second)


def test_figures_keep_the_users_style_away():
    import matplotlib

    scores, truth = np.linspace(0, 1, 50), np.arange(50) % 3 == 0
    curve = [(precision_recall(scores, truth), "test")]
    before = plots.precision_recall_curves(curve, (), prevalence=0.3, title="t")
    with matplotlib.rc_context({"font.size": 30, "axes.grid": False, "text.usetex": True}):
        assert plots.precision_recall_curves(curve, (), prevalence=0.3, title="t") == before
        assert matplotlib.rcParams["font.size"] == 30
    assert "var(--test)" in before
    assert "guessing" in before


def test_rendering_loads_no_torch():
    code = "import sys, mlexpert.evidence.report; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
