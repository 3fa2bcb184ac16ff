"""Benchmarks: what is timed, the peers it is timed beside, and what is made of the figures; `tinygrad-rnn bench`."""
