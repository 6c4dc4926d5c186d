"""Runs ringload at a server, or at two in turn, and returns what it measured."""

import json
import os
import pathlib
import resource
import signal
import subprocess
import tempfile

import servers

BINARY = servers.REPOSITORY / "target/release/ringload"
STEP_TIMEOUT_S = 20
RUN_TIMEOUT_S = 600


class Failed(Exception):
    """ringload has no result: its last line, why."""


class Running:
    """A ringload on CPU `cpu` (or `cpus` as ringload has them), running already; `words` are its
    command, which writes JSON to what `JSON` stands for among them."""

    JSON = object()

    def __init__(self, words, cpu, timeout_s):
        self.timeout_s = timeout_s
        self.scratch = tempfile.TemporaryDirectory()
        self.path = pathlib.Path(self.scratch.name, "result.json")
        words = [self.path if word is self.JSON else word for word in words]
        self.child = subprocess.Popen(
            servers.start_command(None, cpu, words),
            env={**os.environ, "RINGLOAD_PASSWORD": servers.PASSWORD},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        """Ends it, if it has not ended; a load beside another one says no result."""
        if not self.has_ended():
            self.child.send_signal(signal.SIGINT)
        try:
            self.child.communicate(timeout=STEP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.communicate()
        self.scratch.cleanup()

    def has_ended(self):
        return self.child.poll() is not None

    def result(self):
        """Waits until it has ended."""
        out, errors = self.child.communicate(timeout=self.timeout_s)
        # Opened before the run, and empty if it was killed.
        if not self.path.exists() or not self.path.stat().st_size:
            said = (errors or out).strip().splitlines()
            raise Failed(said[-1] if said else "ringload failed")
        return json.loads(self.path.read_text())


class Load(Running):
    """One run at a server. `words` are the command without the target; `before` is what starts it,
    such as chrt(1)."""

    def __init__(self, server, opening, words, cpu, binary=BINARY, before=()):
        workload, *rest = words
        command = [*before, binary, workload, *side(server, opening), *rest, *common(cpu)]
        super().__init__([*command, "--json", self.JSON], cpu, RUN_TIMEOUT_S)


class Versus(Running):
    """One workload at two servers in turn, so many rounds of it."""

    def __init__(self, a, b, opening, words, cpu, rounds, binary=BINARY):
        sides = ["--a", " ".join(side(a, opening)), "--b", " ".join(side(b, opening))]
        command = [binary, "versus", *sides, "--rounds", rounds, "--json", self.JSON]
        super().__init__([*command, "--", *words, *common(cpu)], cpu, rounds * RUN_TIMEOUT_S)


def side(server, opening):
    """The target, and what holds for it alone."""
    host, port = server.listeners[opening]
    # A key share for the first group alone; P-256 is there for the certificate (RFC 8422 §5.1.1).
    groups = ",".join(dict.fromkeys([server.group, "secp256r1"]))
    words = [f"{host}:{port}", "--groups", groups]
    if opening == "explicit":
        words.append("--explicit")
    if server.cgroup:
        return [*words, "--server-cgroup", str(server.cgroup.directory)]
    return [*words, "--server-pid", str(server.pid(opening))]


def common(cpu):
    """What holds for every server."""
    words = ["--user", servers.NAME, "--cpus", str(cpu), "--timeout", f"{STEP_TIMEOUT_S}s"]
    return [*words, "--quiet"]


def raise_open_files():
    """As many descriptors as the host allows: a connection takes one on each side."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
