"""Parts of a model that a stage of training does not move."""

from __future__ import annotations

from torch import nn

from mlexpert.training.plan import Stage


class Frozen:
    """Takes their gradients from the parameters that a stage leaves alone, until it is over.

    These are the stage's frozen modules, and what its optimiser does not hold.

    Args:
        model: What is trained.
        stage: How it is trained.
    """

    def __init__(self, model: nn.Module, stage: Stage) -> None:
        self.modules = stage.frozen
        frozen = {parameter for module in stage.frozen for parameter in module.parameters()}
        moved = {p for group in stage.optimizer.param_groups for p in group["params"]} - frozen
        self._parameters = [p for p in model.parameters() if p.requires_grad and p not in moved]
        for parameter in self._parameters:
            parameter.requires_grad_(False)

    def keep_still(self) -> None:
        """Put the modules into eval mode, in which statistics of BatchNorm do not move either."""
        for module in self.modules:
            module.eval()

    def thaw(self) -> None:
        """Give the parameters their gradients back."""
        for parameter in self._parameters:
            parameter.requires_grad_(True)
