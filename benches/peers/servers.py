"""The servers that are compared: how each is configured, started on one CPU, and ended.

What is equal for all: the certificate (ECDSA P-256), the user and the hash of the password, the
directory (on tmpfs by default), TLS 1.2 and 1.3 with session resumption, no reverse DNS, no
ident, no limits of rate or number, no log of what clients do. The configurations are in config/.
"""

import contextlib
import grp
import os
import pathlib
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
PEERS = pathlib.Path(
    os.environ.get("PEERS_DIR")
    or REPOSITORY / os.environ.get("CARGO_TARGET_DIR", "target") / "peers"
).resolve()

NAME, PASSWORD = "alice", "secret"
# The fewest rounds of the format, so that a log-in measures the server and not the hash.
HASH = (
    "$6$rounds=1000$ringftpdpeers$f63WjxEiCQzCu82jsCg6xD4wV7UGY0XtGBf644tLVd7YqzGkkNT3ntQqPLQx"
    ".I/1GKoQu8rGqroY40/80WxeH."
)
START_S = 20
STOP_S = 10


class Unavailable(Exception):
    """A server that cannot be started here: a sentence why."""


def am_root():
    return os.geteuid() == 0


class Place:
    """A temporary directory with what all servers share; deleted at the end."""

    def __init__(self, base=None, host="127.0.0.1"):
        self.host = host
        shared_memory = pathlib.Path("/dev/shm")
        if base is None and os.access(shared_memory, os.W_OK):
            base = shared_memory
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="ringftpd-peers-", dir=base))
        self.directory.chmod(0o755)
        self.root = self.directory / "root"
        self.root.mkdir()
        # Servers started as root become nobody; others stay who they are.
        self.user = pwd.getpwnam("nobody") if am_root() else pwd.getpwuid(os.getuid())
        os.chown(self.root, self.user.pw_uid, self.user.pw_gid)
        self.certificate = self.directory / "certificate.pem"
        self.key = self.directory / "key.pem"
        openssl = (
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30"
            f" -subj /CN=localhost -addext subjectAltName=DNS:localhost,IP:{host}"
        )
        files = ["-keyout", self.key, "-out", self.certificate]
        subprocess.run(openssl.split() + files, check=True, capture_output=True)

    def put(self, name, content=b""):
        """A file that clients find in the user's directory."""
        path = self.root / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        for made in (path, path.parent):
            os.chown(made, self.user.pw_uid, self.user.pw_gid)

    def remove(self):
        shutil.rmtree(self.directory, ignore_errors=True)


class Cgroup:
    """A cgroup v2 for one server: counts the CPU time of all its processes, the ended ones too."""

    count = 0

    @classmethod
    def make(cls):
        """None where it may not be made."""
        with contextlib.suppress(OSError, StopIteration):
            mounts = pathlib.Path("/proc/self/mounts").read_text().splitlines()
            mount = next(line.split()[1] for line in mounts if line.split()[2] == "cgroup2")
            cls.count += 1
            made = cls()
            made.directory = pathlib.Path(mount, f"ringftpd-peers-{os.getpid()}-{cls.count}")
            made.directory.mkdir()
            return made
        return None

    def members(self):
        return [int(pid) for pid in (self.directory / "cgroup.procs").read_text().split()]

    def cpu_s(self):
        """CPU time so far, of ended processes as well, in seconds."""
        usage = (self.directory / "cpu.stat").read_text().split()
        return int(usage[usage.index("usage_usec") + 1]) / 1e6

    def end(self):
        """Ends what is left in it, which is ours, and removes it."""
        deadline = time.monotonic() + STOP_S
        while self.members() and time.monotonic() < deadline:
            for pid in self.members():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)
        # Processes that ended but were not waited for may hold it for a moment.
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                self.directory.rmdir()
                return
            time.sleep(0.02)


# Joins the cgroup ($1, if any). On a CPU of its own ($2, if any), it also takes precedence over
# what else runs there, where it may. Then it becomes the command.
START = """
[ -z "$1" ] || echo $$ > "$1/cgroup.procs"
cpu=$2
shift 2
[ -n "$cpu" ] || exec "$@"
[ ! -w /proc/$$/autogroup ] || (echo -20 > /proc/$$/autogroup) 2>/dev/null || true
exec taskset -c "$cpu" "$@"
"""


def start_command(cgroup, cpu, command):
    """`command` as START has it."""
    place = str(cgroup.directory) if cgroup else ""
    cpu = "" if cpu is None else str(cpu)
    return ["/bin/sh", "-c", START, "start", place, cpu, *map(str, command)]


class Server:
    """One server, listening at the place's host; `listeners` has its addresses by kind."""

    kind = None
    # Cannot do without root: chroot, and becoming another user.
    needs_root = True
    # Whatever it cannot do: workload name (or its beginning) -> why.
    cannot = {}
    # Key exchange group to ask for, where it does not have X25519.
    group = "X25519"

    def __init__(self, place, cpu=None, label=None):
        self.place, self.cpu = place, cpu
        self.label = label or self.kind
        self.listeners, self.children, self.cgroup = {}, [], None
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix=f"{self.kind}-", dir=place.directory))
        self.directory.chmod(0o755)

    def start(self):
        """Starts it, and waits until it answers."""
        if self.needs_root and not am_root():
            raise Unavailable(f"{self.kind} needs root: it becomes another user")
        self.cgroup = Cgroup.make()
        try:
            self.launch()
            self.wait()
        except BaseException:
            self.stop()
            raise
        return self

    def launch(self):
        """Starts the processes and fills `listeners`."""
        raise NotImplementedError

    def version(self):
        raise NotImplementedError

    def stop(self):
        """Ends what was started, and nothing else."""
        for child in self.children:
            child.terminate()
        for child in self.children:
            try:
                child.wait(STOP_S)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
            if self.cgroup is None:
                # Sessions live in their own processes, in the group that `spawn` began.
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(child.pid, signal.SIGKILL)
        if self.cgroup:
            self.cgroup.end()
        self.children, self.cgroup = [], None
        shutil.rmtree(self.directory, ignore_errors=True)

    def pid(self, kind):
        """The process that listens there: vsftpd has one for each kind."""
        index = list(self.listeners).index(kind)
        return self.children[min(index, len(self.children) - 1)].pid

    def spawn(self, *command, **options):
        """Starts a process of the server: its own session, its cgroup, its CPU."""
        options.setdefault("stdout", subprocess.DEVNULL)
        log = open(self.directory / "stderr", "ab")
        child = subprocess.Popen(
            start_command(self.cgroup, self.cpu, command),
            stdin=subprocess.DEVNULL,
            stderr=log,
            start_new_session=True,
            **options,
        )
        log.close()
        self.children.append(child)
        return child

    def wait(self):
        """Waits until every listener takes connections."""
        deadline = time.monotonic() + START_S
        for address in self.listeners.values():
            while True:
                if any(child.poll() is not None for child in self.children):
                    raise Unavailable(f"{self.kind} ended at once: {self.complaint()}")
                with contextlib.suppress(OSError):
                    socket.create_connection(address, timeout=1).close()
                    break
                if time.monotonic() > deadline:
                    raise Unavailable(f"{self.kind} does not listen: {self.complaint()}")
                time.sleep(0.02)

    def complaint(self):
        text = (self.directory / "stderr").read_text(errors="replace").strip()
        return text.splitlines()[-1] if text else "it says nothing"

    def config(self, name, **words):
        """Writes config/`name` with @WORDS@ filled in, and returns its pathname."""
        text = (HERE / "config" / name).read_text()
        words = {
            "DIR": self.directory,
            "HOST": self.place.host,
            "ROOT": self.place.root,
            "CERTIFICATE": self.place.certificate,
            "KEY": self.place.key,
            "NAME": NAME,
            "HASH": HASH,
            "CPU": self.cpu,
            "USER": self.place.user.pw_name,
            "GROUP": group_name(self.place.user.pw_gid),
            **words,
        }
        for word, value in words.items():
            text = text.replace(f"@{word}@", str(value))
        path = self.directory / f"{len(list(self.directory.iterdir()))}-{name}"
        path.write_text(text)
        path.chmod(0o600)
        return path

    def listen(self, *kinds):
        host = self.place.host
        ports = free_ports(kinds, host)
        self.listeners = {kind: (host, port) for kind, port in zip(kinds, ports)}
        return [port for _, port in self.listeners.values()]


class Ringftpd(Server):
    kind = "ringftpd"
    needs_root = False

    def __init__(self, place, cpu, label=None, binary=None):
        super().__init__(place, cpu, label)
        self.binary = pathlib.Path(binary or REPOSITORY / "target/release/ringftpd").resolve()

    def launch(self):
        if not self.binary.exists():
            raise Unavailable(f"{self.binary} is not there; cargo build --release")
        process = f'[process]\nuser = "{self.place.user.pw_name}"' if am_root() else ""
        config = self.config("ringftpd.toml", PROCESS=process)
        command = [self.binary, "serve", "--config", config, "--state-dir", self.directory]
        # Of its control socket, which two builds could not share.
        environment = {**os.environ, "RUNTIME_DIRECTORY": str(self.directory)}
        child = self.spawn(*command, stdout=subprocess.PIPE, text=True, env=environment)
        for line in child.stdout:
            words = line.split()
            if words[:1] == ["listening"]:
                host, _, port = words[2].rpartition(":")
                self.listeners[words[1]] = (host, int(port))
            if words == ["ready"]:
                return
        raise Unavailable(f"ringftpd ended at once: {self.complaint()}")

    def version(self):
        return output(self.binary, "--version")


class Unpacked(Server):
    """From a Debian package that `install` has unpacked."""

    package = None

    def binary(self, path):
        binary = PEERS / self.kind / path
        if not binary.exists():
            raise Unavailable(f"{binary} is not there; run benches/peers/install")
        return binary

    def environment(self):
        """With the libraries that were unpacked beside it."""
        root = PEERS / self.kind
        paths = [*root.glob("lib/*-linux-gnu"), *root.glob("usr/lib/*-linux-gnu")]
        return {**os.environ, "LD_LIBRARY_PATH": ":".join(map(str, paths))}

    def spawn(self, *command, **options):
        return super().spawn(*command, env=self.environment(), **options)

    def version(self):
        lines = (PEERS / self.kind / "versions").read_text().splitlines()
        versions = dict(line.split("\t") for line in lines)
        return f"{self.kind} {versions[self.package]}"


class Vsftpd(Unpacked):
    kind = "vsftpd"
    package = "vsftpd"
    # It names the curve in its source.
    group = "secp256r1"
    cannot = {"list-mlsd": "has no MLSD"}

    def launch(self):
        users = self.users()
        empty = self.directory / "empty"
        empty.mkdir()
        binary = self.binary("usr/sbin/vsftpd")
        for port, implicit in zip(self.listen("implicit", "explicit"), ("YES", "NO")):
            config = self.config("vsftpd.conf", PORT=port, IMPLICIT=implicit, EMPTY=empty)
            namespace = ["unshare", "--mount", "--propagation", "private"]
            self.spawn(*namespace, HERE / "config/vsftpd-in-namespace", users, binary, config)

    def users(self):
        """What takes the place of the system's users inside vsftpd's mount namespace."""
        users = self.directory / "users"
        (users / "pam.d").mkdir(parents=True)
        user = self.place.user
        line = f"{NAME}:x:{user.pw_uid}:{user.pw_gid}::{self.place.root}:/bin/sh\n"
        (users / "passwd").write_text(pathlib.Path("/etc/passwd").read_text() + line)
        (users / "shadow").write_text(f"{NAME}:{HASH}:20000:0:99999:7:::\n")
        pam = "auth required pam_unix.so\naccount required pam_permit.so\n"
        (users / "pam.d/vsftpd").write_text(pam)
        return users


class Proftpd(Unpacked):
    kind = "proftpd"
    package = "proftpd-core"
    needs_root = False

    def launch(self):
        user = self.place.user
        line = f"{NAME}:{HASH}:{user.pw_uid}:{user.pw_gid}::{self.place.root}:/bin/sh\n"
        (self.directory / "passwd").write_text(line)
        (self.directory / "group").write_text(f"{NAME}:x:{user.pw_gid}:{NAME}\n")
        for name in ("passwd", "group"):
            (self.directory / name).chmod(0o600)
        implicit, explicit = self.listen("implicit", "explicit")
        config = self.config(
            "proftpd.conf",
            IMPLICIT=implicit,
            EXPLICIT=explicit,
            MODULES=PEERS / "proftpd/usr/lib/proftpd",
            CHROOT="DefaultRoot ~" if am_root() else "",
        )
        self.spawn(self.binary("usr/sbin/proftpd"), "--nodaemon", "--quiet", "--config", config)


class Pureftpd(Unpacked):
    kind = "pureftpd"
    package = "pure-ftpd"
    # It names the curve in its source, too; asked for X25519 first it takes another round trip.
    group = "secp256r1"
    cannot = {"implicit": "Debian's build has no implicit TLS"}

    def launch(self):
        user, users = self.place.user, self.directory / "users"
        line = f"{NAME}:{HASH}:{user.pw_uid}:{user.pw_gid}::{self.place.root}/./::::::::::::\n"
        users.write_text(line)
        database = self.directory / "users.pdb"
        make = [self.binary("usr/bin/pure-pw"), "mkdb", database, "-f", users]
        subprocess.run(make, check=True, capture_output=True, env=self.environment())
        bundle = self.directory / "bundle.pem"
        bundle.write_text(self.place.key.read_text() + self.place.certificate.read_text())
        (port,) = self.listen("explicit")
        options = (
            f"--bind {self.place.host},{port} --login puredb:{database} --pidfile {self.directory}/pid"
            f" --certfile {bundle} --tls 2 --tlsciphersuite ECDHE-ECDSA-AES128-GCM-SHA256"
            " --maxclientsnumber 100000 --maxclientsperip 100000 --limitrecursion 100000:8"
            " --maxidletime 10 --minuid 1 --umask 022:022 --syslogfacility none"
            " --dontresolve --ipv4only --noanonymous --chrooteveryone --allowdotfiles"
        )
        self.spawn(self.binary("usr/sbin/pure-ftpd"), *options.split())


class FromPypi(Server):
    """A module in the environment that `install` has made."""

    needs_root = False

    def python(self):
        python = PEERS / "pyftpdlib/bin/python"
        if not python.exists():
            raise Unavailable(f"{python} is not there; run benches/peers/install")
        return python


class Pyftpdlib(FromPypi):
    kind = "pyftpdlib"

    def launch(self):
        place = self.place
        explicit, implicit = self.listen("explicit", "implicit")
        files = [place.certificate, place.key, place.root]
        script = HERE / "config/pyftpd.py"
        self.spawn(self.python(), script, place.host, explicit, implicit, *files, NAME, HASH)

    def version(self):
        code = "import pyftpdlib, OpenSSL; print('pyftpdlib', pyftpdlib.__ver__)"
        return output(self.python(), "-c", code)


class Aioftp(FromPypi):
    """For tests alone: it is not measured, for it checks no hash of a password."""

    kind = "aioftp"

    def launch(self):
        place = self.place
        (implicit,) = self.listen("implicit")
        files = [place.certificate, place.key, place.root]
        script = HERE / "config/aioftp_server.py"
        self.spawn(self.python(), script, place.host, implicit, *files, NAME, PASSWORD)


class Nginx(Unpacked):
    """No FTP server; see marker.py."""

    kind = "nginx"
    package = "nginx"
    needs_root = False

    def launch(self):
        (port,) = self.listen("https")
        user = self.place.user
        process = f"user {user.pw_name} {group_name(user.pw_gid)};" if am_root() else ""
        config = self.config("nginx.conf", PORT=port, PROCESS=process)
        options = ["-e", "stderr", "-p", self.directory, "-c", config]
        self.spawn(self.binary("usr/sbin/nginx"), *options)


PEER_KINDS = {kind.kind: kind for kind in (Vsftpd, Proftpd, Pureftpd, Pyftpdlib)}
# What `serve` can start.
SERVED_KINDS = {**PEER_KINDS, Aioftp.kind: Aioftp}


def free_ports(kinds, host="127.0.0.1"):
    """Ports that nobody listens on at the moment."""
    sockets = [socket.socket() for _ in kinds]
    for each in sockets:
        each.bind((host, 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def group_name(gid):
    return grp.getgrgid(gid).gr_name


def output(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
