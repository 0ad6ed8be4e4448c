"""deploy/image/compile, with stand-ins for cargo and rustup that write down how they were called."""

import os
import stat
import subprocess
import tempfile
import unittest

COMPILE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "image", "compile")

CARGO = """#!/bin/sh
for LAST in "$@"; do :; done
echo "$@" >>"$NOTES/cargo"
env | grep -E '^(RUSTFLAGS|CC_|CARGO_TARGET_|JEMALLOC_)' | sort >"$NOTES/env"
mkdir -p "target/$TRIPLE/dist" && echo built >"target/$TRIPLE/dist/$LAST"
"""


class Compile(unittest.TestCase):
    """What the script asks cargo for."""

    def run_script(self, machine, arch, *programs):
        """Runs it on a machine that says it is `machine`."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        triple = {"amd64": "x86_64-unknown-linux-gnu", "arm64": "aarch64-unknown-linux-gnu"}.get(arch, "none")
        scripts = {
            "uname": f"#!/bin/sh\necho {machine}\n",
            "rustup": '#!/bin/sh\necho "$@" >>"$NOTES/rustup"\n',
            "cargo": CARGO,
            "aarch64-linux-gnu-gcc": "#!/bin/sh\n",
            "x86_64-linux-gnu-gcc": "#!/bin/sh\n",
            "strip": "#!/bin/sh\n",
            "aarch64-linux-gnu-strip": "#!/bin/sh\n",
            "x86_64-linux-gnu-strip": "#!/bin/sh\n",
        }
        os.mkdir(os.path.join(folder.name, "bin"))
        for name, text in scripts.items():
            path = os.path.join(folder.name, "bin", name)
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
            os.chmod(path, os.stat(path).st_mode | stat.S_IXUSR)
        environment = {
            "PATH": f"{folder.name}/bin:/usr/bin:/bin",
            "NOTES": folder.name,
            "OUT": os.path.join(folder.name, "out"),
            "TRIPLE": triple,
        }
        done = subprocess.run(
            [COMPILE, arch, *programs], env=environment, cwd=folder.name, capture_output=True, text=True
        )
        return folder.name, done

    def note(self, folder, name):
        """What a stand-in has written down."""
        path = os.path.join(folder, name)
        if not os.path.exists(path):
            return ""
        with open(path, encoding="utf-8") as file:
            return file.read()

    def test_for_this_machine_it_is_static_and_needs_no_other_compiler(self):
        folder, done = self.run_script("x86_64", "amd64", "bowline-control", "bowline")
        self.assertEqual(done.returncode, 0, done.stderr)
        cargo = "build --locked --profile dist --target x86_64-unknown-linux-gnu -p {0} --bin {0}\n"
        self.assertEqual(self.note(folder, "cargo"), cargo.format("bowline-control") + cargo.format("bowline"))
        self.assertTrue(self.note(folder, "env").startswith("RUSTFLAGS=-C target-feature=+crt-static"))
        self.assertEqual(self.note(folder, "rustup"), "")
        self.assertEqual(sorted(os.listdir(os.path.join(folder, "out"))), ["bowline", "bowline-control"])

    def test_for_the_other_one_it_compiles_across(self):
        for machine, arch, triple, gcc in (
            ("x86_64", "arm64", "aarch64-unknown-linux-gnu", "aarch64-linux-gnu-gcc"),
            ("aarch64", "amd64", "x86_64-unknown-linux-gnu", "x86_64-linux-gnu-gcc"),
        ):
            with self.subTest(arch=arch):
                folder, done = self.run_script(machine, arch, "bowline-proxy")
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertEqual(self.note(folder, "rustup"), f"target add {triple}\n")
                under = triple.replace("-", "_")
                lines = self.note(folder, "env").splitlines()
                self.assertIn(f"CC_{under}={gcc}", lines)
                self.assertIn(f"CARGO_TARGET_{under.upper()}_LINKER={gcc}", lines)
                self.assertEqual("JEMALLOC_SYS_WITH_LG_PAGE=16" in lines, arch == "arm64")

    def test_another_platform_is_refused(self):
        folder, done = self.run_script("x86_64", "riscv64", "bowline-proxy")
        self.assertEqual(done.returncode, 2)
        self.assertIn("riscv64", done.stderr)
        self.assertEqual(self.note(folder, "cargo"), "")

    def test_without_a_platform_nothing_is_built(self):
        folder, done = self.run_script("x86_64", "", "bowline-proxy")
        self.assertNotEqual(done.returncode, 0)
        self.assertEqual(self.note(folder, "cargo"), "")


if __name__ == "__main__":
    unittest.main()
