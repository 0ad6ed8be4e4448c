"""What the programs under test can do, by their own help."""

import shutil
import subprocess

# name -> (program, words that lead to the help, what must be in it)
KNOWN = {
    "--dns": ("proxy", ("run",), "--dns "),
    "--write-hosts": ("proxy", ("run",), "--write-hosts"),
    "--inbound": ("proxy", ("run",), "--inbound"),
    "setup-redirect": ("proxy", ("setup-redirect",), "--vip-range"),
    "--publish-zone": ("control", ("serve",), "--publish-zone"),
}


class Features:
    """Asked once a program."""

    def __init__(self, proxy, control):
        self.paths = {"proxy": proxy, "control": control}
        self.pages = {}

    def page(self, program, words):
        """The help of a command, or nothing if there is no such command."""
        key = (program, words)
        if key not in self.pages:
            done = subprocess.run([self.paths[program], *words, "--help"], capture_output=True, text=True, check=False)
            self.pages[key] = done.stdout if done.returncode == 0 else ""
        return self.pages[key]

    def missing(self, needs):
        """Of what a case needs, what is not there, in words. `iptables` is a program of this machine."""
        out = []
        for need in needs:
            if need == "iptables":
                if not shutil.which("iptables"):
                    out.append("iptables is not installed")
                continue
            program, words, wanted = KNOWN[need]
            if wanted not in self.page(program, words):
                out.append(f"bowline-{program} has no {need}")
        return out
