"""A tokenizer fitted on training texts, and texts as its token ids."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from tokenizers import Tokenizer

PAD, UNKNOWN, START = "[PAD]", "[UNK]", "[CLS]"
UNSPACED = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tibetan}]"
"""Characters of scripts without spaces between words."""
LONGEST_WORD = 200
"""Letters of a word that its tokens are learned from: one pasted file would take minutes."""
_CHUNK = 4_096  # texts encoded at once: bounds the memory of the tokenizer's own objects


@dataclass(frozen=True)
class Vocabulary:
    """How a tokenizer is fitted."""

    unit: Literal["pieces", "words"] = "pieces"
    """pieces: byte pairs, of which every word can be made. words: whole words, and single
    characters of scripts that put no spaces between words; other words are unknown."""
    size: int = 8_000
    """Most tokens."""
    min_frequency: int = 2
    """Fewest occurrences of a word, or of a pair that is merged."""
    lowercase: bool = True
    """Whether letters lose their case."""


SMALL = Vocabulary()


def train_tokenizer(texts: Sequence[str], vocabulary: Vocabulary = SMALL) -> tuple[str, int]:
    """Fit a tokenizer: of byte pairs (Sennrich et al. 2016, arXiv:1508.07909), or of words.

    Texts are brought to NFKC, to lower case where the vocabulary says so, and cut at spaces and
    punctuation first. Ids 0, 1 and 2 are padding, unknown and start; every encoded
    text begins with start. The same texts give the same tokenizer.

    Args:
        texts: (N,) training texts.
        vocabulary: What to fit.

    Returns:
        Its JSON, and the number of its tokens.
    """
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
    from tokenizers.trainers import BpeTrainer, WordLevelTrainer

    is_words = vocabulary.unit == "words"
    model = models.WordLevel if is_words else models.BPE
    tokenizer = Tokenizer(model(unk_token=UNKNOWN))
    lower = [normalizers.Lowercase()] if vocabulary.lowercase else []
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), *lower])
    cuts = [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()]
    if is_words:
        cuts.append(pre_tokenizers.Split(Regex(UNSPACED), behavior="isolated"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(cuts)
    trainer = (WordLevelTrainer if is_words else BpeTrainer)(
        vocab_size=vocabulary.size,
        min_frequency=vocabulary.min_frequency,
        special_tokens=[PAD, UNKNOWN, START],
        show_progress=False,
    )
    tokenizer.train_from_iterator(map(_short_words, texts), trainer=trainer, length=len(texts))
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START} $A", special_tokens=[(START, tokenizer.token_to_id(START))]
    )
    # Sorted, so that equal tokenizers have equal text.
    text = json.dumps(json.loads(tokenizer.to_str()), ensure_ascii=False, separators=(",", ":"))
    return text, tokenizer.get_vocab_size()


def _short_words(text: str) -> str:
    return re.sub(rf"(\S{{{LONGEST_WORD}}})\S+", r"\1", text)


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
