"""What a processor can do, as torch says it on this one and on others."""

from __future__ import annotations

import pytest
import torch

from mlexpert.environment import processor_has_bf16


@pytest.mark.parametrize(
    ("has", "expected"),
    [
        ({"avx512_bf16": True, "amx_bf16": False}, True),
        ({"amx_bf16": True}, True),
        ({"architecture": "arm64", "bf16": True}, True),
        ({"avx2": True, "avx512_bf16": False}, False),
    ],
)
def test_bf16_is_there_where_the_processor_has_instructions_for_it(
    has: dict[str, bool | str], expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: has, raising=False)
    assert processor_has_bf16() is expected


def test_bf16_is_not_there_where_torch_cannot_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert processor_has_bf16() is False
