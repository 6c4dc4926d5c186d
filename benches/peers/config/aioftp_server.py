"""aioftp with implicit TLS: aioftp_server.py HOST PORT CERTIFICATE KEY ROOT NAME PASSWORD.

It has no explicit TLS and no hashes of passwords.
"""

import asyncio
import logging
import pathlib
import ssl
import sys

import aioftp

host, port, certificate, key, root, name, password = sys.argv[1:]


async def main():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    user = aioftp.User(name, password, base_path=pathlib.Path(root))
    await aioftp.Server([user], ssl=context).run(host, int(port))


# It calls a client that goes without QUIT an error.
logging.disable(logging.CRITICAL)
asyncio.run(main())
