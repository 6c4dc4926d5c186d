"""A link in user space: what comes out of one tun(4) device goes into the other, later.

Each direction has a bottleneck of a given rate with a queue in front of it, and behind it a delay
and a loss. The kernels at hand have no netem(8); this one needs two devices and no module.
"""

import argparse
import collections
import fcntl
import os
import random
import select
import struct
import time

TUNSETIFF = 0x4004_54CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
PACKET_BYTES_MAX = 65536
SERVER, CLIENT = "server", "client"
# Packets taken from a device before the other one is looked at.
BURST = 64


def open_device(name):
    """Makes the device in this network namespace; it goes when the descriptor is closed."""
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI))
    return device


class Direction:
    """From `source` to `target`."""

    def __init__(self, sender, source, target, options, seed):
        self.sender, self.source, self.target = sender, source, target
        self.delay = options.delay_ms / 1000
        self.octets_per_s = options.rate_mbit * 1e6 / 8
        self.loss = options.loss
        # What the link holds when it is full, and so much again: as routers are built.
        self.queue_octets_max = max(256 * 1024, self.octets_per_s * 2 * self.delay)
        self.random = random.Random(seed)
        self.free_at = 0.0
        self.under_way = collections.deque()

    def take(self, trace):
        """What the sender has sent: each packet waits for those before it, if there is room."""
        for _ in range(BURST):
            try:
                packet = os.read(self.source, PACKET_BYTES_MAX)
            except BlockingIOError:
                return
            now = time.monotonic()
            if trace:
                trace(now, self.sender, packet)
            begins = max(now, self.free_at)
            if (begins - now) * self.octets_per_s > self.queue_octets_max:
                continue
            self.free_at = begins + len(packet) / self.octets_per_s
            # A packet that is lost took its time at the bottleneck all the same.
            if self.random.random() >= self.loss:
                self.under_way.append((self.free_at + self.delay, packet))

    def deliver(self):
        """What is due arrives."""
        while self.under_way and self.under_way[0][0] <= time.monotonic():
            _, packet = self.under_way.popleft()
            try:
                os.write(self.target, packet)
            except BlockingIOError:
                # The receiver's queue is full: lost, as on any wire.
                return

    def due(self):
        return self.under_way[0][0] if self.under_way else None


class Trace:
    """A line a TCP segment that says something: time, sender, the server's port, flags, octets of
    payload."""

    def __init__(self, path):
        self.file = open(path, "w", encoding="ascii")

    def __call__(self, now, sender, packet):
        # IPv4 and TCP; what else there may be is of no interest.
        if packet[0] >> 4 != 4 or packet[9] != 6:
            return
        header = (packet[0] & 15) * 4
        port = struct.unpack_from("!H", packet, header + (0 if sender == SERVER else 2))[0]
        length = struct.unpack_from("!H", packet, 2)[0]
        payload = length - header - (packet[header + 12] >> 4) * 4
        flags = packet[header + 13] & 7
        if payload or flags:
            print(f"{now:.6f} {sender} {port} {flags} {payload}", file=self.file, flush=True)


def run(server, client, options):
    trace = Trace(options.trace) if options.trace else None
    directions = [
        Direction(SERVER, server, client, options, options.seed),
        Direction(CLIENT, client, server, options, options.seed + 1),
    ]
    by_descriptor = {direction.source: direction for direction in directions}
    while True:
        due = [direction.due() for direction in directions]
        soonest = min((time for time in due if time is not None), default=None)
        wait = None if soonest is None else max(0.0, soonest - time.monotonic())
        ready, _, _ = select.select(list(by_descriptor), [], [], wait)
        for descriptor in ready:
            by_descriptor[descriptor].take(trace)
        for direction in directions:
            direction.deliver()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("descriptors", type=int, nargs=2, help="the server's device and the client's, open")
    parser.add_argument("--delay-ms", type=float, required=True, help="one way")
    parser.add_argument("--rate-mbit", type=float, required=True, help="each way, of 10^6 bits")
    parser.add_argument("--loss", type=float, default=0.0, help="of packets, 0 to 1")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--trace", metavar="FILE")
    options = parser.parse_args()
    run(*options.descriptors, options)


if __name__ == "__main__":
    main()
