"""The last layer of a network, which turns features into logits: to be read, or replaced.

Methods for long-tailed data act on it alone: cosine logits, normalised weights, a head that is
trained by itself.
"""

from __future__ import annotations

from torch import Tensor, nn

from mlexpert.blocks.layers.cosine_linear import CosineLinear, GroupedCosineLinear
from mlexpert.blocks.layers.grouped_linear import GroupedLinear
from mlexpert.errors import InputError

HEADS = (nn.Linear, GroupedLinear, CosineLinear, GroupedCosineLinear)
"""Layers from features (B, F), or (B, M, F) of the members of an ensemble, to logits."""


def head_of(model: nn.Module) -> tuple[nn.Module, str, nn.Module]:
    """Find the layer that makes a network's logits.

    Args:
        model: A network, also behind layers for its input. A timm model says which its classifier
            is; elsewhere it is the last layer, behind which there are no other parameters.

    Returns:
        The module that holds the head, the head's name in it, and the head itself: an `nn.Linear`,
        a `CosineLinear`, or the form of either for the members of an ensemble.

    Raises:
        InputError: Names the network whose last layer is none of these.

    Example:
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
        >>> parent, name, head = head_of(model)
        >>> parent is model, name, head.out_features
        (True, '1', 3)
    """
    network, found = _classifier(model)
    while isinstance(found, nn.Sequential) and len(found):  # a projection may stand before it
        found = found[-1]
    for parent in model.modules():
        for name, child in parent.named_children():
            if child is found and isinstance(child, HEADS):
                return parent, name, child
    # Some of timm's have two classifiers, or one that is a convolution.
    layers = found if isinstance(found, tuple) else (found,)
    what = " and ".join(type(layer).__name__ for layer in layers)
    raise InputError(
        f"{type(network).__name__} ends in {what}, and this method needs a network whose last "
        "layer is linear. Choose another backbone."
    )


def replace_head(model: nn.Module, new: nn.Module) -> None:
    """Put another layer in the place of a network's head.

    Args:
        model: As in `head_of`; changed in place.
        new: Takes the same features (B, F) or (B, M, F), and returns logits (B, K) or (B, M, K).

    Raises:
        InputError: Names the network whose head is not found.
    """
    parent, name, _ = head_of(model)
    setattr(parent, name, new)


def use_cosines(model: nn.Module, *, scale: float) -> None:
    """Put a new cosine classifier in the place of a network's linear head.

    Args:
        model: As in `head_of`; changed in place.
        scale: What cosines are multiplied by to be logits.

    Raises:
        InputError: Names the network whose head is not found.
    """
    _, _, head = head_of(model)
    new: nn.Module
    if isinstance(head, GroupedLinear):
        new = GroupedCosineLinear(*head.weight.shape, scale=scale)
    else:
        assert isinstance(head, nn.Linear), "a network comes with a linear head"
        new = CosineLinear(head.in_features, head.out_features, scale=scale)
    replace_head(model, new)


def weights_of(head: nn.Module) -> tuple[Tensor, Tensor]:
    """Return the weights (M, K, F) and biases (M, K) of a linear head with M members, or one.

    Raises:
        InputError: If it is no linear layer.
    """
    if isinstance(head, GroupedLinear):
        return head.weight.transpose(1, 2), head.bias
    if not isinstance(head, nn.Linear):
        raise InputError(f"A head of this kind has no norms to be read: {type(head).__name__}.")
    bias = head.weight.new_zeros(len(head.weight)) if head.bias is None else head.bias
    return head.weight.unsqueeze(0), bias.unsqueeze(0)


def _classifier(model: nn.Module) -> tuple[nn.Module, object]:
    """Return the network, without layers for its input, and its last layer."""
    for module in model.modules():
        classifier = getattr(module, "get_classifier", None)  # timm's models have it
        if callable(classifier):
            return module, classifier()
    layers = [m for m in model.modules() if next(m.parameters(recurse=False), None) is not None]
    network = model
    while isinstance(network, nn.Sequential) and len(network):
        network = network[-1]
    return (network, layers[-1]) if layers else (network, network)
