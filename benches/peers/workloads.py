"""What is measured: ringload's workloads, each with the figures that the table shows of it."""

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
    value: object  # from ringload's result to a number
    more_is_better: bool = False


def cpu_per_operation(unit, scale):
    return Figure("cpu", unit, lambda result: result["server"]["cpu_us_per_operation"] * scale)


def cpu_per_gb(direction):
    def value(result):
        by_gb = result["server"]["cpu_s_per_gb"]
        if by_gb is None or not result["totals"][f"bytes_{direction}"]:
            raise NoFigure("moved nothing")
        return by_gb

    return Figure("cpu", "s/GB", value)


def rate():
    return Figure("rate", "/s", lambda result: result["totals"]["operations_per_s"], True)


def speed(direction):
    def value(result):
        return result["totals"][f"bytes_{direction}_per_s"] / GB

    return Figure("rate", "GB/s", value, True)


def latency(quantile, unit, scale):
    def value(result):
        if result["totals"]["error_share"] > ERROR_SHARE:
            # Those that were turned away would have waited longest.
            return None
        return result["phases"]["operation"]["corrected"][f"{quantile}_ns"] * scale

    return Figure("latency", f"{quantile} {unit}", value)


CPU_US = [cpu_per_operation("µs", 1), rate()]
CPU_MS = [cpu_per_operation("ms", 1e-3), rate()]


@dataclasses.dataclass
class Workload:
    """`command` is ringload's; `{seconds}` and the like are filled in."""

    name: str
    title: str
    command: str
    figures: list
    opening: str = "implicit"
    resumed: bool = False
    # Closed loop for so long; otherwise `command` says how much.
    timed: bool = True
    # On a server that was just started: memory that an earlier load left would hide what is used.
    fresh: bool = False


def handshake(name, title, tls, opening="implicit", resumed=False):
    resume = "--resume offered" if resumed else ""
    command = f"handshake -c 32 {tls} {resume}"
    return Workload(name, title, command, CPU_US, opening, resumed)


def transfer(kind, level):
    direction = {"download": "down", "upload": "up"}[kind]
    files = "--path big" if kind == "download" else f"--size {BIG_BYTES}"
    return Workload(
        f"{kind}-{level.lower()}",
        f"{kind}, 64 MiB files, PROT {level}",
        f"{kind} -c 4 --prot {level} {TLS13} {files}",
        [cpu_per_gb(direction), speed(direction)],
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
        "1,000 handshakes at once, TLS 1.3",
        f"handshake -c 1000 --count 1000 {TLS13}",
        [
            Figure("latency", "failed", lambda result: result["totals"]["errors"]),
            latency("p50", "ms", 1e-6),
            latency("p99", "ms", 1e-6),
        ],
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

def check(workload, result):
    """Raises NoFigure for a result that is none."""
    totals = result["totals"]
    if workload.name != "burst" and totals["error_share"] > ERROR_SHARE:
        first = result["errors"][0]
        what = first["example"] or first["kind"]
        share = totals["error_share"]
        raise NoFigure(f"{share:.0%} of the operations failed: {first['phase']}: {what}")
    if workload.timed and not totals["operations"] + totals["bytes_up"] + totals["bytes_down"]:
        raise NoFigure("no operation ended in time")
    if workload.resumed and result["resumption"]["control"]["share"] < RESUMED_SHARE:
        share = result["resumption"]["control"]["share"]
        raise NoFigure(f"resumes only {share:.0%} of the sessions that it hands out")


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
