"""Every optimiser with options of every kind, and parameters and gradients for them."""

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn import nn, optim

SHAPES = [(4, 3), (5,), (), (0, 2), (1, 17)]
ALL = ["SGD", "Adagrad", "RMSprop", "Adam", "AdamW"]
OPTIONS = [
    ("SGD", {}),
    ("SGD", {"lr": 0.1, "weight_decay": 0.2}),
    ("SGD", {"lr": 0.1, "momentum": 0.9}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.3}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.2}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.2}),
    ("Adagrad", {}),
    ("Adagrad", {"lr": 0.1, "lr_decay": 0.05}),
    ("Adagrad", {"lr": 0.1, "initial_accumulator_value": 0.5, "eps": 1e-3}),
    ("Adagrad", {"lr": 0.1, "weight_decay": 0.2, "lr_decay": 0.05}),
    *[
        ("RMSprop", {"lr": 0.02, "alpha": 0.9, **centered, **momentum, **decay})
        for centered in ({}, {"centered": True})
        for momentum in ({}, {"momentum": 0.8})
        for decay in ({}, {"weight_decay": 0.2, "eps": 1e-4})
    ],
    ("RMSprop", {}),
    *[
        (name, {"lr": 0.02, **betas, **amsgrad, **decay})
        for name in ("Adam", "AdamW")
        for betas in ({}, {"betas": (0.5, 0.7), "eps": 1e-4})
        for amsgrad in ({}, {"amsgrad": True})
        for decay in ({}, {"weight_decay": 0.2})
    ],
    ("Adam", {}),
    ("AdamW", {}),
]


def parameters(dtype="float64", seed=0):
    rng = np.random.default_rng(seed)
    return [nn.Parameter(rng.standard_normal(shape).astype(dtype)) for shape in SHAPES]


def gradients(steps, dtype="float64", seed=1):
    rng = np.random.default_rng(seed)
    drawn = [[rng.standard_normal(s) * 10.0 ** rng.integers(-3, 2) for s in SHAPES] for _ in range(steps)]
    return [[np.asarray(g, dtype) for g in step] for step in drawn]


def run(optimizer, params, steps):
    for step in steps:
        for p, g in zip(params, step):
            p.grad = tg.tensor(g)
        optimizer.step()


def made(name, params, **options):
    return getattr(optim, name)(params, **{"lr": 0.05, **options})
