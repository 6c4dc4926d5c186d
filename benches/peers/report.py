"""The tables: medians of the rounds, and ringftpd beside the best peer."""

import pathlib
import platform
import statistics
import subprocess

TABLES = {
    "cpu": ("Server CPU time", "less is better"),
    "rate": ("Throughput of one core", "more is better"),
    "latency": ("A burst", "less is better"),
    "memory": ("Memory of a further session", "less is better"),
}

# The rows of the README: workload, and which of its figures.
CHOSEN = [
    ("handshake-13", "cpu"),
    ("download-p", "cpu"),
    ("upload-p", "cpu"),
    ("small-files-13", "cpu"),
    ("idle-memory", "memory"),
]


class Table:
    """All figures of a run: by workload, server and figure, one a round."""

    def __init__(self):
        self.labels, self.kinds, self.versions = [], {}, {}
        self.missing, self.raw, self.reasons = {}, {}, {}
        self.tls, self.client_us, self.limited = {}, {}, set()
        self.marker = {}

    def present(self, server):
        self.labels.append(server.label)
        self.kinds[server.label] = server.kind
        self.versions[server.label] = server.version()

    def absent(self, server, reason):
        self.missing[server.label] = reason

    def add(self, workload, server, values):
        rounds = self.raw.setdefault(workload.name, {}).setdefault(server.label, [])
        rounds.append(values)

    def reason(self, workload, server, reason):
        """Why this round has no figure."""
        self.reasons.setdefault((workload.name, server.label), reason)

    def negotiated(self, workload, server, names):
        for channel, name in names.items():
            self.tls.setdefault((workload.name, channel), {})[server.label] = name

    def client(self, workload, server, client):
        """The generator's own cost; where it was the limit, by its own work or because others took
        its CPU, throughput is at least the figure."""
        key = (workload.name, server.label)
        self.client_us.setdefault(key, []).append(client["cpu_us_per_operation"])
        if client["was_limit"] or client["was_starved"]:
            self.limited.add(key)

    def mark(self, workload, value):
        """CPU time of what nginx does instead."""
        self.marker.setdefault(workload.name, []).append(value)

    def median(self, workload, label, index):
        rounds = self.raw.get(workload.name, {}).get(label, [])
        values = [values[index] for values in rounds if values[index] is not None]
        return statistics.median(values) if values else None

    def ours(self):
        return [label for label in self.labels if self.kinds[label] == "ringftpd"]

    def peers(self):
        return [label for label in self.labels if self.kinds[label] != "ringftpd"]


def markdown(table, chosen, started, directory):
    """The tables with their notes."""
    date, command = started
    notes = Notes()
    lines = [f"Measured on {date}: `{command}`", "", machine(directory), ""]
    versions = [f"{label}: {version}" for label, version in table.versions.items()]
    lines += ["Servers: " + "; ".join(versions) + "."]
    lines += [f"{label} is not there: {reason}." for label, reason in table.missing.items()]
    for name, (title, sense) in TABLES.items():
        rows = [row for workload in chosen for row in rows_of(table, workload, name, notes)]
        if rows:
            lines += ["", f"{title} ({sense})", "", *heading(table), *rows]
    lines += ["", *notes.lines(), *limit_marker(table, chosen), *spread(table), *client(table)]
    return "\n".join(lines).rstrip() + "\n"


def summary(table, chosen, started):
    """The few rows of the README."""
    rows = []
    for name, kind in CHOSEN:
        for workload in chosen:
            if workload.name == name:
                rows += rows_of(table, workload, kind, NoNotes())
    lines = [
        f"CPU time and memory of the server (less is better), measured on {started[0]}; all figures,"
        " throughput among",
        "them, and how they were measured are in [RESULTS.md](benches/peers/RESULTS.md).",
        "",
        *heading(table),
        *rows,
    ]
    return "\n".join(lines) + "\n"


def heading(table):
    columns = ["", "unit", *table.labels]
    columns += [f"{other} ÷ {table.ours()[0]}" for other in table.ours()[1:]]
    if table.ours() and table.peers():
        columns.append(f"{table.ours()[0]} ÷ best peer")
    return [row_of(columns), "|---|---|" + "--:|" * (len(columns) - 2)]


def rows_of(table, workload, name, notes):
    for index, figure in enumerate(workload.figures):
        if figure.table != name:
            continue
        medians = {label: table.median(workload, label, index) for label in table.labels}
        if all(value is None for value in medians.values()) and name != "cpu":
            continue
        cells = [workload.title, figure.unit]
        for label, value in medians.items():
            reason = table.reasons.get((workload.name, label))
            cell = number(value)
            if name == "rate" and (workload.name, label) in table.limited and value is not None:
                cell = "≥ " + cell
            cells.append(cell + (notes.mark(f"{label}: {reason}") if reason else ""))
        yield row_of(cells + ratios(table, figure, medians))


def ratios(table, figure, medians):
    cells = []
    ours, peers = table.ours(), table.peers()
    for other in ours[1:]:
        cells.append(ratio(medians[other], medians[ours[0]]))
    if ours and peers:
        values = [medians[label] for label in peers if medians[label] is not None]
        best = (max if figure.more_is_better else min)(values, default=None)
        cells.append(ratio(medians[ours[0]], best))
    return cells


def ratio(value, base):
    return f"**{value / base:.2f}**" if base and value is not None else "–"


def number(value):
    if value is None:
        return "–"
    if value and abs(value) < 10:
        return f"{value:.2f}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if value else "0"


def row_of(cells):
    return "| " + " | ".join(cells) + " |"


class Notes:
    """Footnotes, each text once."""

    def __init__(self):
        self.texts = []

    def mark(self, text):
        if text not in self.texts:
            self.texts.append(text)
        return f" <sup>{self.texts.index(text) + 1}</sup>"

    def lines(self):
        numbered = enumerate(self.texts, 1)
        return [f"{index}. {text}" for index, text in numbered] + ([""] if self.texts else [])


class NoNotes:
    """For a table without footnotes."""

    def mark(self, text):
        return ""


def limit_marker(table, chosen):
    """nginx's CPU time beside."""
    parts = []
    for workload in chosen:
        if values := table.marker.get(workload.name):
            figure = number(statistics.median(values))
            parts.append(f"{workload.title} {figure} {workload.figures[0].unit}")
        elif reason := table.reasons.get((workload.name, "nginx")):
            parts.append(f"{workload.title} – ({reason})")
    if not parts:
        return []
    text = "For comparison, CPU time of nginx over HTTPS (clients: openssl s_time and curl; a"
    return [f"{text} handshake includes a GET and its answer): {', '.join(parts)}.", ""]


def spread(table):
    """How far the rounds lie apart, over all figures."""
    widths = []
    for by_label in table.raw.values():
        for rounds in by_label.values():
            for values in zip(*rounds):
                values = [value for value in values if value is not None]
                middle = statistics.median(values) if values else 0
                if len(values) > 1 and middle:
                    widths.append((max(values) - min(values)) / middle / 2)
    if not widths:
        return ["There was one round, so the spread is not known.", ""]
    widths.sort()
    text = "Half the distance between the rounds' extremes, by their median: {:.0%} in the middle"
    text = (text + " figure, {:.0%} in nine of ten.").format(
        statistics.median(widths), widths[int(len(widths) * 0.9)]
    )
    return [text, ""]


def client(table):
    """The generator's CPU time beside: it must be able to load the server."""
    parts = []
    for (workload, label), values in table.client_us.items():
        if workload.startswith("handshake") and table.kinds[label] == "ringftpd":
            by = f" ({label})" if len(table.ours()) > 1 else ""
            parts.append(f"{workload} {statistics.median(values):.0f} µs{by}")
    if not parts:
        return []
    note = ["ringload's own CPU time by operation at ringftpd: " + ", ".join(parts) + "."]
    if table.limited:
        note.append("≥ marks runs in which ringload may have been the limit, not the server.")
    return note + [""]


def negotiated(table, chosen):
    """What was agreed on; workloads that agree on the same stand together."""
    lines = {}
    for workload in chosen:
        for channel in ("control", "data"):
            used = {}
            for label, name in table.tls.get((workload.name, channel), {}).items():
                used.setdefault(name, []).append(label)
            parts = [
                name + (f" ({', '.join(labels)})" if len(used) > 1 else "")
                for name, labels in used.items()
            ]
            if parts:
                lines.setdefault(f"{channel}: " + "; ".join(parts), []).append(workload.name)
    texts = [f"- {', '.join(names)}: {text}" for text, names in lines.items()]
    if not texts:
        return ""
    return "\n".join(["Negotiated (version, suite, group of most handshakes):", "", *texts, ""])


def machine(directory):
    """CPU, system, and the filesystem of the files."""
    facts = {}
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        key, _, value = line.partition(":")
        facts.setdefault(key.strip(), value.strip())
    model = facts.get("model name", "unknown CPU")
    # What AES-GCM and SHA-256 cost is decided by these.
    has = [name for flag, name in (("vaes", "VAES"), ("sha_ni", "SHA extensions"))
           if flag in facts.get("flags", "").split()]
    with_what = f" with {' and '.join(has)}" if has else ""
    name = platform.freedesktop_os_release()["PRETTY_NAME"]
    command = ["stat", "--file-system", "--format=%T", str(directory)]
    filesystem = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    where = f"files on {filesystem}; the server on one CPU, ringload on another"
    return f"{model}{with_what}, Linux {platform.release()}, {name}; {where}."
