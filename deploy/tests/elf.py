"""What a program needs in order to run: asked of its file, and of the loader."""

import os
import shutil
import struct
import subprocess

PROGRAM_INTERPRETER = 3


def is_static(path):
    """Whether an ELF program of 64 bits names no loader, and so runs where there is no other file."""
    with open(path, "rb") as file:
        head = file.read(64)
        if head[:5] != b"\x7fELF\x02":
            raise ValueError(f"{path} is no 64-bit ELF program")
        offset = struct.unpack_from("<Q", head, 32)[0]
        size, count = struct.unpack_from("<HH", head, 54)
        for number in range(count):
            file.seek(offset + number * size)
            if struct.unpack("<I", file.read(4))[0] == PROGRAM_INTERPRETER:
                return False
    return True


def copy_with_libraries(programs, root):
    """Copies programs of this machine, and the libraries that they load, to the same paths below `root`."""
    for program in programs:
        wanted = [program]
        # Where the loader looks by itself, as it will below `root`.
        usual = {name: value for name, value in os.environ.items() if name != "LD_LIBRARY_PATH"}
        listed = subprocess.run(["ldd", program], env=usual, capture_output=True, text=True).stdout
        for word in listed.split():
            if word.startswith("/"):
                wanted.append(word)
        for path in wanted:
            target = os.path.join(root, path.lstrip("/"))
            if not os.path.exists(target):
                os.makedirs(os.path.dirname(target), exist_ok=True)
                shutil.copy2(os.path.realpath(path), target)
