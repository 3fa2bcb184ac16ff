"""Benchmarks against other libraries; `tinygrad-rnn bench` runs them.

case.py      Case: one model at one shape, and the contenders that can run it
groups.py    all cases, by group; layers.py, cells.py, dense.py, tape.py, language_model.py, cold.py, memory.py and
             growth.py define them
problem.py   the arrays of a recurrent layer's case; scan.py (JAX) and exchange.py (ONNX Runtime, OpenVINO) run it
peers.py     the other libraries; spawned.py: contenders in processes of their own; vectors.py: shorter vectors for all
timing.py    comparison of numbers, then times in turns; ceilings.py: the machine's limits
run.py       a whole run; results.py: its JSON file; report.py, plots.py, readme.py: text, charts and tables from it
cuda.py      the comparison with cuDNN on a GPU
"""
