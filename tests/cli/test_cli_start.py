"""After Ctrl-C at any moment from the first import on, there is no traceback, and a shell reports 130."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tinygrad_rnn import interrupts

pytestmark = pytest.mark.skipif(os.name != "posix", reason="POSIX signals")

# The same script as the one that pip makes.
SCRIPT = "import sys\nfrom tinygrad_rnn.cli import main\nsys.exit(main())\n"


@pytest.fixture
def spellings(tmp_path):
    script = tmp_path / "tinygrad-rnn"
    script.write_text(SCRIPT)
    return [[sys.executable, str(script)], [sys.executable, "-m", "tinygrad_rnn"]]


def marked(words, environment, moment):
    """Run a command line and interrupt it `moment` seconds after its mark. Return (exit code, stderr)."""
    read, write = os.pipe()
    environment = {**os.environ, **environment, "MARK": str(write)}
    process = subprocess.Popen(
        words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment, pass_fds=[write]
    )
    os.close(write)
    os.read(read, 1)  # returns nothing if the process has ended
    os.close(read)
    time.sleep(moment)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    return process.returncode, err


def test_interrupted_at_random_moments(spellings, tmp_path):
    """`sitecustomize` enables SIGINT, as for a foreground process, and writes the mark when the package is imported."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os, signal, sys, threading\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "class Finder:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'tinygrad_rnn.autograd.anomaly' or name == 'tinygrad_rnn.cuda':\n"  # it watches now
        "            sys.meta_path.remove(self)\n"
        "            os.write(int(os.environ['MARK']), b'x')\n"
        "sys.meta_path.insert(0, Finder())\n"
    )
    chance = random.Random()
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    begin = time.perf_counter()
    subprocess.run([*spellings[0], "info"], check=True, stdout=subprocess.DEVNULL, timeout=120)
    length, ended = time.perf_counter() - begin, set()
    for k in range(16):
        moment = chance.random() * length
        words = spellings[k % 2] + (["info"], ["explain", "lstm"])[k // 2 % 2]
        code, err = marked(words, {"PYTHONPATH": path}, moment)
        assert "Traceback" not in err and "KeyboardInterrupt" not in err, (moment, words, err)
        assert code in (0, 130, -signal.SIGINT), (moment, words, code, err)
        ended.add(code)
    assert ended & {130, -signal.SIGINT}


@pytest.mark.parametrize(
    ("argv", "original", "ours"),
    [
        (["-m", "info"], ["python", "-X", "dev", "-m", "tinygrad_rnn", "info"], True),
        (["-m", "info"], ["python", "-mtinygrad_rnn", "info"], True),
        (["-m"], ["python", "-m", "tinygrad_rnn"], True),
        (["-m", "tinygrad_rnn"], ["python", "-m", "pytest", "tinygrad_rnn"], False),
        (["/usr/bin/tinygrad-rnn", "info"], ["python", "/usr/bin/tinygrad-rnn", "info"], True),
        (["C:\\x\\tinygrad-rnn.exe"], ["python"], os.name == "nt"),
        (["script.py", "tinygrad-rnn"], ["python", "script.py", "tinygrad-rnn"], False),
        (["-c"], ["python", "-c", "import tinygrad_rnn"], False),
        ([""], ["python"], False),
        ([], [], False),
    ],
)
def test_only_the_program_itself_is_watched(monkeypatch, argv, original, ours):
    monkeypatch.setattr(sys, "argv", argv)
    monkeypatch.setattr(sys, "orig_argv", original)
    assert interrupts.is_program() is ours


def test_importing_the_library_leaves_signals_alone():
    program = (
        "import signal; signal.signal(2, signal.default_int_handler); from tinygrad_rnn import cli; cli.main(['info'])"
        "; assert signal.getsignal(2) is signal.default_int_handler"
    )
    subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.DEVNULL, timeout=60)


def test_an_ignored_signal_stays_ignored(spellings):
    shell = 'trap "" INT; "$@" info & for k in 1 2 3 4 5 6; do sleep 0.1; kill -INT $! 2>&-; done; wait $!'
    done = subprocess.run(
        ["sh", "-c", shell, "sh", *spellings[1]],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=Path(__file__).parent,
    )
    assert done.returncode == 0 and done.stderr == "" and "numpy" in done.stdout
