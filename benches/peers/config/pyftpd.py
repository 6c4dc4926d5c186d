"""pyftpdlib with TLS: pyftpd.py EXPLICIT_PORT IMPLICIT_PORT CERTIFICATE KEY ROOT NAME HASH.

One event loop for both listeners, as its documentation has it for many clients.
"""

import ctypes
import ctypes.util
import logging
import sys

from OpenSSL import SSL
from pyftpdlib.authorizers import AuthenticationFailed, DummyAuthorizer
from pyftpdlib.handlers import TLS_FTPHandler
from pyftpdlib.ioloop import IOLoop
from pyftpdlib.servers import FTPServer

host, explicit_port, implicit_port, certificate, key, root, name, password_hash = sys.argv[1:]

crypt = ctypes.CDLL(ctypes.util.find_library("crypt")).crypt
crypt.restype = ctypes.c_char_p


class Authorizer(DummyAuthorizer):
    """Compares hashes, as the other servers do."""

    def validate_authentication(self, username, password, handler):
        expected = password_hash.encode()
        if username != name or crypt(password.encode(), expected) != expected:
            raise AuthenticationFailed


context = SSL.Context(SSL.TLS_SERVER_METHOD)
context.set_min_proto_version(SSL.TLS1_2_VERSION)
context.set_cipher_list(b"ECDHE-ECDSA-AES128-GCM-SHA256")
context.use_certificate_chain_file(certificate)
context.use_privatekey_file(key)
context.set_session_cache_mode(SSL.SESS_CACHE_SERVER)
context.set_session_id(b"pyftpd")


class Explicit(TLS_FTPHandler):
    ssl_context = context
    authorizer = Authorizer()
    tls_control_required = True
    timeout = 600
    log_prefix = ""


class Implicit(Explicit):
    """TLS before the greeting, and PROT P from the start."""

    def handle(self):
        self._prot = True
        self.secure_connection(self.ssl_context)
        super().handle()


# The group that vsftpd, ProFTPD and Pure-FTPd switch to has no equal here: it serves as whoever
# started it.
Explicit.authorizer.add_user(name, "", root, perm="elradfmwMT")
logging.disable(logging.CRITICAL)
loop = IOLoop.instance()
for port, handler in ((explicit_port, Explicit), (implicit_port, Implicit)):
    server = FTPServer((host, int(port)), handler, ioloop=loop, backlog=4096)
    server.max_cons = 0
    server.max_cons_per_ip = 0
loop.loop()
