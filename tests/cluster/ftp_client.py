"""Python's ftplib on a client's host: a process of its own, for a process is in one namespace.

The account comes from the environment (FTP_USER, FTP_PASSWORD, FTP_CA).
"""

import argparse
import ftplib
import io
import os
import socket
import ssl
import sys
import threading
import time

sys.dont_write_bytecode = True
import contents

TIMEOUT_S = 30
BLOCK = 64 * 1024


class Session(ftplib.FTP_TLS):
    """Logged in, protected; each data connection resumes the control connection's session."""

    def __init__(self, host, port, passive="EPSV", source=None):
        context = ssl.create_default_context(cafile=os.environ["FTP_CA"])
        # Nodes are reached by addresses that the certificate does not have.
        context.check_hostname = False
        address = (source, 0) if source else None
        super().__init__(context=context, timeout=TIMEOUT_S, source_address=address)
        self.implicit = port == 990
        # The address that is replied counts: it has to be the virtual one.
        self.trust_server_pasv_ipv4_address = True
        self.connect(host, port)
        if not self.implicit:
            self.auth()
        ftplib.FTP.login(self, os.environ["FTP_USER"], os.environ["FTP_PASSWORD"])
        self.prot_p()
        if passive == "EPSV":
            self.af = socket.AF_INET6

    @property
    def sock(self):
        return self._sock

    @sock.setter
    def sock(self, value):
        if self.__dict__.get("implicit") and value and not isinstance(value, ssl.SSLSocket):
            value = self.context.wrap_socket(value, server_hostname=self.host)
        self._sock = value

    def ntransfercmd(self, cmd, rest=None):
        conn, size = ftplib.FTP.ntransfercmd(self, cmd, rest)
        # Or the last record waits for the other end's delayed acknowledgement of what was before.
        conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        session = self.sock.session
        return self.context.wrap_socket(conn, server_hostname=self.host, session=session), size

    def makepasv(self):
        host, self.passive_port = super().makepasv()
        return host, self.passive_port

    def put(self, name, octets):
        self.storbinary("STOR " + name, io.BytesIO(octets), blocksize=BLOCK)

    def get(self, name):
        parts = []
        self.retrbinary("RETR " + name, parts.append, blocksize=BLOCK)
        return b"".join(parts)


def transfer(options):
    """There and back."""
    octets = contents.make(options.name, options.size)
    session = Session(options.host, options.port, options.passive, options.source)
    session.put(options.name, octets)
    if session.get(options.name) != octets:
        sys.exit(f"{options.name} is not what was stored")
    session.quit()


def store_again(options):
    """One name, so many times, by one node."""
    session = Session(options.host, options.port, options.passive)
    for turn in range(options.count):
        size = 1000 + turn * 7919 % options.size
        session.put(options.name, contents.make(options.label, size))
    session.quit()


def read_again(options):
    """One name until standard input ends; prints how often it had which label."""
    session = Session(options.host, options.port, options.passive)
    seen = {}
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    while not ended.is_set():
        octets = session.get(options.name)
        label = contents.label_of(octets)
        if label is None:
            sys.exit(f"{len(octets)} octets that are no whole file: {octets[:80]}")
        seen[label] = seen.get(label, 0) + 1
        ended.wait(0.02)
    print(*(f"{label}={times}" for label, times in sorted(seen.items())))


class Upload(threading.Thread):
    """Goes on until it is told, or until its node dies; then logs in again and says when it has."""

    lock = threading.Lock()

    def __init__(self, options, name, enough):
        super().__init__()
        self.options, self.name, self.enough = options, name, enough
        self.session = self.connect()

    def connect(self):
        return Session(self.options.host, self.options.port, self.options.passive)

    def say(self, *words):
        with self.lock:
            print(self.name, *words, flush=True)

    def run(self):
        sent = 0
        try:
            data = self.session.transfercmd("STOR " + self.name)
            while not self.enough.is_set():
                data.sendall(bytes(BLOCK))
                sent += BLOCK
                if sent == 16 * BLOCK:
                    self.say("port", self.session.passive_port)
                self.enough.wait(0.02)
            data.unwrap().close()
            self.say("stored", sent, self.session.voidresp())
        except (OSError, EOFError, ftplib.Error):
            self.connect().put(self.name + "-again", bytes(BLOCK))
            self.say("back", time.monotonic())


def uploads(options):
    """So many at once, until a line comes on standard input."""
    enough = threading.Event()
    running = [Upload(options, f"{options.name}-{i}", enough) for i in range(options.count)]
    for each in running:
        each.start()
    sys.stdin.readline()
    enough.set()
    for each in running:
        each.join()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    tasks = {task.__name__: task for task in (transfer, store_again, read_again, uploads)}
    parser.add_argument("task", choices=tasks)
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("name")
    parser.add_argument("--passive", choices=("EPSV", "PASV"), default="EPSV")
    parser.add_argument("--source", help="address to come from")
    parser.add_argument("--size", type=int, default=300_000)
    parser.add_argument("--count", type=int, default=1)
    parser.add_argument("--label", default="x")
    options = parser.parse_args()
    tasks[options.task](options)


if __name__ == "__main__":
    main()
