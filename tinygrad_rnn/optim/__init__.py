"""Optimisers and learning rate schedules, with PyTorch's names, arguments and defaults.

optimizer.py     Optimizer: groups of parameters, their state, the step, saving and loading
rules.py         SGD, Adagrad, RMSprop, Adam, AdamW: the update of one number
lr_scheduler.py  learning rate schedules
"""

from . import lr_scheduler
from .optimizer import Optimizer
from .rules import SGD, Adagrad, Adam, AdamW, RMSprop

__all__ = ["SGD", "Adagrad", "Adam", "AdamW", "Optimizer", "RMSprop", "lr_scheduler"]
