"""The text of a flag as a field's value."""

from __future__ import annotations

import pytest

from mlexpert import InputError
from mlexpert.cli.flags import parse, values
from mlexpert.recipe_card import Field


def field(kind: str, default=None, name: str = "x") -> Field:
    return Field(name, kind, default, "A field.")


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("int", "3", 3),
        ("int | None", "none", None),
        ("int | None", "3", 3),
        ("float", "1e-3", 1e-3),
        ("float | None", "2", 2.0),
        ("str", "none", "none"),
        ("str | int", "7", 7),
        ("str | int", "seven", "seven"),
        ("bool", "true", True),
        ("Literal['auto', 'fp32']", "fp32", "fp32"),
        ("int | Literal['auto']", "auto", "auto"),
        ("Literal[1, 2]", "2", 2),
        ("tuple[int, ...]", "1, 2,3", (1, 2, 3)),
        ("tuple[float, float]", ".9,.99", (0.9, 0.99)),
        ("dict[str, float] | None", '{"a": 2.0}', {"a": 2.0}),
        ("list | None", "[[0, 1], [9, 0]]", [[0, 1], [9, 0]]),
    ],
)
def test_parse(kind, text, expected):
    found = parse(field(kind), text)
    assert found == expected and type(found) is type(expected)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("int", "3.5"),
        ("int", "none"),
        ("float", "fast"),
        ("bool", "maybe"),
        ("Literal['auto', 'fp32']", "fp31"),
        ("tuple[int, ...]", "1,two"),
        ("dict[str, float]", "{a}"),
    ],
)
def test_a_text_of_another_type_is_refused_with_the_type(kind, text):
    with pytest.raises(InputError) as error:
        parse(field(kind), text)
    assert kind in str(error.value) and repr(text) in str(error.value)


def test_only_what_differs_from_a_default_is_a_value():
    fields = [
        field("int", 0, "seed"),
        field("float | None", None, "lr"),
        field("bool", True, "flip"),
    ]
    assert values(fields, {"seed": "0", "lr": None, "flip": True}, []) == {}
    assert values(fields, {"seed": "1", "lr": "0.1", "flip": False}, []) == {
        "seed": 1,
        "lr": 0.1,
        "flip": False,
    }


def test_set_wins_over_a_flag_and_takes_dashes():
    fields = [field("int | None", None, "batch_size")]
    assert values(fields, {"batch_size": "8"}, ["batch-size=16"]) == {"batch_size": 16}


def test_set_needs_a_value_and_leaves_unknown_fields_to_the_catalogue():
    with pytest.raises(InputError, match="field=value"):
        values([], {}, ["epochs"])
    assert values([], {}, ["epoch=3"]) == {"epoch": "3"}
