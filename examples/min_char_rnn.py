"""A character model as small as one can be: an RNN of 100 units that reads a text 25 characters at a time.

The net and its training are those of Karpathy's min-char-rnn (2015): one stream, truncated back-propagation through
time, gradients clipped to [-5, 5], Adagrad with a learning rate of 0.1, and a smoothed loss, summed over 25 characters.
The text is the language reference that every Python carries, or a file of your own.

    python examples/min_char_rnn.py --text book.txt
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn import data, decode, nn, optim

BPTT = 25


class CharRNN(nn.Module):
    """Logits of the next character [T, N, V] from ids [T, N]. The embedding is the product with a one-hot vector."""

    def __init__(self, characters: int, hidden: int):
        super().__init__()
        self.read = nn.Embedding(characters, hidden)
        self.rnn, self.out = nn.RNN(hidden, hidden), nn.Linear(hidden, characters)
        nn.init.normal_(self.read.weight, std=0.01)

    def forward(self, ids: np.ndarray, h: tg.Tensor | None = None) -> tuple[tg.Tensor, tg.Tensor]:
        output, h = self.rnn(self.read(ids), h)
        return self.out(output), h

    def step(self, ids: tg.Tensor, h: tg.Tensor | None) -> tuple[tg.Tensor, tg.Tensor]:
        """Return (logits [N, V], state) after one character, for `decode`."""
        logits, h = self(ids.unsqueeze(0), h)
        return logits[0], h


def main(arguments: list[str] | None = None) -> float:
    """Train, and return the smoothed loss, summed over 25 characters."""
    options = argparse.ArgumentParser(description="Karpathy's min-char-rnn.")
    options.add_argument("--text", type=Path, metavar="FILE", help="a UTF-8 text (default: Python's own reference)")
    options.add_argument("--steps", type=int, default=20_000, help="training steps (default: 20,000)")
    options.add_argument("--hidden", type=int, default=100, help="hidden units (default: 100)")
    options.add_argument("--seed", type=int, default=0, help="seed of weights and samples (default: 0)")
    args = options.parse_args(arguments)

    tg.manual_seed(args.seed)
    text = data.read_text(args.text) if args.text else data.default_text()
    vocabulary = data.Vocabulary.of(text)
    chunks = data.Chunks(vocabulary.encode(text), batch=1, bptt=BPTT)
    model = CharRNN(len(vocabulary), args.hidden)
    optimizer = optim.Adagrad(model.parameters(), lr=0.1)
    smooth = first = BPTT * float(np.log(len(vocabulary)))
    h = None
    for step in range(args.steps):
        if step % len(chunks) == 0:
            h = None  # the text begins again
        inputs, targets = chunks[step % len(chunks)]
        logits, h = model(inputs, h)
        loss = nn.functional.cross_entropy(logits[:, 0], targets[:, 0], reduction="sum")
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_value_(model.parameters(), 5.0)
        optimizer.step()
        h = tg.detach(h)
        smooth = 0.999 * smooth + 0.001 * loss.item()
        if (step + 1) % 2500 == 0:
            written = decode.generate(model.step, h, inputs[-1], 120, temperature=1.0).ids[0]
            print(
                f"step {step + 1:6}  smoothed loss {smooth:.2f}\n---\n{''.join(vocabulary.decode(written))}\n---",
                flush=True,
            )
    print(f"smoothed loss of 25 characters: {smooth:.2f}; at the start {first:.2f}")
    return smooth


if __name__ == "__main__":
    if main() > 60:
        raise SystemExit("the network did not learn: expected a smoothed loss of 60 at most")
