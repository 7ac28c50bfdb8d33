"""Make the packaged demo data: a long-tailed Fashion-MNIST with a balanced test file.

Run from the repository's root, with the full Fashion-MNIST (parquet, image layout) in
`$MLEXPERT_DATA`:

    MLEXPERT_DATA=path/to/data python scripts/make_demo_data.py

The profile is the usual one for long-tailed benchmarks (Cui et al. 2019, arXiv:1901.05555, section
5.1): class k keeps n_max * factor^(-k / (K - 1)) training images. Writing the same input twice
gives the same bytes.
"""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

LARGEST_CLASS = 2_000  # training images of the most frequent class
IMBALANCE_FACTOR = 100  # most frequent over rarest
TEST_PER_CLASS = 200
SEED = 0
DESTINATION = Path(__file__).resolve().parent.parent / "mlexpert" / "data" / "demo"


def long_tail_counts(num_classes: int) -> list[int]:
    """Return the training images to keep of each class, most frequent first."""
    exponents = np.arange(num_classes) / (num_classes - 1)
    return [round(LARGEST_CLASS * IMBALANCE_FACTOR**-exponent) for exponent in exponents]


def pixels(encoded: bytes) -> bytes:
    """Return the decoded content of an image, which makes two rows duplicates."""
    return np.asarray(Image.open(io.BytesIO(encoded)).convert("L")).tobytes()


def draw(
    frame: pd.DataFrame, counts: list[int], taken: set[bytes], rng: np.random.Generator
) -> pd.DataFrame:
    """Draw `counts[k]` rows of each class k with pixels not in `taken`, and add theirs to it."""
    kept: list[int] = []
    for label, count in enumerate(counts):
        rows = rng.permutation(np.flatnonzero(frame["label"].to_numpy() == label))
        chosen: list[int] = []
        for row in rows:
            if len(chosen) == count:
                break
            content = pixels(frame["image"].iloc[row]["bytes"])
            if content not in taken:
                taken.add(content)
                chosen.append(int(row))
        if len(chosen) < count:
            raise SystemExit(f"class {label}: {len(chosen)} distinct images, {count} needed")
        kept += chosen
    return frame.iloc[rng.permutation(kept)]


def write(frame: pd.DataFrame, names: list[str], path: Path) -> None:
    """Write rows in the image layout of Hugging Face datasets, class names in the metadata."""
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    features = {
        "image": {"_type": "Image"},
        "label": {"names": names, "_type": "ClassLabel"},
    }
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    table = pa.table(
        {
            "image": pa.array(list(frame["image"]), type=image),
            "label": pa.array(frame["label"], type=pa.int64()),
        }
    ).replace_schema_metadata(metadata)
    # The PNGs are stored, not deflated: one zstd pass over a column of them is smaller than each on
    # its own.
    pq.write_table(table, path, compression="zstd", compression_level=19, row_group_size=1_000)


def class_names(path: Path) -> list[str]:
    """Read the names of the ClassLabel feature from a parquet file's metadata."""
    info = json.loads(pq.read_schema(path).metadata[b"huggingface"])
    return info["info"]["features"]["label"]["names"]


def sample(source: Path) -> tuple[dict[str, pd.DataFrame], list[str]]:
    """Return the rows of both parts, drawn from the full files in `source`, and the class names."""
    train_path = source / "fashion_mnist_train.parquet"
    test_path = source / "fashion_mnist_test.parquet"
    names = class_names(train_path)
    rng = np.random.default_rng(SEED)
    taken: set[bytes] = set()
    train = draw(pd.read_parquet(train_path), long_tail_counts(len(names)), taken, rng)
    test = draw(pd.read_parquet(test_path), [TEST_PER_CLASS] * len(names), taken, rng)
    return {"train": train, "test": test}, names


def main() -> None:
    """Write both files."""
    parts, names = sample(Path(os.environ["MLEXPERT_DATA"]))
    DESTINATION.mkdir(parents=True, exist_ok=True)
    for part, frame in parts.items():
        path = DESTINATION / f"fashion_mnist_lt_{part}.parquet"
        write(frame, names, path)
        counts = frame["label"].value_counts().sort_index().tolist()
        print(f"{path.name}: {len(frame)} images, {path.stat().st_size / 1e6:.2f} MB, {counts}")


if __name__ == "__main__":
    main()
