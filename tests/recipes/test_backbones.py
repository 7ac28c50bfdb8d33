"""Backbones by name, through `fit`, `save` and `load` in a process that has only the folder."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import BertWordPieceTokenizer
from transformers import BertConfig, BertForMaskedLM, BertTokenizerFast

import mlexpert
from mlexpert.errors import InputError
from mlexpert.fitted import Fitted
from mlexpert.recipes import get
from tests.small_data import images, table, texts


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    """A folder with a tiny BERT, trained on nothing, and a tokenizer of the messages' words."""
    words = BertWordPieceTokenizer()
    words.train_from_iterator(texts()["message"], vocab_size=150, min_frequency=1)
    tokenizer = BertTokenizerFast(tokenizer_object=words._tokenizer)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
    )
    torch.manual_seed(0)
    BertForMaskedLM(config).save_pretrained(tmp_path / "encoder")
    tokenizer.save_pretrained(tmp_path / "encoder")
    return tmp_path / "encoder"


def fit(ds: object, run_dir: Path, **fields: object) -> Fitted:
    recipe = get("imbalanced-cls", **{"epochs": 1, "batch_size": 32, **fields})
    return recipe.fit(ds, run_dir=run_dir, progress=False)


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "vit_tiny_patch16_224"])
def test_a_timm_model_by_name_is_fitted_saved_and_loaded(name: str, tmp_path: Path) -> None:
    stack, labels = images(40)
    fitted = fit((stack, labels), tmp_path / "run", backbone=name, image_size=32)
    expected = fitted.predict_proba(stack[:8])
    assert np.isfinite(expected).all() and np.ptp(expected[:, 0]) > 0
    loaded = mlexpert.load(fitted.save(tmp_path / "model"))
    np.testing.assert_array_equal(loaded.predict_proba(stack[:8]), expected)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"backbone": "resnet81"}, "no model named 'resnet81'. Did you mean 'resnet18'"),
        ({"backbone": "resnet18.none"}, "no weights 'none' for 'resnet18'. It has: .*a1_in1k"),
        ({"backbone": "test_resnet", "pretrained": True}, "could not be fetched.*pretrained=False"),
    ],
)
def test_a_timm_model_that_cannot_be_had_leaves_nothing(
    fields: dict, message: str, offline: None, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        fit(images(40), tmp_path / "run", **fields)
    assert list(tmp_path.iterdir()) == []


def test_an_encoder_outlives_its_folder_in_a_new_process(encoder: Path, tmp_path: Path) -> None:
    rows = texts()
    fitted = fit(rows, tmp_path / "run", backbone=str(encoder))
    expected = fitted.predict_proba(rows["message"])
    assert np.ptp(expected[:, 0]) > 0
    model = fitted.save(tmp_path / "model")
    np.save(tmp_path / "expected.npy", expected)
    rows.to_csv(tmp_path / "rows.csv", index=False)
    shutil.rmtree(encoder)
    program = (
        "import mlexpert, numpy as np\n"
        f"for folder in ({str(model)!r}, {str(tmp_path / 'run')!r}):\n"
        "    found = mlexpert.load(folder).predict_proba('rows.csv')\n"
        "    np.testing.assert_allclose(found, np.load('expected.npy'), atol=1e-6)\n"
        f"mlexpert.Fitted.from_run({str(tmp_path / 'run')!r}).evaluate()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_an_encoder_that_cannot_be_had_leaves_nothing(offline: None, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No encoder 'no-one/no-model'.*name a local folder"):
        fit(texts(), tmp_path / "run", backbone="no-one/no-model")
    assert list(tmp_path.iterdir()) == []


def test_a_table_has_one_network(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a table has one network"):
        fit(table().rename(columns={"bought": "label"}), tmp_path / "run", backbone="resnet18")
    assert list(tmp_path.iterdir()) == []
