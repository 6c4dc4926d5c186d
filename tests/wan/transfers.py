"""What clients do over the link, and what is counted of it."""

import collections
import os
import pathlib
import shutil
import subprocess
import tempfile
import time

# Of one run of one client. The slowest, many files over one connection, takes a minute or two.
RUN_TIMEOUT_S = 900
MB = 1_000_000
SMALL_BYTES = 10_000

Workload = collections.namedtuple(
    "Workload",
    # `bulk`: it is the link's rate that limits it, so that servers have their turns one by one.
    "name title delay_ms rate_mbit loss streams octets files bulk",
)


def rows(options):
    """Those of a whole run: one stream and eight, clean and lossy, both ways, and small files."""
    rate, delay = options.rate_mbit, options.rtt_ms / 2
    big, lossy, files = options.megabytes * MB, options.megabytes * MB // 20, options.files
    made = []
    for way in ("download", "upload"):
        for streams in (1, 8):
            for loss, octets in ((0.0, big), (0.001, lossy)):
                name = f"{way}-{streams}{'-loss' if loss else ''}"
                lost = f", {loss:.1%} of packets lost" if loss else ""
                title = f"{way}, {streams} × {octets // streams / MB:g} MB{lost}"
                made.append(
                    Workload(
                        name, title, delay, rate, loss, streams, octets // streams, None, True
                    )
                )
        for streams in (1, 8):
            title = f"{files} {way}s of {SMALL_BYTES // 1000} kB by lftp, {streams} connection"
            title += "s" if streams > 1 else ""
            made.append(
                Workload(
                    f"{way}-files-{streams}", title, delay, rate, 0.0, streams, SMALL_BYTES,
                    files, False,
                )
            )
    return made


class Failed(Exception):
    """A client did not do what it was to do: what it said."""


def run(workload, server, network, account):
    """Seconds that the clients took; every octet is looked at afterwards."""
    with tempfile.TemporaryDirectory(prefix="ringftpd-wan-") as scratch:
        scratch = pathlib.Path(scratch)
        task = Task(workload, server, network, account, scratch)
        if workload.files:
            return task.files()
        return task.streams()


class Task:
    def __init__(self, workload, server, network, account, scratch):
        self.workload, self.server, self.network = workload, server, network
        self.account, self.scratch = account, scratch
        self.host, self.port = server.listeners["explicit"]
        self.root = server.place.root

    def streams(self):
        """`streams` curls at a time, each with one file."""
        workload = self.workload
        upload = workload.name.startswith("upload")
        content = self.content()
        sources = [self.scratch / f"from-{index}" for index in range(workload.streams)]
        targets = [self.root / f"to-{self.server.label}-{index}" for index in range(workload.streams)]
        lines = []
        for index, (source, target) in enumerate(zip(sources, targets)):
            base = f"ftp://{self.host}:{self.port}/"
            if upload:
                source.write_bytes(content)
                lines.append(["-T", source, base + target.name])
            else:
                target, source = sources[index], f"from-{workload.name}"
                if not (self.root / source).exists():
                    self.server.place.put(source, content)
                targets[index] = target
                lines.append(["-o", target, base + source])
        user = ":".join(self.account)
        curl = "curl --silent --show-error --fail --insecure --ssl-reqd --user".split()
        took = self.measure([[*curl, user, *line] for line in lines])
        for target in targets:
            if target.read_bytes() != content:
                raise Failed(f"{target} is not what was sent")
            target.unlink()
        return took

    def files(self):
        """One lftp with all files, over as many connections as it is told."""
        workload = self.workload
        upload = workload.name.startswith("upload")
        content = self.content()
        there = self.root / f"files-{self.server.label}-{workload.name}"
        here = self.scratch / "here"
        source, target = (here, there) if upload else (there, here)
        source.mkdir()
        for index in range(workload.files):
            (source / f"{index:04}").write_bytes(content)
        if upload:
            shutil.rmtree(there, ignore_errors=True)
        else:
            own(there, self.server.place.user)
        mirror = f"mirror --parallel={workload.streams}"
        mirror += f" -R {here} {there.name}" if upload else f" {there.name} {here}"
        settings = {
            "cmd:fail-exit": "yes",
            "ssl:verify-certificate": "no",
            "ftp:ssl-force": "yes",
            "ftp:ssl-protect-data": "yes",
            "net:max-retries": "1",
            "mirror:parallel-directories": "no",
        }
        script = "; ".join(f"set {key} {value}" for key, value in settings.items())
        script += f"; open -u {','.join(self.account)} ftp://{self.host}:{self.port}; {mirror}; bye"
        took = self.measure([["lftp", "--norc", "-c", script]])
        for index in range(workload.files):
            if (target / f"{index:04}").read_bytes() != content:
                raise Failed(f"{target}/{index:04} is not what was sent")
        shutil.rmtree(there)
        return took

    def content(self):
        """Octets that neither compress nor repeat at once."""
        block = bytes((index * index + index // 251) & 255 for index in range(65_521))
        times = self.workload.octets // len(block) + 1
        return (block * times)[: self.workload.octets]

    def measure(self, commands):
        """Runs them all at the client's end, at once."""
        begun = time.monotonic()
        children = [
            subprocess.Popen(
                [*self.network.as_client(), *map(str, command)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for command in commands
        ]
        try:
            said = [child.communicate(timeout=RUN_TIMEOUT_S)[0] for child in children]
        finally:
            for child in children:
                if child.poll() is None:
                    child.kill()
                    child.wait()
        took = time.monotonic() - begun
        for child, text in zip(children, said):
            if child.returncode:
                raise Failed(f"{commands[0][0]} ended with {child.returncode}: {text.strip()[-300:]}")
        return took


def own(directory, user):
    for path in (directory, *directory.iterdir()):
        os.chown(path, user.pw_uid, user.pw_gid)
