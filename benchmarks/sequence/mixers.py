"""What mixing the tokens of a sequence costs: time of a step of training, memory of decoding.

    python benchmarks/sequence/mixers.py            # T = 1024, B = 1, D = 128
    python benchmarks/sequence/mixers.py --smoke    # T = 64, to see that it works

Times are CPU time of forward and backward on one thread: the mixers take turns, and the median of
the rounds is shown. Each stands with its norm and residual; attention has the feed-forward layer
that it needs beside it, and the others, which work on features themselves, have none.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from mlexpert.blocks.layers.feed_forward import FeedForward
from mlexpert.blocks.mixers.attention import Attention
from mlexpert.blocks.mixers.pre_norm_block import PreNormBlock
from mlexpert.blocks.mixers.recurrent import Recurrent
from mlexpert.blocks.mixers.s4d import S4D
from mlexpert.blocks.mixers.ssd import Ssd
from mlexpert.blocks.mixers.temporal_conv import TemporalConv

DIM = 128
MIXERS: dict[str, Callable[[], tuple[nn.Module, nn.Module | None]]] = {
    "SDPA + MLP": lambda: (Attention(DIM, num_heads=4), FeedForward(DIM)),
    "SSD": lambda: (Ssd(DIM, num_heads=4), None),
    "S4D": lambda: (S4D(DIM), None),
    "LSTM": lambda: (Recurrent(DIM), None),
    "convolution": lambda: (TemporalConv(DIM), None),
}
GRU = {"GRU": lambda: (Recurrent(DIM, cell="gru"), None)}


def step_seconds(block: nn.Module, x: Tensor, *, bf16: bool) -> float:
    """Return the CPU seconds of one forward and backward."""
    started = time.process_time()
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        block(x)[0].sum().backward()
    return time.process_time() - started


def state_kib(block: PreNormBlock, length: int) -> float:
    """Return the KiB of the state of one sequence of so many tokens."""
    state = block.init_state(1, length, device="cpu", dtype=torch.float32)
    tensors = [part for part in state if isinstance(part, Tensor)]
    return sum(part.numel() * part.element_size() for part in tensors) / 1024


def measure(length: int, rounds: int, names: list[str]) -> list[dict[str, float | str]]:
    """Return a line for every mixer."""
    torch.manual_seed(0)
    blocks = {name: PreNormBlock(*(MIXERS | GRU)[name](), dim=DIM) for name in names}
    x = torch.randn(1, length, DIM, requires_grad=True)
    times: dict[tuple[str, bool], list[float]] = {}
    for turn in range(rounds + 1):
        for name, block in blocks.items():
            for bf16 in (False, True):
                seconds = step_seconds(block, x, bf16=bf16)
                if turn:  # the first sets up what libraries set up once
                    times.setdefault((name, bf16), []).append(seconds)
    return [
        {
            "mixer": name,
            "parameters": sum(p.numel() for p in block.parameters()),
            "fp32": 1000 * statistics.median(times[name, False]),
            "bf16": 1000 * statistics.median(times[name, True]),
            "state": state_kib(block, length),
            "state_16": state_kib(block, 16 * length),
        }
        for name, block in blocks.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="a short sequence, two rounds")
    parser.add_argument("--gru", action="store_true", help="the GRU too, which is slow on a CPU")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    length, rounds = (64, 2) if arguments.smoke else (1024, 15)
    lines = measure(length, rounds, [*MIXERS, *(GRU if arguments.gru else {})])
    reference = float(lines[0]["fp32"])
    print(f"T={length} B=1 D={DIM}, {rounds} rounds, forward and backward, one thread\n")
    print(
        "| block | parameters | ms fp32 | of attention | ms bf16 "
        f"| KiB of state, {length} tokens | {16 * length} tokens |"
    )
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for line in lines:
        print(
            "| {mixer} | {parameters:,} | {fp32:.1f} | {ratio:.2f} | {bf16:.1f} | {state:,.1f} "
            "| {state_16:,.1f} |".format(**line, ratio=float(line["fp32"]) / reference)
        )


if __name__ == "__main__":
    main()
