"""The claims that lecture notes on recurrent networks make, each tried by a measurement.

finding.py      Claim, Finding, Curves; `claim` puts a function into the registry CLAIMS
gradients.py    claims on gradients through many steps
clipping.py     claims on gradient clipping
truncation.py   claims on truncated back-propagation through time, and on its memory
text.py         claims on embeddings, generation and depth
memory.py       claims on what a network remembers and counts
comparison.py   claims that compare kinds of networks
training.py     what the claims above train with: a classifier, tasks
corrections.py  equations of lecture notes with a slip, and the right ones
report.py       a finding as text, as a part of a page, as a picture
run.py          several claims, one after the other

The modules with claims register them when they are imported, in the order of the page.
"""

from . import gradients  # isort: skip
from . import clipping, truncation, text, memory, comparison  # isort: skip
from .finding import CLAIMS, VERDICTS, Claim, Curves, Finding
from .run import run

__all__ = [
    "CLAIMS",
    "VERDICTS",
    "Claim",
    "Curves",
    "Finding",
    "clipping",
    "comparison",
    "gradients",
    "memory",
    "run",
    "text",
    "truncation",
]
