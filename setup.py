"""Where the packages lie; everything else about the project stands in pyproject.toml.

The top-level folders `kernels` and `bench` are installed as `tinygrad_rnn.kernels` and `tinygrad_rnn.bench`: top-level
modules of such names would overwrite other packages' files.
"""

from setuptools import setup

setup(
    packages=[
        "tinygrad_rnn",
        "tinygrad_rnn.primitives",
        "tinygrad_rnn.nn",
        "tinygrad_rnn.nn.utils",
        "tinygrad_rnn.optim",
        "tinygrad_rnn.data",
        "tinygrad_rnn.lm",
        "tinygrad_rnn.kernels",
        "tinygrad_rnn.kernels.cpu",
        "tinygrad_rnn.kernels.cuda",
        "tinygrad_rnn.bench",
    ],
    package_dir={"tinygrad_rnn": "tinygrad_rnn", "tinygrad_rnn.kernels": "kernels", "tinygrad_rnn.bench": "bench"},
    package_data={
        **{name: ["py.typed"] for name in ("tinygrad_rnn", "tinygrad_rnn.kernels", "tinygrad_rnn.bench")},
        "tinygrad_rnn.kernels.cuda": ["*.cuh", "*.h", "built/*.so"],
    },
)
