"""The network for tables."""

from __future__ import annotations

from functools import partial

from mlexpert.blocks.backbones.tabular import TabularEnsemble
from mlexpert.data.batches import Store, TensorStore
from mlexpert.data.encode import FIRST_CODE, encode_table
from mlexpert.data.examples import Examples
from mlexpert.data.schema import Column, Numeric, Schema
from mlexpert.recipe import Network


def table_network(schema: Schema) -> Network:
    """Return an ensemble of small networks over embedded columns."""
    columns = [
        column.quantiles if isinstance(column, Numeric) else len(column.categories) + FIRST_CODE
        for column in schema.columns
    ]
    model = TabularEnsemble(columns, schema.num_outputs)
    return Network(model, partial(table_store, columns=schema.columns))


def table_store(examples: Examples, *, columns: tuple[Column, ...]) -> Store:
    """Hold the columns as numbers and category codes."""
    return TensorStore(encode_table(examples.inputs, columns))
