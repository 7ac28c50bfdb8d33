"""A byte-pair tokenizer fitted on training texts, and texts as its token ids."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from tokenizers import Tokenizer

PAD, UNKNOWN, START = "[PAD]", "[UNK]", "[CLS]"
VOCAB_SIZE = 8_000
MIN_FREQUENCY = 2
_CHUNK = 4_096  # texts encoded at once: bounds the memory of the tokenizer's own objects


def train_tokenizer(texts: Sequence[str]) -> tuple[str, int]:
    """Fit a byte-pair tokenizer (Sennrich et al. 2016, arXiv:1508.07909).

    Texts are brought to NFKC and lower case and cut at spaces and punctuation before pairs merge.
    Ids 0, 1 and 2 are padding, unknown and start; every encoded text begins with start. The same
    texts give the same tokenizer.

    Args:
        texts: (N,) training texts.

    Returns:
        Its JSON, and the number of its tokens.
    """
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE(unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        min_frequency=MIN_FREQUENCY,
        special_tokens=[PAD, UNKNOWN, START],
        show_progress=False,
    )
    tokenizer.train_from_iterator(iter(texts), trainer=trainer, length=len(texts))
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START} $A", special_tokens=[(START, tokenizer.token_to_id(START))]
    )
    # Sorted, so that equal tokenizers have equal text.
    text = json.dumps(json.loads(tokenizer.to_str()), ensure_ascii=False, separators=(",", ":"))
    return text, tokenizer.get_vocab_size()


def token_ids(texts: Sequence[str], tokenizer: str, max_length: int | None) -> Iterator[list[int]]:
    """Yield the token ids of each text, cut after `max_length` tokens, the start token included.

    Args:
        texts: (N,) texts.
        tokenizer: JSON of a tokenizer.
        max_length: Tokens to keep, or None for all.
    """
    from tokenizers import Tokenizer

    fitted: Tokenizer = Tokenizer.from_str(tokenizer)
    fitted.no_padding()
    if max_length is None:
        fitted.no_truncation()
    else:
        fitted.enable_truncation(max_length)
    for start in range(0, len(texts), _CHUNK):
        for encoding in fitted.encode_batch_fast(list(texts[start : start + _CHUNK])):
            yield encoding.ids


def count_tokens(texts: Sequence[str], tokenizer: str) -> np.ndarray:
    """Return how many tokens (N,) each text has, the start token included."""
    return np.fromiter(
        (len(ids) for ids in token_ids(texts, tokenizer, None)), np.int64, len(texts)
    )
