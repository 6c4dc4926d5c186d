"""What clients do on their hosts: curl, lftp, ftplib and ringload."""

import hashlib
import itertools
import json
import os
import pathlib
import ssl
import subprocess
import sys
import threading

import contents
import servers
import topology
from processes import COMMAND_S, Failed, run

HERE = pathlib.Path(__file__).resolve().parent
IMPLICIT, EXPLICIT = 990, 21
PORTS = {IMPLICIT: "implicit", EXPLICIT: "explicit"}
WAYS = ("EPSV", "PASV")
SIZE = 300_000


def environment(cluster):
    return {
        **os.environ,
        "FTP_USER": servers.NAME,
        "FTP_PASSWORD": servers.PASSWORD,
        "FTP_CA": str(cluster.place.certificate),
        "RINGLOAD_PASSWORD": servers.PASSWORD,
        "HOME": str(cluster.scratch),
    }


def curl(cluster, case):
    here, there = case.source(), case.scratch / f"{case.name}.down"
    scheme = "ftps" if case.port == IMPLICIT else "ftp"
    url = f"{scheme}://{topology.VIRTUAL}:{case.port}/{case.name}"
    # The address that is replied to PASV counts: it has to be the virtual one.
    way = ["--ftp-pasv"] if case.way == "EPSV" else ["--disable-epsv", "--no-ftp-skip-pasv-ip"]
    options = ["--silent", "--show-error", "--fail", "--ssl-reqd", *way]
    options += ["--user", f"{servers.NAME}:{servers.PASSWORD}", "--interface", case.address]
    options += ["--cacert", cluster.place.certificate]
    upload = ["curl", *options, "--upload-file", here, url]
    download = ["--next", *options, "--output", there, url]
    case.run(cluster, [*upload, *download])
    case.compare(there)


def lftp(cluster, case):
    here, there = case.source(), case.scratch / f"{case.name}.down"
    settings = {
        "cmd:fail-exit": "yes",
        "ssl:ca-file": cluster.place.certificate,
        "ftp:ssl-force": "yes",
        "ftp:ssl-protect-data": "yes",
        "ftp:prefer-epsv": "yes" if case.way == "EPSV" else "no",
        "net:max-retries": "1",
        "net:socket-bind-ipv4": case.address,
    }
    scheme = "ftps" if case.port == IMPLICIT else "ftp"
    script = "; ".join(f"set {key} {value}" for key, value in settings.items())
    script += f"; open -u {servers.NAME},{servers.PASSWORD}"
    script += f" {scheme}://{topology.VIRTUAL}:{case.port}"
    script += f"; put {here} -o {case.name}; get {case.name} -o {there}; bye"
    case.run(cluster, ["lftp", "--norc", "-c", script])
    case.compare(there)


def ftplib(cluster, case):
    words = ["transfer", topology.VIRTUAL, case.port, case.name, "--passive", case.way]
    case.run(cluster, [*ftp_client(*words), "--source", case.address, "--size", SIZE])
    case.compare(cluster.home() / case.name)


def ringload(cluster, case):
    words = ["download", "--clients", "2", "--count", "4", "--size", "300kB", "--seed"]
    words += [str(case.number), "--sources", case.address, "--data"]
    words += ["epsv" if case.way == "EPSV" else "pasv-reply"]
    words += ["--explicit"] if case.port == EXPLICIT else []
    totals = load(cluster, case.host, case.port, words)
    if totals["errors"] or totals["operations"] != 4:
        raise Failed(f"{case.name}: {totals}")


def ftp_client(*words):
    return [sys.executable, HERE / "ftp_client.py", *map(str, words)]


def load_command(cluster, host, port, words):
    """ringload on this host, against the virtual address: the command line."""
    command = [*host.inside(), cluster.ringload, words[0], f"{topology.VIRTUAL}:{port}"]
    command += ["--i-own-this-target", topology.VIRTUAL, "--user", servers.NAME]
    return [*command, *words[1:], "--pin", pin(cluster), "--quiet", "--json", "-"]


def pin(cluster):
    """The SHA-256 fingerprint of the nodes' certificate."""
    der = ssl.PEM_cert_to_DER_cert(cluster.place.certificate.read_text())
    return hashlib.sha256(der).hexdigest()


def load(cluster, host, port, words):
    """What ringload counted, with the kinds of errors."""
    command = load_command(cluster, host, port, words)
    said = run(command, f"ringload {words[0]}", 90, env=environment(cluster))
    try:
        result = json.loads(said)
    except ValueError:
        raise Failed(f"ringload {words[0]}: no JSON", said[-500:]) from None
    return {**result["totals"], "kinds": result["errors"]}


class Case:
    """One client, one port, one way."""

    numbers = itertools.count(1)
    lock = threading.Lock()

    def __init__(self, cluster, kind, client, port, way):
        with self.lock:
            self.number = next(self.numbers)
        self.client, self.port, self.way = client, port, way
        self.name = f"{kind}-{client.__name__}-{PORTS[port]}-{way}"
        # Each case from another client, and another of its addresses, than the one before.
        self.host = cluster.clients[self.number % 2]
        addresses = topology.CLIENTS[self.number % 2]
        self.address = addresses[self.number // 2 % len(addresses)]
        self.scratch = cluster.scratch
        self.octets = contents.make(self.name, SIZE)

    def source(self):
        path = self.scratch / self.name
        path.write_bytes(self.octets)
        return path

    def run(self, cluster, command):
        run([*self.host.inside(), *command], self.name, env=environment(cluster))

    def compare(self, path):
        if path.read_bytes() != self.octets:
            raise Failed(f"{self.name}: {path} is not what was sent")


def cases(cluster, kind):
    """All clients × ports × ways."""
    for client in (curl, lftp, ftplib, ringload):
        for port in PORTS:
            for way in WAYS:
                yield Case(cluster, kind, client, port, way)


class Staying:
    """The ftplib client as a process that goes on, and is spoken to; ended at the end."""

    def __init__(self, cluster, host, *words):
        self.what = f"ftplib, {words[0]}"
        self.process = subprocess.Popen(
            [*host.inside(), *map(str, ftp_client(*words))], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment(cluster),
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    def words(self, word):
        """Those of the next line, which are three; the second is this one."""
        line = self.process.stdout.readline()
        words = line.split()
        if len(words) != 3 or words[1] != word:
            self.process.kill()
            said = line + self.process.stdout.read()
            raise Failed(f"{self.what}: no line \"… {word} …\"", said[-600:])
        return words

    def end(self, line="", seconds=COMMAND_S):
        """What it says until it ends, well, after this line."""
        try:
            said = self.process.communicate(line, timeout=seconds)[0]
        except subprocess.TimeoutExpired:
            raise Failed(f"{self.what}: still running after {seconds} s") from None
        if self.process.returncode:
            raise Failed(f"{self.what}: ended with {self.process.returncode}", said[-600:])
        return said
