"""How the command line ends: one line instead of a traceback, and a code that a script can read."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any, TextIO

import typer

from mlexpert.errors import InputError, RunError

WRONG_CALL, FAILED_RUN, INTERRUPTED = 2, 1, 130


def as_exit_codes(command: Callable[..., None]) -> Callable[..., None]:
    """Wrap a command so that errors a user can cause end it with their message and an exit code."""

    @functools.wraps(command)
    def guarded(*args: Any, **values: Any) -> None:
        try:
            with warnings.catch_warnings():
                warnings.showwarning = _show
                command(*args, **values)
        except InputError as error:
            raise _exit(f"error: {error}", WRONG_CALL) from error
        except RunError as error:
            raise _exit(f"failed: {error}", FAILED_RUN) from error
        except KeyboardInterrupt as interrupt:
            raise _exit(f"interrupted: {interrupt}".rstrip(": "), INTERRUPTED) from interrupt

    return guarded


def _show(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Print a warning as one line: where in the package it was raised tells its reader nothing."""
    typer.echo(f"warning: {message}", err=True)


def _exit(message: str, code: int) -> typer.Exit:
    typer.echo(message, err=True)
    return typer.Exit(code)
