"""Where the packages lie; everything else about the project stands in pyproject.toml.

The top-level folder `kernels` is installed as `tinygrad_rnn.kernels`: a top-level module of that name
would overwrite another well-known package's files.
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
    ],
    package_dir={"tinygrad_rnn": "tinygrad_rnn", "tinygrad_rnn.kernels": "kernels"},
    package_data={"tinygrad_rnn": ["py.typed"], "tinygrad_rnn.kernels": ["py.typed"]},
)
