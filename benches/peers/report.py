"""The tables: what `ringload versus` says of two servers at a time, and ringftpd beside the best peer."""

import json
import pathlib
import platform
import statistics
import subprocess

import workloads

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

# How a ratio is marked that `versus` does not call better.
VERDICTS = {"noise": ", within noise", "worse": ", worse"}


class Pair:
    """What `ringload versus` measured of a workload at two servers in turn: its ratios are B ÷ A."""

    def __init__(self, a, b, versus):
        self.a, self.b, self.versus = a.label, b.label, versus
        self.rows = {row["metric"]: row for row in versus["rows"]}
        self.without = set()

    def results(self, label):
        sides = [(self.a, self.versus["results_a"]), (self.b, self.versus["results_b"])]
        return [result for name, results in sides if name == label for result in results]

    def values(self, figure, label):
        """Of its rounds; none for a side that has no figure."""
        if label in self.without or figure.metric not in self.rows:
            return []
        if figure.table == "latency" and figure.metric != "errors":
            if not workloads.has_latency(self.results(label)):
                return []
        row = self.rows[figure.metric]
        sides = [(self.a, row["a"]), (self.b, row["b"])]
        return [value * figure.scale for name, side in sides if name == label for value in side]

    def ratio(self, figure):
        """Median of the rounds' ratios with its interval and verdict; None if a side has no figure."""
        if not self.values(figure, self.a) or not self.values(figure, self.b):
            return None
        row = self.rows[figure.metric]
        if row["ratio"] is None:
            return None
        return Ratio(row["ratio"], row["ratio_low"], row["ratio_high"], row["verdict"])

    def unlike(self):
        """How their connections differ, in `versus`'s sentences with the servers' names."""
        names = [(self.versus["name_a"], self.a), (self.versus["name_b"], self.b)]
        sentences = []
        for sentence in self.versus["unlike"]:
            for said, label in names:
                sentence = sentence.replace(said, label)
            sentences.append(sentence)
        return "; ".join(sentences)


class Ratio:
    def __init__(self, value, low, high, verdict=None):
        self.value, self.low, self.high, self.verdict = value, low, high, verdict

    def text(self):
        return f"**{self.value:.2f}** ({self.low:.2f}–{self.high:.2f})" + VERDICTS.get(self.verdict, "")


class Table:
    """All that a run has found: pairs by workload, and memory by workload and server."""

    def __init__(self):
        self.labels, self.kinds, self.versions = [], {}, {}
        self.missing, self.reasons, self.tls = {}, {}, {}
        self.pairs, self.memory, self.marker = {}, {}, {}

    def present(self, server):
        self.labels.append(server.label)
        self.kinds[server.label] = server.kind
        self.versions[server.label] = server.version()

    def absent(self, server, reason):
        self.missing[server.label] = reason

    def reason(self, workload, server, reason):
        """Why this server has no figure."""
        self.reasons.setdefault((workload.name, server.label), reason)

    def pair(self, workload, a, b, versus):
        pair = Pair(a, b, versus)
        self.pairs.setdefault(workload.name, []).append(pair)
        for server in (a, b):
            results = pair.results(server.label)
            names = workloads.negotiated(results[0])
            for channel, name in names.items():
                self.tls.setdefault((workload.name, channel), {})[server.label] = name
            try:
                workloads.check(workload, results)
            except workloads.NoFigure as reason:
                # A round that is none says as much of the others.
                pair.without.add(server.label)
                self.reason(workload, server, str(reason))

    def add_memory(self, workload, server, value):
        """Of one round, which `versus` knows nothing of: each is of servers just started."""
        rounds = self.memory.setdefault(workload.name, {})
        rounds.setdefault(server.label, []).append(value)

    def mark(self, workload, value):
        """CPU time of what nginx does instead."""
        self.marker.setdefault(workload.name, []).append(value)

    def median(self, workload, figure, label):
        """Of all rounds that the server had, beside whom ever: the first one is in every pair."""
        if figure.metric is None:
            values = self.memory.get(workload.name, {}).get(label, [])
        else:
            pairs = self.pairs.get(workload.name, [])
            values = [value for pair in pairs for value in pair.values(figure, label)]
        return statistics.median(values) if values else None

    def ratio(self, workload, figure, a, b):
        """`b` beside `a`."""
        if figure.metric is None:
            rounds = self.memory.get(workload.name, {})
            ratios = [y / x for x, y in zip(rounds.get(a, []), rounds.get(b, [])) if x]
            if not ratios:
                return None
            # Nothing is claimed of it: these are the extremes of the rounds, as many as they are.
            return Ratio(statistics.median(ratios), min(ratios), max(ratios))
        for pair in self.pairs.get(workload.name, []):
            if (pair.a, pair.b) == (a, b):
                return pair.ratio(figure)
        return None

    def unlike(self, workload, label):
        """How the server's connections differ from those of the one that it ran in turn with."""
        ours = self.ours()[:1]
        pairs = self.pairs.get(workload.name, [])
        said = [pair.unlike() for pair in pairs if label in (pair.a, pair.b) and [label] != ours]
        return "; ".join(filter(None, said))

    def is_limited(self, workload, label):
        """Whether ringload was the limit in half of the rounds, by its own work or because others
        took its CPU: throughput is at least the figure then."""
        clients = [
            result["client"]
            for pair in self.pairs.get(workload.name, [])
            for result in pair.results(label)
        ]
        limited = sum(client["was_limit"] or client["was_starved"] for client in clients)
        return 2 * limited >= len(clients) > 0

    def best_peer(self, workload, figure):
        medians = {label: self.median(workload, figure, label) for label in self.peers()}
        known = [label for label, value in medians.items() if value is not None]
        return (max if figure.more_is_better else min)(known, key=medians.get, default=None)

    def beside_best(self, workload, figure):
        """The best peer, and the first ringftpd beside it; None if there is no such ratio."""
        best = self.best_peer(workload, figure) if self.ours() else None
        ratio = best and self.ratio(workload, figure, best, self.ours()[0])
        return (best, ratio) if ratio else None

    def ours(self):
        return [label for label in self.labels if self.kinds[label] == "ringftpd"]

    def peers(self):
        return [label for label in self.labels if self.kinds[label] != "ringftpd"]

    def rounds(self):
        """Every round's figures, for programs."""
        keys = ("rows", "unlike", "warnings")
        pairs = {
            name: [
                {"a": pair.a, "b": pair.b, **{key: pair.versus[key] for key in keys}}
                for pair in pairs
            ]
            for name, pairs in self.pairs.items()
        }
        return {"pairs": pairs, "memory": self.memory}


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
    lines += ["", *notes.lines(), *RATIOS, *limit_marker(table, chosen), *client(table, chosen)]
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


RATIOS = [
    "A cell is the median of the server's rounds; ringftpd's are those beside every other server. A ratio is"
    " the median of",
    "the ratios of rounds in turn (`ringload versus`) with its 95 % interval; of memory, the rounds' extremes."
    " Within noise:",
    "the interval holds 1.",
    "",
]


def rows_of(table, workload, name, notes):
    for figure in workload.figures:
        if figure.table != name:
            continue
        medians = {label: table.median(workload, figure, label) for label in table.labels}
        if all(value is None for value in medians.values()) and name != "cpu":
            continue
        cells = [workload.title, figure.unit]
        for label, value in medians.items():
            cell = number(value)
            if name == "rate" and value is not None and table.is_limited(workload, label):
                cell = "≥ " + cell
            reason = table.reasons.get((workload.name, label))
            if reason:
                cell += notes.mark(f"{label}: {reason}")
            elif unlike := table.unlike(workload, label):
                cell += notes.mark(f"Not the same work: {unlike}")
            cells.append(cell)
        yield row_of(cells + ratios(table, workload, figure))


def ratios(table, workload, figure):
    cells = []
    ours = table.ours()
    for other in ours[1:]:
        ratio = table.ratio(workload, figure, ours[0], other)
        cells.append(ratio.text() if ratio else "–")
    if ours and table.peers():
        beside = table.beside_best(workload, figure)
        cells.append(beside[1].text() if beside else "–")
    return cells


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


def client(table, chosen):
    """The generator's CPU time beside: it must be able to load the server."""
    parts = []
    figure = workloads.Figure("client", "µs", "client CPU/operation")
    for workload in chosen:
        for label in table.ours() if workload.name.startswith("handshake") else []:
            value = table.median(workload, figure, label)
            if value is not None:
                by = f" ({label})" if len(table.ours()) > 1 else ""
                parts.append(f"{workload.name} {value:.0f} µs{by}")
    if not parts:
        return []
    note = ["ringload's own CPU time by operation at ringftpd: " + ", ".join(parts) + "."]
    limited = any(table.is_limited(each, label) for each in chosen for label in table.labels)
    if limited:
        note.append("≥: in half of the rounds or more ringload may have been the limit, not the server.")
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
    name = platform.freedesktop_os_release()["PRETTY_NAME"]
    command = ["stat", "--file-system", "--format=%T", str(directory)]
    filesystem = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    where = f"files on {filesystem}; the server on one CPU, ringload on another"
    return f"{cpu()}, Linux {platform.release()}, {name}; {where}."


def cpu():
    facts = {}
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        key, _, value = line.partition(":")
        facts.setdefault(key.strip(), value.strip())
    model = facts.get("model name", "unknown CPU")
    # What AES-GCM and SHA-256 cost is decided by these.
    has = [name for flag, name in (("vaes", "VAES"), ("sha_ni", "SHA extensions"))
           if flag in facts.get("flags", "").split()]
    return model + (f" with {' and '.join(has)}" if has else "")


def ratios_of(table, chosen, started):
    """ringftpd beside the best peer in each row, for the next run to be compared with."""
    rows = []
    for workload in chosen:
        for figure in workload.figures:
            if beside := table.beside_best(workload, figure):
                best, ratio = beside
                bounds = {"low": round(ratio.low, 3), "high": round(ratio.high, 3)}
                rows.append({"workload": workload.name, "unit": figure.unit, "peer": best,
                             "ratio": round(ratio.value, 3), **bounds})
    return {"date": started[0], "command": started[1], "cpu": cpu(), "rows": rows}


def moved(before, now):
    """The rows in which ringftpd is elsewhere beside the best peer than in an earlier run."""
    figures = {(workload.name, figure.unit): (workload.title, figure)
               for workload in workloads.WORKLOADS for figure in workload.figures}
    earlier = {(row["workload"], row["unit"]): row for row in before["rows"]}
    lines = []
    for row in now["rows"]:
        key = row["workload"], row["unit"]
        old = earlier.get(key)
        title, figure = figures[key]
        # The extremes of memory are no interval, and close together.
        room = 1.05 if figure.metric is None else 1
        if old is None or row["low"] / room <= old["ratio"] <= row["high"] * room:
            continue
        better = (row["ratio"] > old["ratio"]) == figure.more_is_better
        peers = row["peer"] if row["peer"] == old["peer"] else f"{old['peer']}, now {row['peer']}"
        text = Ratio(row["ratio"], row["low"], row["high"]).text()
        lines.append(f"- {title}, {row['unit']}: {old['ratio']:.2f} → {text}, "
                     f"{'better' if better else 'worse'} (best peer: {peers})")
    heading = f"## Moved since {before['date']} ({before['cpu']})"
    text = ("Rows whose interval does not hold the ratio of that run (memory: by 5 % at least). Of twenty equal"
            " ones, one is expected.")
    return "\n".join([heading, "", text, "", *(lines or ["None."])]) + "\n"


def read_ratios(path):
    """What `ratios_of` had when the tables were written last; None if they never were."""
    return json.loads(path.read_text()) if path.exists() else None
