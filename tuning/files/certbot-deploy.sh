#!/bin/sh
# Has ringftpd take a certificate that certbot has renewed. Install as
#   /etc/letsencrypt/renewal-hooks/deploy/ringftpd (mode 755)
# certbot runs it as root, so the key may be readable by root alone: `ctl reload` hands it over.
# Exit status: that of the reload, which certbot writes into its log with what was wrong.
set -eu
exec "${RINGFTPD:-/usr/local/bin/ringftpd}" ctl reload
