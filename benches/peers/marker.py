"""nginx as a limit marker: what TLS costs a server that has nothing to do with FTP.

ringload speaks no HTTP, so the clients are openssl's s_time (handshake, GET, answer, close) and
curl. Their pace is not ringload's; only the server's CPU time is compared, and that by cgroup.
"""

import functools
import re
import subprocess

import servers
import workloads

HANDSHAKE_CLIENTS = 16
DOWNLOAD_CLIENTS = 4
# How long a client may take altogether before it counts as hung.
CLIENT_S = 300
TLS12 = "-tls1_2 -cipher ECDHE-ECDSA-AES128-GCM-SHA256"
TLS13 = "-tls1_3 -ciphersuites TLS_AES_128_GCM_SHA256"


def handshakes(options, server, tls):
    """The server's CPU time in µs for one."""
    host, port = server.listeners["https"]
    seconds = max(1, round(options.seconds))
    line = f"openssl s_time -connect {host}:{port} -new -www / -time {seconds} {tls}"
    texts, used = run(options, server, [line] * HANDSHAKE_CLIENTS)
    # "1234 connections in 1.23s; …" counts CPU time of its own; the second line counts the same.
    done = sum(int(re.search(r"^(\d+) connections in", text, re.MULTILINE)[1]) for text in texts)
    if not done:
        raise workloads.NoFigure("no handshake was done")
    return used * 1e6 / done


def download(options, server):
    """The server's CPU time in s for a GB."""
    host, port = server.listeners["https"]
    times = max(4, round(options.seconds * 8))
    urls = f" -o /dev/null https://{host}:{port}/big" * times
    line = "curl --silent --fail --insecure --tlsv1.3 --http1.1" + urls
    _, used = run(options, server, [line] * DOWNLOAD_CLIENTS)
    return used / (DOWNLOAD_CLIENTS * times * workloads.BIG_BYTES) * workloads.GB


def run(options, server, lines):
    """Runs all clients at once; what they say, and the server's CPU time."""
    before = server.cgroup.cpu_s()
    clients = []
    try:
        for line in lines:
            client = subprocess.Popen(
                servers.start_command(None, options.client_cpu, line.split()),
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                start_new_session=True,
            )
            clients.append(client)
        texts = [client.communicate(timeout=CLIENT_S)[0] for client in clients]
    except subprocess.TimeoutExpired:
        raise workloads.NoFigure(f"a client did not end within {CLIENT_S} s") from None
    finally:
        # Those that still run, hung or interrupted: the next measurement must not feel them. Each
        # is one process, for the shell becomes the client; one that has ended is not signalled.
        for client in clients:
            client.kill()
        for client in clients:
            client.wait()
            client.stdout.close()
    if any(client.returncode for client in clients):
        raise workloads.NoFigure("a client failed")
    return texts, server.cgroup.cpu_s() - before


# What nginx does instead of a workload, by its name.
MEASURES = {
    "handshake-13": functools.partial(handshakes, tls=TLS13),
    "handshake-12": functools.partial(handshakes, tls=TLS12),
    "download-p": download,
}
