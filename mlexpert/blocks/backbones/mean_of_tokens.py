"""A text encoder as it was pretrained, behind which only a linear head is new.

Paper: Reimers and Gurevych 2019, arXiv:1908.10084 (the mean over tokens, as good a vector of a
text as any that an encoder gives without training).
"""

from __future__ import annotations

from torch import Tensor, nn

from mlexpert.blocks.backbones.pretrained_text import PretrainedText, padded


class MeanOfTokens(nn.Module):
    """Classifies token ids (B, T) by the mean of the encoder's last hidden states.

    The head of the encoder's own architecture has layers that were never trained, and is left out.

    Args:
        text: The encoder and its tokenizer.
        num_classes: Outputs K.
    """

    def __init__(self, text: PretrainedText, num_classes: int) -> None:
        super().__init__()
        self.encoder, self.pad_id = text.encoder.base_model, text.pad_id
        self.head = nn.Linear(self.encoder.config.hidden_size, num_classes)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the logits (B, K) of token ids (B, T), padded with 0 on the right."""
        tokens, inside = padded(inputs, self.pad_id)
        states = self.encoder(input_ids=tokens, attention_mask=inside).last_hidden_state
        shares = inside / inside.sum(dim=1, keepdim=True).clamp_min(1)
        return self.head((states * shares.unsqueeze(-1)).sum(dim=1))
