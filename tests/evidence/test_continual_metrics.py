"""The metrics of a stream against numbers worked out by hand and the formulas of their papers."""

from __future__ import annotations

import json
import math

import fake_stream
import numpy as np
import pytest

from mlexpert.evidence.continual import metrics
from mlexpert.evidence.continual.metrics import metrics_of_stream, scores, stream_metrics
from mlexpert.evidence.continual.record import accuracy_over_tasks, stream_record

MATRIX = np.array(
    [
        [0.10, 0.20, 0.30],  # untrained
        [0.90, 0.25, 0.30],
        [0.70, 0.80, 0.50],
        [0.60, 0.85, 0.95],
    ]
)
IN_ORDER = np.array([1, 2, 3])


def test_a_whole_stream_by_hand():
    found = scores(MATRIX, IN_ORDER)
    assert found == pytest.approx(
        {
            "average_accuracy": (0.60 + 0.85 + 0.95) / 3,
            "average_over_stream": (0.90 + (0.70 + 0.80) / 2 + (0.60 + 0.85 + 0.95) / 3) / 3,
            "forgetting": ((0.90 - 0.60) + (0.80 - 0.85)) / 2,
            "backward_transfer": ((0.60 - 0.90) + (0.85 - 0.80)) / 2,
            "forward_transfer": ((0.25 - 0.20) + (0.50 - 0.30)) / 2,
            "plasticity": (0.90 + 0.80 + 0.95) / 3,
        }
    )
    assert list(found) == [
        "average_accuracy", "average_over_stream", "forgetting", "backward_transfer",
        "forward_transfer", "plasticity",
    ]  # fmt: skip


@pytest.mark.parametrize("num_tasks", [2, 5, 9])
def test_the_formulas_of_the_papers(num_tasks):
    """As the papers write them, with tasks and rows from 1, of any matrix."""
    drawn = np.random.default_rng(num_tasks).random((num_tasks + 1, num_tasks))
    tasks, last = range(1, num_tasks + 1), num_tasks

    def entry(row, task):
        return drawn[row, task - 1]

    best = [max(entry(row, task) for row in range(1, last)) for task in range(1, last)]
    expected = {
        "average_accuracy": sum(entry(last, j) for j in tasks) / last,
        "average_over_stream": sum(
            sum(entry(t, j) for j in range(1, t + 1)) / t for t in tasks
        ) / last,
        "forgetting": sum(b - entry(last, j) for j, b in enumerate(best, 1)) / (last - 1),
        "backward_transfer": sum(
            entry(last, j) - entry(j, j) for j in range(1, last)
        ) / (last - 1),
        "forward_transfer": sum(
            entry(j - 1, j) - entry(0, j) for j in range(2, last + 1)
        ) / (last - 1),
        "plasticity": sum(entry(j, j) for j in tasks) / last,
    }  # fmt: skip
    assert scores(drawn, np.arange(1, num_tasks + 1)) == pytest.approx(expected)


def test_the_best_is_looked_for_after_the_task_was_learned_as_well():
    """What a later task improved and the last one spoilt is forgotten, too."""
    matrix = MATRIX.copy()
    matrix[2, 0] = 0.98
    assert metrics.forgetting(matrix, IN_ORDER) == pytest.approx((0.38 - 0.05) / 2)
    assert metrics.backward_transfer(matrix, IN_ORDER) == pytest.approx((-0.30 + 0.05) / 2)


def test_a_stream_that_ended_early_is_measured_on_what_was_learned():
    found = scores(MATRIX[:3], np.array([1, 2, -1]))
    assert found == pytest.approx(
        {
            "average_accuracy": 0.75,
            "average_over_stream": (0.90 + 0.75) / 2,
            "forgetting": 0.20,
            "backward_transfer": -0.20,
            "forward_transfer": 0.05,
            "plasticity": 0.85,
        }
    )


def test_a_run_that_learned_one_task_more_counts_from_where_it_began():
    found = scores(MATRIX[2:], np.array([0, 0, 1]))
    assert math.isnan(found.pop("forward_transfer")), "its untrained network is not at hand"
    assert found == pytest.approx(
        {
            "average_accuracy": 0.80,
            "average_over_stream": 0.80,
            "forgetting": ((0.70 - 0.60) + (0.80 - 0.85)) / 2,
            "backward_transfer": ((0.60 - 0.70) + (0.85 - 0.80)) / 2,
            "plasticity": 0.95,
        }
    )


def test_joint_training_is_one_row_and_forgets_nothing_that_could_be_measured():
    found = scores(MATRIX[[0, 3]], np.array([1, 1, 1]))
    assert found["average_accuracy"] == found["plasticity"] == pytest.approx(0.8)
    assert found["average_over_stream"] == pytest.approx(0.8)
    assert all(
        math.isnan(found[name]) for name in ("forgetting", "backward_transfer", "forward_transfer")
    )


def test_before_any_task_nothing_is_measured():
    assert all(map(math.isnan, scores(MATRIX[:1], np.full(3, -1)).values()))


def test_what_was_not_measured_is_not_guessed():
    matrix = MATRIX.copy()
    matrix[2, 0] = np.nan  # it may have been the best
    assert math.isnan(metrics.forgetting(matrix, IN_ORDER))
    assert metrics.backward_transfer(matrix, IN_ORDER) == pytest.approx((-0.30 + 0.05) / 2)
    above = np.where(np.arange(4)[:, None] < IN_ORDER, np.nan, MATRIX)  # of classes not yet met
    found = scores(above, IN_ORDER)
    assert math.isnan(found.pop("forward_transfer"))
    assert found == pytest.approx({name: scores(MATRIX, IN_ORDER)[name] for name in found})


def test_a_fresh_network_is_compared_where_it_was_measured():
    fresh = np.array([0.95, np.nan, 0.90])
    assert metrics.against_fresh(MATRIX, IN_ORDER, fresh) == pytest.approx((-0.05 + 0.05) / 2)
    assert metrics.against_fresh(MATRIX, IN_ORDER, np.array([0.8, 0.7, np.nan])) == pytest.approx(
        0.1
    )
    assert math.isnan(metrics.against_fresh(MATRIX, IN_ORDER, np.full(3, np.nan)))


def row(after: int, asked: list, **others) -> dict:
    seen = list(range(after + 1))
    return {"split": "tasks", "after": after, "class_incremental": asked, "seen": seen, **others}


def rows_of(matrix: np.ndarray, **others) -> list[dict]:
    return [row(after - 1, list(values), **others) for after, values in enumerate(matrix)]


def test_classes_that_were_not_met_are_not_wrong_but_not_asked():
    class_run = stream_record({"stream": {"scenario": "class"}}, rows_of(MATRIX))
    assert np.isnan(class_run.asked[0]).all() and np.isnan(class_run.asked[1, 1:]).all()
    domain_run = stream_record({"stream": {"scenario": "domain"}}, rows_of(MATRIX))
    assert (domain_run.asked == MATRIX).all() and domain_run.told is None
    task_run = stream_record({"stream": {"scenario": "task"}}, rows_of(MATRIX))
    assert (task_run.told == MATRIX).all()


def test_other_rows_are_skipped_and_the_last_of_a_task_counts():
    rows = [
        {"split": "validation", "epoch": 1, "loss": 2.0},
        *rows_of(MATRIX),
        row(2, [0.1, 0.2, 0.3], buffer_bytes=10, task_aware=[0.5, None, 0.7]),
    ]
    found = stream_record({}, rows)
    assert found.asked[3].tolist() == [0.1, 0.2, 0.3]
    assert found.buffer_bytes[-1] == 10 and np.isnan(found.buffer_bytes[:2]).all()
    assert np.isnan(found.task_aware[3, 1]) and found.task_aware[3, 2] == 0.7
    assert stream_record({}, rows[:1]) is None


def test_a_stream_that_grew_had_fewer_tasks_at_first():
    rows = [row(-1, [0.1]), row(0, [0.9]), row(1, [0.7, 0.8])]
    found = stream_record({"stream": {"scenario": "domain"}}, rows)
    assert found.num_tasks == 2 and found.learned.tolist() == [1, 2]
    assert found.asked[1, 0] == 0.9 and np.isnan(found.asked[:2, 1]).all()


def test_a_record_may_begin_with_a_network_that_had_learned_before():
    before = {**row(1, [0.7, 0.8, None]), "seen": [0, 1]}
    after = row(2, [0.6, 0.85, 0.95], seconds=3.0, fresh=0.9)
    facts = {"stream": {"scenario": "class", "num_tasks": 3, "first_task": 2}, "status": "finished"}
    found = stream_record(facts, [before, after])
    assert found.learned.tolist() == [0, 0, 1] and found.first_task == 2 and not found.is_joint
    assert found.asked[0, :2].tolist() == [0.7, 0.8] and np.isnan(found.asked[0, 2])
    assert found.seconds.tolist() == [3.0] and found.fresh[2] == 0.9
    assert metrics_of_stream(found)["forgetting"] == pytest.approx((0.10 - 0.05) / 2)


def test_a_run_that_went_on_has_the_lines_of_the_earlier_ones():
    before = [
        row(-1, [0.1, 0.2]),
        row(0, [0.9, 0.25], seconds=1.0),
        row(1, [0.7, 0.8], seconds=2.0, rows=[50, 60]),
    ]
    again = row(1, [None, 0.81, 0.5], seconds=0.0, rows=[0, 60, 70])
    last = row(2, [0.6, 0.85, 0.95], seconds=3.0, rows=[0, 60, 70])
    about = {"scenario": "domain", "num_tasks": 3, "first_task": 2, "before": before}
    found = stream_record({"stream": about}, [again, last])
    assert found.learned.tolist() == [1, 2, 3] and (found.first_task, found.began) == (0, 2)
    assert found.asked[2].tolist() == [0.7, 0.8, 0.5], "first measured counts, new tasks are added"
    assert found.seconds.tolist() == [1.0, 2.0, 3.0] and found.rows.tolist() == [50, 60, 70]
    expected = scores(MATRIX, IN_ORDER)
    found_here = metrics_of_stream(found)
    for name in ("average_accuracy", "forgetting", "backward_transfer", "plasticity"):
        assert found_here[name] == pytest.approx(expected[name])


@pytest.mark.parametrize(
    ("seen", "status", "learned"),
    [
        ([0, 1, 2], "running", [1, 1, 1]),  # joint training, class-incremental
        ([0], "finished", [1, 1, 1]),  # joint training, domain-incremental
        ([0, 1], "interrupted", [1, -1, -1]),  # a blurred stream, after its first task
    ],
)
def test_joint_training_is_told_from_a_stream_after_its_first_task(seen, status, learned):
    rows = [row(-1, [0.1] * 3), {**row(0, [0.9] * 3), "seen": seen}]
    facts = {"stream": {"scenario": "domain", "num_tasks": 3}, "status": status}
    found = stream_record(facts, rows)
    assert found.learned.tolist() == learned and found.is_joint == (learned == [1, 1, 1])


def test_metrics_of_a_run_folder(tmp_path):
    (tmp_path / "run.json").write_text(
        json.dumps({"stream": {"scenario": "class", "num_tasks": 5}})
    )
    rows = fake_stream.rows_of(5, 5, "class", False, 0.5, False, 1024)
    (tmp_path / "metrics.jsonl").write_text("\n".join(map(json.dumps, rows)) + '\n{"split": "ta')
    found = stream_metrics(tmp_path)
    last, told = rows[-1]["class_incremental"], rows[-1]["task_aware"]
    assert found["average_accuracy"] == pytest.approx(np.mean(last))
    assert found["task_aware_accuracy"] == pytest.approx(np.mean(told))
    assert found["forgetting"] == pytest.approx(np.mean(0.97 - np.array(last[:4])), abs=1e-4)
    assert found["backward_transfer"] == pytest.approx(-found["forgetting"])
    assert math.isnan(found["forward_transfer"])
    assert (found["plasticity"], found["buffer_bytes"]) == (pytest.approx(0.97), 1024.0)
    assert stream_metrics(tmp_path / "nowhere") == {}


def test_of_domains_there_is_no_task_aware_accuracy():
    rows = fake_stream.rows_of(3, 3, "domain", False, 0.9, False, 0)
    found = metrics_of_stream(stream_record({"stream": {"scenario": "domain"}}, rows))
    assert math.isnan(found["task_aware_accuracy"])
    assert found["forward_transfer"] == pytest.approx(0.0)


def test_every_task_counts_alike_on_test_rows(tmp_path):
    from safetensors.numpy import save_file

    file = tmp_path / "test.safetensors"
    arrays = {"targets": np.array([0, 0, 0, 1]), "decisions": np.array([0, 0, 1, 0])}
    save_file({**arrays, "tasks": np.array([0, 0, 0, 1])}, file)
    assert accuracy_over_tasks(file) == pytest.approx((2 / 3 + 0) / 2)
    save_file(arrays, file)
    assert math.isnan(accuracy_over_tasks(file))
    assert math.isnan(accuracy_over_tasks(tmp_path / "none.safetensors"))
