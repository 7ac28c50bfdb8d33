"""Metrics by subgroup, against pandas and scikit-learn on each subgroup's own rows."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sk

from mlexpert.errors import InputError
from mlexpert.evidence.subgroups import (
    GAP_METRICS,
    subgroup_gaps,
    subgroups_of,
)


def sample(num_examples: int, num_classes: int, seed: int = 0):
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, num_classes, num_examples)
    logits = rng.normal(size=(num_examples, num_classes))
    logits[np.arange(num_examples), targets] += 1
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    logits[:, 0] += 0.4  # so that decisions cannot be taken for the most probable class
    return probabilities, logits.argmax(axis=1), targets


def subgroup_metrics(probabilities, decisions, targets, frame, *, train_counts):
    arrays = {"probabilities": probabilities, "decisions": decisions, "targets": targets}
    return subgroups_of("classification", arrays, frame, train_counts=train_counts)["rows"]


def rows_of(column, *, num_classes: int = 2, train_counts=None, name: str = "c"):
    """Return rows by value for predictions that nobody looks at."""
    arrays = sample(len(column), num_classes)
    counts = train_counts or [9] * num_classes
    rows = subgroup_metrics(*arrays, pd.DataFrame({name: column}), train_counts=counts)
    return {row["value"]: row for row in rows}


@pytest.mark.parametrize("train_counts", [[90, 10], [10, 90], [5, 5]])
def test_binary_metrics_are_those_of_each_values_own_rows(train_counts):
    arrays = probabilities, decisions, targets = sample(400, 2)
    city = pd.Series(np.random.default_rng(1).choice(["Rome", "Oslo", "Bern"], 400))
    rows = subgroup_metrics(*arrays, city.to_frame("city"), train_counts=train_counts)
    positive = 0 if train_counts[0] < train_counts[1] else 1
    frame = pd.DataFrame({"city": city, "target": targets, "decision": decisions})
    frame["p"] = probabilities[:, positive]
    assert [row["value"] for row in rows] == city.value_counts().index.tolist()
    for row in rows:
        own = frame[frame["city"] == row["value"]]
        chosen = own["decision"] == positive
        assert row == {
            "column": "city",
            "value": row["value"],
            "rows": len(own),
            "share": len(own) / 400,
            "small": False,
            "classes": 2,
            "positives": (own["target"] == positive).sum(),
            "accuracy": pytest.approx(sk.accuracy_score(own["target"], own["decision"])),
            "balanced_accuracy": pytest.approx(
                sk.balanced_accuracy_score(own["target"], own["decision"])
            ),
            "recall": pytest.approx(
                sk.recall_score(own["target"], own["decision"], pos_label=positive)
            ),
            "false_positive_rate": pytest.approx(chosen[own["target"] != positive].mean()),
            "selection_rate": pytest.approx(chosen.mean()),
            "brier": pytest.approx(sk.brier_score_loss(own["target"] == positive, own["p"])),
        }


def test_several_classes_have_no_positive_one():
    arrays = _, decisions, targets = sample(300, 4)
    sex = np.random.default_rng(1).choice(["f", "m"], 300)
    rows = subgroup_metrics(*arrays, pd.DataFrame({"sex": sex}), train_counts=[9] * 4)
    for row in rows:
        mask = sex == row["value"]
        expected = sk.balanced_accuracy_score(targets[mask], decisions[mask])
        assert row["balanced_accuracy"] == pytest.approx(expected)
        assert "recall" not in row and "brier" not in row
    assert [gap["metric"] for gap in subgroup_gaps(rows)] == ["balanced_accuracy"]


def test_a_closed_form():
    # A: 3 of 4 positives found, 1 of 4 negatives a false alarm. B: 1 of 2, and 0 of 4.
    targets = np.array([1] * 4 + [0] * 4 + [1] * 2 + [0] * 4)
    decisions = np.array([1, 1, 1, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0])
    frame = pd.DataFrame({"group": ["A"] * 8 + ["B"] * 6})
    probabilities = np.full((14, 2), 0.5)
    a, b = subgroup_metrics(probabilities, decisions, targets, frame, train_counts=[20, 10])
    assert (a["recall"], a["false_positive_rate"], a["selection_rate"]) == (0.75, 0.25, 0.5)
    assert (b["recall"], b["false_positive_rate"]) == (0.5, 0)
    assert b["selection_rate"] == pytest.approx(1 / 6)
    assert (a["balanced_accuracy"], b["balanced_accuracy"]) == (0.75, 0.75)
    assert a["brier"] == b["brier"] == 0.25
    assert a["small"] and b["small"]


def test_what_is_undefined_is_nan_and_stays_out_of_the_gap():
    targets = np.array([0] * 40 + [0, 1] * 20 + [1] * 40)
    frame = pd.DataFrame({"g": ["none"] * 40 + ["both"] * 40 + ["all"] * 40})
    decisions = np.where(np.arange(120) % 4 == 0, 1 - targets, targets)
    rows = subgroup_metrics(
        np.full((120, 2), 0.5), decisions, targets, frame, train_counts=[20, 10]
    )
    by = {row["value"]: row for row in rows}
    assert np.isnan(by["none"]["recall"])
    assert np.isnan(by["all"]["false_positive_rate"])
    assert by["none"]["balanced_accuracy"] == pytest.approx(0.75)
    assert (by["none"]["classes"], by["both"]["classes"]) == (1, 2)
    recall = next(gap for gap in subgroup_gaps(rows) if gap["metric"] == "recall")
    assert {recall["best"], recall["worst"]} == {"all", "both"}


def test_gaps_are_those_of_brute_force_and_leave_small_values_out():
    arrays = sample(500, 2, seed=3)
    values = np.random.default_rng(2).choice(list("abcde"), 500, p=[0.3, 0.3, 0.3, 0.06, 0.04])
    frame = pd.DataFrame({"x": values, "y": "one value"})
    rows = subgroup_metrics(*arrays, frame, train_counts=[5, 9])
    small = {row["value"] for row in rows if row["small"]}
    assert small == {v for v, n in pd.Series(values).value_counts().items() if n < 30} != set()
    gaps = {(gap["column"], gap["metric"]): gap for gap in subgroup_gaps(rows)}
    assert set(gaps) == {(column, metric) for column in "xy" for metric in GAP_METRICS[:2]}
    for metric in GAP_METRICS[:2]:
        scores = {r["value"]: r[metric] for r in rows if r["column"] == "x" and not r["small"]}
        pairs = [(scores[a] - scores[b], a, b) for a in scores for b in scores]
        gap, best, worst = max(pairs)
        found = gaps["x", metric]
        assert (found["best"], found["worst"]) == (best, worst)
        assert found["gap"] == pytest.approx(gap)
        assert found["gap"] == found["best_score"] - found["worst_score"]
        alone = gaps["y", metric]
        assert np.isnan(alone["gap"]) and alone["best"] is alone["worst"] is None


def test_equal_scores_are_a_gap_of_nothing_between_two_values():
    targets = np.tile([0, 1], 40)
    frame = pd.DataFrame({"x": ["a"] * 40 + ["b"] * 40})
    rows = subgroup_metrics(np.full((80, 2), 0.5), targets, targets, frame, train_counts=[9, 9])
    gap = subgroup_gaps(rows)[0]
    assert gap["gap"] == 0
    assert {gap["best"], gap["worst"]} == {"a", "b"}


def test_missing_is_a_value_and_comes_last():
    rows = rows_of(["a", None, np.nan, None, "b", "a", None, "missing"])
    assert {value: row["rows"] for value, row in rows.items()} == {"a": 2, "b": 1, "missing": 5}
    assert list(rows)[-1] == "missing"
    assert list(rows_of([None] * 3)) == ["missing"]


def test_values_beyond_the_thirtieth_share_a_row():
    column = [f"v{k:02d}" for k in range(33) for _ in range(40 - k)]
    rows = rows_of(np.random.default_rng(0).permutation([*column, *[None] * 5]).tolist())
    assert list(rows) == [*(f"v{k:02d}" for k in range(30)), "other (3 values)", "missing"]
    assert rows["other (3 values)"]["rows"] == 10 + 9 + 8
    assert sum(row["share"] for row in rows.values()) == pytest.approx(1)
    thirty = rows_of([f"v{k}" for k in range(30)] * 2)
    assert len(thirty) == 30 and not any(value.startswith("other") for value in thirty)
    assert "other (1 value)" in rows_of([f"v{k}" for k in range(31)])


@pytest.mark.parametrize("as_text", [False, True])
def test_many_numbers_are_cut_where_pandas_cuts(as_text):
    ages = pd.Series(np.random.default_rng(0).normal(40, 12, 301).round(1))
    column = ages.where(np.arange(301) % 9 > 0)
    rows = rows_of(column.astype("str") if as_text else column)
    parts = pd.qcut(column, 4)
    expected = column.groupby(parts, observed=True).agg(["size", "min", "max"])
    *ranges, missing = rows.items()
    assert [row["rows"] for _, row in ranges] == expected["size"].tolist()
    assert [name for name, _ in ranges] == [
        f"{low:g} to {high:g}" for low, high in zip(expected["min"], expected["max"], strict=True)
    ]
    assert missing[0] == "missing" and missing[1]["rows"] == column.isna().sum()


def test_a_numeric_column_keeps_equal_numbers_together():
    spike_low = rows_of([0.0] * 90 + list(range(1, 21)))
    assert {value: row["rows"] for value, row in spike_low.items()} == {"0": 90, "1 to 20": 20}
    spike_high = rows_of([20] * 90 + list(range(20)))
    assert {value: row["rows"] for value, row in spike_high.items()} == {"0 to 19": 20, "20": 90}


def test_ranges_have_as_many_digits_as_it_takes():
    close = 1 + np.arange(40) * 1e-7
    names = list(rows_of(close))
    assert len(set(names)) == len(names) == 4
    assert names[0].startswith("1 to 1.00000")
    large = list(rows_of(np.arange(40) * 1_000_003.25))
    assert not any("e+" in name for name in large)
    huge = list(rows_of(np.arange(40) * 1e300))
    assert max(map(len, huge)) < 60


@pytest.mark.parametrize(
    "column",
    [
        list(range(10)) * 3,  # few numbers
        [f"{k:05d}" for k in range(12)] * 3,  # codes
        [*map(str, range(20)), "north"],
        [True, False] * 10,
        [np.inf, *range(20)],
    ],
)
def test_what_is_not_many_numbers_is_taken_value_by_value(column):
    values = list(rows_of(column))
    assert not any(" to " in value for value in values)
    assert len(values) == len(set(column))


def test_categories_and_any_index_will_do():
    column = pd.Series(pd.Categorical(["b", "a", None, "b"], categories=["z", "a", "b"]))
    rows = rows_of(column.set_axis([7, 7, 3, 0]))
    assert {value: row["rows"] for value, row in rows.items()} == {"b": 2, "a": 1, "missing": 1}


def test_rows_that_do_not_match_are_refused():
    frame = pd.DataFrame({"x": list("abc")})
    with pytest.raises(InputError, match="3 rows for 20 examples"):
        subgroup_metrics(*sample(20, 2), frame, train_counts=[5, 9])


def test_thirty_rows_are_not_few():
    rows = rows_of(["a"] * 30 + ["b"] * 29)
    assert not rows["a"]["small"] and rows["b"]["small"]


def test_numbers_by_subgroup_have_errors_of_their_own_and_less_is_better():
    rng = np.random.default_rng(0)
    site, targets = rng.choice(["a", "b"], 200), rng.normal(50, 9, 200)
    arrays = {"predictions": targets + np.where(site == "a", 1, 4), "targets": targets}
    found = subgroups_of("regression", arrays, pd.DataFrame({"site": site}), train_counts=())
    rows = {row["value"]: row for row in found["rows"]}
    for value, error in (("a", 1), ("b", 4)):
        assert [rows[value][name] for name in ("rmse", "mae", "mean_error")] == pytest.approx(
            [error] * 3
        )
        assert rows[value]["rmse_of_mean"] == pytest.approx(targets[site == value].std())
    (gap,) = found["gaps"]
    assert (gap["metric"], gap["best"], gap["worst"]) == ("rmse", "a", "b")
    assert gap["gap"] == pytest.approx(3)


def test_labels_by_subgroup_are_those_of_each_values_own_rows():
    rng = np.random.default_rng(0)
    site, targets = rng.choice(["a", "b"], 200), rng.random((200, 4)) < 0.4
    decisions = targets ^ (rng.random((200, 4)) < np.where(site == "a", 0.1, 0.4)[:, None])
    arrays = {"probabilities": np.full((200, 4), 0.5), "decisions": decisions, "targets": targets}
    found = subgroups_of("multilabel", arrays, pd.DataFrame({"site": site}), train_counts=[9] * 4)
    for row in found["rows"]:
        own = site == row["value"]
        expected = sk.f1_score(targets[own], decisions[own], average="micro")
        assert row["micro_f1"] == pytest.approx(expected)
        assert row["subset_accuracy"] == pytest.approx((targets == decisions)[own].all(1).mean())
        assert row["labels"] == pytest.approx(targets[own].sum(axis=1).mean())
    (gap,) = found["gaps"]
    assert (gap["metric"], gap["best"], gap["worst"]) == ("micro_f1", "a", "b")
