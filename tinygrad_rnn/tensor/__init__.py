"""Tensor: an array that the tape can follow, with PyTorch's names for its methods.

tensor.py      the class
operators.py   its operators, with arrays and numbers on either side
in_place.py    its methods that write in place
conversion.py  dtypes and `.to(...)`
filled.py      zeros and the like
creation.py    functions that make tensors
"""

from .tensor import Tensor

__all__ = ["Tensor"]
