"""Attacks of ART, foolbox and torchattacks, each set so that it does what ours is asked to do.

`python run.py --setup` installs them in a folder of this benchmark's own, beside the torch that is
there: their requirements are not ours. foolbox imports git, to clone a zoo that nothing here uses;
an empty module stands for it. What each had to be told stands in README.md.
"""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

FOLDER = Path(__file__).parent / ".cache" / "peers"
PACKAGES = (
    "adversarial-robustness-toolbox==1.20.1",
    "foolbox==3.3.4",
    "torchattacks==3.5.1",
    "eagerpy==0.30.0",
    "six==1.17.0",
)
PEERS = ("torchattacks", "foolbox", "ART")
BATCH = 256
Attack = Callable[[Tensor, Tensor], Tensor]
"""Maps images (B, C, H, W) in [0, 1] and classes (B,) to images under attack."""


def is_peer(name: str) -> bool:
    """Return whether a contestant is one of the peers' attacks."""
    return name.startswith(PEERS)


def is_installed() -> bool:
    """Return whether `install` was run."""
    return all((FOLDER / name).is_dir() for name in ("art", "foolbox", "torchattacks"))


def install() -> None:
    """Install the peers beside nothing but what they import and this environment lacks."""
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--upgrade"]
    subprocess.run([*pip, "--target", str(FOLDER), *PACKAGES], check=True)


def load() -> None:
    """Put the peers within reach of import."""
    if str(FOLDER) not in sys.path:
        sys.path.append(str(FOLDER))
    git = ModuleType("git")
    git.Repo = None  # type: ignore[attr-defined]
    sys.modules.setdefault("git", git)
    warnings.filterwarnings("ignore", category=DeprecationWarning)


def pgd(peer: str, model: nn.Module, epsilon: float, steps: int, step: float) -> Attack:
    """Return L-inf PGD from one random start, `step` long, of the peer's own code."""
    load()
    if peer == "torchattacks":
        from torchattacks import PGD

        return PGD(model, eps=epsilon, alpha=step, steps=steps, random_start=True)
    if peer == "foolbox":
        return _foolbox_pgd(model, epsilon, steps, step)
    from art.attacks.evasion import ProjectedGradientDescentPyTorch

    attack = ProjectedGradientDescentPyTorch(
        classifier(model),
        norm=np.inf,
        eps=epsilon,
        eps_step=step,
        max_iter=steps,
        num_random_init=1,
        batch_size=BATCH,
        verbose=False,
    )
    return in_numpy(attack)


def _foolbox_pgd(model: nn.Module, epsilon: float, steps: int, step: float) -> Attack:
    import foolbox

    wrapped = foolbox.PyTorchModel(model.eval(), bounds=(0, 1))
    attack = foolbox.attacks.LinfPGD(abs_stepsize=step, steps=steps, random_start=True)

    def run(images: Tensor, targets: Tensor) -> Tensor:
        # `run`, not a call: a call looks at the result once more.
        criterion = foolbox.criteria.Misclassification(targets)
        return attack.run(wrapped, images, criterion, epsilon=epsilon)

    return run


def apgd_targeted(model: nn.Module, epsilon: float) -> Attack:
    """Return torchattacks' APGD-T with the original's 100 steps and 9 targets."""
    load()
    from torchattacks import APGDT

    return APGDT(model, norm="Linf", eps=epsilon, steps=100, n_classes=10, seed=0)


def auto_attack(model: nn.Module, epsilon: float, *, smoke: bool = False) -> Attack:
    """Return AutoAttack's standard definition, put together from torchattacks.

    Their own `AutoAttack` leaves its parts at their defaults, which are 10 steps.
    """
    load()
    from torchattacks import APGD, APGDT, FAB, MultiAttack, Square

    steps, queries = (5, 20) if smoke else (100, 5000)
    about: dict[str, Any] = {"norm": "Linf", "eps": epsilon, "seed": 0, "n_restarts": 1}
    return MultiAttack(
        [
            APGD(model, steps=steps, loss="ce", **about),
            APGDT(model, steps=steps, n_classes=10, **about),
            FAB(model, steps=steps, multi_targeted=True, n_classes=10, **about),
            Square(model, n_queries=queries, **about),
        ]
    )


def art_auto_pgd(model: nn.Module, epsilon: float, *, smoke: bool = False) -> Attack:
    """Return ART's AutoPGD: 100 steps of the cross-entropy that start with 2 epsilon, and once."""
    load()
    from art.attacks.evasion import AutoProjectedGradientDescent

    attack = AutoProjectedGradientDescent(
        classifier(model),
        norm=np.inf,
        eps=epsilon,
        eps_step=2 * epsilon,
        max_iter=10 if smoke else 100,
        nb_random_init=1,
        batch_size=BATCH,
        loss_type="cross_entropy",
        verbose=False,
    )
    return in_numpy(attack)


def art_square(model: nn.Module, epsilon: float, *, smoke: bool = False) -> Attack:
    """Return ART's Square with 5000 queries."""
    load()
    from art.attacks.evasion import SquareAttack

    attack = SquareAttack(
        classifier(model),
        norm=np.inf,
        eps=epsilon,
        max_iter=20 if smoke else 5000,
        p_init=0.8,
        batch_size=BATCH,
        verbose=False,
    )
    return in_numpy(attack)


def classifier(model: nn.Module) -> Any:
    """Return a model for MNIST as ART takes it."""
    from art.estimators.classification import PyTorchClassifier

    return PyTorchClassifier(
        model=model.eval(),
        loss=nn.CrossEntropyLoss(),
        input_shape=(1, 28, 28),
        nb_classes=10,
        clip_values=(0.0, 1.0),
        device_type="cpu",
    )


def in_numpy(attack: Any) -> Attack:
    """Return one of ART's attacks as it is asked for here: it takes arrays, and targets one-hot."""

    def run(images: Tensor, targets: Tensor) -> Tensor:
        one_hot = np.eye(10, dtype=np.float32)[targets.numpy()]
        np.random.seed(0)  # ART draws from numpy's global state
        return torch.from_numpy(attack.generate(images.numpy(), one_hot))

    return run
