"""Layers, with PyTorch's names, arguments, parameter names and defaults."""

from . import functional, utils
from .module import Module, ModuleList, Parameter, Sequential

__all__ = ["Module", "ModuleList", "Parameter", "Sequential", "functional", "utils"]
