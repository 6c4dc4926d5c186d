"""Two network namespaces with a link between them: this process's, and the client's."""

import os
import pathlib
import subprocess
import sys

import link
from namespaces import Missing, Namespace, need

HERE = pathlib.Path(__file__).resolve().parent
SERVER, CLIENT = "10.77.0.1", "10.77.0.2"
MARK = "RINGFTPD_WAN_NAMESPACE"


def enter_namespace():
    """Begins again in a network namespace of its own, which ends with this process."""
    if os.environ.get(MARK) == str(os.getpid()):
        return
    need([("unshare", "util-linux"), ("ip", "iproute2"), ("lftp", "lftp")])
    if not os.path.exists("/dev/net/tun"):
        raise Missing("/dev/net/tun is missing: modprobe tun")
    # exec keeps the process number, and so the mark is true of nobody else.
    os.environ[MARK] = str(os.getpid())
    os.execvp("unshare", ["unshare", "--net", sys.executable, *sys.argv])


def ip(*words):
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


class Network:
    """The two namespaces, and the link as it was last asked for."""

    def __init__(self, congestion):
        self.carrier = None
        self.client = Namespace()
        self.devices = [link.open_device("server"), link.open_device("client")]
        ip("link", "set", "client", "netns", str(self.client.holder.pid))
        for run, device, address in (
            (ip, "server", SERVER),
            (self.ip_of_client, "client", CLIENT),
        ):
            run("address", "add", f"{address}/24", "dev", device)
            run("link", "set", "lo", "up")
            run("link", "set", device, "up", "mtu", "1500", "txqueuelen", "20000")
        for start in ([], self.as_client()):
            # The same for all, and what a host has that nobody has tuned.
            settings = {"tcp_no_metrics_save": 1}
            if congestion:
                settings["tcp_congestion_control"] = congestion
            for key, value in settings.items():
                line = f"echo {value} > /proc/sys/net/ipv4/{key}"
                if subprocess.run([*start, "sh", "-c", line], capture_output=True).returncode:
                    raise Missing(
                        f"net.ipv4.{key} cannot be {value} in a network namespace: for another"
                        " congestion control than the host's and reno, add it to"
                        " net.ipv4.tcp_allowed_congestion_control"
                    )

    def as_client(self):
        """What a command begins with that is to run at the client's end."""
        return self.client.inside()

    def ip_of_client(self, *words):
        subprocess.run([*self.as_client(), "ip", *words], check=True, capture_output=True)

    def congestion(self):
        """The congestion control of both ends."""
        return pathlib.Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text().strip()

    def join(self, delay_ms, rate_mbit, loss, trace=None):
        """Joins them anew, `delay_ms` apart (one way)."""
        self.part()
        command = [sys.executable, HERE / "link.py", *map(str, self.devices)]
        command += ["--delay-ms", str(delay_ms), "--rate-mbit", str(rate_mbit), "--loss", str(loss)]
        if trace:
            command += ["--trace", trace]
        self.carrier = subprocess.Popen(command, pass_fds=self.devices)

    def part(self):
        if self.carrier:
            self.carrier.kill()
            self.carrier.wait()
            self.carrier = None

    def close(self):
        self.part()
        self.client.close()
        for device in self.devices:
            os.close(device)
