"""Keys and values of the tokens that attention has seen, in room reserved beforehand."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mlexpert.blocks.mixers.masks import attention_mask, positions_of
from mlexpert.blocks.mixers.rotary import turns


class KvCache(NamedTuple):
    """What attention keeps of a batch of sequences; M tokens have room.

    Appending writes into the same tensors: of two caches that came from one, only the later is
    valid. It is meant for generation, without gradients.
    """

    keys: Tensor
    """(B, G, M, D), turned by their positions already."""
    values: Tensor
    """(B, G, M, D)."""
    positions: Tensor
    """(B, M) int64; written where the cache is not plain."""
    real: Tensor
    """(B, M) bool, False where padding was appended; written where the cache is not plain."""
    following: Tensor
    """(B,) int64, the position of the token that comes next; where the cache is plain, `length`."""
    length: int
    """Columns in use, padding included."""
    turns: Tensor | None
    """(2, 1, 1, M, D), cosines and sines of rotary positions 0 to M - 1; None where none turn."""
    plain: bool
    """Whether all of them are real and of one document: each has its column as its position."""

    @classmethod
    def empty(
        cls,
        batch_size: int,
        num_heads: int,
        max_length: int,
        head_size: int,
        *,
        device: torch.device | str,
        dtype: torch.dtype,
        rotary: bool = False,
    ) -> KvCache:
        """Return a cache with room for `max_length` tokens of `batch_size` sequences.

        Args:
            batch_size: B.
            num_heads: G.
            max_length: M.
            head_size: D.
            device: Of the tensors.
            dtype: Of keys and values.
            rotary: Whether it has the turns of positions, which every token would need anew.
        """
        shape = (batch_size, num_heads, max_length, head_size)
        columns = torch.arange(max_length, device=device).unsqueeze(0)
        return cls(
            keys=torch.zeros(shape, device=device, dtype=dtype),
            values=torch.zeros(shape, device=device, dtype=dtype),
            positions=torch.zeros(batch_size, max_length, device=device, dtype=torch.long),
            real=torch.zeros(batch_size, max_length, device=device, dtype=torch.bool),
            following=torch.zeros(batch_size, device=device, dtype=torch.long),
            length=0,
            turns=torch.stack(turns(columns, head_size)) if rotary else None,
            plain=True,
        )

    def next_turns(self, num_tokens: int) -> tuple[Tensor, Tensor] | None:
        """Return the turns (1, 1, T, D) of T more tokens, where the cache has any.

        Raises:
            ValueError: If the tokens have no room.
        """
        if self.turns is None:
            return None
        cos, sin = self.turns[..., self.length : self._end(num_tokens), :]
        return cos, sin

    def next_positions(self, num_tokens: int, mask: Tensor | None) -> Tensor:
        """Return the positions (B, T) of T more tokens; `mask` (B, T) is True at real ones."""
        device = self.keys.device
        if self.plain and mask is None:
            return torch.arange(self.length, self.length + num_tokens, device=device).unsqueeze(0)
        steps = positions_of(mask) if mask is not None else torch.arange(num_tokens, device=device)
        return self._following.unsqueeze(1) + steps

    @property
    def _following(self) -> Tensor:
        return torch.full_like(self.following, self.length) if self.plain else self.following

    def _end(self, num_tokens: int) -> int:
        """Return the columns in use with T more tokens, for which there is room."""
        end = self.length + num_tokens
        if end > self.keys.shape[2]:
            raise ValueError(
                f"the state has room for {self.keys.shape[2]} tokens, and these would be {end}; "
                "give init_state a larger max_length"
            )
        return end

    def append(
        self,
        keys: Tensor,
        values: Tensor,
        *,
        positions: Tensor | None,
        mask: Tensor | None,
    ) -> KvCache:
        """Return the cache with T more tokens.

        Args:
            keys: (B, G, T, D).
            values: (B, G, T, D).
            positions: (B, T) int64; None where the cache is plain and they go on with their rows,
                without padding or a new document.
            mask: (B, T), True at real tokens; None where all are.

        Raises:
            ValueError: If they have no room.
        """
        end = self._end(keys.shape[2])
        columns = slice(self.length, end)
        self.keys[:, :, columns] = keys
        self.values[:, :, columns] = values
        if positions is None:  # as generation goes on, token by token: nothing else to keep
            return self._replace(length=end)
        if self.plain:
            self.positions[:, : self.length] = torch.arange(self.length, device=keys.device)
            self.real[:, : self.length] = True
        self.positions[:, columns] = positions
        self.real[:, columns] = True if mask is None else mask
        following = positions[:, -1] + 1
        if mask is not None:
            column = torch.arange(1, mask.shape[1] + 1, device=mask.device)
            last = (mask * column).amax(dim=1)  # of each row's last real token, from 1; 0 if none
            taken = positions.gather(1, (last - 1).clamp(min=0).unsqueeze(1)).squeeze(1) + 1
            following = torch.where(last > 0, taken, self._following)
        return self._replace(following=following, length=end, plain=False)

    def recall(
        self, num_queries: int, *, window: int | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return keys and values up to the last of T queries, and what each query sees of them.

        The queries' own keys have been appended. Where the last is None no mask is needed: a single
        query sees all that is returned, and several see what stands before them.
        """
        end, past = self.length, self.length - num_queries
        k, v = self.keys[:, :, :end], self.values[:, :, :end]
        if not self.plain:
            real, positions = self.real[:, :end], self.positions[:, :end]
            return k, v, attention_mask(real, positions, causal=True, window=window, past=past)
        if num_queries == 1:
            first = 0 if window is None else max(0, end - window)
            return k[:, :, first:], v[:, :, first:], None
        if past == 0 and window is None:
            return k, v, None
        columns = torch.arange(end, device=k.device).unsqueeze(0)
        return k, v, attention_mask(None, columns, causal=True, window=window, past=past)
