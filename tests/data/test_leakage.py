from __future__ import annotations

import json
import time
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from mlexpert.data.examples import Examples
from mlexpert.data.images import Images
from mlexpert.data.leakage import Finding, audit
from mlexpert.data.shortcuts import (
    _mean_auc,
    identifier_columns,
    order_dependence,
    telling_columns,
)
from mlexpert.data.splits import split
from mlexpert.errors import InputError

N = 400
CHECKS = [
    "duplicates: train and validation",
    "duplicates: train and test",
    "duplicates: validation and test",
    "shared groups",
    "time order",
    "repeated rows",
    "conflicting labels",
    "classes in validation",
    "classes in test",
    "telling columns",
    "identifier columns",
    "row order",
]


def table(seed: int = 0, n: int = N, num_classes: int = 2, **columns) -> Examples:
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, num_classes, n)
    frame = pd.DataFrame({"x": rng.normal(size=n), "y": rng.normal(size=n), **columns})
    return Examples("tabular", frame, targets)


def found(parts, **options) -> dict[str, Finding]:
    findings = audit(split(parts, **options))
    assert json.loads(json.dumps([asdict(finding) for finding in findings]))
    return {finding.check: finding for finding in findings}


def test_a_clean_split_says_what_was_checked_and_what_was_not():
    findings = found({"all": table()})
    assert list(findings) == CHECKS
    severities = {check: finding.severity for check, finding in findings.items()}
    assert severities.pop("shared groups") == severities.pop("time order") == "skipped"
    assert set(severities.values()) == {"ok"}
    assert findings["time order"].message == "not applicable: no time= was named"


def test_checks_of_columns_do_not_apply_to_texts_and_images():
    texts = np.array([f"message {i}" for i in range(60)], dtype=object)
    stack = np.random.default_rng(0).integers(0, 256, (60, 4, 4), dtype=np.uint8)
    for kind, inputs in [("text", texts), ("image", Images.from_array(stack))]:
        findings = found({"all": Examples(kind, inputs, np.arange(60) % 2)})
        for check in ("telling columns", "identifier columns"):
            assert findings[check].severity == "skipped"
            assert findings[check].message == f"not applicable: {kind} rows have no columns"
        assert findings["duplicates: train and test"].severity == "ok"


def test_repeats_of_train_under_another_label_are_errors():
    train, test = table(0), table(1)
    repeated = [3, 40, 41]
    test.inputs.iloc[repeated] = train.inputs.iloc[[5, 6, 7]].to_numpy()
    test.targets[repeated] = 1 - train.targets[[5, 6, 7]]
    validation = table(2)
    validation.inputs.iloc[0] = test.inputs.iloc[300]
    findings = found({"train": train, "validation": validation, "test": test})
    error = findings["duplicates: train and test"]
    assert (error.severity, error.count, error.examples) == ("error", 3, (3, 40, 41))
    assert "3 of 400 rows of test" in error.message and 'leakage="report"' in error.message
    assert findings["duplicates: train and validation"].severity == "ok"
    warning = findings["duplicates: validation and test"]
    assert (warning.severity, warning.examples) == ("warning", (300,))


def test_repeats_inside_train_and_conflicting_labels_are_noted():
    train = table(0)
    train.inputs.iloc[[10, 11]] = train.inputs.iloc[0].to_numpy()
    train.targets[[0, 10]], train.targets[11] = 0, 1
    findings = found({"train": train, "validation": table(1), "test": table(2)})
    assert (findings["repeated rows"].severity, findings["repeated rows"].examples) == (
        "note",
        (10, 11),
    )
    conflict = findings["conflicting labels"]
    assert (conflict.severity, conflict.examples) == ("note", (0, 10, 11))


def test_shared_groups_are_errors_and_whole_ones_are_not():
    groups = np.arange(N) // 4
    whole = Examples("tabular", table().inputs, table().targets, groups=groups)
    findings = found({"all": whole})
    assert findings["shared groups: train and test"].severity == "ok"

    def part(seed, start):
        rows = table(seed, n=40)
        names = np.array([f"p{start + i // 4}" for i in range(40)], dtype=object)
        return Examples("tabular", rows.inputs, rows.targets, groups=names)

    parts = {"train": part(0, 0), "validation": part(1, 20), "test": part(2, 8)}
    findings = found(parts)
    shared = findings["shared groups: train and test"]
    assert (shared.severity, shared.count, shared.examples) == ("error", 2, ("p8", "p9"))
    assert findings["shared groups: train and validation"].severity == "ok"
    parts["test"].groups[0] = None
    with pytest.raises(InputError, match="no group"):
        found(parts)


def test_rows_before_the_end_of_train_are_warned_of():
    def part(seed, first):
        rows = table(seed, n=40)
        times = np.datetime64("2024-01-01") + np.arange(first, first + 40)
        return Examples("tabular", rows.inputs, rows.targets, times=times)

    findings = found({"train": part(0, 0), "validation": part(1, 38), "test": part(2, 80)})
    late = findings["time order: train before validation"]
    assert (late.severity, late.count, late.examples) == ("warning", 2, (0, 1))
    assert findings["time order: validation before test"].severity == "ok"
    rows = table()
    timed = Examples("tabular", rows.inputs, rows.targets, times=np.arange(N))
    findings = found({"all": timed})
    assert findings["time order: train before test"].severity == "ok"


def test_classes_that_cannot_be_judged_are_warned_of():
    train, validation = table(0, num_classes=3), table(1, num_classes=2)
    findings = found({"train": train, "validation": validation, "test": table(2, num_classes=3)})
    assert findings["classes in validation"].severity == "warning"
    assert "no row of class 2" in findings["classes in validation"].message
    assert findings["classes in test"].severity == "ok"


@pytest.mark.parametrize("num_classes", [2, 3, 10])
@pytest.mark.parametrize(
    "leak",
    [
        lambda t, rng: t.astype(float) + rng.normal(size=len(t)) * 0.05,
        lambda t, rng: -3.0 * t,
        lambda t, rng: np.array([f"name {7 * k % 11}" for k in t], dtype=object),
        lambda t, rng: pd.Categorical([f"c{k}-{rng.integers(3)}" for k in t]),
    ],
    ids=["noisy number", "number", "string", "finer category"],
)
def test_a_column_that_gives_the_label_away_is_named(num_classes, leak):
    data = table(n=1000, num_classes=num_classes)
    data.inputs["leak"] = leak(data.targets, np.random.default_rng(1))
    telling = found({"all": data})["telling columns"]
    assert (telling.severity, telling.examples) == ("warning", ("leak",))
    assert "inputs=" in telling.message


def test_a_pattern_of_missing_values_can_give_the_label_away():
    data = table(n=600)
    data.inputs["late"] = np.where(data.targets == 1, np.nan, data.inputs["x"])
    data.inputs["strings"] = pd.Series(np.where(data.targets == 1, None, "given"), dtype=object)
    telling = found({"all": data})["telling columns"]
    assert set(telling.examples) == {"late", "strings"}


def test_a_strong_column_an_identifier_and_noise_are_not_telling():
    rng = np.random.default_rng(0)
    data = table(n=2000)
    data.inputs["strong"] = data.targets + rng.normal(size=2000) * 0.5  # AUC .92
    data.inputs["key"] = [f"k{i}" for i in range(2000)]
    findings = found({"all": data})
    assert findings["telling columns"].severity == "ok"
    assert findings["identifier columns"].examples == ("key",)


def test_categories_are_not_coded_by_the_rows_that_judge_them():
    classes = np.random.default_rng(0).integers(0, 2, 3000)
    pairs = pd.Series([f"k{i // 2}" for i in range(3000)])  # coding by all rows would give .88
    found = telling_columns(pairs.to_frame("pair"), classes, threshold=0.0)
    assert found == {"pair": pytest.approx(0.5, abs=0.05)}


def test_rare_classes_are_kept_when_rows_are_drawn():
    classes = np.zeros(100_000, dtype=np.int64)
    classes[::5000] = 1  # 20 rows
    frame = pd.DataFrame(
        {"leak": classes * 1.0, "x": np.random.default_rng(0).normal(size=100_000)}
    )
    assert list(telling_columns(frame, classes)) == ["leak"]
    assert telling_columns(frame, np.arange(100_000) // 9) is None  # nothing to judge by


def test_mean_auc_equals_sklearn():
    rng = np.random.default_rng(0)
    for k in (2, 4):
        classes = rng.integers(0, k, 300)
        scores = rng.dirichlet(np.ones(k), 300).round(1) + 1e-3  # with ties
        scores /= scores.sum(axis=1, keepdims=True)
        expected = np.mean([roc_auc_score(classes == j, scores[:, j]) for j in range(k)])
        assert _mean_auc(scores, classes) == pytest.approx(expected)


def test_identifiers_are_whole_numbers_or_strings_that_never_repeat():
    n = 50
    frame = pd.DataFrame(
        {
            "number": np.arange(n)[::-1] * 7,
            "float": np.arange(n) * 1.0,
            "text": [f"id-{i}" for i in range(n)],
            "measure": np.linspace(0, 1, n),
            "repeats": np.r_[np.arange(n - 1), 0],
            "flag": np.arange(n) % 2 == 0,
            "missing": [None, *[f"s{i}" for i in range(n - 1)]],
        }
    )
    assert identifier_columns(frame) == ["number", "float", "text"]


def test_order_dependence_sees_sorting_blocks_and_trends_and_not_chance():
    rng = np.random.default_rng(0)
    shuffled = rng.integers(0, 5, 5000)
    assert order_dependence(shuffled) == (0.0, 0.0)
    assert order_dependence(np.sort(shuffled)) == (
        pytest.approx(1.0, abs=0.01),
        pytest.approx(1.0, abs=0.01),
    )
    blocks = np.repeat(rng.integers(0, 5, 500), 10)
    assert order_dependence(blocks)[1] == pytest.approx(0.9, abs=0.05)
    drift = (rng.random(5000) < np.linspace(0.1, 0.9, 5000)).astype(int)
    expected = abs(2 * roc_auc_score(drift, np.arange(5000)) - 1)
    assert order_dependence(drift)[0] == pytest.approx(expected)
    rare = np.zeros(2000, dtype=int)
    rare[[3, 10, 17]] = 1  # three early rows are chance enough
    assert order_dependence(rare)[0] == 0.0


def test_false_alarms_on_shuffled_data_are_rare():
    alarms = 0
    for seed in range(30):
        findings = found({"all": table(seed, n=120, num_classes=3)}, seed=seed)
        alarms += sum(finding.severity not in ("ok", "skipped") for finding in findings.values())
    assert alarms <= 1


def test_sorted_rows_are_noted():
    data = table()
    order = np.argsort(data.targets, kind="stable")
    assert found({"all": data.select(order)})["row order"].severity == "note"


def test_no_test_split_leaves_one_pair():
    findings = found({"all": table()}, test=0)
    assert [check for check in findings if check.startswith("duplicates")] == [CHECKS[0]]


def test_real_overlap_of_adult_is_found_quickly(real_data):
    train = pd.read_parquet(real_data / "adult_train.parquet")
    test = pd.read_parquet(real_data / "adult_test.parquet")
    parts = {
        name: Examples("tabular", frame.drop(columns=["income"]), frame["income"].to_numpy())
        for name, frame in {"train": train, "test": test}.items()
    }
    splits = split(parts)
    audit(splits)  # imports are paid for here
    start = time.process_time()
    findings = {finding.check: finding for finding in audit(splits)}
    assert time.process_time() - start < 3
    inputs = [column for column in train if column != "income"]
    for part in ("train", "validation"):
        known = getattr(splits, part).inputs.drop_duplicates()
        expected = test[inputs].merge(known, how="inner", on=inputs)
        assert findings[f"duplicates: {part} and test"].count == len(expected) > 0
    assert findings["duplicates: train and test"].severity == "error"
    assert findings["telling columns"].severity == "ok"


def test_a_planted_overlap_of_fashion_mnist_is_found_under_another_label(real_data):
    train = pd.read_parquet(real_data / "fashion_mnist_train.parquet").head(600)
    test = pd.read_parquet(real_data / "fashion_mnist_test.parquet").head(200)

    def images(frame):
        return Examples(
            "image", Images.from_items(frame["image"].tolist()), frame["label"].to_numpy()
        )

    assert found({"train": images(train), "test": images(test)})[CHECKS[1]].severity == "ok"
    planted = pd.concat([test, train.head(1).assign(label=(train["label"].iloc[0] + 1) % 10)])
    findings = found({"train": images(train), "validation": images(test), "test": images(planted)})
    assert findings[CHECKS[1]].examples == (200,)
    assert findings[CHECKS[2]].count == 200


# --- numbers and sets of labels


def test_checks_of_numbers_say_what_does_not_apply():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": rng.normal(size=N), "y": rng.normal(size=N)})
    findings = found({"all": Examples("tabular", frame, frame["x"] ** 2, objective="regression")})
    assert findings["classes"].severity == "skipped"
    assert "classes in validation" not in findings
    assert findings["conflicting labels"].severity == "ok"
    assert findings["row order"].severity == "ok"


@pytest.mark.parametrize(
    "leak",
    [
        lambda y, rng: 3 * y - 1,
        lambda y, rng: np.arctan(y) + 1e-3 * rng.normal(size=len(y)),
        lambda y, rng: pd.Series(np.clip(np.round(y, 1), -2, 2)).astype("str"),
    ],
)
def test_a_column_that_gives_a_number_away_is_named(leak):
    rng = np.random.default_rng(0)
    y = rng.normal(size=4000)
    y[0] = 1e4  # which alone would decide a plain R2
    frame = pd.DataFrame({"leak": leak(y, rng), "strong": y + rng.normal(size=4000) / 4, "x": y**0})
    telling = found({"all": Examples("tabular", frame, y, objective="regression")})
    assert telling["telling columns"].examples == ("leak",)
    assert "gives the number away: 'leak' (R2 of ranks" in telling["telling columns"].message


def test_numbers_in_the_order_of_rows_and_of_equal_rows_are_noted():
    values = np.sort(np.random.default_rng(0).normal(size=N))
    frame = pd.DataFrame({"x": np.arange(N) // 2})
    findings = found({"all": Examples("tabular", frame, values, objective="regression")})
    assert findings["row order"].severity == "note"
    assert "ordered by number (trend 1.00" in findings["row order"].message
    assert findings["conflicting labels"].count == findings["repeated rows"].count * 2 > 0
    assert "another number" in findings["conflicting labels"].message


def test_checks_of_sets_of_labels():
    targets = np.empty(N, dtype=object)
    targets[:] = [("a",) if i % 2 else ("a", "b") if i % 3 else () for i in range(N)]
    targets[5] = ("rare",)
    rng = np.random.default_rng(0)
    values = rng.permutation(N)
    values[1] = values[0]
    frame = pd.DataFrame({"x": values / 7})
    findings = found({"all": Examples("tabular", frame, targets, objective="multilabel")}, seed=1)
    assert findings["telling columns"].severity == "skipped"
    assert findings["classes in test"].examples == ("'rare'",)
    if findings["repeated rows"].count:
        assert findings["conflicting labels"].count == 2


@pytest.mark.parametrize("rows", [8, 400])
def test_odd_columns_and_few_rows_of_numbers_are_audited(rows):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"none": np.full(rows, np.nan), "same": 1.0, "x": rng.normal(size=rows)})
    frame["word"] = pd.Series(["a", None] * (rows // 2), dtype="str")
    findings = found({"all": Examples("tabular", frame, frame["x"] * 2, objective="regression")})
    severity = findings["telling columns"].severity
    assert severity == ("skipped" if rows == 8 else "warning")
