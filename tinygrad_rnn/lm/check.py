"""The check of a checkpoint's tree against its own configuration: every name, shape, dtype, number and count.

A file may contain anything, so a load could build huge arrays or a broken model. `check` compares a whole tree with the
sizes that its configuration implies, by arithmetic, before anything is built. `layout` needs the tensors' shapes alone;
`numbers` needs their numbers. Both raise ValueError, or LookupError or TypeError for a missing part.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable
from typing import Any

import numpy as np

from .. import nn, optim
from ..arrays.random import checked_rng_state
from ..data import Vocabulary
from .config import Config, Limits, Source
from .model import state_count, weight_shapes

OPTIMISERS: dict[str, Any] = {
    "adam": optim.Adam,
    "adamw": optim.AdamW,
    "rmsprop": optim.RMSprop,
    "adagrad": optim.Adagrad,
    "sgd": optim.SGD,
}
TRAINER_PARTS: tuple[str, ...] = ("config", "vocabulary", "model", "optimiser", "recurrent_state")
TRAINER_PARTS += ("random_state", "step", "losses", "validations")
RUN_PARTS = ("limits", "source", "seconds")
ADDED_PARTS = ("text_size",)  # files of earlier versions do not have these
LONGEST = 1e10  # seconds, and bytes of a text: no real run reaches it


def check(tree: dict[str, Any]) -> None:
    """Check the layout and the numbers of a tree."""
    layout(tree)
    numbers(tree)


def layout(tree: dict[str, Any]) -> None:
    """Check the plain values, and the names, shapes and dtypes of the tensors."""
    _check_names("tree", tree, TRAINER_PARTS + tuple(name for name in RUN_PARTS + ADDED_PARTS if name in tree))
    config, vocabulary = config_of(tree), vocabulary_of(tree)
    shapes = weight_shapes(len(vocabulary), config)
    _check_names("model", tree["model"], shapes)
    for name, shape in shapes.items():
        _check_array(name, tree["model"][name], "float32", shape)
    step = _whole_number("step", tree["step"], 10**15)
    _check_optimiser(tree["optimiser"], config, list(shapes.values()), step)
    _check_state(tree["recurrent_state"], config, step)
    checked_rng_state(tree["random_state"])
    _check_array("losses: expected a number for each step", tree["losses"], "float64", (step,))
    _check_array("validations", tree["validations"], "float64", (len(tree["validations"]), 2))
    if not tree.keys().isdisjoint(RUN_PARTS + ADDED_PARTS):
        _check_run(tree)


def config_of(tree: dict[str, Any]) -> Config:
    """Return the configuration in a tree."""
    _check_names("config", tree["config"], [field.name for field in dataclasses.fields(Config)])
    return Config(**tree["config"])


def vocabulary_of(tree: dict[str, Any]) -> Vocabulary:
    """Return the vocabulary in a tree."""
    characters = tree["vocabulary"]
    if not isinstance(characters, str) or any("\ud800" <= c <= "\udfff" for c in characters):
        raise ValueError(f"vocabulary: expected characters, got {type(characters).__name__}")
    return Vocabulary(characters)


def numbers(tree: dict[str, Any]) -> None:
    """Check the tensors' numbers. Weights may be infinite or NaN: training and sampling report that themselves."""
    parts = {"losses": tree["losses"], "validations": tree["validations"]}
    parts |= {f"recurrent_state {i}": state for i, state in enumerate(_states(tree["recurrent_state"]))}
    for name, array in parts.items():
        if not np.isfinite(array).all():
            raise ValueError(f"{name}: expected finite numbers, got others")
    for key, state in tree["optimiser"].items():  # infinity is allowed: an overflowed square only freezes its weight
        if any(np.isnan(array).any() for name, array in state.items() if name != "step"):
            raise ValueError(f"optimiser: {key}: expected numbers, got NaN")
    steps = tree["validations"][:, 0]
    rising = (np.diff(steps) >= 0).all() and (steps == np.floor(steps)).all()
    if steps.size and not (rising and steps[0] >= 0 and steps[-1] <= tree["step"]):
        raise ValueError(f"validations: expected whole steps from 0 to {tree['step']} in rising order, got others")


def _check_optimiser(given: Any, config: Config, shapes: list[tuple[int, ...]], step: int) -> None:
    optimiser = OPTIMISERS[config.optimiser]([nn.Parameter(np.zeros(1, np.float32))], lr=config.lr)
    slots = optimiser.slots(optimiser.param_groups[0])
    _check_names("optimiser", given, map(str, range(len(shapes))) if slots and step else ())
    for key, state in given.items():
        _check_names(f"optimiser: {key}", state, ("step", *slots))
        if _whole_number(f"optimiser: {key}: step", state["step"], step) != step:
            raise ValueError(f"optimiser: {key}: step: expected {step}, as of the run, got {state['step']}")
        for slot in slots:
            _check_array(f"optimiser: {key}: {slot}", state[slot], "float32", shapes[int(key)])


def _check_state(given: Any, config: Config, step: int) -> None:
    states, count = _states(given), state_count(config) if step else 0
    if len(states) != count or isinstance(given, list) and count < 2:
        raise ValueError(f"recurrent_state: expected float32 arrays, {count} at step {step}, got {len(states)}")
    for state in states:
        shape: tuple[int, ...] = getattr(state, "shape", ())
        batch = shape[1] if len(shape) == 3 and 1 <= shape[1] <= config.batch else config.batch
        _check_array("recurrent_state", state, "float32", (config.layers, batch, config.hidden))
        if shape != states[0].shape:
            raise ValueError(f"recurrent_state: expected float32 of {states[0].shape}, got {shape}")


def _states(given: Any) -> list[Any]:
    return [] if given is None else given if isinstance(given, list) else [given]


def _check_run(tree: dict[str, Any]) -> None:
    limits, source, seconds = tree["limits"], tree["source"], tree["seconds"]
    _check_names("limits", limits, [field.name for field in dataclasses.fields(Limits)])
    if not Limits(**limits).any():
        raise ValueError("limits: expected at least one, got none")
    _check_names("source", source, [field.name for field in dataclasses.fields(Source)])
    if not isinstance(source["path"], (str, type(None))):
        raise ValueError(f"source: path: expected text or none, got {type(source['path']).__name__}")
    if not isinstance(source["sha256"], str) or not re.fullmatch("[0-9a-f]{64}", source["sha256"]):
        raise ValueError("source: sha256: expected 64 digits from 0 to f, got others")
    if type(seconds) not in (int, float) or not 0 <= seconds <= LONGEST:
        raise ValueError(f"seconds: expected a number from 0 to {LONGEST:g}, got {str(seconds)[:40]}")
    if "text_size" in tree:
        _whole_number("text_size", tree["text_size"], int(LONGEST))


def _check_names(name: str, given: Any, expected: Iterable[str]) -> None:
    """Raise TypeError for a part that is not a dict, KeyError for a missing key, ValueError for an unknown key."""
    if not isinstance(given, dict):
        raise TypeError(f"{name}: expected named parts, got {type(given).__name__}")
    names = set(expected)
    missing, unknown = sorted(names - given.keys()), sorted(given.keys() - names)
    if missing:
        raise KeyError(f"{name}: {missing[0]:.40} is missing")
    if unknown:
        raise ValueError(f"{name}: expected no part {unknown[0]!r:.40}")


def _check_array(name: str, given: Any, dtype: str, shape: tuple[int, ...]) -> None:
    if not isinstance(given, np.ndarray):
        raise TypeError(f"{name}: expected an array, got {type(given).__name__}")
    if given.dtype != dtype or given.shape != shape:
        got = given.dtype if given.dtype != dtype else f"{given.dtype} of {given.shape}"
        raise ValueError(f"{name}: expected {dtype}{'' if given.dtype != dtype else f' of {shape}'}, got {got}")


def _whole_number(name: str, given: Any, high: int) -> int:
    found = int(given)  # raises Python's own error for a value that is no number
    if type(given) is not int or not 0 <= found <= high:
        raise ValueError(f"{name}: expected a number from 0 up to {high}, got {str(given)[:40]}")
    return found
