"""Contenders in processes of their own. The program prints one line of JSON: arrays to compare, and bytes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

TIME_LIMIT = 1800  # seconds
SAMPLES = 16  # entries of an array that are compared


class Spawned:
    """A Run that starts a program and returns the arrays that it prints; `bytes` holds the memory that it reports."""

    def __init__(self, arguments: Sequence[str], **environment: str):
        self.arguments, self.environment, self.bytes = list(arguments), environment, 0.0

    def __call__(self) -> list[Any]:
        words = [sys.executable, *self.arguments]
        environment = os.environ | self.environment
        done = subprocess.run(words, capture_output=True, text=True, env=environment, timeout=TIME_LIMIT)
        if done.returncode:
            raise RuntimeError(f"its process ended with {done.returncode}: {done.stderr.strip()[-200:]}")
        found = json.loads(done.stdout.splitlines()[-1])
        self.bytes = float(found.get("bytes", 0))
        return [np.array(a, np.float64) for a in found["arrays"]]


def outline(array: Any) -> list[float]:
    """Return a short list to compare an array by: its root mean square, and entries at equal distances."""
    a = np.asarray(array, np.float64).reshape(-1)
    spread = a[:: max(1, a.size // SAMPLES)][:SAMPLES]
    return [float(np.sqrt(np.mean(a * a))), *map(float, spread)]
