"""A disk of a few megabytes that a test fills to its last byte and frees again."""

import errno
import os
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_FILLER = "filler"
_NO_MORE_THAN = 16 * 1024


@dataclass
class SmallDisk:
    """Mounted at `root`; where nobody may mount, a limit on the size of a process's files stands for it."""

    root: Path
    mounted: bool

    def fill(self, process: subprocess.Popen[str]) -> None:
        """Leave no byte, for `process` at least."""
        if not self.mounted:
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (_NO_MORE_THAN, _NO_MORE_THAN))
            return
        with (self.root / _FILLER).open("ab", buffering=0) as filler:
            for size in (1 << 20, 1 << 12, 1):
                block = b"\0" * size
                try:
                    while True:
                        filler.write(block)
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise

    def free(self) -> None:
        """Give the room back."""
        (self.root / _FILLER).unlink(missing_ok=True)


@contextmanager
def small_disk(root: Path, megabytes: int) -> Iterator[SmallDisk]:
    """The disk, mounted at the empty directory `root` while the block runs."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(root)]
    mounted = os.getuid() == 0 and subprocess.run(mount, capture_output=True, check=False).returncode == 0
    try:
        yield SmallDisk(root, mounted)
    finally:
        if mounted:
            subprocess.run(["umount", str(root)], check=True)
