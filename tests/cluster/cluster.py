"""All of it: hosts, files, nodes, balancer."""

import pathlib
import subprocess

import balancers
import nodes
import servers
import storage
import topology
from processes import run


class Cluster:
    """Everything in it ends with this process."""

    def __init__(self, ringftpd, ringload):
        # Nobody else's: this process has mounts of its own.
        subprocess.run("mount -t tmpfs -o mode=1777 cluster /dev/shm".split(), check=True)
        self.ringftpd, self.ringload = ringftpd, ringload
        self.place = servers.Place(base="/dev/shm", host=topology.VIRTUAL)
        here = self.place.directory
        keys = here / "ticket-keys"
        run([ringftpd, "ticket-keys", keys], "ticket keys")
        self.topology = topology.Topology()
        self.clients = self.topology.clients
        self.storage = storage.Storage(here, self.topology.nodes)
        self.nodes = [
            nodes.Node(number, host, self.place, home, ringftpd)
            for number, (host, home) in enumerate(
                zip(self.topology.nodes, self.storage.homes), 1)
        ]
        self.balancer = balancers.Balancer(self.topology.balancer, here)
        self.scratch = here / "scratch"
        self.scratch.mkdir()

    def arrange(self, kind):
        """All nodes behind this kind of balancer."""
        wanted = balancers.NODES_ARE[kind]
        changed = [node for node in self.nodes if node.kind != wanted]
        for node in changed:
            node.stop()
            node.launch(wanted)
        for node in changed:
            node.wait()
        if changed:
            # What it has seen of the nodes that were there before counts no more.
            self.balancer.stop()
        self.balancer.become(kind)

    def home(self, number=1):
        """The users' directory, as this node sees it."""
        return pathlib.Path(self.storage.homes[number - 1])
