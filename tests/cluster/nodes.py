"""The nodes: ringftpd with tuning/cluster/ringftpd.toml, each on its own host."""

import json
import pathlib
import signal
import urllib.request

from processes import Failed, alive, end, run, spawn, tail, wait_until
import servers
import storage
import topology

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
SHIPPED = REPOSITORY / "tuning/cluster/ringftpd.toml"
METRICS = 9121
# What a node is told of its balancer.
HEADERS, NO_HEADERS = "headers", "no headers"
ALL_PORTS, DIRECT_RETURN = "all ports", "direct return"
RANGES = ((50000, 50399), (50400, 50799), (50800, 51199))
START_S = 20


def number_of(port):
    """The node (1 to 3) whose range has this passive port."""
    return next(i for i, (low, high) in enumerate(RANGES, 1) if low <= port <= high)


def put(text, old, new):
    """Replaces all of them; there is at least one."""
    if old not in text:
        raise Failed(f"{SHIPPED} has no {old}", remedy="tests/cluster/nodes.py follows that file")
    return text.replace(old, new)


class Node:
    """One of them. `kind` is one of the words above."""

    def __init__(self, number, host, place, home, binary):
        self.number, self.host, self.home, self.binary = number, host, home, binary
        self.shared, self.place = place, place.directory / host.name
        self.place.mkdir()
        self.log = self.place / "ringftpd.log"
        self.pid, self.kind = None, None

    def configuration(self, kind):
        """The shipped file, as its first lines say, and what belongs to this machine."""
        low, high = RANGES[self.number - 1]
        text = put(SHIPPED.read_text(), topology.NODES[0], self.host.address)
        text = put(text, "50000-50399", f"{low}-{high}")
        if kind != HEADERS:
            text = "".join(line for line in text.splitlines(True) if not line.startswith("proxy"))
        if kind in (ALL_PORTS, DIRECT_RETURN):
            text = put(text, f"{low}-{high}\"", f"{RANGES[0][0]}-{RANGES[-1][1]}\"")
        if kind == DIRECT_RETURN:
            for port in (990, 21):
                text = put(text, f"{self.host.address}:{port}", f"{topology.VIRTUAL}:{port}")
        text = put(text, "/etc/ringftpd/users.toml", str(self.users()))
        text = put(text, "/etc/ringftpd/chain.pem", str(self.shared.certificate))
        text = put(text, "/etc/ringftpd/key.pem", str(self.shared.key))
        text = put(text, "/etc/ringftpd/ticket-keys", str(self.shared.directory / "ticket-keys"))
        text = put(text, '"ftp"', f'"{storage.USER}"')
        text += f'\n[control]\nsocket = "{self.place}/ctl.sock"\n'
        # One core for each: three nodes share what this machine has.
        return text + f'\n[shards]\ncpus = "{self.number % 2}"\n'

    def users(self):
        """The same but for where this node has mounted the common tree."""
        file = self.place / "users.toml"
        file.write_text(
            f'[[users]]\nname = "{servers.NAME}"\npassword = "{servers.HASH}"\n'
            f'home = "{self.home}"\npermissions = ["read", "list", "write", "append", "delete",'
            ' "rename", "mkdir"]\n'
        )
        file.chmod(0o600)
        return file

    def launch(self, kind):
        """Begins to start it; `ready` says when it has."""
        file = self.place / "ringftpd.toml"
        file.write_text(self.configuration(kind))
        command = [self.binary, "serve", "--config", file, "--state-dir", self.place]
        self.pid = spawn([*self.host.inside(), *command], self.log).pid
        self.kind = kind

    def wait(self):
        wait_until(f"{self.host.name} is ready", self.ready, START_S, self.complaint)

    def ready(self):
        if not alive(self.pid):
            raise Failed(f"{self.host.name} has ended", self.complaint())
        try:
            return self.ask("readyz").startswith("ready")
        except OSError:
            return False

    def complaint(self):
        return tail(self.log)

    def ask(self, path):
        url = f"http://{self.host.address}:{METRICS}/{path}"
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.read().decode()

    def count(self, name, label=""):
        """The sum of a counter's rows whose labels have `label`, over all shards."""
        return sum(
            float(line.rpartition(" ")[2])
            for line in self.ask("metrics").splitlines()
            if line.startswith(name) and label in line
        )

    def upgrade(self):
        """A new process of the same program takes over; the old one ends with its sessions."""
        command = [self.binary, "ctl", "--socket", self.place / "ctl.sock", "upgrade", "--json"]
        answer = json.loads(run(command, f"upgrade of {self.host.name}"))
        if answer.get("ok") is not True:
            raise Failed(f"upgrade of {self.host.name}: {answer}", self.complaint())
        old, self.pid = self.pid, answer["pid"]
        return old

    def kill(self):
        """Without a chance to do anything about it."""
        end(self.pid, self.host.name, signal.SIGKILL)
        self.kind = None

    def stop(self):
        """Without its drain_delay, as SIGINT does it."""
        if self.kind is not None:
            end(self.pid, self.host.name, signal.SIGINT)
            self.kind = None

    def lines(self, begin=0):
        """Those of its log from an offset on."""
        with open(self.log, errors="replace") as file:
            file.seek(begin)
            return file.read().splitlines()

    def offset(self):
        return self.log.stat().st_size
