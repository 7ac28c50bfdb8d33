"""Reading a recipe's file without running it."""

from __future__ import annotations

import hashlib
import textwrap

import pytest

from mlexpert import InputError
from mlexpert.recipe_card import Field, read_card, source_hash, without_header

SOURCE = '''
"""A claim: over
two lines.

What it is about.

Paper: Somebody 2020, arXiv:0000.00000,
equation 3.
Differs from the paper: 1. nothing that matters: really.
Results: benchmarks/x.md
"""

from typing import ClassVar

raise RuntimeError("reading runs nothing")


class Shared(Elsewhere):
    warmup: float = 0.1
    """Fraction."""
    lr: float = 1.0
    """Rate."""


class Mine(Shared):
    name: ClassVar[str] = "mine"
    version: ClassVar[int] = 2

    lr: float | None = None
    """Peak
    rate."""
    sizes: tuple[int, ...] = (1, 2)
    """Sizes."""
    silent: bool = False

    def build(self, schema): ...
'''


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(textwrap.dedent(SOURCE).lstrip())
    return path


def test_headings_may_speak_of_several_papers(file):
    one = read_card(file)
    several = SOURCE.replace("Paper:", "Papers:").replace("the paper:", "the papers:")
    file.write_text(textwrap.dedent(several).lstrip())
    card = read_card(file)
    assert (card.paper, card.differs) == (one.paper, one.differs) != ("", "")


def test_card(file):
    card = read_card(file)
    assert (card.name, card.version, card.class_name) == ("mine", 2, "Mine")
    assert card.claim == "A claim: over two lines."
    assert card.about == "What it is about."
    assert card.paper == "Somebody 2020, arXiv:0000.00000,\nequation 3."
    assert card.differs == "1. nothing that matters: really."
    assert card.results == "benchmarks/x.md"


def test_fields_of_base_classes_come_first_as_the_recipe_redefines_them(file):
    assert read_card(file).fields == (
        Field("warmup", "float", 0.1, "Fraction."),
        Field("lr", "float | None", None, "Peak rate."),
        Field("sizes", "tuple[int, ...]", (1, 2), "Sizes."),
        Field("silent", "bool", False, ""),
    )


def test_a_base_class_of_the_package_is_followed(file):
    file.write_text(
        "from mlexpert.families.classification import ClassificationRecipe\n"
        "class Mine(ClassificationRecipe):\n"
        "    name: ClassVar[str] = 'mine'\n"
        "    version: ClassVar[int] = 1\n"
    )
    names = [field.name for field in read_card(file).fields]
    assert names[0] == "seed" and "backbone" in names


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("class A: pass", "found none"),
        ("class A(Recipe):\n    name: ClassVar[str] = 'a'", "found none"),
        (
            "class A:\n name: ClassVar[str] = 'a'\n version: ClassVar[int] = 1\n"
            "class B:\n name: ClassVar[str] = 'b'\n version: ClassVar[int] = 1",
            "found A, B",
        ),
        ("def f(:", "is not Python"),
    ],
)
def test_a_file_that_is_no_recipe_is_refused(file, text, says):
    file.write_text(text)
    with pytest.raises(InputError, match=says):
        read_card(file)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"none\.py: cannot be read"):
        read_card(tmp_path / "none.py")


def test_only_the_header_of_a_copy_is_left_out_of_its_hash(file):
    original = file.read_text()
    expected = hashlib.sha256(original.encode()).hexdigest()
    assert source_hash(file) == expected
    file.write_text(f"# Origin: somewhere\n# more\n{original}")
    assert without_header(file.read_text()) == original
    assert source_hash(file) == expected
    file.write_text(f"# my own comment\n{original}")
    assert source_hash(file) != expected
