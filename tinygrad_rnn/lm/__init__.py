"""Character-level language models: what the command `tinygrad-rnn` is made of.

config.py      options, with defaults and limits        progress.py  the bar
model.py       CharModel                                plot.py      the picture of the loss
train.py       Trainer: one step, and the whole state   run.py       steps until a limit or a signal
checkpoint.py  a tree of arrays in one file             sample.py    text, character by character
"""
