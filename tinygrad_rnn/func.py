"""Functions of modules, under PyTorch's name for this place: `torch.func`."""

from .nn.stateless import functional_call

__all__ = ["functional_call"]
