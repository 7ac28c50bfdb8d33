"""One sequence made of another: the loss of the targets' tokens, and decoding of many sources.

Papers: Williams and Zipser 1989 (teacher forcing); Szegedy et al. 2016, arXiv:1512.00567, section 7
(label smoothing).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlexpert.blocks.backbones.encoder_decoder import EncoderDecoder
from mlexpert.blocks.decoding.beam import beam_search
from mlexpert.blocks.decoding.greedy import Decoded, greedy
from mlexpert.data.batches import RaggedStore, batches
from mlexpert.data.sequences.symbols import END, PAD, UNKNOWN
from mlexpert.data.token_budget import cut_by_tokens
from mlexpert.training.method import Batch, Examined, Loss, Method

NO_TOKEN = -100
"""Padding in targets."""
DECODED = 500
"""Rows of validation that are decoded after an epoch; all of them have a loss."""
AT_ONCE = 8_192
"""Tokens of sources that are looked at together."""


class Transduction(Method):
    """The cross-entropy of every token of a target, the true ones before it given.

    Args:
        label_smoothing: Share of a token's probability that is spread over all tokens in training.
    """

    def __init__(self, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing

    def loss(self, model: nn.Module, batch: Batch) -> Loss:
        """Return the summed loss of a micro-batch's tokens, ends included, and their number."""
        return _nats(model, batch, self.label_smoothing)

    @torch.no_grad()
    def examine(self, model: nn.Module, rows: Iterator[Batch]) -> Examined:
        """Return the loss in nats a token, and the share of the first rows not decoded exactly."""
        nats = tokens = wrong = decoded = 0.0
        for batch in rows:
            loss = _nats(model, batch, 0.0)
            nats, tokens = nats + float(loss.total), tokens + float(loss.count)
            count = min(len(batch), DECODED - int(decoded))
            if count > 0:
                targets = _cut(batch.targets[:count])
                said = _decode(model, batch.inputs[:count], max_length=targets.shape[1]).tokens
                said = F.pad(said, (0, targets.shape[1] - said.shape[1]), value=PAD)
                right = said.eq(targets.clamp(min=PAD)).all(dim=1)
                decoded, wrong = decoded + count, wrong + float(count - right.sum())
        return Examined({"loss": nats / max(1.0, tokens), "sequence_error": wrong / decoded})


def _nats(model: nn.Module, batch: Batch, label_smoothing: float) -> Loss:
    targets = _cut(batch.targets)
    begin = targets.new_full((len(targets), 1), END)
    given = torch.cat([begin, targets[:, :-1].clamp(min=PAD)], dim=1)
    logits: Tensor = model(batch.inputs, given)
    total = F.cross_entropy(
        logits.float().flatten(0, 1),
        targets.flatten(),
        ignore_index=NO_TOKEN,
        reduction="sum",
        label_smoothing=label_smoothing,
    )
    return Loss(total, targets.ne(NO_TOKEN).sum())


def _cut(targets: Tensor) -> Tensor:
    """Return targets (B, T) of the longest of all rows, cut to the longest of these."""
    return targets[:, : int(targets.ne(NO_TOKEN).sum(dim=1).max())]


def decode(
    model: nn.Module,
    store: RaggedStore,
    *,
    max_length: int,
    beam: int = 1,
    length_penalty: float = 0.0,
) -> list[list[int]]:
    """Return the ids of what is said of each source, ends left out, in eval mode.

    Args:
        model: An encoder and decoder, wherever it is.
        store: The encoded sources, none of them empty.
        max_length: Most tokens of an answer, its end included.
        beam: Answers that are kept at a time; 1 is greedy.
        length_penalty: Exponent by which long answers are favoured (Wu et al. 2016, equation 14).
    """
    model.eval()
    device = next(model.parameters()).device
    lengths = store.offsets.diff()
    said: list[list[int]] = [[] for _ in range(len(lengths))]
    cuts = cut_by_tokens(torch.arange(len(lengths)), lengths, max(1, AT_ONCE // beam))
    for inputs, _, index in batches(store, torch.zeros(len(lengths)), cuts):
        found = _decode(
            model,
            inputs.to(device),
            max_length=max_length,
            beam=beam,
            length_penalty=length_penalty,
        )
        for row, tokens in zip(index.tolist(), found.tokens.tolist(), strict=True):
            said[row] = [token for token in tokens if token not in (PAD, END)]
    return said


@torch.inference_mode()
def _decode(
    model: nn.Module,
    sources: Tensor,
    *,
    max_length: int,
    beam: int = 1,
    length_penalty: float = 0.0,
) -> Decoded:
    """Return what is said of sources (B, S)."""
    network = cast(EncoderDecoder, model)
    memory, mask = network.encode(sources)
    asked: dict[str, Any] = {
        "batch_size": len(sources),
        "max_length": max_length,
        "begin": END,
        "end": END,
        "pad": PAD,
        "forbidden": (PAD, UNKNOWN),
        "device": sources.device,
    }
    if beam == 1:
        state = network.start(memory, mask, max_length=max_length)
        return greedy(network.step, state, **asked)
    memory, mask = (part.repeat_interleave(beam, dim=0) for part in (memory, mask))
    state = network.start(memory, mask, max_length=max_length)
    return beam_search(
        network.step, network.reorder, state, beam=beam, length_penalty=length_penalty, **asked
    )
