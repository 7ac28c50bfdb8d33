"""The adversarial benchmark's page says what its lines say, and its targets are judged well."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from mlexpert.recipes import get, names
from tests.benchmarks.lines import BENCHMARKS, Load, committed_lines, line, modules_of, state

FOLDER = BENCHMARKS / "adversarial"
DEFAULT, FAST = "adversarial-cls", "adversarial-cls/fast-at"
AWP = "adversarial-cls/awp"
SQUARE = "ART, Square"


@pytest.fixture
def load() -> Iterator[Load]:
    with modules_of(FOLDER) as load:
        yield load


def test_the_page_is_made_from_its_lines(load, tmp_path: Path) -> None:
    lines = committed_lines(FOLDER)
    assert len({(row["task"], row["method"], row["seed"]) for row in lines}) == len(lines)
    load("page").write_page(lines, tmp_path / "page.md")
    assert (tmp_path / "page.md").read_text() == (FOLDER / "results.md").read_text()


def test_every_line_is_of_a_run_that_is_planned(load) -> None:
    run, tasks = load("run"), load("protocol").TASKS
    for row in committed_lines(FOLDER):
        if row["task"] in tasks:
            assert row["seed"] in range(tasks[row["task"]].methods[row["method"]])
        else:
            assert row["seed"] in run.runs(row["task"])[row["method"]]


def test_every_recipe_takes_the_fields_of_its_tasks(load) -> None:
    protocol, there = load("protocol"), set(names())
    for task in protocol.TASKS.values():
        for method in filter(there.__contains__, task.methods):
            fields = task.fields_of(method, 3)
            recipe = get(method, **fields)
            assert all(getattr(recipe, key) == value for key, value in fields.items())
            assert recipe.epsilon == task.epsilon


@pytest.mark.parametrize(
    ("shares", "said"),
    [
        ((0.92, 0.91, 0.90), "met"),
        ((0.91, 0.91, 0.90), "**missed**"),
        ((0.95, 0.95), "not measured"),
        ((), "not measured"),
    ],
)
def test_a_bound_is_of_the_mean_and_needs_all_seeds(load, shares, said: str) -> None:
    lines = [line("mnist", DEFAULT, seed, pgd=share) for seed, share in enumerate(shares)]
    found, text = state(load, lines, f"MNIST, L-inf 0.3, `{DEFAULT}`: PGD-50 x 10")
    assert found == said
    if shares:
        assert text.startswith(f"{100 * np.mean(shares):.2f} ± ")
        assert text.endswith(f"n = {len(shares)}")


@pytest.mark.parametrize(("seconds", "said"), [(89.9, "met"), (90.1, "**missed**")])
def test_time_is_bounded_from_above(load, seconds: float, said: str) -> None:
    lines = [line("mnist", FAST, seed, loop_cpu_seconds=seconds) for seed in range(3)]
    assert state(load, lines, f"`{FAST}`: training in at most 90")[0] == said


@pytest.mark.parametrize(("last", "said"), [(-0.014, "met"), (-0.016, "**missed**"), (0.0, "met")])
def test_the_last_epoch_may_be_little_worse_than_the_best(load, last: float, said: str) -> None:
    lines = [line("cifar-10, ResNet-18", AWP, 0, last_less_best=last)]
    assert state(load, lines, "points below the best")[0] == said


def test_speed_is_the_median_over_rounds_of_cpu_seconds(load) -> None:
    """By hand: 3 / 4 is 0.75 in most rounds, and 3 / 4.9 is 0.61."""
    speed, lines = load("speed"), []
    task = "speed-pgd, 4-conv"
    for number in range(speed.SPEEDS[task].rounds):
        for name, seconds in (
            (speed.OURS, 3.0),
            (speed.TORCHATTACKS, 4.0 if number else 6.0),
            (speed.FOOLBOX, 4.9),
        ):
            lines.append(line(task, name, number, cpu_seconds=seconds, images=768))
    assert state(load, lines, "4-conv net, 10 steps: at most 0.75") == (
        "met",
        "0.75 (0.50 to 0.75), 5 rounds",
    )
    assert state(load, lines, "4-conv net, 10 steps: at most 0.60")[0] == "**missed**"
    assert state(load, lines[:9], "4-conv net, 10 steps: at most 0.75")[0] == "not measured"
    assert state(load, lines, "4-conv net, 10 steps: at most 0.45")[0] == "not measured"


@pytest.mark.parametrize(
    ("left", "said"), [(0.905, "met"), (0.895, "met"), (0.91, "**missed**"), (0.89, "**missed**")]
)
def test_both_ensembles_have_to_agree(load, left: float, said: str) -> None:
    speed = load("speed")
    lines = [
        line("speed-auto", speed.OURS, 0, left=0.9, cpu_seconds=1.0, images=200),
        line("speed-auto", speed.STANDARD, 0, left=left, cpu_seconds=9.0, images=200),
    ]
    assert state(load, lines, "our verdict within 0.5 points")[0] == said


@pytest.mark.parametrize(
    ("left", "model", "said"),
    [
        (0.95, "a", "met"),
        (0.89, "a", "met"),
        (0.889, "a", "**missed**"),
        (0.5, "b", "not measured"),
    ],
)
def test_a_foreign_attack_may_not_leave_less(load, left: float, model: str, said: str) -> None:
    """That it leaves more is as it should be; lines of another model say nothing."""
    foreign = load("foreign")
    lines = [
        line("foreign", foreign.OWN, 0, left=0.9, model="a"),
        line("foreign", SQUARE, 0, left=left, model=model),
    ]
    assert state(load, lines, f"{SQUARE} leaves no less")[0] == said


def test_the_page_has_the_published_figures_beside_ours(load, tmp_path: Path) -> None:
    speed = load("speed")
    lines = [
        line("mnist", FAST, seed, clean=a, pgd=0.85, auto=0.82, loop_cpu_seconds=70.0)
        for seed, a in enumerate((0.98, 0.99))
    ]
    for name, seconds in ((speed.OURS, 3.0), (speed.ART, 4.0)):
        lines.append(line("speed-pgd, tiny", name, 0, cpu_seconds=seconds, images=1536))
    about = {"left": 0.905, "cpu_seconds": 50.0, "attacked": 1000, "model": "c0ffee"}
    lines.append(line("foreign", SQUARE, 0, overshoot=2.5e-8, **about))
    load("page").write_page(lines, tmp_path / "page.md")
    page = (tmp_path / "page.md").read_text()
    assert (
        f"| `{FAST}` | 2 | 98.50 / 88.77 / 82.93 | 98.50 ± 0.71 | 85.00 ± 0.00 | 82.00 ± 0.00 |"
        " 70.0 |" in page
    )
    assert "| ART | 1 | 1,536 | 4.00 |  | 0.75 |" in page
    assert f"| {SQUARE} | 1,000 | 90.50 | 2.5e-08 | 50.0 | c0ffee |" in page


def test_a_page_without_a_line_says_that_nothing_was_measured(load, tmp_path: Path) -> None:
    load("page").write_page([], tmp_path / "page.md")
    page = (tmp_path / "page.md").read_text()
    assert page.count("| not measured |") == len(load("targets").targets(pd.DataFrame()))
    assert "(needs a GPU)" in page


def test_a_run_goes_on_where_it_stopped(load, monkeypatch: pytest.MonkeyPatch) -> None:
    run = load("run")
    monkeypatch.setattr(load("peers"), "is_installed", lambda: False)
    options = run.options_of(["--task", "speed-pgd, tiny", "--task", "foreign", "--seeds", "2"])
    every = run.todo_list(options, [])
    ours_and_by_hand, rounds = 2, 2
    assert len(every) == ours_and_by_hand * rounds + 1
    left = run.todo_list(options, [line("speed-pgd, tiny", "by hand", 1)])
    assert set(every) - set(left) == {run.Todo("speed-pgd, tiny", "by hand", 1)}


def test_pgd_by_hand_climbs_and_stays_inside(load) -> None:
    networks = load("networks")
    model = networks.network(networks.TINY)
    torch.manual_seed(1)
    images, targets = torch.rand(16, 1, 28, 28), torch.arange(16) % 10
    loss = torch.nn.functional.cross_entropy
    moved = networks.pgd(model, images, targets, 0.2, 10, 0.02)
    assert float((moved - images).abs().max()) <= 0.2 + 1e-6
    assert float(moved.min()) >= 0 and float(moved.max()) <= 1
    with torch.no_grad():
        assert loss(model(moved), targets) > loss(model(images), targets) + 0.05
    assert all(one.requires_grad and one.grad is None for one in model.parameters())


def test_pgd_of_ours_makes_the_steps_of_the_one_by_hand(load) -> None:
    """From the same start both are the same attack, to rounding."""
    networks, speed = load("networks"), load("speed")
    model = networks.network(networks.SMALL).eval()
    images, targets = torch.rand(4, 1, 28, 28), torch.arange(4)
    with torch.no_grad():
        raised = []
        for name in (speed.OURS, speed.BY_HAND):
            with torch.enable_grad():
                moved = speed.pgd_of(name, model, 10)(images, targets)
            raised.append(torch.nn.functional.cross_entropy(model(moved), targets).item())
            assert float((moved - images).abs().max()) <= speed.EPSILON + 1e-6
    assert raised[0] == pytest.approx(raised[1], rel=0.05)
