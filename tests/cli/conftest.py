"""What tests of the command line share."""

from __future__ import annotations

import pytest

from mlexpert.cli import main


@pytest.fixture
def call(capsys, monkeypatch):
    """Run the command line in this process; return its exit code, stdout and stderr."""
    monkeypatch.setenv("COLUMNS", "160")

    def run(*args: object) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main([str(arg) for arg in args])
        out, err = capsys.readouterr()
        return end.value.code or 0, out, err

    return run
