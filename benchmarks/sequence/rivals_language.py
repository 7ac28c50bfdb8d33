"""Language models of others: nanoGPT's loop, rewritten, and GPT-2 in the Trainer of transformers.

The loop is written from nanoGPT's published architecture and its configuration for a CPU: fp32,
windows that are drawn and stacked one by one, AdamW with a cosine, clipping. It evaluates nothing
on the way. Both score the text in the end as ours does: every token but the first, once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from borrowed import Clock
from reading import Texts
from torch import Tensor, nn

from mlexpert.data.sequences.text_codec import FIRST, TextCodec, fit_codec

Found = dict[str, Any]


class Block(nn.Module):
    """Causal attention and a GELU layer, each behind a layer norm without bias."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.first_norm, self.second_norm = (nn.LayerNorm(dim, bias=False) for _ in range(2))
        self.project_in = nn.Linear(dim, 3 * dim, bias=False)
        self.project_out = nn.Linear(dim, dim, bias=False)
        self.expand = nn.Linear(dim, 4 * dim, bias=False)
        self.contract = nn.Linear(4 * dim, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return features (B, T, D) of features (B, T, D)."""
        size = x.shape
        heads = (
            part.view(*size[:2], self.num_heads, -1).transpose(1, 2)
            for part in self.project_in(self.first_norm(x)).chunk(3, dim=2)
        )
        mixed = F.scaled_dot_product_attention(*heads, is_causal=True)
        x = x + self.project_out(mixed.transpose(1, 2).reshape(size))
        return x + self.contract(F.gelu(self.expand(self.second_norm(x))))


class Gpt(nn.Module):
    """The transformer of GPT-2 as nanoGPT has it: no biases, a head tied to the embedding."""

    def __init__(
        self, vocab_size: int, context: int, dim: int, num_layers: int, num_heads: int
    ) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(vocab_size, dim), nn.Embedding(context, dim)
        self.blocks = nn.Sequential(*(Block(dim, num_heads) for _ in range(num_layers)))
        self.norm = nn.LayerNorm(dim, bias=False)
        for name, weight in self.named_parameters():
            if weight.ndim == 2:
                last = name.endswith(("project_out.weight", "contract.weight"))
                nn.init.normal_(weight, std=0.02 / (math.sqrt(2 * num_layers) if last else 1.0))

    def forward(self, tokens: Tensor) -> Tensor:
        """Return logits (B, T, V)."""
        x = self.tokens(tokens) + self.places(torch.arange(tokens.shape[1]))
        return F.linear(self.norm(self.blocks(x)), self.tokens.weight)


def by_loop(texts: Texts, about: Mapping[str, Any], seed: int, steps: int) -> Found:
    """Train nanoGPT's model in nanoGPT's loop.

    Args:
        texts: The texts.
        about: Sizes, named as the fields of our recipes are, and "lr".
        seed: Of weights and windows.
        steps: Of the optimizer.
    """
    train, ends, vocab_size, num_bytes = encoded(texts, about)
    torch.manual_seed(seed)
    sizes = (about[name] for name in ("context", "dim", "num_layers", "num_heads"))
    model, context, lr = Gpt(vocab_size, *sizes), about["context"], about["lr"]
    groups = [
        {"params": [one for one in model.parameters() if one.ndim >= 2], "weight_decay": 0.1},
        {"params": [one for one in model.parameters() if one.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.99))

    def draw() -> tuple[Tensor, Tensor]:
        starts = torch.randint(len(train) - context, (about["batch_size"],)).tolist()
        inputs = torch.stack([train[i : i + context] for i in starts])
        return inputs, torch.stack([train[i + 1 : i + 1 + context] for i in starts])

    def run(steps: int) -> None:
        model.train()
        inputs, targets = draw()
        for step in range(steps):
            for group in optimizer.param_groups:
                group["lr"] = lr * factor(step, steps)
            logits = model(inputs)
            loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten())
            inputs, targets = draw()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    return _timed(lambda: run(steps), model, model.eval, ends, context, num_bytes)


def factor(step: int, steps: int) -> float:
    """Return what the rate is multiplied by: a rise over 5 %, then a cosine down to a tenth."""
    warmup = round(0.05 * steps)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    done = (step - warmup) / max(1, steps - warmup)
    return 0.1 + 0.45 * (1 + math.cos(math.pi * done))


class Windows(torch.utils.data.Dataset):
    """Windows of one text for the Trainer, drawn anywhere: as many as it will ask for."""

    def __init__(self, tokens: Tensor, width: int, count: int, seed: int) -> None:
        drawn = torch.Generator().manual_seed(seed)
        self.starts = torch.randint(len(tokens) - width + 1, (count,), generator=drawn).tolist()
        self.tokens, self.width = tokens, width

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, row: int) -> dict[str, Tensor]:
        window = self.tokens[self.starts[row] : self.starts[row] + self.width]
        return {"input_ids": window, "labels": window}


def by_trainer(texts: Texts, about: Mapping[str, Any], seed: int, steps: int, folder: str) -> Found:
    """Train GPT-2 from random weights in the Trainer of transformers; its files go to `folder`."""
    from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments

    train, ends, vocab_size, num_bytes = encoded(texts, about)
    context, batch = about["context"], about["batch_size"]
    torch.manual_seed(seed)
    config = GPT2Config(
        vocab_size=vocab_size,
        n_positions=context + 1,  # it shifts labels itself: T are told where T + 1 are read
        n_embd=about["dim"],
        n_layer=about["num_layers"],
        n_head=about["num_heads"],
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        use_cache=False,
        bos_token_id=None,
        eos_token_id=None,
    )
    model = GPT2LMHeadModel(config)
    arguments = TrainingArguments(
        output_dir=folder,
        max_steps=steps,
        per_device_train_batch_size=batch,
        learning_rate=about["lr"],
        lr_scheduler_type="cosine_with_min_lr",
        lr_scheduler_kwargs={"min_lr_rate": 0.1},
        warmup_steps=round(0.05 * steps),
        weight_decay=0.1,
        adam_beta2=0.99,
        max_grad_norm=1.0,
        seed=seed,
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
    )
    rows = Windows(train, context + 1, steps * batch, seed)
    trainer = Trainer(model, arguments, train_dataset=rows)
    return _timed(
        trainer.train,
        model,
        lambda: lambda tokens: model.eval()(input_ids=tokens).logits,
        ends,
        context,
        num_bytes,
    )


def encoded(texts: Texts, about: Mapping[str, Any]) -> tuple[Tensor, Tensor, int, int]:
    """Return the tokens of train and of what is scored, their number, and the bytes scored.

    The tokens are those of our recipes, less the two that only these have.
    """
    kind = about.get("tokenizer", "characters")
    codec = TextCodec(fit_codec([texts.train], kind, about.get("vocab_size", 0)))
    train, test = (torch.from_numpy(codec.encode(one)).long() for one in (texts.train, texts.test))
    assert int(test.min()) >= FIRST, "the scored text has a character that train has not"
    num_bytes = int(codec.num_bytes(test.numpy())[1:].sum())
    return train - FIRST, test - FIRST, codec.size - FIRST, num_bytes


def _timed(
    train: Callable[[], object],
    model: nn.Module,
    scorer: Callable[[], Callable[[Tensor], Tensor]],
    tokens: Tensor,
    context: int,
    num_bytes: int,
) -> Found:
    """Train, and score."""
    clock = Clock()
    train()
    seconds = clock.lap()
    nats = full_pass(scorer(), tokens, context)
    return {
        **{f"loop_{unit}": value for unit, value in seconds.items()},
        "loss": nats / (len(tokens) - 1),
        "bits_per_byte": nats / num_bytes / math.log(2),
        "nats": nats,
        "parameters": sum(one.numel() for one in model.parameters()),
    }


@torch.inference_mode()
def full_pass(model: Callable[[Tensor], Tensor], tokens: Tensor, context: int) -> float:
    """Return what all tokens but the first cost together, in nats; windows do not overlap.

    Args:
        model: Maps tokens (B, T) to logits (B, T, V).
        tokens: (M,), more than one.
        context: T.
    """
    total, whole = 0.0, (len(tokens) - 1) // context * context
    inputs, targets = tokens[:-1], tokens[1:]
    pieces = [*zip(inputs[:whole].view(-1, context).split(64),
                   targets[:whole].view(-1, context).split(64), strict=True)]  # fmt: skip
    if whole < len(targets):
        pieces.append((inputs[None, whole:], targets[None, whole:]))
    for x, y in pieces:
        logits = model(x).float().flatten(0, 1)
        total += float(F.cross_entropy(logits, y.flatten(), reduction="none").double().sum())
    return total
