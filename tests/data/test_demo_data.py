"""The demo data in the package is what its notice and its script say."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from PIL import Image

import mlexpert.data.sources as sources

SCRIPT = Path(__file__).parents[2] / "scripts" / "make_demo_data.py"


def part(name: str) -> pd.DataFrame:
    return pd.read_parquet(sources.DEMO / f"fashion_mnist_lt_{name}.parquet")


def digests(frame: pd.DataFrame) -> list[str]:
    images = (Image.open(io.BytesIO(image["bytes"])) for image in frame["image"])
    return [hashlib.sha256(np.asarray(image).tobytes()).hexdigest() for image in images]


def test_the_profile_is_exponential_with_factor_100():
    counts = part("train")["label"].value_counts().sort_index().to_numpy()
    assert counts[0] / counts[-1] == 100
    steps = np.diff(np.log(counts))
    np.testing.assert_allclose(steps, -np.log(100) / 9, atol=0.03)
    assert part("test")["label"].value_counts().tolist() == [200] * 10


def test_no_image_is_there_twice():
    seen = digests(part("train")) + digests(part("test"))
    assert len(set(seen)) == len(seen)


def test_the_files_are_small_name_the_classes_and_carry_the_notice():
    files = sorted(sources.DEMO.glob("*.parquet"))
    assert sum(file.stat().st_size for file in files) < 5_000_000
    for file in files:
        assert b'"Ankle boot"' in pq.read_schema(file).metadata[b"huggingface"]
    notice = (sources.DEMO / "NOTICE").read_text()
    assert "2017 Zalando SE" in notice
    assert "Permission is hereby granted" in notice
    assert "4,964" in notice


def test_the_script_makes_the_packaged_rows(real_data, tmp_path):
    module: dict = {"__name__": "make_demo_data", "__file__": str(SCRIPT)}
    exec(compile(SCRIPT.read_text(), SCRIPT, "exec"), module)
    parts, names = module["sample"](real_data)
    for name, frame in parts.items():
        pd.testing.assert_frame_equal(frame.reset_index(drop=True), part(name))
    module["write"](parts["test"].head(20), names, tmp_path / "some.parquet")
    packaged = pq.read_schema(sources.DEMO / "fashion_mnist_lt_test.parquet")
    assert pq.read_schema(tmp_path / "some.parquet").equals(packaged, check_metadata=True)
