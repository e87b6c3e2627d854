"""A main thread that works long is left alone; one that stands still is not."""

import subprocess
import sys

CODE = """
import os, sys, time
from pathlib import Path
from xdit_runtime.watchdog import Watchdog
watchdog = Watchdog(lambda still: (print(f"still for {still:.0f} s", flush=True), os._exit(22)))
watchdog.start(1)
if sys.argv[1] == "works":
    deadline = time.monotonic() + 2.5
    while time.monotonic() < deadline:
        sum(range(100_000))
        time.sleep(0.05)
elif sys.argv[1] == "says":
    for _ in range(5):
        watchdog.alive()
        time.sleep(0.5)
else:
    os.read(os.pipe()[0], 1)
watchdog.stop()
print("done")
"""


def run(how: str) -> tuple[int, str]:
    done = subprocess.run([sys.executable, "-c", CODE, how], capture_output=True, text=True, timeout=20, check=False)
    return done.returncode, done.stdout + done.stderr


def test_work_without_a_word_is_no_standstill() -> None:
    assert run("works") == (0, "done\n")


def test_a_word_is_enough() -> None:
    assert run("says") == (0, "done\n")


def test_a_call_that_does_not_return_is_a_standstill() -> None:
    assert run("hangs") == (22, "still for 1 s\n")
