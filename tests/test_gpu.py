"""What only a GPU shows: the whole path on one, and predictions that equal the CPU's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import mlexpert
from mlexpert.recipes import get
from tests.small_data import of_kind

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.mark.parametrize("kind", ["tabular", "image", "text"])
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_the_whole_path(kind: str, precision: str, tmp_path: Path) -> None:
    recipe = get("imbalanced-cls", epochs=3, batch_size=32, precision=precision)
    fitted = recipe.fit(of_kind(kind), run_dir=tmp_path / "run", progress=False)
    assert fitted.facts["environment"]["device"].startswith("cuda")
    assert 0 <= fitted.final_test(reason="gpu")["balanced_accuracy"] <= 1
    ds = of_kind(kind)
    rows = ds[0] if isinstance(ds, tuple) else ds.iloc[:, :-1]
    loaded = mlexpert.load(tmp_path / "run")
    assert np.allclose(loaded.predict_proba(rows), fitted.predict_proba(rows), atol=1e-3)
