"""Regression on tables: an ensemble of small networks that share nearly all of their weights.

Numbers enter by their place among training's quantiles, categories by an embedding, missing values
by a mark of their own: all of it is in the model, and nothing needs to be prepared. Each member is
trained by its own squared error on the standardised target; the prediction is their mean.

Paper: Gorishniy et al. 2024, arXiv:2410.24210 (TabM-mini); Gorishniy et al. 2022, arXiv:2203.05556
    (piecewise linear embeddings).
Differs from the papers: weights are averaged over steps; bins are spread over distinct quantiles;
categories are embedded. A normal score beside the bins takes the place of the robust scaling of
RealMLP (arXiv:2407.04491).
Results: benchmarks/classification/results.md
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mlexpert.data.schema import Schema
from mlexpert.families.classifier import regression_parts
from mlexpert.families.tabular import TableRecipe
from mlexpert.recipe import Parts


@dataclass(frozen=True, kw_only=True)
class TabularReg(TableRecipe):
    """TabM-mini with piecewise linear embeddings, for one number a row."""

    name: ClassVar[str] = "tabular-reg"
    version: ClassVar[int] = 1
    objective: ClassVar = "values"
    usual_epochs: ClassVar = 200

    def build(self, schema: Schema) -> Parts:
        """Assemble the ensemble with the loss and the decision for these targets."""
        return self.ensemble(schema, regression_parts(schema))


if __name__ == "__main__":
    from mlexpert.cli import run_file

    run_file(TabularReg)
