"""The peers, which are the libraries to compare with: their names, versions and numbers of threads."""

from __future__ import annotations

import importlib
import os
import sys
from importlib.metadata import PackageNotFoundError, version

from .case import OURS, is_peer

# In the order of the tables. The modules of the cases describe the settings of each.
PEERS = ("torch", "torch.compile", "onnxruntime", "openvino", "jax", "autograd", "numpy")
QUICK = ("torch", "onnxruntime")
# The further packages that a peer needs here.
NEEDS = {"onnxruntime": ("onnx",), "openvino": ("onnx",), "jax": ("jaxlib",)}
PACKAGES = (OURS, "numpy", "numba", "llvmlite", "torch", "onnxruntime", "openvino", "onnx", "jax", "jaxlib", "autograd")


def peer_of(contender: str) -> str:
    """Return the peer of a contender: "torch" for "torch loop"."""
    return contender.split(" ")[0]


def installed(package: str) -> str:
    """Return the version of a package, or "" if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def why_missing(peer: str) -> str:
    """Return the reason why a peer cannot be used, or "" if it can."""
    package = peer.split(".")[0]
    missing = [name for name in (package, *NEEDS.get(package, ())) if is_peer(name) and not installed(name)]
    return f"{' and '.join(missing)} not installed" if missing else ""


def versions() -> dict[str, str]:
    """Return the versions of the installed packages that the results depend on."""
    return {name: found for name in PACKAGES if (found := installed(name))}


def prepare(peers: tuple[str, ...], threads: int) -> None:
    """Set up the peers; call it once in a process, before a peer is used.

    JAX's thread pool gets the size that NPROC has when JAX makes it. `set_threads` reaches PyTorch only if it is
    imported. OpenVINO forks on import, which is unsafe once JAX has threads: import it first.
    """
    os.environ["NPROC"] = str(threads)
    for peer in ("torch", "openvino"):
        if peer in peers and not why_missing(peer):
            importlib.import_module(peer)


def set_threads(count: int) -> None:
    """Set the number of threads of this library, and of PyTorch if imported. A `Build` sets that of the others."""
    import tinygrad_rnn as tg

    tg.set_num_threads(count)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(count)
