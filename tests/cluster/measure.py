"""What each balancer costs, with ringload: a table in Markdown."""

import os
import pathlib

import balancers
import clients
import contents
import scenarios
import topology

SECONDS = 4
NAME, FILE_OCTETS = "measured", 64 << 20
KINDS = (
    balancers.PLAIN, balancers.PROXY, balancers.TRANSPARENT, balancers.HASH, balancers.DIRECT,
)


def table(cluster):
    print(f"\n{SECONDS} s each; both ends and all between on {os.cpu_count()} CPUs\n")
    print("| balancer | downloads, MB/s | log-ins/s | sent by it, octets for each of a file"
          " | CPU of HAProxy, ms/MB |")
    print("|---|--:|--:|--:|--:|", flush=True)
    (cluster.home() / NAME).write_bytes(contents.make(NAME, FILE_OCTETS))
    for kind in KINDS:
        cluster.arrange(kind)
        print("|", " | ".join(row(cluster, kind)), "|", flush=True)


def row(cluster, kind):
    # Each from an address of its own: what a node remembers of connections that HAProxy made in a
    # client's name would hinder that client's own.
    addresses = [(client, address) for client, own in zip(cluster.clients, topology.CLIENTS)
                 for address in own]
    client, address = addresses[KINDS.index(kind)]
    rest = ["--duration", f"{SECONDS}s", "--warm-up", "1s", "--drain", "30s", "--sources", address]
    sent, cpu = scenarios.forwarded(cluster), haproxy_cpu_s(cluster)
    words = ["download", "--clients", "3", "--path", NAME, *rest]
    down = clients.load(cluster, client, 990, words)
    cpu = haproxy_cpu_s(cluster) - cpu
    sent = scenarios.forwarded(cluster) - sent
    login = clients.load(cluster, client, 990, ["login", "--clients", "8", *rest])
    octets = down["bytes_down"]
    return [
        kind,
        f"{down['bytes_down_per_s'] / 1e6:.0f}",
        f"{login['operations_per_s']:.0f}",
        f"{sent / octets:.2f}",
        f"{cpu * 1e9 / octets:.2f}" if kind in balancers.IN_ITS_PLACE else "–",
    ]


def haproxy_cpu_s(cluster):
    """Of its process so far."""
    if not cluster.balancer.pid:
        return 0.0
    fields = pathlib.Path(f"/proc/{cluster.balancer.pid}/stat").read_text().rpartition(")")[2]
    user, system = fields.split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
