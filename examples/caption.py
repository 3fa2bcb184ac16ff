"""Captions of images: a convolutional network reads an image, an LSTM writes its name, letter by letter.

The images are handwritten digits, and the captions are their names. The features of the image are the first state of
the LSTM (--image h0), or are read again at every letter (each), or the LSTM attends to the places of the image (attend:
Xu et al., Show, attend and tell, 2015).

    python examples/caption.py --image attend --plot caption.png
"""

from __future__ import annotations

import argparse

import numpy as np
import pictures

import tinygrad_rnn as tg
from tinygrad_rnn import data, decode, nn, optim

NAMES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
LETTERS = data.Vocabulary.build(map(list, NAMES), specials=["<start>", "<end>"])
START, END = LETTERS.encode(["<start>", "<end>"])
CAPTIONS = np.array([[*LETTERS.encode(list(n)), *[END] * (6 - len(n))] for n in NAMES]).T  # [6, 10]


class Captioner(nn.Module):
    """Letters from an image [N, 8, 8]. A state is (features or memory, state of the LSTM)."""

    def __init__(self, image: str, size: int):
        super().__init__()
        self.image, self.letter = image, nn.Embedding(len(LETTERS), size)
        edges, shapes = nn.Conv2d(1, 16, 3, padding=1), nn.Conv2d(16, size, 3, padding=1)
        self.see = nn.Sequential(edges, nn.ReLU(), nn.MaxPool2d(2), shapes, nn.ReLU())  # -> [N, size, 4, 4]
        self.features, self.norm = nn.Linear(16 * size, size), nn.LayerNorm(size)  # as large as the letters' vectors
        attends = nn.AttentionDecoder("lstm", size, size, size, inside=True)
        self.lstm = attends if image == "attend" else nn.LSTM(size * (1 + (image == "each")), size)
        self.out = nn.Linear(size, len(LETTERS))

    def start(self, images: np.ndarray) -> tuple:
        """Return the first state."""
        grid = self.see(images[:, None])
        if self.image == "attend":
            return self.lstm.memorize(self.norm(grid.flatten(2).permute(2, 0, 1))), None
        features = self.norm(self.features(grid.flatten(1))).unsqueeze(0)
        first = features if self.image == "h0" else features * 0
        return features, (first, first * 0)

    def forward(self, ids: tg.Tensor, state: tuple) -> tuple:
        """Return the logits of the letters that follow ids [T, N], the next state, and the attention weights if any."""
        x, (image, hidden) = self.letter(ids), state
        if self.image == "attend":
            output, hidden, weights, _ = self.lstm(x, image, hidden)
            return self.out(output), (image, hidden), weights
        x = tg.concat([x, image.expand((len(x), *image.shape[1:]))], 2) if self.image == "each" else x
        output, hidden = self.lstm(x, hidden)
        return self.out(output), (image, hidden), None

    def step(self, ids: tg.Tensor, state: tuple) -> tuple:
        """Return (logits [N, V], state) after one letter, for `decode`."""
        logits, state, _ = self(ids.unsqueeze(0), state)
        return logits[0], state


def main(arguments: list[str] | None = None) -> float:
    """Train, and return the share of exact captions of images that were held out."""
    options = argparse.ArgumentParser(description="Captions of images, letter by letter.")
    options.add_argument("--image", choices=["h0", "each", "attend"], default="h0", help="(default: h0)")
    options.add_argument("--steps", type=int, default=400, help="training steps (default: 400)")
    options.add_argument("--seed", type=int, default=0, help="seed of weights and batches (default: 0)")
    options.add_argument("--plot", metavar="FILE", help="draw what each letter attends to (PNG)")
    args = options.parse_args(arguments)

    tg.manual_seed(args.seed)
    rng = np.random.default_rng(args.seed)
    (images, classes), model = pictures.digits(), Captioner(args.image, 48)
    optimizer = optim.Adam(model.parameters(), lr=3e-3)
    for step in range(1, args.steps + 1):
        rows = rng.integers(0, 1400, 50)
        ids = CAPTIONS[:, classes[rows]]
        before = np.concatenate([np.full_like(ids[:1], START), ids[:-1]])
        logits, _, _ = model(before, model.start(images[rows]))
        loss = nn.functional.cross_entropy(logits.reshape(-1, len(LETTERS)), ids.reshape(-1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 100 == 0:
            print(f"step {step:5}  loss per letter {loss.item():.4f}", flush=True)

    model.eval()
    with tg.no_grad():
        state = model.start(images[1400:])
        found = decode.generate(model.step, state, [START] * len(images[1400:]), 6, END).ids.numpy()
        if args.plot and args.image == "attend":
            weights = model(np.concatenate([[[START]], found[:1, :-1].T]), model.start(images[1400:1401]))[2]
            places = images[1400].reshape(4, 2, 4, 2).swapaxes(1, 2).reshape(16, 4)
            pictures.attention(args.plot, places, ["image", *LETTERS.decode(found[0])], weights.numpy()[:, 0])
    exact = float((found == CAPTIONS[:, classes[1400:]].T).all(1).mean())
    print(f"exact captions of {len(found)} new images: {exact:.3f}; by chance 0.1")
    return exact


if __name__ == "__main__":
    if main() < 0.6:
        raise SystemExit("the model did not learn to name digits: expected 0.6 exact captions at least")
