"""Attention over the places of an image: a decoder says which digits are there, and where it looks.

Digits lie in some cells of a grid of 3 x 3; the target is their names in reading order, and then the word "end". At
each step the decoder gives two distributions: over the words, and over the places of the image. Soft attention reads
the mean of all places; hard attention (--hard) looks at one place, and learns where by REINFORCE with a baseline.
Xu et al., Show, attend and tell (2015), sections 4.1 and 4.2.

    python examples/attend.py --plot attention.png
"""

from __future__ import annotations

import argparse

import numpy as np
import pictures

import tinygrad_rnn as tg
from tinygrad_rnn import nn, optim

CELLS, MOST, END = 9, 4, 10  # cells of the grid, digits at most, the id of the word "end"
NAMES = np.array([*map(str, range(10)), "end"])


def scenes(rng: np.random.Generator, images: np.ndarray, classes: np.ndarray, size: int) -> tuple[np.ndarray, ...]:
    """Return cells [9, size, 64], words [MOST + 1, size], and the place of each word (-1: "end")."""
    cells = np.zeros((CELLS, size, 64), "float32")
    words, places = np.full((MOST + 1, size), END), np.full((MOST + 1, size), -1)
    for n, count in enumerate(rng.integers(1, MOST + 1, size)):
        where, which = np.sort(rng.permutation(CELLS)[:count]), rng.integers(0, len(images), count)
        cells[where, n], words[:count, n], places[:count, n] = images[which].reshape(-1, 64), classes[which], where
    return cells, words, places


class Reader(nn.Module):
    """Words and places from the cells of an image: a network for each cell, and a GRU that attends to them."""

    def __init__(self, hidden: int, hard: bool):
        super().__init__()
        self.see = nn.Sequential(nn.Linear(64 + CELLS, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU())
        self.word = nn.Embedding(END + 2, hidden)  # one more for the start
        self.decoder = nn.AttentionDecoder("gru", hidden, hidden, hidden, inside=True, hard=hard)
        self.out = nn.Linear(hidden, END + 1)

    def forward(self, cells: np.ndarray, words: np.ndarray) -> tuple:
        """Return logits [T, N, 11], weights of the places [T, N, 9] and, with hard attention, their log p [T, N]."""
        place = np.broadcast_to(np.eye(CELLS, dtype="float32")[:, None], (*cells.shape[:2], CELLS))
        memory = self.decoder.memorize(self.see(np.concatenate([cells, place], 2)))
        before = np.concatenate([np.full_like(words[:1], END + 1), words[:-1]])
        output, _, weights, log_prob = self.decoder(self.word(before), memory)
        return self.out(output), weights, log_prob


def main(arguments: list[str] | None = None) -> float:
    """Train, and return the share of right words on images of digits that were held out."""
    options = argparse.ArgumentParser(description="Attention over the places of an image.")
    options.add_argument("--hard", action="store_true", help="look at one place at a time")
    options.add_argument("--steps", type=int, default=0, help="training steps (default: 1000; 2000 with --hard)")
    options.add_argument("--seed", type=int, default=0, help="seed of weights and scenes (default: 0)")
    options.add_argument("--plot", metavar="FILE", help="draw the attention to one image (PNG)")
    args = options.parse_args(arguments)

    tg.manual_seed(args.seed)
    rng = np.random.default_rng(args.seed)
    (images, classes), model = pictures.digits(), Reader(64, args.hard)
    optimizer = optim.Adam(model.parameters(), lr=2e-3)
    baseline = np.zeros((MOST + 1, 1), "float32")
    for step in range(1, 1 + (args.steps or (2000 if args.hard else 1000))):
        cells, words, _ = scenes(rng, images[:1400], classes[:1400], 64)
        logits, weights, log_prob = model(cells, words)
        losses = nn.functional.cross_entropy(logits.reshape(-1, END + 1), words.reshape(-1), reduction="none")
        loss = losses.mean()
        if args.hard:
            reward = -losses.detach().numpy().reshape(words.shape)
            entropy = -(weights * (weights + 1e-9).log()).sum(-1).mean()  # a bonus on it keeps the search going
            loss = loss - ((reward - baseline) * log_prob).mean() - 0.01 * entropy
            baseline += 0.05 * (reward.mean(1, keepdims=True) - baseline)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 200 == 0:
            print(f"step {step:5}  loss per word {losses.mean().item():.3f}", flush=True)

    model.eval()
    cells, words, places = scenes(rng, images[1400:], classes[1400:], 500)
    with tg.no_grad():
        logits, weights, _ = model(cells, words)
    right = float((logits.numpy().argmax(-1) == words).mean())
    looked = (weights.numpy().argmax(-1) == places)[places >= 0].mean()
    if args.plot:
        n = (places >= 0).sum(0).argmax()  # the first image with the most digits
        pictures.attention(args.plot, cells[:, n], ["image", *NAMES[words[:, n]]], weights.numpy()[:, n])
    print(f"right words on 500 new images: {right:.3f}; looked at the right place: {looked:.3f}, by chance 0.11")
    return right


if __name__ == "__main__":
    if main() < 0.75:
        raise SystemExit("the model did not learn to read: expected at least 0.75 of the words")
