"""A shared file system in user space: MooseFS with one chunk server, and a mount of each node's.

Of Debian's, GlusterFS takes three times as long to start, and thirty times as much to fetch.
"""

import os
import pathlib
import pwd
import shutil
import subprocess

import topology
from namespaces import Missing
from processes import Failed, spawn, tail, wait_until

START_S = 30
EMPTY = pathlib.Path("/var/lib/mfs/metadata.mfs.empty")
USER = "nobody"

MASTER = """
WORKING_USER = root
WORKING_GROUP = root
DATA_PATH = {here}/master
EXPORTS_FILENAME = {here}/exports.cfg
TOPOLOGY_FILENAME = {here}/topology.cfg
LOCK_MEMORY = 0
NICE_LEVEL = 0
MATOML_LISTEN_HOST = {host}
MATOCS_LISTEN_HOST = {host}
MATOCL_LISTEN_HOST = {host}
"""
CHUNKS = """
WORKING_USER = root
WORKING_GROUP = root
DATA_PATH = {here}/chunkserver
HDD_CONF_FILENAME = {here}/hdd.cfg
HDD_LEAVE_SPACE_DEFAULT = 64MiB
HDD_TEST_SPEED = 0
NICE_LEVEL = 0
MASTER_HOST = {host}
CSSERV_LISTEN_HOST = {host}
"""


class Storage:
    """Runs until this process ends. `homes` has where each node sees the common directory."""

    def __init__(self, place, nodes):
        self.here = place / "moosefs"
        for name in ("master", "chunkserver", "disk"):
            (self.here / name).mkdir(parents=True)
        if not os.path.exists("/dev/fuse"):
            raise Missing("/dev/fuse is missing: modprobe fuse (CONFIG_FUSE_FS)")
        shutil.copy(EMPTY, self.here / "master/metadata.mfs")
        words = {"here": self.here, "host": topology.STORAGE}
        for name, text in (
            ("master.cfg", MASTER.format(**words)),
            ("chunkserver.cfg", CHUNKS.format(**words)),
            ("hdd.cfg", f"{self.here}/disk\n"),
            ("exports.cfg", "* / rw,alldirs,maproot=0:0\n"),
            ("topology.cfg", ""),
        ):
            (self.here / name).write_text(text)
        self.daemons = [
            spawn([f"mfs{name}", "-f", "-c", self.here / f"{name}.cfg", "start"],
                  self.here / f"{name}.log")
            for name in ("master", "chunkserver")
        ]
        self.homes = [self.mount(place, node) for node in nodes]
        user = pwd.getpwnam(USER)
        os.chown(self.homes[0], user.pw_uid, user.pw_gid)
        # A chunk server that the master does not know yet: no space.
        wait_until("the first octet in MooseFS", self.writable, START_S, self.complaint, 0.1)

    def mount(self, place, node):
        """From the node's own network: a client of its own, with caches of its own."""
        root = place / "files" / node.name
        root.mkdir(parents=True)
        log = self.here / f"{node.name}.log"
        command = [*node.inside(), "mfsmount", "-f", "-o", f"mfsmaster={topology.STORAGE}", root]

        def mounted():
            # The master may not listen yet; then mfsmount ends at once.
            if self.mounting is None or self.mounting.poll() is not None:
                self.mounting = spawn(command, log)
            return os.path.ismount(root)

        self.mounting = None
        wait_until(f"MooseFS on {node.name}", mounted, START_S, self.complaint)
        home = root / "home"
        home.mkdir(exist_ok=True)
        return home

    def writable(self):
        for daemon in self.daemons:
            if daemon.poll() is not None:
                raise Failed("MooseFS has ended", self.complaint())
        # A write waits for a chunk server; it is asked from outside, for it waits long.
        probe = self.homes[0] / ".probe"
        command = ["timeout", "2", "sh", "-c", 'echo . > "$1" && rm "$1"', "sh", probe]
        return subprocess.run(command, capture_output=True).returncode == 0

    def complaint(self):
        return " | ".join(tail(log, 300) for log in sorted(self.here.glob("*.log")))
