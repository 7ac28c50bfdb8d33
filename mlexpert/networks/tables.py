"""The network for tables."""

from __future__ import annotations

from functools import partial

from mlexpert.blocks.backbones.tabular import TabularEnsemble
from mlexpert.blocks.layers.member_mean import mean_of_classes, mean_of_labels, mean_of_values
from mlexpert.data.batches import Store, TensorStore
from mlexpert.data.encode import FIRST_CODE, encode_table
from mlexpert.data.examples import Examples
from mlexpert.data.schema import Column, Numeric, Schema
from mlexpert.recipe import Network

MEANS = {
    "classification": mean_of_classes,
    "multilabel": mean_of_labels,
    "regression": mean_of_values,
}


def table_network(
    schema: Schema,
    *,
    members: int = 16,
    width: int = 128,
    depth: int = 2,
    dropout: float = 0.1,
    num_bins: int = 48,
    embedding_size: int = 16,
) -> Network:
    """Return an ensemble of small networks over embedded columns.

    Args:
        schema: Of the training rows.
        members: Networks in the ensemble.
        width: Features of a hidden layer.
        depth: Hidden layers.
        dropout: Share of hidden features that are dropped in training.
        num_bins: Largest number of bins of a numeric column.
        embedding_size: Features that a numeric column becomes, and a category at most.
    """
    columns = [
        column.quantiles if isinstance(column, Numeric) else len(column.categories) + FIRST_CODE
        for column in schema.columns
    ]
    model = TabularEnsemble(
        columns,
        schema.num_outputs,
        mean=MEANS[schema.objective],
        num_members=members,
        width=width,
        depth=depth,
        dropout=dropout,
        num_bins=num_bins,
        embedding_size=embedding_size,
    )
    return Network(model, partial(table_store, columns=schema.columns))


def table_store(examples: Examples, *, columns: tuple[Column, ...]) -> Store:
    """Hold the columns as numbers and category codes."""
    return TensorStore(encode_table(examples.inputs, columns))
