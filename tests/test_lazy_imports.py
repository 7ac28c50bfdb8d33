"""What must start at once imports nothing that is slow."""

from __future__ import annotations

import subprocess
import sys

import pytest

SLOW = (
    "torch",
    "numpy",
    "pandas",
    "sklearn",
    "transformers",
    "datasets",
    "accelerate",
    "matplotlib",
)


@pytest.mark.parametrize(
    "code",
    [
        "import mlexpert; mlexpert.InputError, mlexpert.__version__, dir(mlexpert)",
        "import mlexpert; mlexpert.names(); mlexpert.describe('imbalanced-cls')",
        "call('list')",
        "call('show', 'imbalanced-cls')",
        "call('--help')",
        "call('fit', 'imbalanced-cls', '--help')",
        "call('compare', '--help')",
        "call('copy', 'imbalanced-cls', 'mine.py')",
    ],
)
def test_no_slow_import(code, tmp_path):
    program = f"""
import sys

def call(*args):
    from mlexpert.cli import main
    try:
        main(args)
    except SystemExit as end:
        assert end.code == 0, end.code

{code}
loaded = sorted(set({SLOW!r}) & set(sys.modules))
assert not loaded, loaded
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr


def test_public_names_all_resolve():
    import mlexpert

    assert [name for name in mlexpert.__all__ if getattr(mlexpert, name) is None] == []
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        mlexpert.nonsense  # noqa: B018
