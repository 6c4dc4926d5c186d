"""Runs ringload at a server, and returns what it measured."""

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


class Load:
    """One ringload at a server, on CPU `cpu` (or `cpus` as ringload has them), running already.
    `words` are its command without the target; `before` is what starts it, such as chrt(1)."""

    def __init__(self, server, opening, words, cpu, binary=BINARY, before=()):
        host, port = server.listeners[opening]
        workload, *rest = words
        command = [*before, binary, workload, f"{host}:{port}", *rest]
        if opening == "explicit":
            command.append("--explicit")
        # A key share for the first group alone; P-256 is there for the certificate (RFC 8422
        # §5.1.1).
        groups = ",".join(dict.fromkeys([server.group, "secp256r1"]))
        command += ["--groups", groups, "--user", servers.NAME, "--cpus", str(cpu)]
        command += ["--timeout", f"{STEP_TIMEOUT_S}s", "--quiet"]
        if server.cgroup:
            command += ["--server-cgroup", server.cgroup.directory]
        else:
            command += ["--server-pid", str(server.pid(opening))]
        self.scratch = tempfile.TemporaryDirectory()
        self.path = pathlib.Path(self.scratch.name, "result.json")
        self.child = subprocess.Popen(
            servers.start_command(None, cpu, [*command, "--json", self.path]),
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
        out, errors = self.child.communicate(timeout=RUN_TIMEOUT_S)
        # Opened before the run, and empty if it was killed.
        if not self.path.exists() or not self.path.stat().st_size:
            said = (errors or out).strip().splitlines()
            raise Failed(said[-1] if said else "ringload failed")
        return json.loads(self.path.read_text())


def raise_open_files():
    """As many descriptors as the host allows: a connection takes one on each side."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
