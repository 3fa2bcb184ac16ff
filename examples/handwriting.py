"""Lines of handwritten digits, read without marks where one digit ends and the next begins.

A line has 3 to 6 digits with gaps of 0 to 3 columns between them. A bidirectional LSTM reads it column by column, and
connectionist temporal classification (CTC) finds the alignment by itself: Graves et al., Connectionist temporal
classification (2006).

    python examples/handwriting.py
"""

from __future__ import annotations

import argparse

import numpy as np
import pictures

import tinygrad_rnn as tg
from tinygrad_rnn import decode, nn, optim

BLANK = 10


def lines(rng: np.random.Generator, images: np.ndarray, classes: np.ndarray, size: int) -> tuple:
    """Return columns [T, size, 8], their number in each line, and the digits of each line, one list for each."""
    columns, digits = [], []
    for count in rng.integers(3, 7, size):
        which = rng.integers(0, len(images), count)
        gaps = rng.integers(0, 4, count + 1)
        parts = [np.zeros((8, gaps[0]))]
        for k, gap in zip(which, gaps[1:]):
            parts += [images[k], np.zeros((8, gap))]
        columns.append(np.concatenate(parts, 1).T.astype("float32"))
        digits.append(classes[which].tolist())
    padded = nn.utils.rnn.pad_sequence([tg.tensor(line) for line in columns])
    return padded, [len(line) for line in columns], digits


class Reader(nn.Module):
    """Log-probabilities of the digits and the blank for each column, [T, N, 11]."""

    def __init__(self, hidden: int):
        super().__init__()
        self.lstm = nn.LSTM(8, hidden, num_layers=2, bidirectional=True)
        self.out = nn.Linear(2 * hidden, 11)

    def forward(self, columns: tg.Tensor, lengths: list[int]) -> tg.Tensor:
        output, _ = self.lstm(columns, lengths=lengths)
        return self.out(output).log_softmax(-1)


def main(arguments: list[str] | None = None) -> float:
    """Train, and return the share of lines that are read without an error."""
    options = argparse.ArgumentParser(description="Lines of handwritten digits, read with CTC.")
    options.add_argument("--steps", type=int, default=800, help="training steps (default: 800)")
    options.add_argument("--hidden", type=int, default=64, help="hidden units for each direction (default: 64)")
    options.add_argument("--seed", type=int, default=0, help="seed of weights and lines (default: 0)")
    args = options.parse_args(arguments)

    tg.manual_seed(args.seed)
    rng = np.random.default_rng(args.seed)
    images, classes = pictures.digits()
    model = Reader(args.hidden)
    optimizer = optim.Adam(model.parameters(), lr=4e-3)
    schedule = optim.lr_scheduler.CosineAnnealingLR(optimizer, args.steps)
    for step in range(1, args.steps + 1):
        columns, lengths, digits = lines(rng, images[:1400], classes[:1400], 48)
        targets = np.concatenate(digits)
        loss = nn.functional.ctc_loss(model(columns, lengths), targets, lengths, list(map(len, digits)), BLANK)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 100 == 0:
            print(f"step {step:5}  loss per digit {loss.item():.3f}", flush=True)

    model.eval()
    columns, lengths, digits = lines(rng, images[1400:], classes[1400:], 500)
    with tg.no_grad():
        found = decode.ctc_greedy_decode(model(columns, lengths), lengths, BLANK)
    for read, line in zip(found[:4], digits):
        print(f"  {''.join(map(str, line)):6} read as {''.join(map(str, read))}")
    right = float(np.mean([read == line for read, line in zip(found, digits)]))
    single = sum(map(len, digits)) / len(digits)
    print(f"lines of {single:.1f} digits read without an error, of 500 with new digits: {right:.3f}")
    return right


if __name__ == "__main__":
    if main() < 0.6:
        raise SystemExit("the network did not learn to read: expected 0.6 of the lines without an error")
