#!/usr/bin/env python3
"""Draws the segments of one small upload and one small download, as README.md has them.

    benches/timeline.py PORT 1.3|1.2 [DIRECTORY]

at the explicit port of a server on 127.0.0.1 that lets `anonymous` write. Needs tcpdump and root. The
client is ftplib, whose sockets have Nagle's algorithm on.
"""
import ftplib
import io
import os
import re
import ssl
import subprocess
import sys
import time

PORT, VERSION = int(sys.argv[1]), sys.argv[2]
NAME = os.path.join(*sys.argv[3:], "small")

servers = {PORT}


class Client(ftplib.FTP_TLS):
    """Data connections resume the control connection's session; their ports are remembered."""

    def makepasv(self):
        host, port = super().makepasv()
        servers.add(port)
        return host, port

    def ntransfercmd(self, cmd, rest=None):
        conn, size = ftplib.FTP.ntransfercmd(self, cmd, rest)
        return self.context.wrap_socket(conn, session=self.sock.session), size


def transfer():
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    version = {"1.3": ssl.TLSVersion.TLSv1_3, "1.2": ssl.TLSVersion.TLSv1_2}[VERSION]
    context.minimum_version = context.maximum_version = version
    ftp = Client(context=context)
    ftp.connect("127.0.0.1", PORT)
    ftp.login("anonymous", "a@")
    ftp.prot_p()
    ftp.storbinary("STOR " + NAME, io.BytesIO(b"x" * 1000))
    ftp.retrbinary("RETR " + NAME, lambda data: None)
    ftp.quit()


dump = subprocess.Popen(
    ["tcpdump", "-Z", "root", "-i", "lo", "-n", "-tt", "-l", "tcp and host 127.0.0.1"],
    stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
dump.stderr.readline(), dump.stderr.readline()  # it listens
transfer()
time.sleep(0.3)
dump.terminate()
LINE = re.compile(r"(\S+) IP \S+\.(\d+) > \S+\.(\d+): Flags \[(\S+)\].* length (\d+)")
last, segments = None, []
for found in filter(None, map(LINE.search, dump.communicate()[0].splitlines())):
    at, source, to, flags, length = found.groups()
    if not servers & {int(source), int(to)}:
        continue  # somebody else's
    sender = "server" if int(source) in servers else "client"
    port = int(source) if sender == "server" else int(to)
    kind = "control" if port == PORT else "data"
    at = float(at)
    wait = 0 if last is None else (at - last) * 1000
    last = at
    segments.append((wait, kind, sender, flags, length))
for wait, kind, sender, flags, length in segments:
    print(f"{wait:7.2f} ms  {kind:7}  {sender}  {flags:3} {length:>5}")
print(f"longest wait {max(segments)[0]:.2f} ms")
