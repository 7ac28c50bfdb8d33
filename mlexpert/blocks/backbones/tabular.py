"""A network for tables that is an ensemble inside: its members share embeddings and layers.

Papers: Gorishniy et al. 2022, arXiv:2203.05556 (embeddings of numbers); Gorishniy et al. 2024,
arXiv:2410.24210 (TabM-mini: members differ by factors on the features and by their heads).
Differs from the papers: a category is embedded, not one-hot; dropout drops a feature for all
members at once, because a random number costs a CPU about as much as the product that it is for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from mlexpert.blocks.layers.category_embedding import CategoryEmbedding, known_codes
from mlexpert.blocks.layers.grouped_linear import GroupedLinear
from mlexpert.blocks.layers.member_mean import mean_of_classes
from mlexpert.blocks.layers.member_scale import MemberScale
from mlexpert.blocks.layers.numeric_embedding import NumericEmbedding
from mlexpert.blocks.layers.relu_dropout import relu_dropout


class TabularEnsemble(nn.Module):
    """Predicts from rows of numbers and category codes by the mean of its members.

    Train it by the mean of the members' losses: under the loss of their mean they would lean on one
    another.

    Args:
        columns: What each of the D input columns is. For a number, its sorted training quantiles at
            levels evenly spaced over 0..1, as many for every column; for a category, the number of
            its codes, including 0 for missing and 1 for unseen.
        num_outputs: Outputs, K: classes, labels, or one for a number.
        mean: Makes the members' outputs (B, M, K) one (B, K) in evaluation.
        num_members: Members, M (k in the paper).
        width: Features of a hidden layer.
        depth: Hidden layers.
        dropout: Share of hidden features that are dropped in training.
        num_bins: Largest number of bins of a numeric column.
        embedding_size: Features that a numeric column becomes, and a category at most.

    Raises:
        ValueError: If there are no columns, a column is not as said above, or `depth` is below 1.
    """

    num_codes: Tensor

    def __init__(
        self,
        columns: Sequence[Sequence[float] | int],
        num_outputs: int,
        *,
        mean: Callable[[Tensor], Tensor] = mean_of_classes,
        num_members: int = 16,
        width: int = 128,
        depth: int = 2,
        dropout: float = 0.1,
        num_bins: int = 48,
        embedding_size: int = 16,
    ) -> None:
        super().__init__()
        if not columns:
            raise ValueError("a table needs at least one column")
        if depth < 1:
            raise ValueError(f"members differ in a hidden layer, so there is one; depth is {depth}")
        # A list: torch.compile gives what a tensor picks an order that searchsorted warns of.
        self.numeric = [i for i, column in enumerate(columns) if not isinstance(column, int)]
        self.categorical = [i for i, column in enumerate(columns) if isinstance(column, int)]
        quantiles = [column for column in columns if not isinstance(column, int)]
        num_codes = [column for column in columns if isinstance(column, int)]
        sizes = [min(embedding_size, (count + 1) // 2) for count in num_codes]
        self.numbers = NumericEmbedding(quantiles, num_bins, embedding_size)
        self.categories = nn.ModuleList(map(CategoryEmbedding, num_codes, sizes))
        # Follows from the embeddings' shapes, so no file needs to hold it.
        self.register_buffer("num_codes", torch.tensor(num_codes).long(), persistent=False)
        num_features = len(quantiles) * embedding_size + sum(sizes)
        widths = [num_features] + [width] * depth
        self.members = MemberScale(num_members, num_features)
        self.hidden = nn.ModuleList(map(nn.Linear, widths[:-1], widths[1:]))
        self.heads = GroupedLinear(num_members, width, num_outputs)
        self.mean, self.dropout = mean, dropout

    def forward(self, inputs: Tensor) -> Tensor:
        """Predict from rows.

        Args:
            inputs: (B, D) float32: numbers as they are, NaN where missing, and category codes.

        Returns:
            In training the members' outputs (B, M, K), otherwise their mean (B, K), in the type of
            the weights.
        """
        # Half precision is for the large products: a number that comes in or is to come out
        # would have three digits, and casting so little takes longer than it saves.
        with torch.autocast(inputs.device.type, enabled=False):
            embedded = self._features(inputs)
        first, *others = self.hidden
        dropped = self.dropout if self.training else 0.0
        features = relu_dropout(self.members(embedded, first), dropped)  # (B, M, F)
        for layer in others:
            features = relu_dropout(layer(features), dropped)
        with torch.autocast(inputs.device.type, enabled=False):
            outputs = self.heads(features.to(self.heads.weight.dtype))
        return outputs if self.training else self.mean(outputs)

    def _features(self, inputs: Tensor) -> Tensor:
        embedded = [self.numbers(inputs[:, self.numeric]).flatten(1)]
        # All columns at once: each operation costs more to begin than its few numbers take.
        codes = known_codes(inputs[:, self.categorical], self.num_codes)
        for index, embed in zip(codes.unbind(1), self.categories, strict=True):
            embedded.append(embed(index))
        return torch.cat(embedded, dim=1)
