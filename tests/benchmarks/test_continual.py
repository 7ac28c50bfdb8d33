"""The page of the continual benchmark says what its lines say, and its targets are judged well."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from mlexpert.recipes import get, names
from tests.benchmarks.lines import BENCHMARKS, Load, committed_lines, line, modules_of, state

FOLDER = BENCHMARKS / "continual"
NAIVE, ER, SI = "continual-cls/naive", "continual-cls/er", "continual-cls/si"


@pytest.fixture
def load() -> Iterator[Load]:
    with modules_of(FOLDER) as load:
        yield load


def test_the_page_is_made_from_its_lines(load, tmp_path: Path) -> None:
    lines = committed_lines(FOLDER)
    load("page").write_page(lines, tmp_path / "page.md")
    assert (tmp_path / "page.md").read_text() == (FOLDER / "results.md").read_text()
    assert len({(row["task"], row["method"], row["seed"]) for row in lines}) == len(lines)


def test_every_line_is_of_a_training_that_is_planned(load) -> None:
    tasks, speed = load("protocol").TASKS, load("speed")
    for row in committed_lines(FOLDER):
        if row["task"] == speed.SPEED:
            assert row["method"] in speed.CONTESTANTS
        else:
            assert row["seed"] in range(tasks[row["task"]].methods[row["method"]])


def test_every_recipe_takes_the_fields_of_its_tasks(load) -> None:
    protocol, there = load("protocol"), set(names())
    for task in protocol.TASKS.values():
        for method in filter(protocol.is_ours, task.methods):
            if method in there:
                fields = task.fields_of(method, 3)
                recipe = get(method, **fields)
                assert all(getattr(recipe, key) == value for key, value in fields.items())
                assert recipe.order_seed in (3, None)


@pytest.mark.parametrize(
    ("accuracies", "said"),
    [
        ((0.89, 0.88, 0.885, 0.89, 0.895), "met"),
        ((0.87, 0.87, 0.885, 0.89, 0.87), "**missed**"),
        ((0.91, 0.90, 0.90, 0.90, 0.90), "**missed**"),
        ((0.89, 0.88, 0.885, 0.885), "not measured"),
    ],
)
def test_a_band_is_of_the_mean_and_needs_all_seeds(load, accuracies, said: str) -> None:
    lines = [line("split-mnist-class", ER, k, accuracy=a) for k, a in enumerate(accuracies)]
    found, text = state(load, lines, f"Split-MNIST, class-incremental: `{ER}`")
    assert found == said and text.startswith(f"{100 * np.mean(accuracies):.2f} ± ")
    assert text.endswith(f"n = {len(accuracies)}")


@pytest.mark.parametrize(("accuracy", "said"), [(0.21, "met"), (0.26, "**missed**")])
def test_synaptic_intelligence_is_not_to_be_better_than_published(load, accuracy, said) -> None:
    lines = [line("split-mnist-class", SI, k, accuracy=accuracy) for k in range(5)]
    assert state(load, lines, f"class-incremental: `{SI}`")[0] == said


def test_speed_is_the_median_over_rounds_of_cpu_seconds(load) -> None:
    """By hand: 3.3 / 3 is 1.10 in most rounds, and 7 / 3.3 is 2.12."""
    speed, lines = load("speed"), []
    loop, _, stock = speed.PAIRS[NAIVE]
    for k in range(speed.ROUNDS):
        for name, seconds in ((NAIVE, 3.3), (loop, 3.0 if k else 1.0), (stock, 7.0)):
            costs = {"cpu_seconds": seconds, "wall_seconds": 1.0, "settle_cpu_seconds": 0.5}
            lines.append(line(speed.SPEED, name, k, **costs))
    assert state(load, lines, f"Speed, `{NAIVE}`: at most") == (
        "met",
        "1.10 times (1.10 to 3.30), 5 rounds",
    )
    found, text = state(load, lines, f"Speed, `{NAIVE}`: at least")
    assert found == "met" and text.startswith("2.12 times")
    assert state(load, lines[:12], f"Speed, `{NAIVE}`: at most")[0] == "not measured"


def test_the_page_has_the_published_figures_beside_ours(load, tmp_path: Path) -> None:
    lines = [
        line("split-mnist-class", ER, k, accuracy=a, task_aware=0.99, loop_cpu_seconds=120.0)
        for k, a in enumerate((0.88, 0.90))
    ]
    lines.append(line("speed", NAIVE, 0, cpu_seconds=3.0, wall_seconds=4.0))
    load("page").write_page(lines, tmp_path / "page.md")
    page = (tmp_path / "page.md").read_text()
    assert f"| `{ER}` | 2 | 89.00 ± 1.41 | 88.79 ± .20 | 99.00 ± 0.00 | 120 |" in page
    assert f"| `{NAIVE}` | 1 | 3.00 |  | 4.00 | 1.00 |" in page


def test_a_page_without_a_line_says_that_nothing_was_measured(load, tmp_path: Path) -> None:
    load("page").write_page([], tmp_path / "page.md")
    page = (tmp_path / "page.md").read_text()
    assert page.count("| not measured |") == len(load("targets").targets(pd.DataFrame()))
    assert "(needs a GPU)" in page


def test_a_run_goes_on_where_it_stopped(load, monkeypatch: pytest.MonkeyPatch) -> None:
    run = load("run")
    monkeypatch.setattr(load("avalanche_strategies"), "is_installed", lambda: False)
    options = run.options_of(["--task", "fast-bar", "--seeds", "2"])
    every = run.todo_list(options, [])
    ten_of_ours, two_loops = 10, 2
    assert len(every) == 2 * (ten_of_ours + two_loops)
    left = run.todo_list(options, [line("fast-bar", ER, 1)])
    assert set(every) - set(left) == {run.Todo("fast-bar", ER, 1)}


def test_the_loop_by_hand_keeps_a_fair_sample_and_forgets_without_it(load) -> None:
    """Two tasks that one network can learn: without replay the first is lost, with it it is not."""
    loops = load("loops")
    generator = torch.Generator().manual_seed(0)
    middles = torch.rand(4, 784, generator=generator)
    tasks = []
    for number in range(2):
        targets = torch.arange(1280) % 2 + 2 * number
        noise = 0.1 * torch.randn(1280, 784, generator=generator)
        tasks.append((middles[targets] + noise, targets))
    kept = {}
    for name, train in loops.LOOPS.items():
        model = loops.mlp(0, num_classes=4)
        train(model, tasks, 5)
        inputs, targets = tasks[0]
        kept[name] = float((model(inputs).argmax(dim=1) == targets).float().mean())
    assert kept["plain loop, naive"] < 0.1 and kept["plain loop, er"] > 0.9


def test_avalanche_is_given_the_files_that_mnist_has(load, tmp_path: Path) -> None:
    from torchvision.datasets.mnist import read_image_file, read_label_file

    rows = load("borrowed").Rows(
        np.arange(2 * 28 * 28, dtype=np.uint8).reshape(2, 28, 28), np.array([7, 3])
    )
    load("avalanche_strategies").write_idx(rows, tmp_path / "raw")
    images = read_image_file(str(tmp_path / "raw/train-images-idx3-ubyte"))
    assert torch.equal(images, torch.from_numpy(rows.inputs))
    assert read_label_file(str(tmp_path / "raw/t10k-labels-idx1-ubyte")).tolist() == [7, 3]
    head = (tmp_path / "raw/train-images-idx3-ubyte").read_bytes()[:16]
    assert struct.unpack(">4i", head) == (2051, 2, 28, 28)


def test_the_front_page_quotes_the_measured_figures() -> None:
    text = " ".join((BENCHMARKS.parent / "README.md").read_text().split())
    words = ("`continual-cls`", "%, iCaRL", ", replay", ", fine-tuning", ", all tasks at once")
    (quoted,) = re.findall("".join(rf"{re.escape(word)} (\d+\.\d) ?" for word in words), text)
    frame = pd.DataFrame(committed_lines(FOLDER)).query("task == 'split-mnist-class'")
    means = frame.groupby("method")["accuracy"].mean()
    of = [means[f"continual-cls{name}"] for name in ("", "/icarl", "/er", "/naive", "/joint")]
    assert list(quoted) == [f"{100 * mean:.1f}" for mean in of]
