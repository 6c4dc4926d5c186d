"""What stands in front of the nodes, with the files of tuning/cluster."""

import pathlib

import nodes
import topology
from processes import Failed, end, run

SHIPPED = nodes.REPOSITORY / "tuning/cluster"
PROXY, PLAIN, TRANSPARENT, HASH = "proxy-v2", "plain", "transparent", "source-hash"
DIRECT = "direct-return"
# What haproxy.cfg says to each node, and what is in its place.
HEADER = "send-proxy-v2"
IN_ITS_PLACE = {PROXY: HEADER, PLAIN: "", TRANSPARENT: "source 0.0.0.0 usesrc clientip"}
# What the nodes have to be told.
NODES_ARE = {
    PROXY: nodes.HEADERS,
    PLAIN: nodes.NO_HEADERS,
    TRANSPARENT: nodes.NO_HEADERS,
    HASH: nodes.ALL_PORTS,
    DIRECT: nodes.DIRECT_RETURN,
}
NFTABLES = {TRANSPARENT: "transparent.nft", HASH: "source-hash.nft", DIRECT: "direct-return.nft"}
# Of direct-return.nft.
MARKS = {"11": topology.NODES[0], "12": topology.NODES[1], "13": topology.NODES[2]}
NFTABLES_REMEDY = (
    "a kernel with CONFIG_NF_TABLES, NFT_NAT, NFT_HASH and NFT_SOCKET: modprobe nf_tables nft_nat"
    " nft_hash nft_socket nft_chain_nat"
)


class Balancer:
    """One host, in one kind after another."""

    def __init__(self, host, place):
        self.host, self.place = host, place
        self.pid, self.kind = None, None

    def become(self, kind):
        if self.kind == kind:
            return
        self.stop()
        if kind in NFTABLES:
            self.rules("-f", SHIPPED / NFTABLES[kind])
        if kind == TRANSPARENT:
            self.host.ip("rule", "add", "fwmark", "0x1", "lookup", "100")
            self.host.ip("route", "add", "local", "0.0.0.0/0", "dev", "lo", "table", "100")
        if kind == DIRECT:
            for mark, node in MARKS.items():
                self.host.ip("route", "add", "default", "via", node, "table", mark)
                self.host.ip("rule", "add", "fwmark", mark, "lookup", mark, "priority", mark)
            self.host.ip("rule", "add", "lookup", "local", "priority", "100")
            self.host.ip("rule", "del", "priority", "0")
        if kind in IN_ITS_PLACE:
            self.haproxy(kind)
        self.kind = kind

    def rules(self, *words):
        try:
            run([*self.host.inside(), "nft", *words], "nft")
        except Failed as reason:
            raise Failed(reason.what, reason.cause, NFTABLES_REMEDY) from None

    def haproxy(self, kind):
        text = (SHIPPED / "haproxy.cfg").read_text()
        if HEADER not in text:
            raise Failed(f"{SHIPPED}/haproxy.cfg has no {HEADER}")
        file, pid = self.place / "haproxy.cfg", self.place / "haproxy.pid"
        file.write_text(text.replace(HEADER, IN_ITS_PLACE[kind]))
        # It goes into the background when it listens at all its addresses.
        run([*self.host.inside(), "haproxy", "-D", "-p", pid, "-f", file], "HAProxy")
        self.pid = int(pathlib.Path(pid).read_text())

    def stop(self):
        if self.pid:
            end(self.pid, "HAProxy")
            self.pid = None
        if self.kind in NFTABLES:
            self.rules("delete", "table", "ip", "ringftpd")
        if self.kind == TRANSPARENT:
            self.host.ip("rule", "del", "fwmark", "0x1")
            self.host.ip("route", "flush", "table", "100")
        if self.kind == DIRECT:
            self.host.ip("rule", "add", "lookup", "local", "priority", "0")
            self.host.ip("rule", "del", "priority", "100")
            for mark in MARKS:
                self.host.ip("rule", "del", "priority", mark)
                self.host.ip("route", "flush", "table", mark)
        self.kind = None
