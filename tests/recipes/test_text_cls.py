"""text-cls: from scratch, fine-tuned and by low-rank updates; odd texts; what is refused."""

from __future__ import annotations

import builtins
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertForMaskedLM,
    ModernBertConfig,
    ModernBertForMaskedLM,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForMaskedLM,
)

import mlexpert
from mlexpert.data.schema import Schema, TextStats
from mlexpert.errors import InputError
from mlexpert.fitted import Fitted
from mlexpert.recipes import get
from mlexpert.recipes.text_cls import TextCls
from tests.small_data import images, texts

SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 40,
}
SPECIALS = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
ODD = [
    "",
    " \t\n ",
    "win " * 5_000,
    "\x00cash\x00",
    "ราคาพิเศษ",
    "免费现金大奖",
    "جائزة نقدية مجانية",
    "🎉💰🎉",
    "\u200b\ufeff\u202e",
    "xyzzy qwrt",
]
"""Empty, very long, with null bytes, in other scripts, invisible, and of unknown characters."""


def encoder(folder: Path, family: str = "bert") -> Path:
    """Write a tiny encoder, trained on nothing, and a tokenizer of the messages' words."""
    words = sorted({word for line in texts()["message"] for word in line.split()})
    inner = Tokenizer(
        models.WordLevel(
            {word: number for number, word in enumerate([*SPECIALS.values(), *words])},
            unk_token="[UNK]",
        )
    )
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    inner.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, model_max_length=32, **SPECIALS)
    size, ids = len(tokenizer), {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
    torch.manual_seed(0)
    model = {
        "bert": lambda: BertForMaskedLM(BertConfig(vocab_size=size, **SIZES)),
        "roberta": lambda: RobertaForMaskedLM(RobertaConfig(vocab_size=size, **ids, **SIZES)),
        "modernbert": lambda: ModernBertForMaskedLM(
            ModernBertConfig(vocab_size=size, cls_token_id=2, sep_token_id=3, **ids, **SIZES)
        ),
    }[family]()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def fit(run_dir: Path, ds: object = None, **fields: object) -> Fitted:
    recipe = get("text-cls", **{"epochs": 1, "batch_size": 32, **fields})
    return recipe.fit(texts() if ds is None else ds, run_dir=run_dir, progress=False)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    return fit(tmp_path_factory.mktemp("scratch") / "run", epochs=10)


def test_from_scratch_it_learns_words_and_comes_back_equal(scratch: Fitted, tmp_path: Path) -> None:
    assert scratch.evaluate()["accuracy"] > 0.9
    rows = texts(seed=1)
    expected = scratch.predict_proba(rows["message"])
    loaded = mlexpert.load(scratch.save(tmp_path / "model"))
    np.testing.assert_array_equal(loaded.predict_proba(rows["message"]), expected)


def test_it_learns_what_only_the_order_of_words_tells(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    names = np.array(["ann", "bob", "cat", "dan", "eve", "fay"])
    pairs = [rng.permutation(names)[:2] for _ in range(300)]
    first = rng.random(300) < 0.5
    lines = [
        f"{a} beat {b} in game {n}" if won else f"{a} lost to {b} in game {n}"
        for n, ((a, b), won) in enumerate(zip(pairs, first, strict=True))
    ]
    swapped = [" ".join(line.split()[::-1]) if n % 2 else line for n, line in enumerate(lines)]
    is_forward = np.arange(300) % 2 == 0
    rows = pd.DataFrame({"text": swapped, "label": np.where(is_forward, "ahead", "back")})
    assert fit(tmp_path / "run", rows, epochs=6).evaluate()["accuracy"] > 0.95


def test_odd_texts_have_finite_probabilities(scratch: Fitted) -> None:
    shares = scratch.predict_proba(ODD)
    assert shares.shape == (len(ODD), 2)
    np.testing.assert_allclose(shares.sum(axis=1), 1.0, atol=1e-5)
    np.testing.assert_allclose(scratch.predict_proba(ODD[:1]), shares[:1], atol=1e-6)


def test_odd_texts_can_be_trained_on(tmp_path: Path) -> None:
    rows = texts()
    rows.loc[: len(ODD) - 1, "message"] = ODD
    with pytest.warns(UserWarning, match=r"1 of \d+ training texts reach max_length=16 tokens"):
        fitted = fit(tmp_path / "run", rows.drop_duplicates("message"), max_length=16)
    assert np.isfinite(fitted.predict_proba(ODD)).all()


@pytest.mark.parametrize("family", ["bert", "roberta", "modernbert"])
@pytest.mark.parametrize("lora_rank", [0, 4])
def test_an_encoder_is_fine_tuned_and_outlives_its_folder(
    family: str, lora_rank: int, tmp_path: Path
) -> None:
    folder = encoder(tmp_path / "encoder", family)
    fitted = fit(tmp_path / "run", backbone=str(folder), lora_rank=lora_rank, dropout=0.0)
    rows = [*texts(seed=1)["message"], *ODD]
    expected = fitted.predict_proba(rows)
    assert np.isfinite(expected).all() and np.ptp(expected[:, 0]) > 0
    model = fitted.save(tmp_path / "model")
    folder.rename(tmp_path / "elsewhere")
    np.testing.assert_array_equal(mlexpert.load(model).predict_proba(rows), expected)


def test_low_rank_updates_leave_the_pretrained_weights_alone(tmp_path: Path) -> None:
    folder = encoder(tmp_path / "encoder")
    fitted = fit(tmp_path / "run", backbone=str(folder), lora_rank=2, lr=0.01)
    before = load_file(folder / "model.safetensors")
    after = load_file(fitted.save(tmp_path / "model") / "weights.safetensors")
    kept = {
        name.removeprefix("model.encoder.").replace("base_layer.", ""): value
        for name, value in after.items()
    }
    shared = [name for name in before if name in kept and ".layer." in name]
    assert len(shared) == 2 * 16
    assert all(torch.equal(before[name], kept[name]) for name in [*shared, EMBEDDING])
    assert any(value.abs().sum() > 0 for name, value in after.items() if "lora_B" in name)


EMBEDDING = "bert.embeddings.word_embeddings.weight"


def test_lora_without_peft_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    real = builtins.__import__

    def without_peft(name: str, *args: object, **kwargs: object) -> object:
        if name == "peft":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    folder = encoder(tmp_path / "encoder")
    monkeypatch.setattr(builtins, "__import__", without_peft)
    with pytest.raises(InputError, match=r"pip install 'mlexpert\[lora\]'"):
        fit(tmp_path / "run", backbone=str(folder), lora_rank=2)


def test_weights_that_do_not_fit_are_named(tmp_path: Path) -> None:
    folder = encoder(tmp_path / "encoder")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))
    with pytest.raises(InputError, match=r"do not fit.*layer\.2\.attention\S* \(16, 16\) is miss"):
        fit(tmp_path / "run", backbone=str(folder))
    (folder / "config.json").write_text(json.dumps(config))
    weights = load_file(folder / "model.safetensors")
    weights[EMBEDDING] = weights[EMBEDDING][:-1].clone()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"word_embeddings.weight is \(\d+, 16\) in the file"):
        fit(tmp_path / "run", backbone=str(folder))
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("offline")
def test_a_slip_in_a_name_gets_the_nearest(tmp_path: Path) -> None:
    encoder(tmp_path / "tiny-encoder")
    wrong = str(tmp_path / "tiny-encodr")
    with pytest.raises(InputError, match="Did you mean '.*tiny-encoder'"):
        fit(tmp_path / "run", backbone=wrong)
    with pytest.raises(InputError, match="Did you mean .*'bert-base-uncased'"):
        fit(tmp_path / "run", backbone="bert-base-uncase")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"lora_rank": 4}, "lora_rank=4; it has to be 0 where backbone is 'auto'"),
        ({"lora_rank": -1, "backbone": "x"}, "lora_rank=-1"),
        ({"max_length": 0}, "max_length=0"),
        ({"dropout": 1.0}, "dropout=1.0"),
        ({"token_dropout": -0.1}, "token_dropout=-0.1"),
        ({"decay": "square"}, "decay='square'"),
        ({"layer_decay": 0.0}, "layer_decay=0.0"),
    ],
)
def test_values_that_cannot_be_meant_are_refused(fields: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        get("text-cls", **fields)


def test_other_rows_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="takes text inputs, and these rows are image"):
        fit(tmp_path / "run", images())
    assert list(tmp_path.iterdir()) == []


def test_what_depends_on_size_is_settled() -> None:
    def settled(rows: int, **fields: object) -> TextCls:
        stats = TextStats("{}", 100, 10, 30)
        schema = Schema("text", (0, 1), ("0", "1"), (rows // 2, rows - rows // 2), text=stats)
        return TextCls(**fields).settle(schema)

    few, many = settled(100), settled(1_000_000)
    assert few.epochs > many.epochs == 1 and few.batch_size < many.batch_size
    assert settled(10_000).epochs == 3 and settled(29_000).epochs == 2  # 30,000 texts, rounded up
    tuned, low_rank = settled(100, backbone="x"), settled(100, backbone="x", lora_rank=8)
    assert tuned.lr < low_rank.lr < few.lr
    assert tuned.layer_decay < 1 == low_rank.layer_decay == few.layer_decay
    assert settled(100, epochs=7, lr=0.5).epochs == 7
