#!/usr/bin/env python3
"""Draws the segments of one small upload and one small download, as README.md has them, or only
says how long the longest wait was.

    benches/timeline.py [--implicit] [--active] [--runs N] PORT 1.3|1.2 [DIRECTORY]

at a port of a server on 127.0.0.1 that lets `anonymous` write. Needs tcpdump and root. The client is
ftplib, whose sockets have Nagle's algorithm on. With --runs, one line for all runs: of the upload and
of the download, from EPSV or EPRT to 226, the median and the greatest of the longest waits, and who
sent what was waited for longest.
"""
import argparse
import ftplib
import io
import os
import re
import socket
import ssl
import statistics
import subprocess
import time

parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--implicit", action="store_true")
parser.add_argument("--active", action="store_true")
parser.add_argument("--runs", type=int)
parser.add_argument("port", type=int)
parser.add_argument("version", choices=["1.2", "1.3"])
parser.add_argument("directory", nargs="*")
options = parser.parse_args()
NAME = os.path.join(*options.directory, "small")

# Ports at which the server, and the client, is listening: the other end has one for the moment.
servers, clients = {options.port}, set()


class Client(ftplib.FTP_TLS):
    """Data connections resume the control connection's session; their ports are remembered."""

    def connect(self, host, port):
        if not options.implicit:
            return super().connect(host, port)
        self.host, self.port, self.timeout = host, port, 30
        connected = socket.create_connection((host, port), self.timeout)
        self.af = connected.family
        self.sock = self.context.wrap_socket(connected)
        self.file = self.sock.makefile("r", encoding=self.encoding)
        self.welcome = self.getresp()
        return self.welcome

    def makepasv(self):
        host, port = super().makepasv()
        servers.add(port)
        return host, port

    def makeport(self):
        listening = super().makeport()
        clients.add(listening.getsockname()[1])
        return listening

    def ntransfercmd(self, cmd, rest=None):
        conn, size = ftplib.FTP.ntransfercmd(self, cmd, rest)
        return self.context.wrap_socket(conn, session=self.sock.session), size


def transfer():
    """When the upload, and the download, began and ended."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    version = {"1.3": ssl.TLSVersion.TLSv1_3, "1.2": ssl.TLSVersion.TLSv1_2}[options.version]
    context.minimum_version = context.maximum_version = version
    ftp = Client(context=context)
    ftp.connect("127.0.0.1", options.port)
    ftp.login("anonymous", "a@")
    ftp.prot_p()
    ftp.set_pasv(not options.active)
    times = [time.time()]
    ftp.storbinary("STOR " + NAME, io.BytesIO(b"x" * 1000))
    times.append(time.time())
    ftp.retrbinary("RETR " + NAME, lambda data: None)
    times.append(time.time())
    ftp.quit()
    return times


LINE = re.compile(r"(\S+) IP \S+\.(\d+) > \S+\.(\d+): Flags \[(\S+)\].* length (\d+)")


def run():
    """The segments, and when the transfers were."""
    dump = subprocess.Popen(
        ["tcpdump", "-Z", "root", "--immediate-mode", "-i", "lo", "-n", "-tt", "-l",
         "tcp and host 127.0.0.1"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    dump.stderr.readline(), dump.stderr.readline()  # it listens
    times = transfer()
    time.sleep(0.3)
    dump.terminate()
    last, segments = None, []
    for found in filter(None, map(LINE.search, dump.communicate()[0].splitlines())):
        at, source, to, flags, length = found.groups()
        source, to = int(source), int(to)
        if source in servers or to in clients:
            sender = "server"
        elif to in servers or source in clients:
            sender = "client"
        else:
            continue  # somebody else's
        kind = "control" if options.port in (source, to) else "data"
        at = float(at)
        wait = 0 if last is None else (at - last) * 1000
        last = at
        segments.append((wait, kind, sender, flags, length, at))
    return segments, times


if options.runs:
    found = [run() for _ in range(options.runs)]
    texts = []
    for name, begin in (("upload", 0), ("download", 1)):
        longest = []
        for segments, times in found:
            begun = [s for s in segments if times[begin] < s[-1] <= times[begin + 1]]
            longest.append(max(begun[1:]))
        median, greatest = statistics.median(s[0] for s in longest), max(longest)
        texts.append(f"{name} {median:.2f}, {greatest[0]:.2f} ms ({greatest[2]}, {greatest[1]})")
    print("; ".join(texts))
else:
    segments, _ = run()
    for wait, kind, sender, flags, length, _ in segments:
        print(f"{wait:7.2f} ms  {kind:7}  {sender}  {flags:3} {length:>5}")
    print(f"longest wait {max(segments)[0]:.2f} ms")
