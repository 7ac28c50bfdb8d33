"""The blocks that a network repeats, found by its structure: residual blocks, transformer layers.

Memory and learning rates follow depth, and depth is counted in these.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import takewhile

from torch import nn

MOST_STAGES = 5
"""A stack of at most so many members may be one of stages, which are stacks of blocks themselves.
A stack of more is one of blocks, whatever lists (of experts, say) they hold inside."""


def repeated_blocks(model: nn.Module) -> dict[str, nn.Module]:
    """Return the blocks by their names, in the order in which the model holds them.

    A stack is a `ModuleList`, or a `Sequential` of two or more, of modules that have children and
    parameters. The blocks are the members of the outermost stacks or, where a member is a stage
    with a stack of its own, the members of that.

    Args:
        model: Any module; around a backbone there may be a `Sequential` for its preprocessing.

    Returns:
        None of the blocks holds another. Empty where nothing is stacked.

    Example:
        >>> layer = nn.TransformerEncoderLayer(8, nhead=2)
        >>> list(repeated_blocks(nn.ModuleDict({"encoder": nn.TransformerEncoder(layer, 2)})))
        ['encoder.layers.0', 'encoder.layers.1']
    """
    return dict(_outermost(model, ""))


def behind_blocks(model: nn.Module) -> set[str]:
    """Return the names of the parameters behind the last repeated block: a pooler, a head.

    They stand behind it in the order in which the model holds them; all do where nothing repeats.
    """
    inside = {
        f"{path}.{name}"
        for path, block in repeated_blocks(model).items()
        for name, _ in block.named_parameters()
    }
    behind = takewhile(
        lambda name: name not in inside, reversed([name for name, _ in model.named_parameters()])
    )
    return set(behind)


def _outermost(module: nn.Module, path: str) -> Iterator[tuple[str, nn.Module]]:
    members = _stacked(module)
    if not members:
        for name, child in module.named_children():
            yield from _outermost(child, _joined(path, name))
    for name, member in members.items():
        may_be_stage = len(members) <= MOST_STAGES or _is_container(member)
        inside = list(_in_stage(member, _joined(path, name))) if may_be_stage else []
        if inside:
            yield from inside
        elif not isinstance(member, nn.ModuleList):  # which is never called itself
            yield _joined(path, name), member


def _in_stage(module: nn.Module, path: str) -> Iterator[tuple[str, nn.Module]]:
    members = _stacked(module)
    # A stack of containers is a block's own: convolution, norm and activation, several times.
    if members and not any(map(_is_container, members.values())):
        yield from ((_joined(path, name), member) for name, member in members.items())
    else:
        for name, child in module.named_children():
            yield from _in_stage(child, _joined(path, name))


def _stacked(module: nn.Module) -> dict[str, nn.Module]:
    """Return the members of a stack; none where the module is no stack."""
    if not _is_container(module):
        return {}
    members = {
        name: child
        for name, child in module.named_children()
        if next(child.children(), None) is not None and next(child.parameters(), None) is not None
    }
    return members if len(members) > 1 or isinstance(module, nn.ModuleList) else {}


def _is_container(module: nn.Module) -> bool:
    return isinstance(module, (nn.Sequential, nn.ModuleList))


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
