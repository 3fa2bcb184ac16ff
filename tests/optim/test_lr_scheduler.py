"""Schedules: the learning rates equal PyTorch's, and a loaded schedule continues where it was saved."""

import math

import numpy as np
import pytest

from tinygrad_rnn import nn, optim
from tinygrad_rnn.optim import lr_scheduler as ours

RATES = [0.5, 0.02]


def optimizer():
    a, b = nn.Parameter(np.ones(1)), nn.Parameter(np.ones(1))
    return optim.SGD([{"params": [a], "lr": RATES[0]}, {"params": [b], "lr": RATES[1]}])


SCHEDULES = [
    ("LambdaLR", {"lr_lambda": lambda epoch: 0.9**epoch}),
    ("LambdaLR", {"lr_lambda": [lambda epoch: 1 / (1 + epoch), lambda epoch: 0.5]}),
    ("StepLR", {"step_size": 3}),
    ("StepLR", {"step_size": 1, "gamma": 0.7}),
    ("MultiStepLR", {"milestones": [2, 5, 5, 9], "gamma": 0.5}),
    ("ExponentialLR", {"gamma": 0.8}),
    ("CosineAnnealingLR", {"T_max": 7}),
    ("CosineAnnealingLR", {"T_max": 1, "eta_min": 0.01}),
    ("CosineAnnealingLR", {"T_max": 5, "eta_min": 0.01}),
    ("LinearLR", {}),
    ("LinearLR", {"start_factor": 0.1, "end_factor": 0.5, "total_iters": 8}),
    ("LinearLR", {"start_factor": 1.0, "end_factor": 0.0, "total_iters": 1}),
    ("SequentialLR", {"milestones": [4]}),
    ("SequentialLR", {"milestones": [3, 10]}),
]
METRICS = [5, 4, 4, 4, 4, 3.9999, 3, 3, 3, 3, 3, 3, 3, 2, 2, 2, 2, 2, 2, 2, 2, 2, -1, -1, -1, -2, -2, -2, -2, -2, -2]
PLATEAUS = [
    {"patience": 2},
    {"patience": 0, "factor": 0.5},
    {"patience": 1, "cooldown": 2},
    {"mode": "max", "patience": 3},
    {"patience": 2, "threshold_mode": "abs", "threshold": 1.5},
    {"mode": "max", "threshold_mode": "abs", "threshold": 0.1, "patience": 1},
    {"patience": 1, "min_lr": [0.1, 0.001]},
    {"patience": 0, "min_lr": 0.015},
    {"patience": 0, "eps": 0.01},
]


def build(library, kind, opt, options):
    if kind == "SequentialLR":
        warm_up = library.LinearLR(opt, start_factor=0.2, total_iters=options["milestones"][0])
        rest = [library.CosineAnnealingLR(opt, T_max=7), library.ExponentialLR(opt, gamma=0.5)]
        return library.SequentialLR(opt, [warm_up, *rest[: len(options["milestones"])]], **options)
    return getattr(library, kind)(opt, **options)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")  # PyTorch's own calls of step warn
@pytest.mark.parametrize(("kind", "options"), SCHEDULES)
def test_rates_are_those_of_pytorch(kind, options):
    torch = pytest.importorskip("torch", reason="parity with PyTorch")
    reference = torch.optim.SGD([{"params": [torch.nn.Parameter(torch.ones(1))], "lr": lr} for lr in RATES])
    theirs = build(torch.optim.lr_scheduler, kind, reference, options)
    opt = optimizer()
    schedule = build(ours, kind, opt, options)
    for epoch in range(22):
        assert schedule.last_epoch == epoch
        rates, expected = schedule.get_last_lr(), theirs.get_last_lr()
        np.testing.assert_allclose(rates, expected, rtol=1e-9, atol=1e-12, err_msg=f"epoch {epoch}")
        assert schedule.get_last_lr() == [group["lr"] for group in opt.param_groups]
        reference.step()
        theirs.step()
        schedule.step()


@pytest.mark.parametrize("options", PLATEAUS)
def test_plateaus_are_those_of_pytorch(options):
    torch = pytest.importorskip("torch", reason="parity with PyTorch")
    reference = torch.optim.SGD([{"params": [torch.nn.Parameter(torch.ones(1))], "lr": lr} for lr in RATES])
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(reference, **options)
    schedule = ours.ReduceLROnPlateau(optimizer(), **options)
    for epoch, metric in enumerate([*METRICS, math.nan, math.nan, math.nan, math.nan]):
        theirs.step(metric)
        schedule.step(metric)
        np.testing.assert_allclose(schedule.get_last_lr(), theirs.get_last_lr(), rtol=1e-9, err_msg=f"epoch {epoch}")
    assert schedule.get_last_lr() != RATES


@pytest.mark.parametrize(("kind", "options"), SCHEDULES)
def test_resuming_is_exact_to_the_bit(kind, options):
    straight_opt = optimizer()
    straight = build(ours, kind, straight_opt, options)
    for _ in range(6):
        straight.step()
    saved, saved_opt = straight.state_dict(), straight_opt.state_dict()
    resumed_opt = optimizer()
    for group in resumed_opt.param_groups:
        group["lr"] = 123.0  # whatever the new run began with
    resumed = build(ours, kind, resumed_opt, options)
    resumed_opt.load_state_dict(saved_opt)
    resumed.load_state_dict(saved)
    for _ in range(8):
        assert resumed.get_last_lr() == straight.get_last_lr() and resumed.last_epoch == straight.last_epoch
        straight.step()
        resumed.step()


def test_a_plateau_resumes():
    straight_opt = optimizer()
    straight = ours.ReduceLROnPlateau(straight_opt, patience=2, cooldown=1)
    for metric in METRICS[:4]:
        straight.step(metric)
    resumed_opt = optimizer()
    resumed = ours.ReduceLROnPlateau(resumed_opt)
    resumed_opt.load_state_dict(straight_opt.state_dict())
    resumed.load_state_dict(straight.state_dict())
    for metric in METRICS[4:]:
        straight.step(metric)
        resumed.step(metric)
        assert resumed.get_last_lr() == straight.get_last_lr()
    assert straight.get_last_lr() != RATES


def test_last_epoch_goes_on_from_the_initial_rates_in_the_groups():
    opt = optimizer()
    first = ours.ExponentialLR(opt, gamma=0.5)
    first.step()
    first.step()
    second = ours.ExponentialLR(opt, gamma=0.5, last_epoch=2)
    assert second.get_last_lr() == [lr * 0.125 for lr in RATES]
    with pytest.raises(KeyError, match="expected 'initial_lr' in group 0 to resume from"):
        ours.ExponentialLR(optimizer(), gamma=0.5, last_epoch=2)


def test_state_is_the_callers_own():
    schedule = ours.MultiStepLR(optim.SGD(nn.Linear(1, 1).parameters(), lr=1.0), [2])
    state = schedule.state_dict()
    schedule.load_state_dict(state)
    state["milestones"].append(1)
    assert schedule.milestones == [2]


def test_state_is_plain():
    state = build(ours, "SequentialLR", optimizer(), {"milestones": [4]}).state_dict()
    assert state == {"milestones": [4], "base_lrs": RATES, "last_epoch": 0}
    state = ours.ReduceLROnPlateau(optimizer(), min_lr=[0.0, 0.1]).state_dict()
    assert state["min_lrs"] == [0.0, 0.1] and "optimizer" not in state


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda o: ours.StepLR(o, 0), ValueError, "StepLR: step_size: expected a whole number from 1 up, got 0"),
        (lambda o: ours.StepLR(o, 2.5), ValueError, "StepLR: step_size: expected a whole number from 1 up, got 2.5"),
        (lambda o: ours.CosineAnnealingLR(o, 0), ValueError, "T_max: expected a whole number from 1 up, got 0"),
        (lambda o: ours.LinearLR(o, 0.0), ValueError, "start_factor: expected a number above 0 and up to 1, got 0.0"),
        (lambda o: ours.LinearLR(o, end_factor=1.5), ValueError, "end_factor: expected a number from 0 to 1, got 1.5"),
        (lambda o: ours.LambdaLR(o, [abs]), ValueError, "lr_lambda: expected 2, one for each group, got 1"),
        (lambda o: ours.StepLR(3, 1), TypeError, "StepLR: optimizer: expected an Optimizer, got int"),
        (lambda o: ours.SequentialLR(o, [ours.StepLR(o, 1)], [3]), ValueError, "expected one between each two"),
        (
            lambda o: ours.SequentialLR(o, [ours.StepLR(o, 1)] * 3, [3, 2]),
            ValueError,
            r"milestones: expected them in rising order, got \[3, 2\]",
        ),
        (
            lambda o: ours.SequentialLR(o, [ours.StepLR(o, 1), ours.StepLR(optimizer(), 1)], [3]),
            ValueError,
            r"schedulers\[1\]: expected an LRScheduler of this optimizer, got StepLR",
        ),
        (lambda o: ours.ReduceLROnPlateau(o, "best"), ValueError, "mode: expected 'min' or 'max', got 'best'"),
        (lambda o: ours.ReduceLROnPlateau(o, factor=1.0), ValueError, "factor: expected a number from 0 to below 1"),
        (lambda o: ours.ReduceLROnPlateau(o, threshold_mode="x"), ValueError, "threshold_mode: expected 'rel'"),
        (lambda o: ours.ReduceLROnPlateau(o, min_lr=[0.1]), ValueError, "min_lr: expected 2, one for each"),
        (lambda o: ours.StepLR(o, 1).load_state_dict({"speed": 1}), KeyError, "expected its own names, got"),
        (lambda o: ours.ReduceLROnPlateau(o).load_state_dict({"speed": 1}), KeyError, "expected its own names, got"),
    ],
)
def test_errors(make, error, message):
    with pytest.raises(error, match=message):
        make(optimizer())


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize(
    "kinds",
    [
        [("LinearLR", {"total_iters": 7}), ("ExponentialLR", {"gamma": 0.9})],
        [("StepLR", {"step_size": 3}), ("LinearLR", {"start_factor": 0.2, "total_iters": 10})],
        [("MultiStepLR", {"milestones": [4, 9], "gamma": 0.3}), ("CosineAnnealingLR", {"T_max": 40, "eta_min": 0.001})],
        [("ExponentialLR", {"gamma": 0.95})],
        [("CosineAnnealingLR", {"T_max": 40})],
    ],
)
def test_schedules_multiply_with_each_other_with_plateaus_and_with_rates_set_by_hand(kinds):
    torch = pytest.importorskip("torch", reason="parity with PyTorch")
    reference = torch.optim.SGD([{"params": [torch.nn.Parameter(torch.ones(1))], "lr": lr} for lr in RATES])
    opt = optimizer()
    pairs = [
        [build(library, kind, o, options) for kind, options in kinds] + [library.ReduceLROnPlateau(o, patience=3)]
        for library, o in ((torch.optim.lr_scheduler, reference), (ours, opt))
    ]
    for epoch in range(30):
        if epoch in (5, 17):
            for o in (reference, opt):
                o.param_groups[0]["lr"] *= 0.37
                o.param_groups[1]["lr"] = 0.011
        for schedules in pairs:
            for schedule in schedules[:-1]:
                schedule.step()
            schedules[-1].step(5.0 if epoch % 12 < 6 else 4.0 - epoch / 10)
        rates, expected = ([group["lr"] for group in o.param_groups] for o in (opt, reference))
        np.testing.assert_allclose(rates, expected, rtol=1e-11, err_msg=f"epoch {epoch}")


def test_several_schedules_resume_to_the_bit():
    def made():
        opt = optimizer()
        return opt, [ours.LinearLR(opt, total_iters=9), ours.ExponentialLR(opt, 0.9), ours.ReduceLROnPlateau(opt)]

    def step(schedules, epoch):
        schedules[0].step()
        schedules[1].step()
        schedules[2].step(1.0)

    opt, straight = made()
    for epoch in range(14):
        step(straight, epoch)
    resumed_opt, resumed = made()
    for one, other in [*zip(reversed(straight), reversed(resumed)), (opt, resumed_opt)]:
        other.load_state_dict(one.state_dict())
    for epoch in range(14):
        assert [g["lr"] for g in opt.param_groups] == [g["lr"] for g in resumed_opt.param_groups]
        step(straight, epoch)
        step(resumed, epoch)


@pytest.mark.parametrize("five", [np.int64(5), np.uint8(5), 5.0, np.float32(5)])
def test_whole_numbers_of_every_kind(five):
    for make in (
        lambda o, n: ours.StepLR(o, n),
        lambda o, n: ours.MultiStepLR(o, [n]),
        lambda o, n: ours.LinearLR(o, 0.5, 1.0, n),
    ):
        one, other = optimizer(), optimizer()
        first, second = make(one, 5), make(other, five)
        for _ in range(7):
            first.step()
            second.step()
        assert first.get_last_lr() == second.get_last_lr() and first.state_dict() == second.state_dict()
    for wrong in (5.5, True, "5", None, math.nan):
        with pytest.raises(ValueError, match="StepLR: step_size: expected a whole number from 1 up"):
            ours.StepLR(optimizer(), wrong)
