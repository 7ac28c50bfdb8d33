"""Train on the natural prior, then adjust the decision: rare classes get their share.

The network is trained by plain cross-entropy. On validation a temperature makes its confidences
honest, and each class is then decided for by its probability over tau times its prior. Re-weighting
or resampling instead buys the same balanced accuracy at the price of the ranking (PR-AUC) and of
every probability.

Paper: Menon et al. 2021, arXiv:2007.07314, section 4.2; temperature by Guo et al. 2017,
    arXiv:1706.04599.
Differs from the paper: tau is 1 where a class has fewer than 50 validation rows, and tuned on
validation above that; logits are divided by a temperature first.
Results: benchmarks/imbalanced_cls/results.md
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mlexpert.data.schema import Schema
from mlexpert.families.classification import ClassificationRecipe
from mlexpert.recipe import Parts
from mlexpert.training.methods.cross_entropy import CrossEntropy


@dataclass(frozen=True, kw_only=True)
class ImbalancedCls(ClassificationRecipe):
    """Plain cross-entropy, then a decision adjusted by the prior."""

    name: ClassVar[str] = "imbalanced-cls"
    version: ClassVar[int] = 1

    def build(self, schema: Schema) -> Parts:
        """Assemble network, cross-entropy and the adjusted decision."""
        network = self.network(schema)
        method = CrossEntropy(shift=self.shift or 0, flip=self.flip)
        return self.parts(schema, network, method)


if __name__ == "__main__":
    from mlexpert.cli import run_file

    run_file(ImbalancedCls)
