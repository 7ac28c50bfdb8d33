"""The text encoder against torch's own transformer layer, and its indifference to padding."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mlexpert.blocks.backbones.text_transformer import TextTransformer, TransformerLayer


def build(**changes) -> TextTransformer:
    torch.manual_seed(0)
    settings = {"vocab_size": 50, "num_classes": 3, "max_length": 12, "width": 16, "num_heads": 2}
    return TextTransformer(**(settings | changes))


def randomise(module: nn.Module) -> None:
    """Give every parameter a value, also those that start at zero."""
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3)


def test_layer_starts_as_the_identity() -> None:
    layer = TransformerLayer(16, num_heads=4, hidden=24, dropout=0.5)
    inputs = torch.randn(2, 5, 16)
    assert torch.equal(layer(inputs, torch.ones(2, 1, 1, 5, dtype=torch.bool)), inputs)


def test_layer_equals_torch() -> None:
    torch.manual_seed(0)
    ours = TransformerLayer(16, num_heads=4, hidden=24, dropout=0.5).eval()
    randomise(ours)
    reference = nn.TransformerEncoderLayer(
        16, 4, 24, dropout=0.5, activation=F.gelu, batch_first=True, norm_first=True
    ).train(False)
    pairs = {
        "self_attn.in_proj_": "query_key_value.",
        "self_attn.out_proj.": "attention_out.",
        "linear1.": "hidden_in.",
        "linear2.": "hidden_out.",
        "norm1.": "attention_norm.",
        "norm2.": "hidden_norm.",
    }
    state = ours.state_dict()
    reference.load_state_dict(
        {
            there + kind: state[here + kind]
            for there, here in pairs.items()
            for kind in ("weight", "bias")
        }
    )
    inputs = torch.randn(3, 5, 16)
    inside = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0]]).bool()
    with torch.enable_grad():  # torch's fused path needs it off; this is the plain one
        expected = reference(inputs, src_key_padding_mask=~inside)
    outputs = ours(inputs, inside[:, None, None, :])
    torch.testing.assert_close(outputs[inside], expected[inside], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("pooling", ["max", "mean"])
@pytest.mark.parametrize("num_layers", [0, 2])
def test_padding_changes_nothing(pooling: str, num_layers: int) -> None:
    model = build(pooling=pooling, num_layers=num_layers).eval()
    randomise(model)
    texts = [torch.randint(1, 50, (length,)) for length in (1, 4, 9)]
    alone = torch.cat([model(text.unsqueeze(0)) for text in texts])
    padded = nn.utils.rnn.pad_sequence([*texts, torch.ones(12, dtype=torch.long)], batch_first=True)
    torch.testing.assert_close(model(padded)[:3], alone, atol=1e-5, rtol=1e-4)


def test_the_order_of_words_matters() -> None:
    model = build().eval()
    assert not torch.allclose(
        model(torch.tensor([[5, 6, 7]])), model(torch.tensor([[7, 6, 5]])), atol=1e-3
    )


def test_empty_text_stays_finite_in_both_directions() -> None:
    model = build()
    logits = model(torch.tensor([[0, 0, 0], [4, 5, 6]]))
    assert torch.isfinite(logits).all()
    logits.sum().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())


def test_headless_model_gives_its_features() -> None:
    model = build(num_classes=0).eval()
    inputs = torch.randint(1, 50, (2, 6))
    assert model(inputs).shape == (2, model.num_features)
    torch.testing.assert_close(model(inputs), model.features(inputs))


def test_tokens_are_dropped_in_training_only() -> None:
    model = build(dropout=0.0, token_dropout=0.5)
    inputs = torch.randint(1, 50, (4, 10))
    assert not torch.equal(model(inputs), model(inputs))
    model.eval()
    assert torch.equal(model(inputs), model(inputs))


def test_it_learns_a_pattern_of_neighbouring_tokens() -> None:
    """Which of tokens 1 and 2 comes first: both are in every text, so no bag of tokens can tell."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randint(3, 12, (128, 8), generator=generator)
    targets = torch.arange(128) % 2
    place = torch.randint(0, 4, (128,), generator=generator)
    rows = torch.arange(128)
    inputs[rows, place] = torch.where(targets == 1, 1, 2)
    inputs[rows, place + 1] = torch.where(targets == 1, 2, 1)
    model = build(vocab_size=12, num_classes=2, dropout=0.0, token_dropout=0.0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(40):
        optimizer.zero_grad()
        F.cross_entropy(model(inputs[:96]), targets[:96]).backward()
        optimizer.step()
    assert (model.eval()(inputs[96:]).argmax(1) == targets[96:]).float().mean() > 0.9


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="does not divide"):
        build(num_heads=3)
    with pytest.raises(ValueError, match="13 tokens"):
        build()(torch.ones(1, 13, dtype=torch.long))
