"""Weights from a file on this machine, and what to say where they do not fit a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from mlexpert.errors import InputError

HUB_FILE, OWN_FILE = "model.safetensors", "weights.safetensors"
OWN_PREFIX = "model.1."
"""Where a saved mlexpert model keeps its network, behind the layer that standardises images."""
NAMED = 4
"""Layers that a message names of each kind."""


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """Read the tensors of a network, by name.

    Args:
        path: A safetensors file; a folder with `model.safetensors`, as timm and the hub keep them;
            or the folder of a saved mlexpert model, of which the network alone is taken.

    Raises:
        InputError: There is no such file, or it is no safetensors file.
    """
    path = Path(path)
    candidates = [path / HUB_FILE, path / OWN_FILE] if path.is_dir() else [path]
    file = next((candidate for candidate in candidates if candidate.is_file()), None)
    if file is None:
        where = f"in it; it holds {_holds(path)}." if path.is_dir() else "and no such file either."
        raise InputError(f"weights={str(path)!r}: there is no {HUB_FILE} {where}")
    try:
        state = load_file(file)
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"weights={str(path)!r}: {file.name} cannot be read as safetensors ({error}). Pickled "
            "weights (.pt, .pth, .bin) are not read, as loading one runs whatever code is in it: "
            "convert them with safetensors.torch.save_file."
        ) from error
    own = {k.removeprefix(OWN_PREFIX): v for k, v in state.items() if k.startswith(OWN_PREFIX)}
    return own or state


def fill(model: nn.Module, state: Mapping[str, Tensor], path: str | Path, *, head: str) -> None:
    """Load weights into a model; the head keeps its own where it has another number of outputs.

    Args:
        model: Is given the weights.
        state: Tensors by name.
        path: Where they are from, for the message.
        head: Name of the last layer.

    Raises:
        InputError: Names the layers that are missing, unexpected, or of another shape.
    """
    wanted = {name: value.shape for name, value in model.state_dict().items()}
    is_head = tuple(f"{head}.{name}" for name in ("weight", "bias"))
    kept = {k: v for k, v in state.items() if k not in is_head or wanted.get(k) == v.shape}
    found = {name: value.shape for name, value in kept.items()}
    refuse_misfits({k: v for k, v in wanted.items() if k in kept or k not in is_head}, found, path)
    model.load_state_dict(kept, strict=False)


def refuse_misfits(
    wanted: Mapping[str, Sequence[int]], found: Mapping[str, Sequence[int]], path: str | Path
) -> None:
    """Compare the shapes of layers by name.

    Raises:
        InputError: Names the layers that are missing, unexpected, or of another shape.
    """
    # How many batches a norm has seen is in few files, and matters to none.
    missing = [k for k in wanted if k not in found and not k.endswith("num_batches_tracked")]
    unexpected = [name for name in found if name not in wanted]
    reshaped = [
        f"{name} ({tuple(shape)}, and the model has {tuple(wanted[name])})"
        for name, shape in found.items()
        if name in wanted and tuple(shape) != tuple(wanted[name])
    ]
    kinds = {"missing": missing, "unexpected": unexpected, "of another shape": reshaped}
    problems = [f"{kind}: {_few(names)}" for kind, names in kinds.items() if names]
    if problems:
        raise InputError(
            f"weights={str(path)!r} do not fit the model. Layers {'; '.join(problems)}. Choose the "
            "backbone, depth and width that they were trained with."
        )


def _holds(folder: Path) -> str:
    return _few(sorted(path.name for path in folder.iterdir())) or "nothing"


def _few(names: list[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
