"""The hosts of the cluster, each a network namespace on one bridge, with the addresses that the
files of tuning/cluster have."""

import subprocess

from namespaces import Missing, Namespace

VIRTUAL = "203.0.113.5"
BALANCER = "10.0.0.2"
NODES = ("10.0.0.11", "10.0.0.12", "10.0.0.13")
STORAGE = "10.0.0.20"
# Each client has several addresses, as many people have. By source-hash.nft they come to all nodes.
CLIENTS = (
    ("203.0.113.101", "203.0.113.102", "203.0.113.103", "203.0.113.104"),
    ("203.0.113.111", "203.0.113.112", "203.0.113.113", "203.0.113.114"),
)
BRIDGE, DEVICE = "cluster", "eth0"
# Octets; more than a client here writes before it asks whether it may.
SEND_BUFFER = 1 << 20


def ip(*words, prefix=()):
    command = [*prefix, "ip", *words]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise Missing(
            f"\"{' '.join(words)}\" says: {done.stderr.strip()}. The kernel needs CONFIG_VETH,"
            " CONFIG_BRIDGE and CONFIG_IP_MULTIPLE_TABLES: modprobe veth bridge, or another kernel"
        )


class Host:
    """A network namespace with one device, and addresses on it."""

    def __init__(self, name, *addresses, gateway=None):
        self.name, self.address = name, addresses[0]
        self.namespace = Namespace()
        pid = str(self.namespace.holder.pid)
        ip("link", "add", name, "type", "veth", "peer", "name", DEVICE, "netns", pid)
        ip("link", "set", name, "master", BRIDGE, "up")
        self.ip("link", "set", "lo", "up")
        self.ip("link", "set", DEVICE, "up")
        for address in addresses:
            self.ip("address", "add", f"{address}/24", "dev", DEVICE)
        if gateway:
            self.ip("route", "add", "default", "via", gateway)

    def inside(self):
        """What a command begins with that is to run on this host."""
        return self.namespace.inside()

    def ip(self, *words):
        ip(*words, prefix=self.inside())

    def sysctl(self, key, value):
        line = f"echo {value} > /proc/sys/{key.replace('.', '/')}"
        done = subprocess.run([*self.inside(), "sh", "-c", line], capture_output=True, text=True)
        if done.returncode:
            raise Missing(f"{key} cannot be {value} in a network namespace: {done.stderr.strip()}")


def direct_return(node):
    """As tuning/cluster/README.md has it: the virtual address without ARP, and a way to clients for
    what is sent from it. What is sent from the node's own goes by the balancer as before."""
    for device in ("all", DEVICE):
        node.sysctl(f"net.ipv4.conf.{device}.arp_ignore", 1)
        node.sysctl(f"net.ipv4.conf.{device}.arp_announce", 2)
        node.sysctl(f"net.ipv4.conf.{device}.rp_filter", 0)
    node.ip("address", "add", f"{VIRTUAL}/32", "dev", "lo")
    node.ip("route", "add", "203.0.113.0/24", "dev", DEVICE, "table", "20")
    node.ip("rule", "add", "from", VIRTUAL, "lookup", "20")


class Topology:
    """All hosts. They end with this process."""

    def __init__(self):
        ip("link", "set", "lo", "up")
        ip("link", "add", BRIDGE, "type", "bridge")
        ip("address", "add", f"{STORAGE}/24", "dev", BRIDGE)
        ip("link", "set", BRIDGE, "up")
        self.balancer = Host("balancer", VIRTUAL, BALANCER)
        self.balancer.sysctl("net.ipv4.ip_forward", 1)
        for device in ("all", DEVICE):
            self.balancer.sysctl(f"net.ipv4.conf.{device}.send_redirects", 0)
            self.balancer.sysctl(f"net.ipv4.conf.{device}.rp_filter", 0)
        # What a node sends to clients goes by the balancer.
        self.nodes = [
            Host(f"node{index}", address, gateway=BALANCER)
            for index, address in enumerate(NODES, 1)
        ]
        for node in self.nodes:
            direct_return(node)
        # Clients reach nodes directly only where a scenario is about that.
        self.clients = [
            Host(f"client{index}", *addresses, gateway=VIRTUAL)
            for index, addresses in enumerate(CLIENTS, 1)
        ]
        # OpenSSL clients, curl above all, try once to send close_notify: where the send buffer is full
        # then, the upload ends without it and is refused, rightly (curl#11383, lftp#780).
        for client in self.clients:
            client.sysctl("net.ipv4.tcp_wmem", f"4096 {SEND_BUFFER} {16 * SEND_BUFFER}")
