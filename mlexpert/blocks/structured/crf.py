"""A linear-chain conditional random field: tags of a sentence are scored together.

score(tags) = start(y_1) + sum_t emission(t, y_t) + sum_t transition(y_{t-1}, y_t) + end(y_T), and
p(tags) = exp(score) / Z, where Z sums over all K^T sequences in T steps of K^2.

Papers: Lafferty et al. 2001 (the model); Lample et al. 2016, arXiv:1603.01360, equation 1 (over
learned emissions).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

PADDING = -100
"""The tag of padded places, as in targets."""


class Crf(nn.Module):
    """Scores sequences of K tags; sums have the type of the parameters, also under autocast.

    Args:
        num_tags: K.
    """

    def __init__(self, num_tags: int) -> None:
        super().__init__()
        self.start = nn.Parameter(torch.zeros(num_tags))
        self.end = nn.Parameter(torch.zeros(num_tags))
        self.transitions = nn.Parameter(torch.zeros(num_tags, num_tags))  # from row to column

    def log_likelihood(self, emissions: Tensor, tags: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the log probability (B,) of each sentence's tags.

        Args:
            emissions: (B, T, K), a score of every tag for every word.
            tags: (B, T) int64; anything at padding.
            mask: (B, T), True at real words, wherever the padding stands; None where all are. A
                sentence without words has log probability 0.
        """
        emissions, mask, order = _left_justified(emissions.to(self.start.dtype), mask)
        tags = tags.gather(1, order).masked_fill(~mask, 0)
        return self._score(emissions, tags, mask) - self._log_partition(emissions, mask)

    def viterbi(self, emissions: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the best tags (B, T), -100 at padding, and their scores (B,).

        Args:
            emissions: (B, T, K).
            mask: (B, T), True at real words; None where all are. A sentence without words has
                score 0.
        """
        emissions, mask, order = _left_justified(emissions.to(self.start.dtype), mask)
        best, came_from = self.start + emissions[:, 0], []
        for place in range(1, emissions.shape[1]):
            reached, source = (best.unsqueeze(2) + self.transitions).max(dim=1)  # (B, K)
            real = mask[:, place, None]
            best = torch.where(real, reached + emissions[:, place], best)
            # Behind the end a tag comes from itself, so that going back arrives at the last word.
            came_from.append(
                torch.where(real, source, torch.arange(best.shape[1], device=real.device))
            )
        scores, last = (best + self.end).max(dim=1)
        path = [last]
        for source in reversed(came_from):
            path.append(source.gather(1, path[-1].unsqueeze(1)).squeeze(1))
        tags = torch.stack(path[::-1], dim=1).masked_fill(~mask, PADDING)
        scores = scores.masked_fill(~mask[:, 0], 0.0)
        return torch.empty_like(tags).scatter_(1, order, tags), scores

    def _score(self, emissions: Tensor, tags: Tensor, mask: Tensor) -> Tensor:
        """Return the score (B,) of the given tags, words first."""
        said = emissions.gather(2, tags.unsqueeze(2)).squeeze(2) * mask
        moves = self.transitions[tags[:, :-1], tags[:, 1:]] * mask[:, 1:]
        last = tags.gather(1, (mask.sum(dim=1, keepdim=True) - 1).clamp(min=0)).squeeze(1)
        ends = (self.start[tags[:, 0]] + self.end[last]) * mask[:, 0]
        return ends + said.sum(dim=1) + moves.sum(dim=1)

    def _log_partition(self, emissions: Tensor, mask: Tensor) -> Tensor:
        """Return log Z (B,), by the forward recursion over prefixes that end in each tag."""
        prefix = self.start + emissions[:, 0]
        for place in range(1, emissions.shape[1]):
            longer = (prefix.unsqueeze(2) + self.transitions).logsumexp(dim=1)
            prefix = torch.where(mask[:, place, None], longer + emissions[:, place], prefix)
        return (prefix + self.end).logsumexp(dim=1).masked_fill(~mask[:, 0], 0.0)


def _left_justified(emissions: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Return emissions and mask with the words first, and where (B, T) each column came from."""
    if mask is None:
        mask = torch.ones(emissions.shape[:2], device=emissions.device, dtype=torch.bool)
    order = (~mask).long().argsort(dim=1, stable=True)
    emissions = emissions.gather(1, order.unsqueeze(2).expand_as(emissions))
    mask = mask.gather(1, order)
    return emissions.masked_fill(~mask.unsqueeze(2), 0.0), mask, order
