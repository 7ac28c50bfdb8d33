"""Any text encoder of the transformers library, with a classification head."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mlexpert.blocks.backbones.restoring import restored_folder, restoring
from mlexpert.blocks.layers.low_rank import add_low_rank
from mlexpert.blocks.repeated_blocks import behind_blocks
from mlexpert.errors import InputError

__all__ = ["ENCODER_FOLDER", "PretrainedText", "padded", "restoring"]

ENCODER_FOLDER = "encoder"
"""Where, inside a saved model's folder, the encoder's configuration and tokenizer lie."""
KNOWN_ENCODERS = (
    "answerdotai/ModernBERT-base",
    "bert-base-cased",
    "bert-base-multilingual-cased",
    "bert-base-uncased",
    "distilbert-base-uncased",
    "google-bert/bert-base-uncased",
    "google/electra-small-discriminator",
    "microsoft/deberta-v3-base",
    "FacebookAI/roberta-base",
    "FacebookAI/xlm-roberta-base",
    "roberta-base",
    "sentence-transformers/all-MiniLM-L6-v2",
    "xlm-roberta-base",
)
"""Names of encoders that a slip of the hand is compared with; any other works as well."""


class PretrainedText(nn.Module):
    """Classifies token ids (B, T) with a pretrained encoder and its architecture's own head.

    Inside `restoring(folder)` the encoder is built from `folder/encoder` with random weights,
    without a network.

    Args:
        name: Name on the hub, or a local folder with a configuration, weights and a tokenizer.
        num_classes: Outputs K.
        lora_rank: Rank of the updates that are trained in place of the encoder's weights; 0 trains
            the weights.
        dropout: Share of features dropped in training; None leaves it as the encoder has it.

    Attributes:
        encoder: The model of the transformers library.
        tokenizer: Its tokenizer.

    Raises:
        InputError: If the name is unknown, the hub cannot be reached, the weights do not fit the
            configuration, or the model is no encoder with a tokenizer.
    """

    def __init__(
        self, name: str, *, num_classes: int, lora_rank: int = 0, dropout: float | None = None
    ) -> None:
        super().__init__()
        folder = restored_folder()
        source = name if folder is None else str(folder / ENCODER_FOLDER)
        with _explained(source):
            self.encoder, self.tokenizer = _load(source, num_classes, weights=folder is None)
        tokens = self.tokenizer("text")["input_ids"]
        if not tokens or not tokens[-1] or tokens[-1] not in self.tokenizer.all_special_ids:
            raise InputError(
                f"{name!r} does not mark where a text ends, as encoders do; its padding could not "
                "be told from text. Choose, for example, a BERT, RoBERTa or ModernBERT model."
            )
        pad = self.tokenizer.pad_token_id
        self.pad_id = 0 if pad is None else int(pad)
        if dropout is not None:
            for module in self.encoder.modules():
                if isinstance(module, nn.Dropout):
                    module.p = dropout
        if lora_rank:
            add_low_rank(self.encoder, lora_rank)

    @property
    def tokenizer_json(self) -> str:
        """The tokenizer as the JSON of a `tokenizers.Tokenizer`, which neither pads nor truncates.

        Raises:
            InputError: If the encoder has no such tokenizer.
        """
        fast = getattr(self.tokenizer, "backend_tokenizer", None)
        if fast is None:
            raise InputError(
                f"The tokenizer {type(self.tokenizer).__name__} has no fast version. "
                "Choose an encoder that has one."
            )
        from tokenizers import Tokenizer

        copy = Tokenizer.from_str(fast.to_str())
        copy.no_padding()
        copy.no_truncation()
        return copy.to_str()

    @property
    def max_length(self) -> int:
        """Tokens, special ones included, of the longest text that the encoder takes."""
        limit = int(self.tokenizer.model_max_length)  # a huge number where it is not known
        positions = getattr(self.encoder.config, "max_position_embeddings", None)
        if not isinstance(positions, int) or positions <= 0:
            return limit
        # The RoBERTa family keeps its first positions for padding, and says so by a padding index
        # on the table.
        tables = [
            module
            for path, module in self.encoder.named_modules()
            if isinstance(module, nn.Embedding) and "position" in path
        ]
        reserved = max(
            (table.padding_idx + 1 for table in tables if table.padding_idx is not None), default=0
        )
        return min(limit, positions - reserved)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the logits (B, K) of token ids (B, T).

        They are padded with 0 on the right, whatever the tokenizer itself pads with.
        """
        tokens, inside = padded(inputs, self.pad_id)
        return self.encoder(input_ids=tokens, attention_mask=inside).logits

    def save_companions(self, folder: Path) -> None:
        """Write the encoder's configuration and tokenizer into `folder`, without weights.

        Args:
            folder: The folder `encoder` inside the saved model's; made where it does not exist.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.encoder.config.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)


def padded(inputs: Tensor, pad_id: int) -> tuple[Tensor, Tensor]:
    """Return token ids (B, T) with an encoder's own padding for 0 on the right, and 1 elsewhere.

    Every text ends in a special token other than 0, so what stands behind the last non-zero id is
    padding.
    """
    inside = inputs.ne(0).flip(1).cumsum(1).flip(1).gt(0)
    return inputs.masked_fill(~inside, pad_id), inside.long()


def _load(source: str, num_classes: int, *, weights: bool) -> tuple[Any, Any]:
    from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

    local = not weights
    with _quiet():
        config = AutoConfig.from_pretrained(
            source, num_labels=num_classes, local_files_only=local, trust_remote_code=False
        )
        tokenizer = AutoTokenizer.from_pretrained(
            source, local_files_only=local, trust_remote_code=False
        )
        if weights:
            # A head of another task is replaced by a new one of the right size.
            encoder, found = AutoModelForSequenceClassification.from_pretrained(
                source,
                config=config,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
                dtype=torch.float32,
                trust_remote_code=False,
            )
            _check_weights(source, encoder, found)
        else:
            encoder = AutoModelForSequenceClassification.from_config(
                config, dtype=torch.float32, trust_remote_code=False
            )
    return encoder, tokenizer


def _check_weights(source: str, encoder: nn.Module, found: dict[str, Any]) -> None:
    """Refuse weights that leave a part of the encoder at random; only what is behind it may be."""
    new = behind_blocks(encoder)
    shapes = {name: tuple(value.shape) for name, value in encoder.named_parameters()}
    wrong = [
        f"{name} is {tuple(there)} in the file, {tuple(here)} in the model"
        for name, there, here in sorted(found["mismatched_keys"])
        if name not in new
    ]
    wrong += [
        f"{name} {shapes[name]} is missing"
        for name in shapes
        if name in found["missing_keys"] and name not in new
    ]
    if wrong:
        more = f"; and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise InputError(
            f"The weights of {source!r} do not fit its config.json: {'; '.join(wrong[:5])}{more}. "
            "Take weights and config.json from one and the same model."
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the report of new weights, a new head being what is wanted, and progress bars."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


@contextmanager
def _explained(source: str) -> Iterator[None]:
    """Say of the library's errors whether the folder, the name or the network is at fault."""
    files = "It needs config.json, weights and the tokenizer's files, as save_pretrained writes."
    folder = Path(source)
    if folder.is_dir() and not (folder / "config.json").is_file():
        raise InputError(
            f"The folder {source!r} holds no encoder: there is no config.json. {files}"
        )
    try:
        yield
    except OSError as error:
        if folder.is_dir():
            raise InputError(
                f"The encoder in {source!r} cannot be read: {_first_line(error)} {files}"
            ) from error
        raise InputError(
            f"No encoder {source!r}: it is no folder here, and the hub did not give it "
            f"({_first_line(error)}){_nearest(source)} Check the name; without a network, name a "
            "local folder that holds the model."
        ) from error
    except (ValueError, KeyError, ImportError) as error:
        raise InputError(f"{source!r} cannot classify texts: {_first_line(error)}") from error


def _nearest(source: str) -> str:
    """Return " Did you mean ...?" of the encoders beside a folder, and of those most in use."""
    beside = Path(source).parent
    folders = [str(path.parent) for path in beside.glob("*/config.json")] if beside.is_dir() else []
    near = difflib.get_close_matches(source, [*folders, *KNOWN_ENCODERS], n=3, cutoff=0.7)
    return f" Did you mean {' or '.join(map(repr, near))}?" if near else ""


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
