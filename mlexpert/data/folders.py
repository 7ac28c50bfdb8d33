"""Folders of images: one folder a class, or loose images to predict."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from mlexpert.data.columns import Columns
from mlexpert.data.images import Images
from mlexpert.errors import InputError

SUFFIXES = frozenset(
    {
        ".png",
        ".jpg",
        ".jpeg",
        ".jfif",
        ".webp",
        ".bmp",
        ".gif",
        ".tif",
        ".tiff",
        ".ppm",
        ".pgm",
        ".pbm",
    }
)


def subfolders(folder: Path) -> dict[str, Path]:
    """Return the visible folders in a folder, sorted by name."""
    return {
        path.name: path
        for path in sorted(folder.iterdir())
        if path.is_dir() and not path.name.startswith((".", "__"))
    }


def from_class_folders(folder: Path) -> Columns:
    """Read the images below a folder, labelled by the folder of the first level that they lie in.

    Raises:
        InputError: There are no class folders, one holds no image, or files cannot be decoded
            (named).
    """
    classes = subfolders(folder)
    paths: list[Path] = []
    labels: list[str] = []
    for name, path in classes.items():
        found = images_below(path)
        if not found:
            raise InputError(
                f"folder {str(path)!r} holds no images ({_known()}): add some, or remove it, "
                f"since each folder in {str(folder)!r} is taken for a class"
            )
        paths += found
        labels += [name] * len(found)
    if not paths:
        loose = len(images_below(folder))
        raise InputError(
            f"folder {str(folder)!r} holds no class folders with images ({_known()}; {loose} "
            "image(s) lie in it directly): make one folder for each class, or give a parquet or "
            "csv file"
        )
    frame = pd.DataFrame({"label": pd.Series(labels, dtype=object)})
    return Columns(
        frame,
        {"image": _intact(paths)},
        order=("image", "label"),
        target="label",
        kind="image",
        notes=_others(folder, len(paths)),
    )


def from_loose_images(folder: Path) -> Columns:
    """Read every image below a folder, sorted by path, without labels.

    Raises:
        InputError: There are none, or files cannot be decoded (named).
    """
    paths = images_below(folder)
    if not paths:
        raise InputError(f"folder {str(folder)!r} holds no images ({_known()})")
    frame = pd.DataFrame(index=pd.RangeIndex(len(paths)))
    return Columns(frame, {"image": _intact(paths)}, order=("image",), kind="image")


def images_below(folder: Path) -> list[Path]:
    """Return the image files below a folder, at any depth, sorted."""
    return sorted(path for path in _files(folder) if path.suffix.lower() in SUFFIXES)


def _files(folder: Path) -> list[Path]:
    return [p for p in folder.rglob("*") if not p.name.startswith(".") and p.is_file()]


def _intact(paths: list[Path]) -> Images:
    images = Images.from_items(paths)
    corrupt = images.corrupt()
    if corrupt:
        named = ", ".join(repr(str(paths[i])) for i in corrupt[:5])
        raise InputError(
            f"{len(corrupt)} of {len(paths)} image files cannot be decoded: {named}"
            f"{' ...' if len(corrupt) > 5 else ''}. Repair or remove them"
        )
    return images


def _others(folder: Path, num_images: int) -> tuple[str, ...]:
    left = len(_files(folder)) - num_images
    return (
        (f"{left} file(s) in {str(folder)!r} that are no images in class folders are left out",)
        if left
        else ()
    )


def _known() -> str:
    return "files ending in " + ", ".join(sorted(SUFFIXES))
