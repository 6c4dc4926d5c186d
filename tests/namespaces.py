"""Network namespaces for tests, and what to say where a machine lacks a piece of them."""

import contextlib
import os
import shutil
import subprocess
import time

START_S = 10


class Missing(Exception):
    """What this machine lacks, and the remedy."""


def need(commands):
    """These commands, of pairs with the Debian package that has each; and root."""
    if os.geteuid() != 0:
        raise Missing("network namespaces need root: run it with sudo")
    for command, package in commands:
        if not shutil.which(command):
            raise Missing(f"{command} is missing: apt-get install {package}")


class Namespace:
    """A network namespace beside this process's, which ends with this process, whatever ends it."""

    def __init__(self):
        # It ends, and the namespace with it, when nobody holds the other end of the pipe.
        self.holder = subprocess.Popen(
            ["unshare", "--net", "cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
        )
        own = os.readlink("/proc/self/ns/net")
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                if os.readlink(f"/proc/{self.holder.pid}/ns/net") != own:
                    return
            time.sleep(0.005)
        self.close()
        raise Missing("unshare --net has made no network namespace: is this a container without"
                      " CAP_SYS_ADMIN?")

    def inside(self):
        """What a command begins with that is to run there."""
        return ["nsenter", f"--net=/proc/{self.holder.pid}/ns/net"]

    def close(self):
        self.holder.kill()
        self.holder.wait()
