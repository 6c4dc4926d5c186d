"""Python's ftplib against ringftpd: one case per invocation, started by ftplib.rs.

Arguments: CASE MODE(explicit|implicit) HOST PORT TLS(1.2|1.3) CAFILE. The account comes from the
environment (FTP_USER, FTP_PASSWORD). Exit status 0 means that every assertion held. Files the Rust
side wants to check on the server's disk are announced as `sha256 PATH HEX` lines on stdout.
"""

import ftplib
import hashlib
import io
import os
import ssl
import sys
import time

# Nothing, one octet, and one TLS record with its neighbours.
SIZES = [0, 1, 16383, 16384, 16385]
LARGE = 100 * 1024 * 1024
TIMEOUT = 60


class ImplicitFtpTls(ftplib.FTP_TLS):
    """The subclass everybody writes for port 990: TLS before the greeting."""

    @property
    def sock(self):
        return self._sock

    @sock.setter
    def sock(self, value):
        if value is not None and not isinstance(value, ssl.SSLSocket):
            value = self.context.wrap_socket(value, server_hostname=self.host)
        self._sock = value


class ReusingFtpTls(ftplib.FTP_TLS):
    """The other subclass everybody writes: the data connection resumes the control session."""

    def ntransfercmd(self, cmd, rest=None):
        conn, size = ftplib.FTP.ntransfercmd(self, cmd, rest)
        if self._prot_p:
            conn = self.context.wrap_socket(
                conn, server_hostname=self.host, session=self.sock.session)
        return conn, size


class KeepingFtpTls(ftplib.FTP_TLS):
    """As PHP and Ruby do it: the latest session that OpenSSL has told of, and no other. Under TLS 1.2
    that is the first one, as long as no data connection is given another."""

    kept = None

    def ntransfercmd(self, cmd, rest=None):
        conn, size = ftplib.FTP.ntransfercmd(self, cmd, rest)
        if self.kept is None:
            self.kept = self.sock.session
        conn = self.context.wrap_socket(conn, server_hostname=self.host, session=self.kept)
        unwrap = conn.unwrap

        def ended():
            plain = unwrap()
            self.kept = conn.session
            return plain

        conn.unwrap = ended
        return conn, size


class Account:
    """Where the server is and who we are."""

    def __init__(self, mode, host, port, tls, cafile):
        self.mode, self.host, self.port = mode, host, int(port)
        self.context = ssl.create_default_context(cafile=cafile)
        # Certificates of tests are checked by chain; their names are not the point here.
        self.context.check_hostname = False
        version = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}[tls]
        self.context.minimum_version = self.context.maximum_version = version
        self.user, self.password = os.environ["FTP_USER"], os.environ["FTP_PASSWORD"]

    def connect(self, kind=None, login=True, encoding="utf-8"):
        if kind is None:
            kind = ImplicitFtpTls if self.mode == "implicit" else ftplib.FTP_TLS
        ftp = kind(context=self.context, timeout=TIMEOUT, encoding=encoding)
        ftp.connect(self.host, self.port)
        if login:
            if self.mode == "implicit":
                # login() would send AUTH, which an implicit session refuses.
                ftplib.FTP.login(ftp, self.user, self.password)
            else:
                ftp.login(self.user, self.password)
            ftp.prot_p()
        return ftp


def content(size, seed=1):
    """Octets that do not repeat at any record or block length."""
    block = hashlib.shake_256(seed.to_bytes(4, "big")).digest(65521)
    return (block * (size // len(block) + 1))[:size]


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def announce(path, data):
    print("sha256", path, sha256(data), flush=True)


def fetch(ftp, path, **options):
    parts = []
    reply = ftp.retrbinary("RETR " + path, parts.append, blocksize=65536, **options)
    assert reply.startswith("226"), reply
    return b"".join(parts)


def store(ftp, path, data, **options):
    reply = ftp.storbinary("STOR " + path, io.BytesIO(data), blocksize=65536, **options)
    assert reply.startswith("226"), reply


def case_sizes(account):
    ftp = account.connect()
    for size in SIZES:
        path, data = f"size-{size}.bin", content(size)
        store(ftp, path, data)
        assert ftp.size(path) == size
        assert fetch(ftp, path) == data, path
        announce(path, data)
    ftp.quit()


def case_large(account):
    ftp = account.connect()
    data = content(LARGE)
    store(ftp, "large.bin", data)
    assert sha256(fetch(ftp, "large.bin")) == sha256(data)
    announce("large.bin", data)
    ftp.quit()


def case_clear(account):
    ftp = account.connect()
    ftp.prot_c()
    data = content(2_500_009)
    store(ftp, "clear.bin", data)
    assert fetch(ftp, "clear.bin") == data
    assert fetch(ftp, "clear.bin", rest=1_000_003) == data[1_000_003:]
    announce("clear.bin", data)
    ftp.quit()


def case_active(account):
    ftp = account.connect()
    ftp.set_pasv(False)
    data = content(200_000)
    store(ftp, "active.bin", data)
    assert fetch(ftp, "active.bin") == data
    assert "active.bin" in ftp.nlst()
    announce("active.bin", data)
    ftp.quit()


def case_restart(account):
    ftp = account.connect()
    data = content(300_000)
    store(ftp, "restart.bin", data[:100_001])
    store(ftp, "restart.bin", data[100_001:], rest=100_001)
    assert fetch(ftp, "restart.bin", rest=0) == data
    assert fetch(ftp, "restart.bin", rest=299_999) == data[299_999:]
    assert fetch(ftp, "restart.bin", rest=300_000) == b""
    announce("restart.bin", data)
    ftp.quit()


def case_text(account):
    ftp = account.connect()
    lines = ["first", "", "third with trailing space ", "fünfte", "x" * 5000]
    text = "\n".join(lines) + "\n"
    reply = ftp.storlines("STOR text.txt", io.BytesIO(text.encode()))
    assert reply.startswith("226"), reply
    announce("text.txt", text.encode())
    received = []
    reply = ftp.retrlines("RETR text.txt", received.append)
    assert reply.startswith("226"), reply
    assert received == lines, received
    ftp.quit()


def case_names(account):
    ftp = account.connect()
    names = ["plain", "with space", " leading", "trailing ", 'quo"te', "apostrophe's", "ünï-名前",
             "percent%20", "back\\slash", "star*?[x]", "#hash;semi=colon", "-dash", "\xa0nbsp"]
    ftp.mkd("names")
    ftp.cwd("names")
    for name in names:
        store(ftp, name, name.encode())
        announce("names/" + name, name.encode())
    assert sorted(ftp.nlst()) == sorted(names), ftp.nlst()
    facts = {name: fact for name, fact in ftp.mlsd()}
    for name in names:
        assert facts[name]["type"] == "file", name
        assert int(facts[name]["size"]) == len(name.encode()), name
        assert fetch(ftp, name) == name.encode()
    directory = 'dir "quoted" ü'
    assert ftp.mkd(directory) == "/names/" + directory
    ftp.cwd(directory)
    assert ftp.pwd() == "/names/" + directory, ftp.pwd()
    ftp.quit()
    # Octets that are not UTF-8 come back as they went.
    latin = account.connect(encoding="latin-1")
    latin.cwd("names")
    latin.rename("plain", "Stra\xdfe")
    assert "Stra\xdfe" in latin.nlst()
    assert fetch(latin, "Stra\xdfe") == b"plain"
    latin.rename("Stra\xdfe", "plain")
    latin.quit()


def refused(codes, function, *arguments):
    try:
        function(*arguments)
    except ftplib.Error as error:
        assert str(error)[:3] in codes, error
    else:
        raise AssertionError(f"{function.__name__}{arguments} was not refused")


def case_files(account):
    ftp = account.connect()
    data = content(1234)
    store(ftp, "file", data)
    assert ftp.size("file") == 1234
    stamp = ftp.sendcmd("MDTM file")
    assert stamp.startswith("213 20") and len(stamp.split()[1]) >= 14, stamp
    assert ftp.sendcmd("MFMT 20200229123456 file").startswith("213")
    assert ftp.sendcmd("MDTM file") == "213 20200229123456", ftp.sendcmd("MDTM file")
    assert ftp.mkd("dir") == "/dir"
    ftp.rename("file", "dir/renamed")
    refused(["550"], ftp.size, "file")
    assert fetch(ftp, "dir/renamed") == data
    listing = []
    ftp.dir("dir", listing.append)
    assert len(listing) == 1 and listing[0].endswith(" renamed"), listing
    refused(["550"], ftp.rmd, "dir")
    ftp.delete("dir/renamed")
    assert ftp.nlst("dir") == []
    ftp.rmd("dir")
    refused(["550"], ftp.cwd, "dir")
    refused(["550"], ftp.delete, "dir/renamed")
    assert ftp.pwd() == "/"
    assert ftp.sendcmd("SYST").startswith("215 UNIX")
    ftp.quit()


def case_abort(account):
    ftp = account.connect()
    store(ftp, "long.bin", content(20_000_000))
    conn = ftp.transfercmd("RETR long.bin")
    assert conn.recv(1000)
    reply = ftp.abort()
    assert reply.startswith("426"), reply
    assert ftp.getresp().startswith("226")
    conn.close()
    assert ftp.sendcmd("NOOP").startswith("200")
    assert len(fetch(ftp, "long.bin")) == 20_000_000
    # With nothing to abort.
    assert ftp.abort().startswith("226")
    ftp.quit()


def case_unwrap(account):
    """Both directions by hand, with the two-way TLS shutdown ftplib does itself."""
    ftp = account.connect()
    data = content(500_000)
    ftp.voidcmd("TYPE I")
    conn = ftp.transfercmd("STOR unwrap.bin")
    conn.sendall(data)
    conn.unwrap().close()
    assert ftp.voidresp().startswith("226")
    conn = ftp.transfercmd("RETR unwrap.bin")
    received = b""
    while chunk := conn.recv(65536):
        received += chunk
    conn.unwrap().close()
    assert ftp.voidresp().startswith("226")
    assert received == data
    announce("unwrap.bin", data)
    ftp.quit()


def case_php_order(account):
    """PHP's ftp_ssl_connect: protection is set before the log-in."""
    ftp = account.connect(login=False)
    if account.mode == "explicit":
        ftp.auth()
    assert ftp.sendcmd("PBSZ 0").startswith("200")
    assert ftp.sendcmd("PROT P").startswith("200")
    ftp._prot_p = True
    ftplib.FTP.login(ftp, account.user, account.password)
    data = content(4321)
    store(ftp, "php.bin", data)
    assert fetch(ftp, "php.bin") == data
    announce("php.bin", data)
    ftp.quit()


def case_ccc(account):
    """CCC is refused by default, and the session goes on protected."""
    ftp = account.connect()
    refused(["534"], ftp.ccc)
    assert isinstance(ftp.sock, ssl.SSLSocket)
    assert ftp.pwd() == "/"
    if account.mode == "implicit":
        refused(["534"], ftp.sendcmd, "AUTH TLS")
    ftp.quit()


def case_reuse(account):
    """Data connections that resume the control session (explicit only; the server requires it)."""
    refused_kind = account.connect()
    try:
        store(refused_kind, "full-handshake.bin", b"x")
        raise AssertionError("a full handshake on the data connection was accepted")
    except (ftplib.Error, OSError):
        pass
    refused_kind.close()
    ftp = account.connect(kind=ReusingFtpTls)
    for turn in range(4):
        data = content(50_000, seed=turn)
        store(ftp, f"reuse-{turn}.bin", data)
        assert fetch(ftp, f"reuse-{turn}.bin") == data
        announce(f"reuse-{turn}.bin", data)
    ftp.quit()


def case_one_session(account):
    """Uploads and downloads in turn with one session kept (explicit only; the server requires it)."""
    ftp = account.connect(kind=KeepingFtpTls)
    for turn in range(8):
        data = content(5_000, seed=turn)
        store(ftp, f"kept-{turn}.bin", data)
        assert fetch(ftp, f"kept-{turn}.bin") == data
        announce(f"kept-{turn}.bin", data)
    ftp.quit()


def case_small(account):
    """A small upload takes less than a delayed acknowledgement does (40 ms), on a quiet moment."""
    ftp = account.connect(kind=KeepingFtpTls)
    spans = []
    for _ in range(50):
        start = time.monotonic()
        store(ftp, "small.bin", b"few")
        spans.append(time.monotonic() - start)
        if min(spans) < 0.030:
            break
    else:
        raise AssertionError(f"each took {min(spans):.3f} s and more")
    announce("small.bin", b"few")
    ftp.quit()


def main():
    case, *where = sys.argv[1:]
    globals()["case_" + case](Account(*where))


main()
