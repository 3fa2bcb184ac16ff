"""The peers: which there are, which are installed, and on how many threads they run."""

from __future__ import annotations

import importlib
import os
import sys
from importlib.metadata import PackageNotFoundError, version

from .record import OURS, is_peer

# In the order of the tables. What each is asked to do stands with the records.
PEERS = ("torch", "torch.compile", "onnxruntime", "openvino", "jax", "autograd", "numpy")
QUICK = ("torch", "onnxruntime")
# What else a package needs to be of use here.
NEEDS = {"onnxruntime": ("onnx",), "openvino": ("onnx",), "jax": ("jaxlib",)}
PACKAGES = (OURS, "numpy", "numba", "llvmlite", "torch", "onnxruntime", "openvino", "onnx", "jax", "jaxlib", "autograd")


def peer_of(contender: str) -> str:
    """The name under which a contender is chosen: that of "torch loop" is "torch"."""
    return contender.split(" ")[0]


def installed(package: str) -> str:
    """Its version, or "" where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def lacking(peer: str) -> str:
    """Why a peer cannot be used, in words; "" if it can."""
    package = peer.split(".")[0]
    missing = [name for name in (package, *NEEDS.get(package, ())) if is_peer(name) and not installed(name)]
    return f"{' and '.join(missing)} not installed" if missing else ""


def versions() -> dict[str, str]:
    """Of the packages whose speed is compared, and of those below ours; those that are there."""
    return {name: found for name in PACKAGES if (found := installed(name))}


def prepare(peers: tuple[str, ...], threads: int) -> None:
    """Once in a process, before a peer is used.

    JAX's pool of threads has the size that NPROC says when it is made. PyTorch's is set before each record, so it must
    be there by then. OpenVINO forks when it is imported, which a process that has JAX's threads should not.
    """
    os.environ["NPROC"] = str(threads)
    for peer in ("torch", "openvino"):
        if peer in peers and not lacking(peer):
            importlib.import_module(peer)


def set_threads(count: int) -> None:
    """For this library, and for PyTorch where it is loaded; the others are told when a model is made."""
    import tinygrad_rnn as tg

    tg.set_num_threads(count)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(count)
