"""Start, pin and end the processes of one benchmark run.

Every process the bench starts goes through `Pack`, so that whatever happens (an error, Ctrl-C, SIGTERM) exactly
those processes are ended, by pid, and nothing else on the machine is touched.
"""

import contextlib
import ctypes
import os
import resource
import signal
import subprocess
import time
from pathlib import Path

PR_SET_PDEATHSIG = 1
# 1,000 clients and as many upstream connections, with room to spare; a usual soft limit of 1,024 would not do.
OPEN_FILES = 16384

_libc = ctypes.CDLL(None, use_errno=True)


class StartError(Exception):
    """A process did not start or was not ready in time; the message says what to look at."""


class Proc:
    """One running process: its name, its pid and where it logs."""

    def __init__(self, name, popen, log):
        self.name = name
        self.popen = popen
        self.pid = popen.pid
        self.log = log

    def alive(self):
        """True while the process runs."""
        return self.popen.poll() is None

    def last_words(self, lines=8):
        """The end of its log, indented for an error message."""
        text = Path(self.log).read_text(errors="replace").strip().splitlines()[-lines:]
        return "\n".join("    " + line for line in text) or "    (it logged nothing)"


def _prepare_child(cpus, parent, net=None, uid=None):
    """Runs in the child before exec: pin it, raise its file limit, put it where it belongs, and let it die with us."""

    def prepare():
        os.sched_setaffinity(0, cpus)
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        want = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (want, hard))
        if net:
            net.enter()
        if uid is not None:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
        # The net under Ctrl-C: if the bench itself is killed with SIGKILL, the kernel ends its children. Not before the
        # user is changed, which takes it back.
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    return prepare


class Pack:
    """All processes of a run."""

    def __init__(self, workdir):
        self.workdir = Path(workdir)
        self._procs = []

    def start(self, name, argv, cpus, cwd=None, net=None, uid=None, env=None):
        """Starts `argv` pinned to `cpus`; its output goes to a log in the work directory.

        `net`: the network namespace it runs in. `uid`: the user it runs as, who need not be able to reach the program,
        which may lie in somebody's home: it is opened by us. `env`: variables that it gets besides ours. Of OpenTelemetry's
        it gets no others.
        """
        log = self.workdir / f"{name}.log"
        with contextlib.ExitStack() as files:
            out = files.enter_context(open(log, "ab"))
            program = files.enter_context(open(argv[0], "rb")) if uid is not None else None
            popen = subprocess.Popen(
                [str(a) for a in argv],
                executable=f"/proc/self/fd/{program.fileno()}" if program else None,
                pass_fds=[program.fileno()] if program else [],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=cwd or self.workdir,
                env={**{k: v for k, v in os.environ.items() if not k.startswith("OTEL_")}, **(env or {})},
                # Its own session, so that Ctrl-C reaches the bench alone, which then ends things in order.
                start_new_session=True,
                preexec_fn=_prepare_child(cpus, os.getpid(), net, uid),
            )
        proc = Proc(name, popen, log)
        self._procs.append(proc)
        return proc

    def run(self, name, argv, cpus, timeout, while_running=None, every=0.25, net=None):
        """Runs a short command to its end and returns its stdout as text.

        `while_running` is called every `every` seconds meanwhile (to sample memory). `net`: the network namespace it
        runs in.
        """
        out_path = self.workdir / f"{name}.out"
        err_path = self.workdir / f"{name}.err"
        with open(out_path, "wb") as out, open(err_path, "wb") as err:
            popen = subprocess.Popen(
                [str(a) for a in argv],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                cwd=self.workdir,
                start_new_session=True,
                preexec_fn=_prepare_child(cpus, os.getpid(), net),
            )
        proc = Proc(name, popen, err_path)
        self._procs.append(proc)
        deadline = time.monotonic() + timeout
        while True:
            try:
                popen.wait(every)
                break
            except subprocess.TimeoutExpired:
                if while_running:
                    while_running()
                if time.monotonic() > deadline:
                    self.stop(proc)
                    raise StartError(f"{name} was still running after {timeout:.0f} s and was ended") from None
        self._procs.remove(proc)
        if popen.returncode != 0:
            raise StartError(f"{name} ended with code {popen.returncode}:\n{proc.last_words()}")
        return out_path.read_text(errors="replace")

    def stop(self, proc, sig=signal.SIGTERM, grace=2.0):
        """Ends one process: asks first, then insists."""
        if proc.alive():
            proc.popen.send_signal(sig)
            try:
                proc.popen.wait(grace)
            except subprocess.TimeoutExpired:
                proc.popen.kill()
                proc.popen.wait()
        if proc in self._procs:
            self._procs.remove(proc)

    def stop_all(self):
        """Ends everything still running, newest first."""
        for proc in reversed(list(self._procs)):
            # No graces here: proxies that drain for 20 s would keep the user waiting.
            self.stop(proc, sig=signal.SIGKILL)
