"""The two errors that mlexpert raises on purpose: a wrong input, and a run that could not go on."""


class InputError(ValueError):
    """Something that the caller can put right: data, a field, a name, a file.

    The message says what was seen and what to do. It is raised before training starts, and nothing
    is half-written.
    """


class RunError(RuntimeError):
    """A run that could not go on: memory, disk, a loss that is not finite.

    The message says what happened, what is kept, and how to go on.
    """
