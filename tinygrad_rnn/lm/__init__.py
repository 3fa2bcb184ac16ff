"""Character-level language models: the parts of the commands `tinygrad-rnn train` and `sample`.

config.py      options of a run, with defaults and limits
model.py       CharModel
train.py       Trainer: one step of training, and its whole state
run.py         Run: steps until a limit or a signal, with checkpoints
progress.py    the progress bar
plot.py        the picture of the loss
sample.py      text, character by character
checkpoint.py  a tree of arrays in one file
check.py       the comparison of such a tree with its own configuration
header.py      the header of a safetensors file
lock.py        the lock of a folder
"""
