"""What the processes of test_processes.py do.

`several_processes.py FOLDER ACT:COUNT...` forks COUNT processes for each act, all acts at the same
time; below torchrun, `several_processes.py FOLDER ACT` is one of its processes.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn

from mlexpert.errors import InputError, RunError
from mlexpert.training.processes import PATIENCE, Processes, add_up, shape_somewhere


def gradients(rank: int) -> list[nn.Parameter]:
    """Parameters whose gradients differ by rank: some lack one, two types, one not contiguous."""
    torch.manual_seed(rank)
    parameters = [nn.Parameter(torch.zeros(3, 4)) for _ in range(4)]
    parameters += [nn.Parameter(torch.zeros(5, dtype=torch.float64))]
    for parameter in parameters:
        parameter.grad = torch.randn(parameter.shape, dtype=parameter.dtype)
    parameters[0].grad = torch.randn(4, 3).T
    parameters[2].grad = None
    if rank != 1:
        parameters[3].grad = None
    parameters.append(nn.Parameter(torch.ones(2), requires_grad=False))
    return parameters


def caught(act) -> list[str]:
    """Return kind and text of what `act` raises."""
    try:
        return ["returned", act()]
    except (InputError, RunError) as error:
        return [type(error).__name__, str(error)]


def fail(error: Exception):
    raise error


def agree(processes: Processes) -> dict:
    """Do everything once, and return what came out, for the test to check."""
    rank = processes.rank
    parameters = gradients(rank)
    processes.sum_gradients(parameters)
    torch.manual_seed(rank)
    means = [torch.randn(3), torch.randn(2, 2)]
    processes.mean_(means)
    everything = torch.arange(14).reshape(7, 2)
    share = processes.share(7)
    sizes = [len(part) for part in everything.tensor_split(processes.count)]
    return {
        "rank": rank,
        "count": processes.count,
        "total": processes.total([0.1 * rank, 1.0]),
        "smallest": processes.smallest(10 - rank),
        "gradients": [None if p.grad is None else p.grad.tolist() for p in parameters],
        "means": [mean.tolist() for mean in means],
        "share": [share.start, share.stop],
        "rows": processes.gather_rows(everything[share], sizes).tolist(),
        "added": add_up(torch.full((2,), rank + 1.0)).tolist(),
        "shape": shape_somewhere(torch.zeros(3, 4) if rank == 1 else None, 1),
        "flags": processes.gather_rows(everything[share, 0] > 4, sizes).tolist(),
        "first": caught(lambda: processes.first_does(lambda: {"by": rank, "text": "ü" * 1000})),
        "input error": caught(lambda: processes.first_does(lambda: fail(InputError(f"of {rank}")))),
        "run error": caught(lambda: processes.first_does(lambda: fail(RunError(f"of {rank}")))),
        "same": caught(lambda: processes.same_everywhere("a", "data")),
        "not same": caught(lambda: processes.same_everywhere(str(rank == 1), "data")),
    }


def suffer(processes: Processes, act: str) -> None:
    """Train until rank `act[-1]` comes to grief in the way `act` says."""
    who = int(act[-1])
    if act.startswith("hang"):
        processes.patience = 5.0
    for step in range(1000):
        if step == 5 and processes.rank == who:
            if act.startswith(("kill", "outside")):
                os.kill(os.getpid(), signal.SIGKILL)
            if act.startswith("raise"):
                raise RunError("out of luck")
            if act.startswith("hang"):
                time.sleep(12)
            if act.startswith("work"):
                processes.first_does(lambda: fail(KeyError("lost key")))
        if step == 5 and act.startswith("work"):
            processes.first_does(lambda: None)
        if act.startswith("outside"):  # as a sharded model does, which has its own exchange
            dist.all_reduce(torch.ones(1))
            continue
        processes.total([1.0])
        processes.sum_gradients(gradients(processes.rank))


def main(folder: Path, act: str) -> None:
    signal.alarm(90)  # whatever goes wrong, no process outlives the test for long
    signal.signal(signal.SIGTERM, lambda number, frame: None)  # the trainer only remembers it
    dist.init_process_group("gloo", timeout=PATIENCE)
    note = folder / f"{act}-{dist.get_rank()}.json"
    began = time.monotonic()
    try:
        with Processes.here() as processes:
            if act == "agree":
                note.write_text(json.dumps(agree(processes)))
            else:
                began = time.monotonic()
                suffer(processes, act)
    except RunError as error:
        note.write_text(json.dumps({"said": str(error), "seconds": time.monotonic() - began}))
        sys.exit(f"Error: {error}")


def fork(folder: Path, acts: list[str]) -> None:
    """Start all processes from this one, which has imported torch for them, and keep their ends."""
    started = {}
    for act, count in (asked.split(":") for asked in acts):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        for rank in range(int(count)):
            if child := os.fork():
                started[f"{act}-{rank}"] = child
                continue
            os.environ.update(RANK=str(rank), WORLD_SIZE=count)
            os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
            return main(folder, act)
    ends = {name: os.waitpid(child, 0)[1] for name, child in started.items()}
    codes = {name: os.waitstatus_to_exitcode(end) for name, end in ends.items()}
    (folder / "codes.json").write_text(json.dumps(codes))


if __name__ == "__main__":
    if "RANK" in os.environ:
        main(Path(sys.argv[1]), sys.argv[2])
    else:
        fork(Path(sys.argv[1]), sys.argv[2:])
