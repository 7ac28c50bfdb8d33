"""Small encoders of the transformers library: padding, saving, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    GPT2Config,
    GPT2ForSequenceClassification,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from mlexpert.blocks.backbones.pretrained_text import ENCODER_FOLDER, PretrainedText, restoring
from mlexpert.blocks.backbones.restoring import restored_folder
from mlexpert.errors import InputError

WORDS = ["good", "bad", "film", "a", "the", "text"]
SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}


def tokenizer(specials: dict[str, str], end: bool = True) -> PreTrainedTokenizerFast:
    """A word tokenizer whose special tokens have the lowest ids, in the order given."""
    vocabulary = {token: number for number, token in enumerate([*specials.values(), *WORDS])}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token=specials["unk_token"]))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.decoder = decoders.WordPiece()
    if end:
        first, last = specials["cls_token"], specials["sep_token"]
        inner.post_processor = processors.TemplateProcessing(
            single=f"{first} $A {last}",
            special_tokens=[(first, vocabulary[first]), (last, vocabulary[last])],
        )
    return PreTrainedTokenizerFast(tokenizer_object=inner, model_max_length=512, **specials)


@pytest.fixture
def bert(tmp_path: Path) -> Path:
    torch.manual_seed(1)
    words = tokenizer(
        {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    )
    config = BertConfig(vocab_size=len(words), max_position_embeddings=40, num_labels=3, **SIZES)
    BertForSequenceClassification(config).save_pretrained(tmp_path / "bert")
    words.save_pretrained(tmp_path / "bert")
    return tmp_path / "bert"


@pytest.fixture
def roberta(tmp_path: Path) -> Path:
    torch.manual_seed(2)
    words = tokenizer(
        {"cls_token": "<s>", "pad_token": "<pad>", "sep_token": "</s>", "unk_token": "<unk>"}
    )
    config = RobertaConfig(
        vocab_size=len(words),
        max_position_embeddings=40,
        num_labels=3,
        bos_token_id=0,
        pad_token_id=1,
        eos_token_id=2,
        **SIZES,
    )
    RobertaForSequenceClassification(config).save_pretrained(tmp_path / "roberta")
    words.save_pretrained(tmp_path / "roberta")
    return tmp_path / "roberta"


def padded(model: PretrainedText, texts: list[str]) -> torch.Tensor:
    """Token ids as the batches make them: the tokenizer's own, padded with 0."""
    plain = Tokenizer.from_str(model.tokenizer_json)
    rows = [torch.tensor(encoding.ids) for encoding in plain.encode_batch(texts)]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_padding_changes_nothing(family: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(family)
    model = PretrainedText(str(folder), num_classes=3).eval()
    reference = {
        "bert": BertForSequenceClassification,
        "roberta": RobertaForSequenceClassification,
    }[family].from_pretrained(folder)
    texts = ["good film", "the bad film a bad text", "a"]
    logits = model(padded(model, texts))
    expected = torch.cat(
        [reference.eval()(**model.tokenizer(text, return_tensors="pt")).logits for text in texts]
    )
    torch.testing.assert_close(logits, expected, atol=1e-6, rtol=1e-5)


def test_head_gets_the_number_of_classes_and_trains(bert: Path) -> None:
    model = PretrainedText(str(bert), num_classes=5)
    logits = model(padded(model, ["good", "bad film"]))
    assert logits.shape == (2, 5)
    logits.sum().backward()
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())
    assert model.encoder.classifier.weight.grad is not None


def test_max_length_leaves_out_reserved_positions(bert: Path, roberta: Path) -> None:
    for folder, length in [(bert, 40), (roberta, 38)]:
        model = PretrainedText(str(folder), num_classes=2).eval()
        assert model.max_length == length
        model(torch.full((1, length), 5))  # the longest text really fits


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_saved_model_is_restored_from_its_folder(
    family: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    model = PretrainedText(str(request.getfixturevalue(family)), num_classes=4).eval()
    saved = tmp_path / "saved"
    model.save_companions(saved / ENCODER_FOLDER)
    save_file(model.state_dict(), saved / "weights.safetensors")
    assert not list((saved / ENCODER_FOLDER).glob("*.safetensors"))
    assert not [path for path in saved.rglob("*") if path.suffix in {".bin", ".pkl", ".pt"}]

    with restoring(saved):
        restored = PretrainedText("a-name/that-is-not-read", num_classes=4).eval()
    assert restored_folder() is None
    assert not torch.equal(restored.encoder.classifier.state_dict()[_first(restored)], _head(model))
    restored.load_state_dict(load_file(saved / "weights.safetensors"))
    inputs = padded(model, ["the good film", "bad"])
    assert torch.equal(padded(restored, ["the good film", "bad"]), inputs)
    assert torch.equal(restored(inputs), model(inputs))


def _first(model: PretrainedText) -> str:
    return next(key for key in model.encoder.classifier.state_dict() if key.endswith("weight"))


def _head(model: PretrainedText) -> torch.Tensor:
    return model.encoder.classifier.state_dict()[_first(model)]


def test_restoring_ends_with_an_error_too(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="config"), restoring(tmp_path):
        (tmp_path / ENCODER_FOLDER).mkdir()
        PretrainedText("x", num_classes=2)
    assert restored_folder() is None


@pytest.mark.usefixtures("offline")
def test_unknown_name_without_a_network_is_explained() -> None:
    with pytest.raises(InputError, match=r"No encoder 'no-such/encoder'.*local folder"):
        PretrainedText("no-such/encoder", num_classes=2)


def test_folder_without_a_model_is_explained(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no encoder.*config\.json"):
        PretrainedText(str(tmp_path), num_classes=2)
    words = tokenizer(
        {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    )
    words.save_pretrained(tmp_path)
    BertConfig(vocab_size=len(words), **SIZES).save_pretrained(tmp_path)
    with pytest.raises(InputError, match="cannot be read.*weights"):
        PretrainedText(str(tmp_path), num_classes=2)
    (tmp_path / "config.json").write_text('{"model_type": "no-such-type"}')
    with pytest.raises(InputError, match="cannot classify texts"):
        PretrainedText(str(tmp_path), num_classes=2)


def test_model_without_an_end_token_is_refused(tmp_path: Path) -> None:
    words = tokenizer({"pad_token": "[PAD]", "unk_token": "[UNK]", "eos_token": "[END]"}, end=False)
    config = GPT2Config(
        vocab_size=len(words), n_positions=16, n_embd=8, n_layer=1, n_head=1, pad_token_id=0
    )
    GPT2ForSequenceClassification(config).save_pretrained(tmp_path)
    words.save_pretrained(tmp_path)
    with pytest.raises(InputError, match="does not mark where a text ends"):
        PretrainedText(str(tmp_path), num_classes=2)
