"""Fixtures that every test may use: real data, and a home folder of its own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real datasets; its absence fails in CI and skips elsewhere."""
    folder = os.environ.get("MLEXPERT_DATA")
    if folder and Path(folder).is_dir():
        return Path(folder)
    message = f"MLEXPERT_DATA={folder!r} is no folder of real data"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder (ledgers) that no other test sees."""
    folder = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("MLEXPERT_HOME", str(folder))
    return folder


@pytest.fixture
def cwd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder of its own, for whatever writes to `runs/`."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the hub client refuse at once instead of after its retries."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
