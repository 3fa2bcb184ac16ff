"""Learning rate schedules: what `lr` each group of an optimiser has after so many steps of the schedule."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from .optimizer import Optimizer


class _Schedule:
    """What all schedules share: an optimiser, and a state of plain numbers and lists."""

    optimizer: Optimizer

    def get_last_lr(self) -> list[float]:
        """The learning rate of each group."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Where the schedule stands: numbers and lists only. The learning rates are in the optimiser's."""
        found = {name: _plain(value) for name, value in vars(self).items()}
        return {name: value for name, value in found.items() if _is_plain(value)}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        unknown = sorted(state_dict.keys() - self.state_dict().keys())
        if unknown:
            raise KeyError(f"{type(self).__name__}: load_state_dict: expected its own names, got {unknown}")
        vars(self).update({name: _plain(value) for name, value in state_dict.items()})


class LRScheduler(_Schedule):
    """Base of schedules: `lr_at(base, epoch, group)` gives the learning rate after `epoch` calls of `step`.

    Call `step()` after the optimiser's, once an epoch or once a batch, as the schedule is meant. Each step multiplies
    the rate of a group by the ratio of the schedule's factors, as in PyTorch: so several schedules on one optimiser
    multiply, and a rate that is set by hand is where the schedule goes on from. Where nobody else has changed a rate
    since the last step, it is computed from the base and the epoch alone, without rounding errors that add up. The
    state holds all that the next rates depend on, so a run that is resumed goes on with the same rates to the bit.
    To follow one schedule by another, use SequentialLR.

    last_epoch: the epoch before the one to begin with; -1 begins anew.
    base_lrs: for each group the rate that the schedule's factors are applied to: at first the group's, later with what
        others have done to it.
    """

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1):
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"{type(self).__name__}: optimizer: expected an Optimizer, got {type(optimizer).__name__}")
        self.optimizer = optimizer
        last_epoch = _whole(f"{type(self).__name__}: last_epoch", last_epoch, -1)
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch >= 0 and "initial_lr" not in group:
                raise KeyError(f"{type(self).__name__}: expected 'initial_lr' in group {i} to resume from, got none")
            group.setdefault("initial_lr", group["lr"])
        self.base_lrs = self._first_bases(last_epoch)
        self.last_epoch = last_epoch
        if last_epoch >= 0:
            self._take_in()
        self._go_on()

    def _first_bases(self, last_epoch: int) -> list[float]:
        """The rates to begin with: those of the groups now, or, in a run that goes on, those that they began with."""
        return [group["initial_lr" if last_epoch >= 0 else "lr"] for group in self.optimizer.param_groups]

    def lr_at(self, base: float, epoch: int, group: int) -> float:
        """The learning rate of the group-th group, which began with `base`, after `epoch` steps."""
        raise NotImplementedError

    def floor_at(self, epoch: int) -> float:
        """The rate that the factors do not scale: rates are floor + (base - floor) times a factor."""
        return 0.0

    def step(self) -> None:
        """Go on by one epoch, and set the learning rate of every group that was there when the schedule was made."""
        self._take_in()
        self._go_on()

    def _take_in(self) -> None:
        """Make part of the bases what others have done to the rates since the last step."""
        floor = self.floor_at(self.last_epoch)
        for i, (group, base) in enumerate(zip(self.optimizer.param_groups, self.base_lrs)):
            left = self.lr_at(base, self.last_epoch, i)
            if group["lr"] != left and left != floor:  # at the floor no base is better than another
                self.base_lrs[i] = floor + (base - floor) * ((group["lr"] - floor) / (left - floor))

    def _go_on(self) -> None:
        self.last_epoch += 1
        for i, (group, base) in enumerate(zip(self.optimizer.param_groups, self.base_lrs)):
            group["lr"] = self.lr_at(base, self.last_epoch, i)

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave. The learning rates are in the optimiser's state: load that too."""
        super().load_state_dict(state_dict)


def _plain(value: Any) -> Any:
    """A copy of numbers and lists, NumPy's as Python's."""
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    return [_plain(part) for part in value] if isinstance(value, list) else value


def _is_plain(value: Any) -> bool:
    return isinstance(value, (int, float, str)) or isinstance(value, list) and all(map(_is_plain, value))


class LambdaLR(LRScheduler):
    """base lr_lambda(epoch); lr_lambda is one function, or a list with one for each group."""

    def __init__(
        self,
        optimizer: Optimizer,
        lr_lambda: Callable[[int], float] | Sequence[Callable[[int], float]],
        last_epoch: int = -1,
    ):
        groups = len(optimizer.param_groups)
        self.lr_lambdas = (lr_lambda,) * groups if callable(lr_lambda) else tuple(lr_lambda)
        if len(self.lr_lambdas) != groups:
            raise ValueError(f"LambdaLR: lr_lambda: expected {groups}, one for each group, got {len(self.lr_lambdas)}")
        super().__init__(optimizer, last_epoch)

    def lr_at(self, base: float, epoch: int, group: int) -> float:
        return base * self.lr_lambdas[group](epoch)


class StepLR(LRScheduler):
    """base gamma^floor(epoch / step_size)."""

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1):
        self.step_size, self.gamma = _whole("StepLR: step_size", step_size), gamma
        super().__init__(optimizer, last_epoch)

    def lr_at(self, base: float, epoch: int, group: int) -> float:
        return base * self.gamma ** (epoch // self.step_size)


class MultiStepLR(LRScheduler):
    """base gamma^n, n the number of milestones that were reached; one named twice counts twice."""

    def __init__(self, optimizer: Optimizer, milestones: Sequence[int], gamma: float = 0.1, last_epoch: int = -1):
        self.milestones, self.gamma = _milestones("MultiStepLR", sorted(milestones)), gamma
        super().__init__(optimizer, last_epoch)

    def lr_at(self, base: float, epoch: int, group: int) -> float:
        return base * self.gamma ** sum(epoch >= milestone for milestone in self.milestones)


class ExponentialLR(LRScheduler):
    """base gamma^epoch."""

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1):
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def lr_at(self, base: float, epoch: int, group: int) -> float:
        return base * self.gamma**epoch


class CosineAnnealingLR(LRScheduler):
    """eta_min + (base - eta_min) (1 + cos(pi epoch / T_max)) / 2: down to eta_min in T_max epochs, then up again.

    Loshchilov and Hutter, SGDR: stochastic gradient descent with warm restarts (2017), eq. 5.
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1):
        self.T_max, self.eta_min = _whole("CosineAnnealingLR: T_max", T_max), eta_min
        super().__init__(optimizer, last_epoch)

    def floor_at(self, epoch: int) -> float:
        return self.eta_min

    def lr_at(self, base: float, epoch: int, group: int) -> float:
        return self.eta_min + (base - self.eta_min) * (1.0 + math.cos(math.pi * epoch / self.T_max)) / 2.0


class LinearLR(LRScheduler):
    """A warm-up: base times a factor that goes evenly from start_factor to end_factor in total_iters epochs."""

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1.0 / 3.0,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
    ):
        if not 0.0 < start_factor <= 1.0:
            raise ValueError(f"LinearLR: start_factor: expected a number above 0 and up to 1, got {start_factor}")
        if not 0.0 <= end_factor <= 1.0:
            raise ValueError(f"LinearLR: end_factor: expected a number from 0 to 1, got {end_factor}")
        self.start_factor, self.end_factor = start_factor, end_factor
        self.total_iters = _whole("LinearLR: total_iters", total_iters)
        super().__init__(optimizer, last_epoch)

    def lr_at(self, base: float, epoch: int, group: int) -> float:
        passed = min(epoch, self.total_iters) / self.total_iters
        return base * (self.start_factor + (self.end_factor - self.start_factor) * passed)


class SequentialLR(LRScheduler):
    """One schedule after another: the i-th up to milestones[i], then the next, which counts its epochs from there."""

    def __init__(
        self,
        optimizer: Optimizer,
        schedulers: Sequence[LRScheduler],
        milestones: Sequence[int],
        last_epoch: int = -1,
    ):
        self.schedulers, self.milestones = tuple(schedulers), _milestones("SequentialLR", milestones)
        if len(self.schedulers) != len(self.milestones) + 1:
            got = f"{len(self.schedulers)} schedulers and {len(self.milestones)} milestones"
            raise ValueError(f"SequentialLR: milestones: expected one between each two schedulers, got {got}")
        if self.milestones != sorted(self.milestones):
            raise ValueError(f"SequentialLR: milestones: expected them in rising order, got {self.milestones}")
        for i, scheduler in enumerate(self.schedulers):
            if not isinstance(scheduler, LRScheduler) or scheduler.optimizer is not optimizer:
                got = type(scheduler).__name__
                raise ValueError(f"SequentialLR: schedulers[{i}]: expected an LRScheduler of this optimizer, got {got}")
        super().__init__(optimizer, last_epoch)

    def _first_bases(self, last_epoch: int) -> list[float]:
        """Those that the groups began with: its schedules have each set the rates already, as they were made."""
        return [group["initial_lr"] for group in self.optimizer.param_groups]

    def floor_at(self, epoch: int) -> float:
        i = sum(epoch >= milestone for milestone in self.milestones)
        return self.schedulers[i].floor_at(epoch - ([0, *self.milestones][i]))

    def lr_at(self, base: float, epoch: int, group: int) -> float:
        i = sum(epoch >= milestone for milestone in self.milestones)
        return self.schedulers[i].lr_at(base, epoch - ([0, *self.milestones][i]), group)


class ReduceLROnPlateau(_Schedule):
    """Multiply the learning rates by `factor` when a metric has not improved for more than `patience` epochs.

    Call `step(metric)` after each epoch's evaluation. mode: whether the metric should fall ('min') or rise ('max').
    threshold: how much better than the best counts, as a share of the best (threshold_mode 'rel', for metrics above 0)
        or as such ('abs').
    cooldown: epochs after a reduction in which nothing is counted. min_lr: a lower bound, or one for each group.
    eps: a smaller reduction is not made.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float | Sequence[float] = 0.0,
        eps: float = 1e-8,
    ):
        if not 0.0 <= factor < 1.0:
            raise ValueError(f"ReduceLROnPlateau: factor: expected a number from 0 to below 1, got {factor}")
        if mode not in ("min", "max"):
            raise ValueError(f"ReduceLROnPlateau: mode: expected 'min' or 'max', got {mode!r}")
        if threshold_mode not in ("rel", "abs"):
            raise ValueError(f"ReduceLROnPlateau: threshold_mode: expected 'rel' or 'abs', got {threshold_mode!r}")
        groups = len(optimizer.param_groups)
        self.min_lrs = list(min_lr) if isinstance(min_lr, Sequence) else [min_lr] * groups
        if len(self.min_lrs) != groups:
            got = len(self.min_lrs)
            raise ValueError(f"ReduceLROnPlateau: min_lr: expected {groups}, one for each group, got {got}")
        self.optimizer = optimizer
        self.mode, self.factor, self.eps = mode, factor, eps
        self.patience = _whole("ReduceLROnPlateau: patience", patience, 0)
        self.cooldown = _whole("ReduceLROnPlateau: cooldown", cooldown, 0)
        self.threshold, self.threshold_mode = threshold, threshold_mode
        self.best = math.inf if mode == "min" else -math.inf
        self.num_bad_epochs = self.cooldown_counter = self.last_epoch = 0

    def _is_better(self, metric: float) -> bool:
        sign = 1.0 if self.mode == "max" else -1.0
        if self.threshold_mode == "rel":
            return sign * metric > sign * self.best * (1.0 + sign * self.threshold)
        return sign * metric > sign * self.best + self.threshold

    def step(self, metrics: Any) -> None:
        """Count an epoch with this metric, and reduce the learning rates if it is time to."""
        metric = float(metrics)
        self.last_epoch += 1
        if self._is_better(metric):
            self.best, self.num_bad_epochs = metric, 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            for group, least in zip(self.optimizer.param_groups, self.min_lrs):
                lr = max(group["lr"] * self.factor, least)
                if group["lr"] - lr > self.eps:
                    group["lr"] = lr
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0


def _whole(name: str, value: Any, least: int = 1) -> int:
    """The whole number that a value is, of NumPy's kinds too, and 5.0 for 5; ValueError where it is none."""
    fits = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    if not fits or not math.isfinite(value) or value != int(value) or value < least:
        raise ValueError(f"{name}: expected a whole number from {least} up, got {value!r}")
    return int(value)


def _milestones(name: str, values: Sequence[Any]) -> list[int]:
    return [_whole(f"{name}: milestones[{i}]", value, 0) for i, value in enumerate(values)]
