"""A server that speaks first, as SMTP's do: `mail_app.py ADDRESS PORT NAME`. It takes a mail and answers with its length."""

import socketserver
import sys

NAME = sys.argv[3]


class Session(socketserver.StreamRequestHandler):
    """One connection."""

    def say(self, text):
        """One line."""
        self.wfile.write(f"{text}\r\n".encode())

    def handle(self):
        self.say(f"220 {NAME} at your service")
        for line in self.rfile:
            command = line.strip().upper()
            if command.startswith((b"EHLO", b"HELO", b"MAIL", b"RCPT", b"RSET", b"NOOP")):
                self.say("250 yes")
            elif command == b"DATA":
                self.say("354 go on")
                size = 0
                while (line := self.rfile.readline()) not in (b".\r\n", b""):
                    size += len(line)
                self.say(f"250 {size} bytes for {NAME}")
            elif command == b"QUIT":
                self.say("221 bye")
                return
            else:
                self.say("500 what?")


class Server(socketserver.ThreadingTCPServer):
    """One thread a connection."""

    allow_reuse_address = True
    daemon_threads = True


def main():
    """Serves until killed."""
    with Server((sys.argv[1], int(sys.argv[2])), Session) as server:
        print("up", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
