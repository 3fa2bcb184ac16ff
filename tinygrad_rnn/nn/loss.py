"""Losses as modules. Each calls its function in `functional`, whose docstring gives shapes and errors."""

from __future__ import annotations

from typing import Any

from ..tensor import Tensor
from . import functional as F
from .functional.layers import probability
from .functional.reduction import check_reduction
from .module import Module


class MSELoss(Module):
    """The mean of (input - target)^2, or its sum, or each element; reduction: 'mean', 'sum', 'none'. See `mse_loss`."""

    def __init__(self, reduction: str = "mean"):
        super().__init__()
        self.reduction = check_reduction("MSELoss", reduction)

    def forward(self, input: Any, target: Any) -> Any:
        return F.mse_loss(input, target, self.reduction)


class CrossEntropyLoss(Module):
    """The mean of -log softmax(input)[target], input [N, C], target [N]; see `functional.cross_entropy`.

    weight: a tensor [C], saved with the module's parameters but not trained.
    """

    weight: Tensor | None

    def __init__(
        self,
        weight: Tensor | None = None,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ):
        super().__init__()
        self.register_buffer("weight", weight)
        self.ignore_index = ignore_index
        self.reduction = check_reduction("CrossEntropyLoss", reduction)
        self.label_smoothing = probability("CrossEntropyLoss", label_smoothing, "label_smoothing")

    def forward(self, input: Any, target: Any) -> Any:
        return F.cross_entropy(input, target, self.weight, self.ignore_index, self.reduction, self.label_smoothing)


class BCEWithLogitsLoss(Module):
    """The mean of -target log sigmoid(input) - (1 - target) log(1 - sigmoid(input)), input and target [...].

    weight, pos_weight: tensors that broadcast to the input, saved with the parameters but not trained. See
    `functional.binary_cross_entropy_with_logits`.
    """

    weight: Tensor | None
    pos_weight: Tensor | None

    def __init__(self, weight: Tensor | None = None, reduction: str = "mean", pos_weight: Tensor | None = None):
        super().__init__()
        self.register_buffer("weight", weight)
        self.register_buffer("pos_weight", pos_weight)
        self.reduction = check_reduction("BCEWithLogitsLoss", reduction)

    def forward(self, input: Any, target: Any) -> Any:
        return F.binary_cross_entropy_with_logits(input, target, self.weight, self.pos_weight, self.reduction)


class CTCLoss(Module):
    """The mean of -log p(target) over all alignments of sequences with targets of unknown timing; see `ctc_loss`.

    forward(log_probs, targets, input_lengths, target_lengths): log_probs [T, N, C] or [T, C].
    """

    def __init__(self, blank: int = 0, reduction: str = "mean", zero_infinity: bool = False):
        super().__init__()
        self.blank, self.zero_infinity = blank, zero_infinity
        self.reduction = check_reduction("CTCLoss", reduction)

    def forward(self, log_probs: Any, targets: Any, input_lengths: Any, target_lengths: Any) -> Any:
        lengths = input_lengths, target_lengths
        return F.ctc_loss(log_probs, targets, *lengths, self.blank, self.reduction, self.zero_infinity)


class NLLLoss(Module):
    """The mean of -input[target], input [N, C] log-probabilities, target [N]; see `functional.nll_loss`.

    weight: a tensor [C], saved with the module's parameters but not trained.
    """

    weight: Tensor | None

    def __init__(self, weight: Tensor | None = None, ignore_index: int = -100, reduction: str = "mean"):
        super().__init__()
        self.register_buffer("weight", weight)
        self.ignore_index, self.reduction = ignore_index, check_reduction("NLLLoss", reduction)

    def forward(self, input: Any, target: Any) -> Any:
        return F.nll_loss(input, target, self.weight, self.ignore_index, self.reduction)


class KLDivLoss(Module):
    """The mean of target (log target - input), input [...] log-probabilities, target [...]; see `functional.kl_div`."""

    def __init__(self, reduction: str = "mean", log_target: bool = False):
        super().__init__()
        self.reduction, self.log_target = check_reduction("KLDivLoss", reduction, "batchmean"), log_target

    def forward(self, input: Any, target: Any) -> Any:
        return F.kl_div(input, target, self.reduction, self.log_target)
