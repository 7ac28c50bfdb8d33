"""The report's section on a stream: of each scenario, of joint training, and unfinished."""

from __future__ import annotations

import json
import re

import fake_run
import fake_stream
import numpy as np
import pytest
from page import Page
from safetensors.numpy import load_file, save_file

from mlexpert.evidence import plots
from mlexpert.evidence.continual import figures as continual_figures
from mlexpert.evidence.continual.headlines import stream_cards, stream_sentence
from mlexpert.evidence.continual.sections import in_figures, size, stream
from mlexpert.evidence.headlines import headline
from mlexpert.evidence.record import read_run
from mlexpert.evidence.report import render

KINDS = {
    "class": ("sealed", {"fresh": True}),
    "domain": ("sealed", {"scenario": "domain", "num_tasks": 8, "buffer_bytes": 0}),
    "task": ("sealed", {"scenario": "task", "boundaries": False, "blur": 0.1}),
    "joint": ("sealed", {"joint": True, "buffer_bytes": 0}),
    "early": ("interrupted", {"num_stretches": 3}),
    "many": ("sealed", {"num_tasks": 16, "kept": 0.97}),
    "one": ("sealed", {"num_tasks": 1}),
    "later": ("sealed", {"first_task": 3}),
    "went on": (
        "sealed",
        {
            "first_task": 3,
            "before": fake_stream.rows_of(5, 3, "class", False, 0.75, False, 812_000),
        },
    ),
    "untrained": ("starting", {"num_stretches": 0}),
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    home = tmp_path_factory.mktemp("streams")
    return {
        name: fake_stream.add(fake_run.write(home / name, fake_run.KINDS[base]), **facts)
        for name, (base, facts) in KINDS.items()
    }


@pytest.fixture(scope="module")
def pages(runs):
    """The report of each kind; figures that others test are not laid out, which takes time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plots, "to_svg", lambda figure, title: "<svg></svg>")
        sources = {kind: render(run).read_text(encoding="utf-8") for kind, run in runs.items()}
    return sources.__getitem__


def section(source: str) -> str:
    return source[source.index('<section id="stream">') :].partition("</section>")[0]


def words(source: str) -> str:
    return Page(section(source) + "</section>").words


@pytest.mark.parametrize("kind", KINDS)
def test_the_section_is_there_and_needs_nothing_else(pages, kind):
    source = pages(kind)
    page = Page(source)
    assert "stream" in page.ids and "#stream" in page.links
    assert "#00fe" not in source, "a colour of the figures was left unnamed"
    assert "nan" not in page.words.lower().split()
    assert "<b>Ankle</b>" not in source
    assert len(section(source)) < 100_000


def test_an_ordinary_run_has_no_such_section(tmp_path, monkeypatch):
    monkeypatch.setattr(plots, "to_svg", lambda figure, title: "<svg></svg>")
    run = fake_run.write(tmp_path / "run", fake_run.KINDS["sealed"])
    page = Page(render(run).read_text(encoding="utf-8"))
    assert "stream" not in page.ids and "forgetting" not in page.words.lower()
    record = read_run(run)
    assert (stream(record), stream_cards(record), stream_sentence(record)) == (None, [], "")


def test_both_accuracies_stand_side_by_side_and_are_labelled(pages):
    source = section(pages("class"))
    assert re.search(r"<th [^>]*>Class-incremental</th><th [^>]*>Task-aware</th>", source)
    assert "is no measure of class-incremental learning" in words(source)
    for kind, title in (("domain", "Domain-incremental"), ("task", "Task-incremental")):
        source = section(pages(kind))
        assert f"<b>{title} accuracy, %</b>" in source and "Task-aware" not in source


def test_formulas_are_named(pages):
    text = words(pages("class"))
    for name in (
        "F, Chaudhry et al. 2018",
        "BWT, Lopez-Paz & Ranzato 2017",
        "FWT, Lopez-Paz & Ranzato 2017",
        "average incremental accuracy, Rebuffi et al. 2017",
    ):
        assert name in text


def test_numbers_of_the_tables_are_those_of_the_run(pages):
    rows = fake_stream.rows_of(5, 5, "class", False, 0.75, True, 812_000)
    last, told = np.array(rows[-1]["class_incremental"]), np.array(rows[-1]["task_aware"])
    text = words(pages("class"))
    assert f"Average accuracy{last.mean():.3f}{told.mean():.3f}Mean over tasks" in text
    assert f"Forgetting{(0.97 - last[:4]).mean():.3f}" in text
    assert "Forward transfernot measured" in text
    # accuracy right after learning and in the end, what was forgotten, a fresh network's, seconds
    assert f"0T-shirt/top, Trouser1,2002000.970{last[0]:.3f}{0.97 - last[0]:.3f}0.98511.4 s" in text
    assert "793.0 KiB" in text and "Bag, <b>Ankle</b> boot" in text
    assert (
        f"All{sum(row['seconds'] for row in rows):.1f} s".replace("All67.0 s", "All1 min 7 s")
        in text
    )


def test_what_was_not_measured_reads_so(pages, runs):
    joint = words(pages("joint"))
    assert "learned at once" in joint
    for title in ("Forgetting", "Backward transfer", "Forward transfer"):
        assert f"{title}not measurednot measured" in joint
    assert "Plasticity against a fresh networknot measured" in joint
    assert "All at once1,200" in joint and "11.4 s" in joint and "none" in joint
    assert "Over the stream" not in joint.replace("Average accuracy over the stream", "")
    untrained = words(pages("untrained"))
    assert "0 of 5 tasks" in untrained and untrained.count("not learned") == 5
    assert "Average accuracynot measurednot measured" in untrained


def test_a_stream_that_ended_early_says_so(pages):
    text = words(pages("early"))
    assert "3 of 5 tasks were learned, one after the other" in text
    assert text.count("not learned") == 2
    assert "The stream has not ended" in text
    assert f"Average accuracy{0.97 * (1 + 0.75 + 0.75**2) / 3:.3f}" in text


def test_a_record_that_begins_later_says_so(pages):
    text = words(pages("later"))
    assert "2 tasks were learned by a network that had learned 3 before, of which" in text
    assert text.count("before the record") == 3 and "not learned" not in text
    assert "count from where the record begins" in text
    rows = fake_stream.rows_of(5, 5, "class", False, 0.75, False, 0)
    start, last = (np.array(rows[number]["class_incremental"]) for number in (3, 5))
    lost = [*(start - last)[:3], rows[4]["class_incremental"][3] - last[3]]
    assert f"Forgetting{np.mean(lost):.3f}" in text
    assert "Plasticity0.970" in text


def test_a_run_that_went_on_shows_the_whole_stream(pages):
    text = words(pages("went on"))
    assert "one after the other: those from 3 on in this run, the others in earlier ones." in text
    assert "before the record" not in text
    alone = words(pages("class"))
    for title in ("Average accuracy", "Forgetting", "Backward transfer", "Plasticity"):
        shown = alone[alone.index(f"{title}", alone.index("What it is")) :][: len(title) + 10]
        assert shown in text


def test_a_stream_without_boundaries_says_so(pages):
    text = words(pages("task"))
    assert "not told where a task ends" in text
    assert "Over 0.10 of a task's length its rows mix with the next task's" in text
    assert "not told where" not in words(pages("class"))


def test_the_head_of_the_report_speaks_of_the_stream(pages, runs):
    rows = fake_stream.rows_of(5, 5, "class", False, 0.75, True, 0)
    average = np.mean(rows[-1]["class_incremental"])
    text = Page(pages("class")).words
    assert (
        f"After 5 tasks, choosing among all classes met, the network decides {100 * average:.1f} % "
        "of the validation rows rightly, as a mean over tasks; right after each was learned it was "
        "97.0 %."
    ) in text
    cards = {card["name"]: card["value"] for card in stream_cards(read_run(runs["class"]))}
    assert cards == {
        "Average accuracy over tasks": f"{average:.3f}",
        "Forgetting": f"{0.97 - np.mean(rows[-1]['class_incremental'][:4]):.3f}",
        "Accuracy right after learning a task": "0.970",
    }
    assert "at once, the network decides 96.0 %" in stream_sentence(read_run(runs["joint"]))
    assert stream_sentence(read_run(runs["untrained"])) == ""


def test_of_an_opened_test_split_the_average_is_shown(tmp_path):
    run = fake_stream.add(fake_run.write(tmp_path / "run", fake_run.KINDS["fashion"]))
    names = [card["name"] for card in stream_cards(read_run(run))]
    assert all(name.endswith("(validation)") for name in names), "these rows name no tasks"
    file = run / "predictions" / "test.safetensors"
    arrays = load_file(file)
    tasks = arrays["targets"] // 2
    save_file({**arrays, "tasks": tasks}, file)
    right = arrays["targets"] == arrays["decisions"]
    first, second, _ = stream_cards(read_run(run))
    average = np.mean([right[tasks == number].mean() for number in range(5)])
    assert (first["name"], first["value"]) == ("Average accuracy over tasks", f"{average:.3f}")
    assert first["validation"] and "On test rows" in first["note"]
    assert second["name"] == "Forgetting (validation)"
    assert "Test rows" not in stream_sentence(read_run(run))


def test_a_run_that_learned_on_says_whose_test_rows_it_has(tmp_path):
    run = fake_run.write(tmp_path / "run", fake_run.KINDS["fashion"])
    fake_stream.add(run, first_task=3)
    file = run / "predictions" / "test.safetensors"
    arrays = load_file(file)
    new = arrays["targets"] >= 8  # it was given two classes
    save_file({**{k: v[new] for k, v in arrays.items()}, "tasks": np.full(new.sum(), 4)}, file)
    first, *_ = stream_cards(read_run(run))
    assert "On test rows of the tasks from 3 on" in first["note"]
    assert "Validation is of all tasks" in first["note"]
    record = read_run(run)
    assert "Test rows are of the tasks from 3 on" in stream_sentence(record)
    assert "the mean recall over 2 classes" in headline(record, record.test)


def test_a_sparse_record_is_enough(tmp_path, monkeypatch):
    monkeypatch.setattr(plots, "to_svg", lambda figure, title: "<svg></svg>")
    run = fake_run.write(tmp_path / "run", fake_run.KINDS["starting"])
    rows = [
        {"split": "tasks", "after": after, "class_incremental": [0.9, None]} for after in (0, 1)
    ]
    (run / "metrics.jsonl").write_text("\n".join(map(json.dumps, rows)))
    text = words(render(run).read_text(encoding="utf-8"))
    assert "2 tasks were learned" in text and "Average accuracynot measured" in text


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("average_accuracy", 0.1234, "0.123"),
        ("forgetting", -0.02, "\N{MINUS SIGN}0.020"),
        ("forgetting", 0.02, "0.020"),
        ("backward_transfer", 0.02, "+0.020"),
        ("backward_transfer", np.nan, "not measured"),
    ],
)
def test_how_metrics_are_written(name, value, text):
    assert in_figures(name, value) == text


@pytest.mark.parametrize(
    ("num_bytes", "text"),
    [
        (0, "none"), (80, "80 bytes"), (2048, "2.0 KiB"), (3.5 * 2**20, "3.5 MiB"),
        (2**31, "2.0 GiB"), (np.nan, "not measured"), (None, "not measured"),
    ],
)  # fmt: skip
def test_how_sizes_are_written(num_bytes, text):
    assert size(num_bytes) == text


def test_the_same_folder_gives_the_same_figures(runs):
    record = read_run(runs["class"])
    assert stream(record) == stream(record)


def test_the_map_shows_every_number_that_was_measured():
    matrix = np.array([[np.nan, np.nan], [0.912, np.nan], [0.5, 0.734]])
    drawn = continual_figures.accuracy_map(
        matrix, np.array([1, 2]), first_task=0, title="accuracy <map>", color="validation"
    )
    assert [number for number in ("91.2", "50.0", "73.4") if f">{number}<" not in drawn] == []
    assert "nan" not in drawn and "untrained" in drawn and "after 1" in drawn
    assert 'aria-label="accuracy &lt;map&gt;"' in drawn
