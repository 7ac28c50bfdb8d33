"""Low-rank updates of frozen weights: a pretrained network is fine-tuned by a few of its numbers.

A frozen weight W (out, in) becomes W + 2 B A, with B (out, r) from zero and A (r, in): the paper's
factor alpha / r is 2 for every rank r, so that one learning rate suits them all.

Paper: Hu et al. 2021, arXiv:2106.09685, equation 3.
Differs from the paper: every linear layer of the blocks gets an update, not only queries and values
(Dettmers et al. 2023, arXiv:2305.14314, section 4).
"""

from __future__ import annotations

import warnings

from torch import nn

from mlexpert.blocks.repeated_blocks import behind_blocks, repeated_blocks
from mlexpert.errors import InputError


def add_low_rank(model: nn.Module, rank: int) -> None:
    """Freeze a network and give every linear layer in its blocks an update of a low rank.

    What stands behind the blocks (a pooler, a head) is trained in full: for a new task it is new.

    Args:
        model: Changed in place; its outputs stay what they were, as every update starts at zero.
        rank: Of the updates; r in the paper.

    Raises:
        InputError: If peft is not installed, or the network repeats no block with a linear layer.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise InputError(
            f"lora_rank={rank} needs the package peft: pip install 'mlexpert[lora]'. Without it, "
            "lora_rank=0 trains all weights."
        ) from error
    layers = [
        f"{path}.{name}"
        for path, block in repeated_blocks(model).items()
        for name, module in block.named_modules()
        if isinstance(module, nn.Linear)
    ]
    if not layers:
        raise InputError(
            f"lora_rank={rank}: {type(model).__name__} has no linear layers in repeated blocks. "
            "Leave lora_rank at 0."
        )
    in_full = behind_blocks(model)
    settings = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=layers)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what peft would save, and we save ourselves
        inject_adapter_in_model(settings, model)
    for name, parameter in model.named_parameters():
        if name in in_full:
            parameter.requires_grad_(True)
