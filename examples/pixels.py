"""An image as a sequence: read and written pixel by pixel.

The images are handwritten digits of 8 x 8 black or white pixels. An LSTM reads them row by row and predicts each pixel
from all before it, which gives the probability of the whole image, and new images by sampling. Compared with pixels
that are independent of each other. Van den Oord et al., Pixel recurrent neural networks (2016), in spirit.

    python examples/pixels.py --plot pixels.png
"""

from __future__ import annotations

import argparse

import numpy as np
import pictures

import tinygrad_rnn as tg
from tinygrad_rnn import decode, nn, optim

START = 2


class PixelRNN(nn.Module):
    """Logits of the next pixel, black or white, [T, N, 2]. A state is (LSTM's state, number of the next pixel)."""

    def __init__(self, hidden: int):
        super().__init__()
        self.read, self.place = nn.Embedding(3, hidden), nn.Embedding(64, hidden)
        self.lstm, self.out = nn.LSTM(hidden, hidden), nn.Linear(hidden, 2)

    def forward(self, ids: np.ndarray, state: tuple = (None, 0)) -> tuple[tg.Tensor, tuple]:
        hidden, first = state
        places = np.arange(first, first + len(ids))[:, None]
        output, hidden = self.lstm(self.read(ids) + self.place(places), hidden)
        return self.out(output), (hidden, first + len(ids))

    def step(self, ids: tg.Tensor, state: tuple) -> tuple[tg.Tensor, tuple]:
        """Return (logits [N, 2], state) after one pixel, for `decode`."""
        logits, state = self(ids.unsqueeze(0), state)
        return logits[0], state


def nats(model: PixelRNN, pixels: np.ndarray) -> tg.Tensor:
    """Return the mean of -log p(image) over images [N, 64] of 0 and 1."""
    before = np.concatenate([np.full((1, len(pixels)), START), pixels.T[:-1]])
    logits, _ = model(before)
    return nn.functional.cross_entropy(logits.reshape(-1, 2), pixels.T.reshape(-1)) * 64.0


def independent(train: np.ndarray, test: np.ndarray) -> float:
    """Return the mean of -log p(image) if each pixel is black with its own probability, whatever the others are."""
    p = (train.sum(0) + 1) / (len(train) + 2)
    return float(-(test * np.log(p) + (1 - test) * np.log(1 - p)).sum(1).mean())


def main(arguments: list[str] | None = None) -> float:
    """Train, and return how many nats an image takes less than with independent pixels."""
    options = argparse.ArgumentParser(description="Images, read and written pixel by pixel.")
    options.add_argument("--steps", type=int, default=600, help="training steps (default: 600)")
    options.add_argument("--hidden", type=int, default=64, help="hidden units (default: 64)")
    options.add_argument("--seed", type=int, default=0, help="seed of weights and samples (default: 0)")
    options.add_argument("--plot", metavar="FILE", help="draw new images (PNG)")
    args = options.parse_args(arguments)

    tg.manual_seed(args.seed)
    rng = np.random.default_rng(args.seed)
    pixels = (pictures.digits()[0].reshape(-1, 64) > 0.5).astype(np.int64)
    train, test = pixels[:1400], pixels[1400:]
    model = PixelRNN(args.hidden)
    optimizer = optim.Adam(model.parameters(), lr=5e-3)
    schedule = optim.lr_scheduler.CosineAnnealingLR(optimizer, args.steps)
    for step in range(1, args.steps + 1):
        loss = nats(model, train[rng.integers(0, len(train), 64)])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 100 == 0:
            print(f"step {step:5}  nats per image {loss.item():.2f}", flush=True)

    model.eval()
    with tg.no_grad():
        found, base = nats(model, test).item(), independent(train, test)
    if args.plot:
        written = decode.generate(model.step, (None, 0), [START] * 32, 64, temperature=1.0).ids.numpy()
        pictures.grid(args.plot, written.reshape(4, 8, 8, 8))
    print(f"nats per new image: {found:.2f}; with independent pixels: {base:.2f}")
    return base - found


if __name__ == "__main__":
    if main() < 3:
        raise SystemExit("the network did not learn: expected 3 nats below independent pixels at least")
