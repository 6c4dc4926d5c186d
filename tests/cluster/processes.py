"""Processes that the test starts, waits for and ends, each by its number."""

import contextlib
import os
import pathlib
import signal
import subprocess
import time

# Of one command; a node, a balancer or a client that takes longer hangs.
COMMAND_S = 60
END_S = 10


class Failed(Exception):
    """What was not as it has to be, why as far as that is known, and what to do about it."""

    def __init__(self, what, cause="", remedy=""):
        super().__init__(what)
        self.what, self.cause, self.remedy = what, cause, remedy

    def __str__(self):
        text = self.what
        if self.cause:
            text += f"; cause: {self.cause}"
        if self.remedy:
            text += f"; remedy: {self.remedy}"
        return text


def wait_until(what, condition, seconds, cause=lambda: "", pause=0.02):
    """Until `condition` returns something true, which is returned."""
    deadline = time.monotonic() + seconds
    while True:
        if result := condition():
            return result
        if time.monotonic() > deadline:
            raise Failed(f"{what}: not within {seconds:g} s", cause())
        time.sleep(pause)


def run(command, what, seconds=COMMAND_S, **options):
    """What it prints, both ways, when it ends well."""
    command = [str(word) for word in command]
    options = {"stdin": subprocess.DEVNULL, **options}
    try:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            errors="replace", timeout=seconds, **options,
        )
    except subprocess.TimeoutExpired as error:
        said = (error.output or b"").decode(errors="replace").strip()
        raise Failed(f"{what}: still running after {seconds} s", said[-500:]) from None
    if done.returncode:
        said = done.stdout.strip()[-700:]
        raise Failed(f"{what}: {pathlib.Path(command[0]).name} ended with {done.returncode}", said)
    return done.stdout


def alive(pid):
    """Whether it runs: what has ended and was not waited for does not."""
    with contextlib.suppress(OSError):
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def end(pid, what, number=signal.SIGTERM):
    """Until it has ended; by force when it does not."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
    try:
        wait_until(f"the end of {what}", lambda: not alive(pid), END_S)
    except Failed:
        os.kill(pid, signal.SIGKILL)
        raise


def spawn(command, log, **options):
    """A process that stays, and writes into the file `log`."""
    command = [str(word) for word in command]
    with open(log, "ab") as file:
        options = {"stdin": subprocess.DEVNULL, "stdout": file, "stderr": file, **options}
        return subprocess.Popen(command, start_new_session=True, **options)


def tail(log, octets=500):
    with contextlib.suppress(OSError):
        return pathlib.Path(log).read_text(errors="replace").strip()[-octets:]
    return ""
