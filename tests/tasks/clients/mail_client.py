"""A server that speaks first, with Python's smtplib as it comes: `mail_client.py HOST PORT APP`."""

import smtplib
import sys

from told import check, differs

BODY = "a line of a mail\r\n" * 1000


def main():
    """One mail."""
    host, port, app = sys.argv[1:]

    def mail():
        with smtplib.SMTP(host, int(port), local_hostname="client", timeout=20) as server:
            if wrong := differs(server.ehlo()[0], 250):
                return wrong
            server.mail("a@hello-world.com")
            server.rcpt("b@hello-world.com")
            return differs(server.data(BODY), (250, f"{len(BODY)} bytes for {app}".encode()))

    check(f"smtplib, a mail to {app}, port {port}", mail)


if __name__ == "__main__":
    main()
