"""Any text encoder of the transformers library, with a classification head."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mlexpert.blocks.backbones.restoring import restored_folder, restoring
from mlexpert.errors import InputError

__all__ = ["ENCODER_FOLDER", "PretrainedText", "restoring"]

ENCODER_FOLDER = "encoder"
"""Where, inside a saved model's folder, the encoder's configuration and tokenizer lie."""


class PretrainedText(nn.Module):
    """Classifies token ids (B, T) with a pretrained encoder and its architecture's own head.

    Inside `restoring(folder)` the encoder is built from `folder/encoder` with random weights,
    without a network.

    Args:
        name: Name on the hub, or a local folder with a configuration, weights and a tokenizer.
        num_classes: Outputs K.

    Attributes:
        encoder: The model of the transformers library.
        tokenizer: Its tokenizer.

    Raises:
        InputError: If the name is unknown, the hub cannot be reached, or the model is no encoder
            with a tokenizer.
    """

    def __init__(self, name: str, *, num_classes: int) -> None:
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
        # Every text ends in a special token other than 0, so what stands behind the last non-zero
        # id is padding.
        inside = inputs.ne(0).flip(1).cumsum(1).flip(1).gt(0)
        tokens = inputs.masked_fill(~inside, self.pad_id)
        return self.encoder(input_ids=tokens, attention_mask=inside.long()).logits

    def save_companions(self, folder: Path) -> None:
        """Write the encoder's configuration and tokenizer into `folder`, without weights.

        Args:
            folder: The folder `encoder` inside the saved model's; made where it does not exist.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.encoder.config.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)


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
            encoder = AutoModelForSequenceClassification.from_pretrained(
                source,
                config=config,
                ignore_mismatched_sizes=True,
                dtype=torch.float32,
                trust_remote_code=False,
            )
        else:
            encoder = AutoModelForSequenceClassification.from_config(
                config, dtype=torch.float32, trust_remote_code=False
            )
    return encoder, tokenizer


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
            f"({_first_line(error)}) Check the name; without a network, name a local folder that "
            "holds the model."
        ) from error
    except (ValueError, KeyError, ImportError) as error:
        raise InputError(f"{source!r} cannot classify texts: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
