"""Packages of others that are only measured here: aeon and neuralforecast.

`python run.py --setup` installs them in folders of this benchmark's own, beside the torch that is
there, and without what else they ask for: their requirements are not ours.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from protocol import DTW, NF_NLINEAR, NF_PATCHTST, ROCKET

FOLDER = Path(__file__).parent / ".cache" / "peers"
PACKAGES = {
    "aeon": (
        "aeon==1.6.0",
        "numba==0.68.1",
        "llvmlite==0.50.0",
        "deprecated==1.3.1",
        "wrapt==2.5.2",
    ),
    "neuralforecast": (
        "neuralforecast==3.3.0",
        "coreforecast==0.0.20",
        "utilsforecast==0.2.17",
        # It imports ray and optuna, which search hyperparameters, at once; nothing here uses them.
        "alembic==1.20.1",
        "colorlog==6.12.0",
        "jsonschema==4.26.0",
        "jsonschema-specifications==2025.9.1",
        "msgpack==1.2.4",
        "optuna==5.0.0",
        "ray==2.60.0",
        "referencing==0.37.0",
        "rpds-py==2026.9.1",
        "sqlalchemy==2.1.9",
    ),
}
NEEDS = {ROCKET: "aeon", DTW: "aeon", NF_NLINEAR: "neuralforecast", NF_PATCHTST: "neuralforecast"}


def is_possible(method: str) -> bool:
    """Return whether a method needs none of the peers, or one that is installed."""
    peer = NEEDS.get(method)
    return peer is None or (FOLDER / peer / peer).is_dir()


def missing() -> list[str]:
    """Return the peers that are not installed."""
    return [name for name in PACKAGES if not (FOLDER / name / name).is_dir()]


def install() -> None:
    """Install each peer beside nothing but what it imports and this environment lacks."""
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--upgrade"]
    for name, packages in PACKAGES.items():
        subprocess.run([*pip, "--target", str(FOLDER / name), *packages], check=True)


def reach() -> None:
    """Put all peers within reach of import, behind what is there already."""
    for name in PACKAGES:
        if str(FOLDER / name) not in sys.path:
            sys.path.append(str(FOLDER / name))
