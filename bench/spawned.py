"""Contenders in processes of their own: the program prints one line of JSON, with numbers to compare and bytes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

LONGEST = 1800  # seconds
KEPT = 16  # entries of each array


class Spawned:
    """Calls a program; gives the numbers that it printed, and keeps in `bytes` how much memory it says to have used."""

    def __init__(self, arguments: Sequence[str], **environment: str):
        self.arguments, self.environment, self.bytes = list(arguments), environment, 0.0

    def __call__(self) -> list[Any]:
        words = [sys.executable, *self.arguments]
        environment = os.environ | self.environment
        done = subprocess.run(words, capture_output=True, text=True, env=environment, timeout=LONGEST)
        if done.returncode:
            raise RuntimeError(f"its process ended with {done.returncode}: {done.stderr.strip()[-200:]}")
        found = json.loads(done.stdout.splitlines()[-1])
        self.bytes = float(found.get("bytes", 0))
        return [np.array(a, np.float64) for a in found["arrays"]]


def outline(array: Any) -> list[float]:
    """What stands for an array where it is compared: its norm per entry, and entries from all over it."""
    a = np.asarray(array, np.float64).reshape(-1)
    spread = a[:: max(1, a.size // KEPT)][:KEPT]
    return [float(np.sqrt(np.mean(a * a))), *map(float, spread)]
