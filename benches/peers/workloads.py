"""What is measured: ringload's workloads, each with the figures that the tables show of it."""

import dataclasses

# What a resumed handshake needs to be called so.
RESUMED_SHARE = 0.95
ERROR_SHARE = 0.01

TLS12 = "--tls 1.2 --suites TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"
TLS13 = "--tls 1.3 --suites TLS13_AES_128_GCM_SHA256"

BIG_BYTES = 64 << 20
SMALL_FILES = 100
ENTRIES = 10_000
GB = 1e9


class NoFigure(Exception):
    """A run that says nothing about the server: a sentence why."""


@dataclasses.dataclass
class Figure:
    """One row of a table."""

    table: str
    unit: str
    metric: str  # as `ringload versus` calls it; None for what it does not measure
    scale: float = 1  # of its values
    more_is_better: bool = False


def cpu_per_operation(unit, scale):
    return Figure("cpu", unit, "server CPU/operation", scale)


def rate():
    return Figure("rate", "/s", "operations/s", 1, True)


def latency(quantile):
    return Figure("latency", f"{quantile} ms", f"whole operation {quantile}", 1e-6)


CPU_US = [cpu_per_operation("µs", 1), rate()]
CPU_MS = [cpu_per_operation("ms", 1e-3), rate()]
BURST = 1000


@dataclasses.dataclass
class Workload:
    """`command` is ringload's; `{sessions}` is filled in."""

    name: str
    title: str
    command: str
    figures: list
    opening: str = "implicit"
    resumed: bool = False
    # Closed loop for so long; otherwise `command` says how much.
    timed: bool = True
    # What a run needs at least for an operation to end in it, of whatever server.
    least_s: float = 0
    # On a server that was just started: memory that an earlier load left would hide what is used.
    fresh: bool = False


def handshake(name, title, tls, opening="implicit", resumed=False):
    resume = "--resume offered" if resumed else ""
    command = f"handshake -c 32 {tls} {resume}"
    return Workload(name, title, command, CPU_US, opening, resumed)


def transfer(kind, level):
    moved = {"download": "received/s", "upload": "sent/s"}[kind]
    files = "--path big" if kind == "download" else f"--size {BIG_BYTES}"
    return Workload(
        f"{kind}-{level.lower()}",
        f"{kind}, 64 MiB files, PROT {level}",
        f"{kind} -c 4 --prot {level} {TLS13} {files}",
        [Figure("cpu", "s/GB", "server CPU/GB", 1e-6), Figure("rate", "GB/s", moved, 1 / GB, True)],
        "explicit",
    )


def small_files(name, title, tls, which=f"--files {SMALL_FILES}"):
    command = f"small-files -c 8 {tls} --size 4KiB {which}"
    return Workload(name, title, command, CPU_US, "explicit")


def listing(command):
    return Workload(
        f"list-{command}",
        f"{command.upper()} of 10,000 entries",
        f"list -c 2 {TLS13} --listing {command} --path many --entries {ENTRIES}",
        CPU_MS,
        "explicit",
        least_s=2,
    )


WORKLOADS = [
    handshake("handshake-13", "handshake, TLS 1.3, full", TLS13),
    handshake("handshake-13-resumed", "handshake, TLS 1.3, resumed", TLS13, resumed=True),
    handshake("handshake-12", "handshake, TLS 1.2, full", TLS12),
    handshake("handshake-12-resumed", "handshake, TLS 1.2, resumed", TLS12, resumed=True),
    handshake("handshake-explicit", "AUTH TLS and handshake, TLS 1.3, full", TLS13, "explicit"),
    Workload("login", "log-in, TLS 1.3", f"login -c 8 {TLS13}", CPU_US, "explicit"),
    transfer("download", "P"),
    transfer("download", "C"),
    transfer("upload", "P"),
    transfer("upload", "C"),
    small_files("small-files-13", "4 KiB files, 8 sessions, TLS 1.3", TLS13),
    small_files("small-files-12", "4 KiB files, 8 sessions, TLS 1.2", TLS12),
    small_files("small-uploads-13", "4 KiB uploads, 8 sessions, TLS 1.3", TLS13, "--upload"),
    listing("mlsd"),
    listing("list"),
    Workload(
        "burst",
        f"{BURST:,} handshakes at once, TLS 1.3",
        f"handshake -c {BURST} --count {BURST} {TLS13}",
        [Figure("latency", "failed", "errors", BURST), latency("p50"), latency("p99")],
        "explicit",
        timed=False,
    ),
    # Two runs of it; the slope between them is the figure.
    Workload(
        "idle-memory",
        "idle session, TLS 1.3",
        f"idle -c {{sessions}} --every 1m --duration 500ms --warm-up 0s {TLS13}",
        [Figure("memory", "KiB", None)],
        "explicit",
        timed=False,
        fresh=True,
    ),
]


def check(workload, results):
    """Raises NoFigure for results of which one is none."""
    for result in results:
        totals = result["totals"]
        if workload.name != "burst" and totals["error_share"] > ERROR_SHARE:
            first = result["errors"][0]
            what = first["example"] or first["kind"]
            share = totals["error_share"]
            raise NoFigure(f"{share:.0%} of the operations failed: {first['phase']}: {what}")
        if workload.timed and not totals["operations"] + totals["bytes_up"] + totals["bytes_down"]:
            raise NoFigure("no operation ended in time")
        share = result["resumption"]["control"]["share"]
        if workload.resumed and share < RESUMED_SHARE:
            raise NoFigure(f"resumes only {share:.0%} of the sessions that it hands out")


def has_latency(results):
    """Whether latencies are of all operations: those turned away would have waited longest."""
    return all(result["totals"]["error_share"] <= ERROR_SHARE for result in results)


def negotiated(result):
    """Version, suite and group of most handshakes of each kind of connection, and whether data
    connections resumed the session of their control connection."""
    most = {}
    for row in result["tls"]:
        most.setdefault(row["channel"], f"{row['version']} {row['suite']} {row['group']}")
    if "data" in most:
        share = result["resumption"]["data"]["share"]
        most["data"] += ", " + (
            "resumed" if share >= RESUMED_SHARE
            else "partly resumed" if share > 1 - RESUMED_SHARE
            else "full"
        )
    return most
