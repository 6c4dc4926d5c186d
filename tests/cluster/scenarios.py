"""What is driven. Each scenario takes a Cluster, and raises Failed."""

import concurrent.futures
import contextlib
import hashlib
import json
import re
import socket
import threading
import time

import balancers
import clients
import contents
import nodes
import servers
import topology
from processes import Failed, run, wait_until

# Clients of one matrix at a time.
AT_ONCE = 4
LARGE = 1 << 30
DIRECT_OCTETS = 8 << 20
# Of haproxy.cfg: how often a node is looked at.
HEALTH_INTERVAL_S = 1.0


def matrix(kind):
    """All clients, on both ports, with EPSV and PASV."""

    def scenario(cluster):
        cluster.arrange(kind)
        begins = [node.offset() for node in cluster.nodes]
        cases = list(clients.cases(cluster, kind))
        with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
            all_done = [pool.submit(case.client, cluster, case) for case in cases]
            try:
                for done in all_done:
                    done.result()
            except Failed as reason:
                logged = said_of_failures(cluster, begins)
                raise Failed(reason.what, f"{reason.cause}\n{logged}") from None
        who_was_where(cluster, kind, begins)

    scenario.__doc__ = f"{kind}: {matrix.__doc__}"
    return scenario


def direct_return(cluster):
    """All clients; and what nodes send does not pass the balancer."""
    cluster.arrange(balancers.DIRECT)
    name, octets = "direct", contents.make("direct", DIRECT_OCTETS)
    (cluster.home() / name).write_bytes(octets)
    before = forwarded(cluster)
    words = ["download", "--path", name, "--clients", "2", "--count", "4"]
    try:
        totals = clients.load(cluster, cluster.clients[0], 990, words)
    except Failed as reason:
        raise Failed(reason.what, f"{reason.cause}\n{state(cluster.topology)}") from None
    if totals["errors"] or totals["operations"] != 4:
        raise Failed(f"downloads with direct return: {totals}")
    passed = forwarded(cluster) - before
    # Acknowledgements and commands.
    if passed > 4 * len(octets) / 10:
        raise Failed(f"{passed} octets left the balancer for downloads of {4 * len(octets)}")
    matrix(balancers.DIRECT)(cluster)


def said_of_failures(cluster, begins):
    """Of what the nodes say from these offsets on: transfers that were not complete, and warnings."""
    lines = []
    for node, begin in zip(cluster.nodes, begins):
        for line in node.lines(begin):
            failed = 'event="transfer' in line and 'end="complete"' not in line
            if failed or " WARN ringftpd" in line or " ERROR " in line:
                lines.append(f"{node.host.name}: {line}")
    return "\n".join(lines)


def state(hosts):
    """What each host knows of the others, to see where packets went."""
    lines = []
    for host in (hosts.balancer, *hosts.nodes, *hosts.clients):
        for words in ("ip -s neighbour", "ip rule", "ss -tan", "nstat -az"):
            said = run([*host.inside(), *words.split()], words)
            lines += [f"{host.name}: {words}", *said.splitlines()]
    return "\n".join(lines)


def forwarded(cluster):
    """Octets that the balancer has sent."""
    text = run([*cluster.topology.balancer.inside(), "ip", "-s", "-j", "link"], "ip")
    device = next(each for each in json.loads(text) if each["ifname"] == topology.DEVICE)
    return device["stats64"]["tx"]["bytes"]


def logins(node, begin):
    """The addresses that logged in, each as often as it did."""
    lines = [line for line in node.lines(begin) if 'event="login"' in line]
    return [re.search(r" peer=([0-9.]+):", line)[1] for line in lines]


def who_was_where(cluster, kind, begins):
    """Every node had clients, under the addresses that this balancer lets it see."""
    seen = [logins(node, begin) for node, begin in zip(cluster.nodes, begins)]
    clients_own = {address for host in topology.CLIENTS for address in host}
    right = {topology.BALANCER} if kind == balancers.PLAIN else clients_own
    for node, addresses in zip(cluster.nodes, seen):
        if not addresses:
            raise Failed(f"{kind}: no log-in on {node.host.name}", f"others: {seen}")
        if wrong := set(addresses) - right:
            raise Failed(f"{kind}: {node.host.name} saw clients as {sorted(wrong)}")
    if kind in (balancers.HASH, balancers.DIRECT):
        for one, other in ((0, 1), (0, 2), (1, 2)):
            if both := set(seen[one]) & set(seen[other]):
                raise Failed(f"{kind}: {sorted(both)} came to two nodes")


def tls_resumption(cluster):
    """A session of one node is resumed by the next, and behind the balancer by whichever comes."""
    cluster.arrange(balancers.PLAIN)
    kept = cluster.scratch / "session"
    # Nodes in turn, then twice by the balancer, which takes the node with the fewest sessions.
    hosts = [*topology.NODES, topology.NODES[0], topology.VIRTUAL, topology.VIRTUAL]
    for version in ("-tls1_2", "-tls1_3"):
        for turn, host in enumerate(hosts):
            words = ["openssl", "s_client", "-connect", f"{host}:990", version, "-sess_out", kept]
            words += ["-sess_in", kept] if turn else []
            # The ticket of TLS 1.3 comes behind the handshake: until the reply to QUIT.
            words += ["-ign_eof"]
            said = run(
                [*cluster.clients[0].inside(), *words], f"s_client {version} {host}",
                stdin=None, input="QUIT\r\n",
            )
            how = "Reused" if turn else "New"
            if f"\n{how}, TLSv1." not in said:
                raise Failed(f"{host}, {version}: no line \"{how}, TLSv1…\"", said[-600:])


def forged_headers(cluster):
    """Headers from others than the balancer, and second headers behind its own, are not believed."""
    cluster.arrange(balancers.PROXY)
    node, client = cluster.nodes[0], cluster.clients[0]
    forged = {
        "version 1": b"PROXY TCP4 10.0.0.2 203.0.113.5 40000 990\r\n",
        "version 2": b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + socket.inet_aton("10.0.0.2")
        + socket.inet_aton("203.0.113.5") + b"\x9c\x40\x03\xde",
        "none": b"",
    }
    name = "ringftpd_refused_total"
    before = node.count(name, "not_a_proxy")
    for kind, header in forged.items():
        for port in clients.PORTS:
            if said := answer(client, node.host.address, port, header):
                raise Failed(f"{node.host.name}:{port} answered a forged header ({kind}): {said}")
    refused = node.count(name, "not_a_proxy") - before
    if refused != len(forged) * len(clients.PORTS):
        raise Failed(f"{node.host.name} counted {refused:g} refused as not_a_proxy")
    # What the balancer sends on is the client's: no second header.
    for port in clients.PORTS:
        said = answer(client, topology.VIRTUAL, port, forged["version 1"])
        if b"230" in said or (port == clients.IMPLICIT and b"220" in said):
            raise Failed(f"port {port} took a second header: {said}")
    stolen_transfer(cluster, client)


# Says what comes within the time, in hexadecimal.
ANSWER = """
import socket, sys
host, port, header = sys.argv[1], int(sys.argv[2]), bytes.fromhex(sys.argv[3])
try:
    with socket.create_connection((host, port), timeout=5) as stream:
        stream.sendall(header)
        stream.shutdown(socket.SHUT_WR)
        said = b""
        while octets := stream.recv(4096):
            said += octets
except OSError:
    # Reset at some moment.
    said = b""
print(said.hex())
"""


def answer(host, address, port, header):
    """What a connection from there says to these octets, until it ends."""
    command = [*host.inside(), "python3", "-c", ANSWER, address, port, header.hex()]
    return bytes.fromhex(run(command, f"connection to {address}:{port}").strip())


def stolen_transfer(cluster, thief):
    """A passive port of a node, asked directly under the name of the client that waits for it."""
    owner = cluster.clients[1]
    with clients.Staying(cluster, owner, "uploads", topology.VIRTUAL, 990, "owned") as upload:
        port = int(upload.words("port")[2])
        node = cluster.nodes[nodes.number_of(port) - 1]
        header = f"PROXY TCP4 {owner.address} {topology.VIRTUAL} 40001 {port}\r\n".encode()
        before = len(cluster_files(cluster))
        if said := answer(thief, node.host.address, port, header):
            raise Failed(f"{node.host.name}, passive port {port}: a forged header got {said}")
        said = upload.end("enough\n")
    if " 226 " not in said:
        raise Failed("an upload beside a forged data connection did not end well", said)
    if len(cluster_files(cluster)) != before + 1:
        raise Failed("a forged data connection changed what is there")


def cluster_files(cluster, number=1):
    """Names that are visible on this node: all but hidden ones."""
    return {
        path.name for path in cluster.home(number).iterdir() if not path.name.startswith(".")
    }


def rolling_upgrade(cluster):
    """All nodes upgraded under load: no failed operation, and two downloads of 1 GiB as before."""
    cluster.arrange(balancers.PROXY)
    digest = large_file(cluster.home() / "large")
    one, other = cluster.clients
    rest = "--warm-up 0s --drain 60s --duration 5s".split()
    large = ["download", "--path", "large", "--clients", "2", "--count", "2", "--sha256", digest]
    loads = [
        (2, other, 990, large),
        (30, one, 990, ["login", "--clients", "6", "--think", "50ms", *rest]),
        (20, one, 21, ["small-files", "--explicit", "--clients", "2", "--think", "50ms", *rest]),
        (2, other, 21, ["upload", "--explicit", "--clients", "2", "--size", "4MiB", *rest]),
    ]
    with concurrent.futures.ThreadPoolExecutor(len(loads)) as pool:
        running = [pool.submit(clients.load, cluster, *load[1:]) for load in loads]
        for node in cluster.nodes:
            # Each has clients when it is upgraded.
            begin = node.offset()
            wait_until(f"a log-in on {node.host.name}", lambda: logins(node, begin), 20)
            node.upgrade()
        if running[0].done():
            raise Failed("the downloads ended before the last upgrade", running[0].result())
        for (least, _, _, words), done in zip(loads, running):
            totals = done.result()
            if totals["errors"] or totals["operations"] < least:
                raise Failed(f"{words[0]} during upgrades: {totals}")


def large_file(path):
    """1 GiB, most of it holes, of which no two parts are the same; its SHA-256."""
    step = 16 << 20
    digest = hashlib.sha256()
    with open(path, "wb") as file:
        for offset in range(0, LARGE, step):
            mark = f"at {offset} ".encode().ljust(64, b".")
            file.seek(offset)
            file.write(mark)
            digest.update(mark)
            digest.update(bytes(step - len(mark)))
        file.truncate(LARGE)
    return digest.hexdigest()


def killed_node(cluster):
    """`kill -9` of a node in the middle of uploads, seen from the others."""
    cluster.arrange(balancers.PROXY)
    count = 6
    words = ["uploads", topology.VIRTUAL, 990, "cut", "--count", count]
    with clients.Staying(cluster, cluster.clients[0], *words) as uploads:
        on = {}
        for _ in range(count):
            name, _, port = uploads.words("port")
            on.setdefault(nodes.number_of(int(port)), []).append(name)
        number, names = max(on.items(), key=lambda item: len(item[1]))
        others = [node for node in (1, 2, 3) if node != number]
        hidden = [path.name for path in cluster.home().glob(".ringftpd-*")]
        cluster.nodes[number - 1].kill()
        killed = time.monotonic()
        # Who comes now is sent to the others, at the first try.
        words = "login --clients 8 --think 50ms --duration 1s --warm-up 0s".split()
        came = clients.load(cluster, cluster.clients[1], 990, words)
        back = {}
        for _ in names:
            name, _, when = uploads.words("back")
            back[name] = float(when) - killed
        whole = {f"{name}-again" for name in names}
        for other in others:
            check_visible(cluster, other, "cut-", whole)
        said = uploads.end("enough\n")
    if len(hidden) < count:
        raise Failed(f"{count} uploads were under way, with {len(hidden)} hidden files")
    if back.keys() != set(names):
        raise Failed(f"cut were {sorted(back)} and on the killed node {sorted(names)}")
    if late := {name: s for name, s in back.items() if s > HEALTH_INTERVAL_S}:
        raise Failed(f"clients were back later than after {HEALTH_INTERVAL_S:g} s: {late}")
    if came["errors"] or came["operations"] < 8:
        raise Failed(f"log-ins after the kill: {came}")
    # The other uploads have ended well, and what was cut is under no name.
    stored = {line.split()[0]: int(line.split()[2]) for line in said.splitlines()}
    for other in others:
        check_visible(cluster, other, "cut-", stored.keys() | whole)
        for name, size in stored.items():
            if (found := (cluster.home(other) / name).stat().st_size) != size:
                raise Failed(f"{name} has {found} octets on node {other}, and {size} were stored")


def check_visible(cluster, number, prefix, whole):
    """On this node the names that begin so are these and no others."""
    seen = {name for name in cluster_files(cluster, number) if name.startswith(prefix)}
    if seen != whole:
        raise Failed(f"node {number} shows {sorted(seen)} instead of {sorted(whole)}")


def one_name(cluster):
    """Two nodes store one name 1,000 times, while others read it: always one whole file."""
    cluster.arrange(balancers.PLAIN)
    # Of each node two sessions, with 250 each.
    name, sessions, times = "one-name", 2, 250
    (first, second, third), client = topology.NODES, cluster.clients[0]
    common = [990, name, "--passive", "EPSV"]
    clients.run([*client.inside(), *clients.ftp_client("store_again", first, *common)],
                "the first of all", env=clients.environment(cluster))
    looked = Looking(cluster.home(3) / name)
    with contextlib.ExitStack() as running:
        reader = running.enter_context(
            clients.Staying(cluster, client, "read_again", third, *common))
        running.callback(looked.enough.set)
        looked.start()
        writers = [
            running.enter_context(clients.Staying(
                cluster, cluster.clients[index], "store_again", host, *common, "--size", 100_000,
                "--label", f"node{index + 1}", "--count", times))
            for index, host in enumerate((first, second)) for _ in range(sessions)
        ]
        for writer in writers:
            writer.end(seconds=120)
        said = reader.end()
    looked.join()
    if looked.wrong:
        raise Failed("there was no whole file", looked.wrong)
    labels = {*looked.seen, *(word.split("=")[0] for word in said.split())}
    if not {"node1", "node2"} <= labels:
        raise Failed(f"readers saw files of {sorted(labels)} only: {said}; {looked.seen}")
    left = [path.name for path in cluster.home().iterdir() if path.name.startswith(".ringftpd-")]
    if left:
        raise Failed(f"hidden files are left: {left}")


class Looking(threading.Thread):
    """Reads a file again and again by the file system of one node."""

    def __init__(self, path):
        super().__init__()
        self.path, self.seen, self.wrong = path, {}, ""
        self.enough = threading.Event()

    def run(self):
        while not self.enough.is_set() and not self.wrong:
            try:
                octets = self.path.read_bytes()
            except OSError as error:
                self.wrong = str(error)
                return
            label = contents.label_of(octets)
            if label is None:
                self.wrong = f"{len(octets)} octets: {octets[:80]}"
            self.seen[label] = self.seen.get(label, 0) + 1
            self.enough.wait(0.02)


# In the order in which nodes have to be started anew least often.
ALL = {
    "haproxy-plain": matrix(balancers.PLAIN),
    "haproxy-transparent": matrix(balancers.TRANSPARENT),
    "tls-resumption": tls_resumption,
    "one-name": one_name,
    "nftables-source-hash": matrix(balancers.HASH),
    "haproxy-proxy-v2": matrix(balancers.PROXY),
    "forged-headers": forged_headers,
    "rolling-upgrade": rolling_upgrade,
    "killed-node": killed_node,
}

# Only when it is asked for: of some hundred loads one found nobody at the virtual address for half a
# minute, and why is not known yet.
ON_DEMAND = {"direct-return": direct_return}
