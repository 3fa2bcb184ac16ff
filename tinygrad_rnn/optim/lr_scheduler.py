"""Learning rate schedules: each sets the `lr` of every group of an optimiser as a function of the epoch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from .optimizer import Optimizer


class _Schedule:
    """Base of all schedules: an optimiser, and a state of plain numbers and lists."""

    optimizer: Optimizer

    def get_last_lr(self) -> list[float]:
        """Return the present learning rate of each group."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the schedule, as numbers, texts and lists. The optimiser's state has the rates."""
        found = {name: _plain(value) for name, value in vars(self).items()}
        return {name: value for name, value in found.items() if _is_plain(value)}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Load the result of `state_dict`. Raises KeyError for a name that this schedule does not have."""
        unknown = sorted(state_dict.keys() - self.state_dict().keys())
        if unknown:
            raise KeyError(f"{type(self).__name__}: load_state_dict: expected its own names, got {unknown}")
        vars(self).update({name: _plain(value) for name, value in state_dict.items()})


class LRScheduler(_Schedule):
    """Base of schedules of the epoch: `lr_at(base, epoch, group)` is the learning rate after `epoch` calls of `step`.

    Call `step()` after the optimiser's, once per epoch or once per batch. As in PyTorch, each step multiplies the
    rate of a group by the ratio of the schedule's factors: several schedules on one optimiser multiply, and a schedule
    continues from a rate that was set by hand. If nobody else has changed a rate since the last step, `step` computes
    it from the base and the epoch alone, so that rounding errors do not add up. The state holds everything that the
    next rates depend on: a resumed run has the same rates to the bit. SequentialLR runs one schedule after another.

    last_epoch: the number of the last epoch that is done; -1 starts from the beginning.
    base_lrs: for each group the rate that the schedule's factors multiply: at first the group's own rate, later
        scaled by the changes that others have made.
    """

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1):
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"{type(self).__name__}: optimizer: expected an Optimizer, got {type(optimizer).__name__}")
        self.optimizer = optimizer
        last_epoch = _whole_number(f"{type(self).__name__}: last_epoch", last_epoch, -1)
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch >= 0 and "initial_lr" not in group:
                raise KeyError(f"{type(self).__name__}: expected 'initial_lr' in group {i} to resume from, got none")
            group.setdefault("initial_lr", group["lr"])
        self.base_lrs = self._initial_bases(last_epoch)
        self.last_epoch = last_epoch
        if last_epoch >= 0:
            self._absorb_changes()
        self._advance()

    def _initial_bases(self, last_epoch: int) -> list[float]:
        """Return the first `base_lrs`: the present rates, or in a resumed run the rates that the groups began with."""
        return [group["initial_lr" if last_epoch >= 0 else "lr"] for group in self.optimizer.param_groups]

    def lr_at(self, base: float, epoch: int, group: int) -> float:
        """Return the learning rate of group number `group`, whose base is `base`, after `epoch` steps."""
        raise NotImplementedError

    def floor_at(self, epoch: int) -> float:
        """Return the part of the rate that the factors do not scale: rate = floor + (base - floor) * factor."""
        return 0.0

    def step(self) -> None:
        """Advance by one epoch: set the learning rate of every group that existed when the schedule was made."""
        self._absorb_changes()
        self._advance()

    def _absorb_changes(self) -> None:
        """Scale the bases by the changes that others have made to the rates since the last step."""
        floor = self.floor_at(self.last_epoch)
        for i, (group, base) in enumerate(zip(self.optimizer.param_groups, self.base_lrs)):
            own = self.lr_at(base, self.last_epoch, i)  # the rate that the last step set
            if group["lr"] != own and own != floor:  # a rate at the floor does not depend on the base
                self.base_lrs[i] = floor + (base - floor) * ((group["lr"] - floor) / (own - floor))

    def _advance(self) -> None:
        self.last_epoch += 1
        for i, (group, base) in enumerate(zip(self.optimizer.param_groups, self.base_lrs)):
            group["lr"] = self.lr_at(base, self.last_epoch, i)

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Load the result of `state_dict`. The optimiser's state has the learning rates: load that too."""
        super().load_state_dict(state_dict)


def _plain(value: Any) -> Any:
    """Return a number or a copy of a list, with NumPy's numbers as Python's. Return any other value unchanged."""
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    return [_plain(part) for part in value] if isinstance(value, list) else value


def _is_plain(value: Any) -> bool:
    return isinstance(value, (int, float, str)) or isinstance(value, list) and all(map(_is_plain, value))


class LambdaLR(LRScheduler):
    """lr = base lr_lambda(epoch). lr_lambda: one function, or a list with one for each group.

    Raises ValueError for a list of another length.
    """

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
    """lr = base gamma^floor(epoch / step_size). Raises ValueError unless step_size is a whole number from 1 up."""

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1):
        self.step_size, self.gamma = _whole_number("StepLR: step_size", step_size), gamma
        super().__init__(optimizer, last_epoch)

    def lr_at(self, base: float, epoch: int, group: int) -> float:
        return base * self.gamma ** (epoch // self.step_size)


class MultiStepLR(LRScheduler):
    """lr = base gamma^n, where n milestones (epochs) have been reached. A milestone given twice counts twice."""

    def __init__(self, optimizer: Optimizer, milestones: Sequence[int], gamma: float = 0.1, last_epoch: int = -1):
        self.milestones, self.gamma = _milestones("MultiStepLR", sorted(milestones)), gamma
        super().__init__(optimizer, last_epoch)

    def lr_at(self, base: float, epoch: int, group: int) -> float:
        return base * self.gamma ** sum(epoch >= milestone for milestone in self.milestones)


class ExponentialLR(LRScheduler):
    """lr = base gamma^epoch."""

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1):
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def lr_at(self, base: float, epoch: int, group: int) -> float:
        return base * self.gamma**epoch


class CosineAnnealingLR(LRScheduler):
    """lr = eta_min + (base - eta_min) (1 + cos(pi epoch / T_max)) / 2: down to eta_min in T_max epochs, then up again.

    Loshchilov and Hutter, SGDR: stochastic gradient descent with warm restarts (2017), eq. 5.
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1):
        self.T_max, self.eta_min = _whole_number("CosineAnnealingLR: T_max", T_max), eta_min
        super().__init__(optimizer, last_epoch)

    def floor_at(self, epoch: int) -> float:
        return self.eta_min

    def lr_at(self, base: float, epoch: int, group: int) -> float:
        return self.eta_min + (base - self.eta_min) * (1.0 + math.cos(math.pi * epoch / self.T_max)) / 2.0


class LinearLR(LRScheduler):
    """lr = base (start_factor + (end_factor - start_factor) min(epoch / total_iters, 1)): a linear warm-up.

    Raises ValueError for a start_factor outside (0, 1] or an end_factor outside [0, 1].
    """

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
        self.total_iters = _whole_number("LinearLR: total_iters", total_iters)
        super().__init__(optimizer, last_epoch)

    def lr_at(self, base: float, epoch: int, group: int) -> float:
        progress = min(epoch, self.total_iters) / self.total_iters
        return base * (self.start_factor + (self.end_factor - self.start_factor) * progress)


class SequentialLR(LRScheduler):
    """One schedule after another: schedulers[i] up to milestones[i], then the next, which counts epochs from there.

    Raises ValueError unless there is one milestone between each two schedulers, in rising order, and every scheduler
    is an LRScheduler of this optimiser.
    """

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

    def _initial_bases(self, last_epoch: int) -> list[float]:
        """Return the rates that the groups began with. The schedules have already changed the present rates."""
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
    threshold: the smallest difference to the best metric that counts as better, a fraction of the best
        (threshold_mode 'rel', for metrics above 0) or a plain difference ('abs').
    cooldown: the number of epochs after a reduction that do not count. min_lr: a lower bound, or one for each group.
    eps: a reduction of a rate by eps or less is left out.

    Raises ValueError for a setting outside its range.
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
        self.patience = _whole_number("ReduceLROnPlateau: patience", patience, 0)
        self.cooldown = _whole_number("ReduceLROnPlateau: cooldown", cooldown, 0)
        self.threshold, self.threshold_mode = threshold, threshold_mode
        self.best = math.inf if mode == "min" else -math.inf
        self.num_bad_epochs = self.cooldown_counter = self.last_epoch = 0

    def _is_better(self, metric: float) -> bool:
        sign = 1.0 if self.mode == "max" else -1.0
        if self.threshold_mode == "rel":
            return sign * metric > sign * self.best * (1.0 + sign * self.threshold)
        return sign * metric > sign * self.best + self.threshold

    def step(self, metrics: Any) -> None:
        """Count an epoch with this metric; reduce the learning rates after more than `patience` epochs without gain."""
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


def _whole_number(name: str, value: Any, least: int = 1) -> int:
    """Return a whole number, such as 5.0 or NumPy's, as an int. Raise ValueError for another value, or one < least."""
    fits = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    if not fits or not math.isfinite(value) or value != int(value) or value < least:
        raise ValueError(f"{name}: expected a whole number from {least} up, got {value!r}")
    return int(value)


def _milestones(name: str, values: Sequence[Any]) -> list[int]:
    return [_whole_number(f"{name}: milestones[{i}]", value, 0) for i, value in enumerate(values)]
