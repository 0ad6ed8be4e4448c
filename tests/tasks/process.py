"""Processes in tasks: their lines, their ends."""

import json
import os
import signal
import subprocess
import threading
import time
from pathlib import Path

from report import DEADLINE, Failed

HERE = Path(__file__).resolve().parent


def environment(folder, more=None):
    """What programs get: nothing of this machine's proxies, credentials and settings."""
    env = {"PATH": os.environ["PATH"], "HOME": str(folder), "LANG": "C.UTF-8", "TMPDIR": str(folder),
           "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1"}
    for name, value in (more or {}).items():
        env[name] = str(value)
    return env


class Process:
    """A process that prints lines to stdout, JSON or text. stderr is kept in a file."""

    def __init__(self, name, command, folder, env=None):
        self.name = name
        self.log = folder / f"{len(list(folder.glob('*.log')))}-{name}.log"
        self.lines = []
        self.more = threading.Condition()
        with self.log.open("wb") as log:
            self.child = subprocess.Popen([str(part) for part in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                          stderr=log, env=env, cwd="/", start_new_session=True)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.child.stdout:
            text = line.decode(errors="replace").strip()
            value = text
            if text.startswith("{"):
                try:
                    value = json.loads(text)
                except ValueError:
                    pass
            with self.more:
                self.lines.append(value)
                self.more.notify_all()
        with self.more:
            self.lines.append(None)  # the end
            self.more.notify_all()

    @property
    def pid(self):
        """Of the process itself: nothing of ours stays between it and us."""
        return self.child.pid

    def line(self, what, wanted=lambda _: True, since=0, deadline=DEADLINE):
        """The first line, after the first `since` ones, for which `wanted` holds."""
        end = time.monotonic() + deadline
        with self.more:
            while True:
                for line in self.lines[since:]:
                    if line is None:
                        raise Failed(f"{self.name} ended before {what}: {self.last_words()}")
                    if wanted(line):
                        return line
                if not self.more.wait(end - time.monotonic()):
                    raise Failed(f"waited {deadline} s in vain for {what} of {self.name}: {self.last_words()}")

    def last_words(self):
        """The end of its log, for a report."""
        return (self.log.read_text(errors="replace")[-600:] or str(self.lines[-3:])).strip()

    def tell(self, text):
        """Writes a line to its stdin."""
        try:
            self.child.stdin.write(f"{text}\n".encode())
            self.child.stdin.flush()
        except OSError as error:
            raise Failed(f"{self.name} does not listen any more: {error}; {self.last_words()}") from error

    def alive(self):
        """Whether it runs."""
        return self.child.poll() is None

    def signal(self, number):
        """Sends a signal, if it still runs."""
        if self.alive():
            self.child.send_signal(number)

    def wait(self, what="its end", deadline=DEADLINE):
        """Waits for the end. Returns the exit code, negative for a signal."""
        try:
            code = self.child.wait(deadline)
        except subprocess.TimeoutExpired:
            raise Failed(f"waited {deadline} s in vain for {what} of {self.name}: {self.last_words()}") from None
        self.reader.join(DEADLINE)
        return code

    def stop(self, deadline=DEADLINE):
        """SIGTERM, and waits. Returns the exit code."""
        self.signal(signal.SIGTERM)
        return self.wait("its end after SIGTERM", deadline)

    def kill(self):
        """Ends it and all that it has started."""
        try:
            # It began a session of its own, so its process group is it and its children.
            os.killpg(self.child.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.child.wait()
