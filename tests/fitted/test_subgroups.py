"""Results by subgroup, from `fit(subgroups=...)` to the report."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mlexpert.evidence.report import NOTHING
from mlexpert.fitted import Fitted
from mlexpert.recipes import get
from tests.small_data import table

PARTS = {"train": table(200, seed=0), "validation": table(90, seed=1), "test": table(120, seed=2)}
PARTS["test"].loc[:9, "city"] = None
PARTS["test"].loc[10:12, ["city", "bought"]] = ["Bern", "no"]


def fit(run_dir: Path, **arguments) -> Fitted:
    recipe = get("imbalanced-cls", epochs=2, batch_size=64)
    return recipe.fit(PARTS, target="bought", run_dir=run_dir, progress=False, **arguments)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    return fit(tmp_path_factory.mktemp("run"), subgroups=["city", "income"])


def check(fitted: Fitted, part: str) -> dict[str, dict]:
    """Compare a file with what the model says of the user's own rows, and return it by city."""
    found = json.loads((fitted.run_dir / f"predictions/{part}_subgroups.json").read_text())
    own = PARTS[part].assign(decided=fitted.predict(PARTS[part]))
    own["p"] = fitted.predict_proba(own)[:, list(fitted.classes_).index("yes")]
    rows = {row["value"]: row for row in found["rows"] if row["column"] == "city"}
    cities = own["city"].astype(object).where(own["city"].notna(), "missing")
    assert {value: row["rows"] for value, row in rows.items()} == cities.value_counts().to_dict()
    for city, group in own.groupby(cities):
        row, yes = rows[city], group["bought"] == "yes"
        assert row["accuracy"] == pytest.approx((group["decided"] == group["bought"]).mean())
        assert row["selection_rate"] == pytest.approx((group["decided"] == "yes").mean())
        assert row["brier"] == pytest.approx(((group["p"] - yes) ** 2).mean(), abs=1e-6)
        recall = (group["decided"][yes] == "yes").mean() if yes.any() else None
        assert row["recall"] == pytest.approx(recall)
    ranges = [row for row in found["rows"] if row["column"] == "income"]
    assert len(ranges) == 5 and sum(row["rows"] for row in ranges) == len(own)
    gap = next(gap for gap in found["gaps"] if gap["column"] == "city")
    scores = [rows[city]["balanced_accuracy"] for city in ("Oslo", "Rome")]
    assert gap["gap"] == pytest.approx(np.ptp(scores))
    return rows


def test_validation_is_written_by_fit_and_test_by_final_test(fitted: Fitted) -> None:
    check(fitted, "validation")
    assert not (fitted.run_dir / "predictions/test_subgroups.json").exists()
    page = fitted.report().read_text()
    assert 'By subgroup <span class="part validation">' in page
    fitted.final_test(reason="table 1")
    rows = check(fitted, "test")
    assert rows["Bern"]["recall"] is None and rows["Bern"]["small"]
    page = fitted.report().read_text()
    assert 'By subgroup <span class="part test">' in page
    assert '<tr class="small"><th scope="row">Bern <span class="tag">fewer than 30 rows' in page


def test_without_subgroups_there_is_no_section_and_intervals_keep_their_notes(
    tmp_path: Path,
) -> None:
    plain = fit(tmp_path / "run")
    plain.final_test(reason="table 1")
    names = {path.name for path in (tmp_path / "run/predictions").iterdir()}
    assert names == {"validation.safetensors", "test.safetensors"}
    page = plain.report().read_text()
    assert "By subgroup" not in page
    notes = plain.final_tests()[-1]["notes"]
    assert notes["few_shot"] == "undefined on these examples"
    assert all(notes.values())
    assert page.count("<small>") == len(notes)
    assert f"{NOTHING}<small>{notes['few_shot']}</small>" in page


def test_a_column_beside_texts_is_no_input(tmp_path: Path) -> None:
    rows = pd.DataFrame({"text": [f"{'good' if k % 3 else 'bad'} {k}" for k in range(150)]})
    rows["label"] = np.where(np.arange(150) % 3, "yes", "no")
    rows["source"] = np.where(np.arange(150) % 2, "mail", "chat")
    recipe = get("imbalanced-cls", epochs=1, batch_size=64)
    fitted = recipe.fit(rows, target="label", subgroups="source", run_dir=tmp_path, progress=False)
    found = json.loads((tmp_path / "predictions/validation_subgroups.json").read_text())
    assert {row["value"] for row in found["rows"]} == {"mail", "chat"}
    assert fitted.facts["data"]["inputs"] == ["text"]
