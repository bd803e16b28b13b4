"""Runs the commands that the docs show and puts their real answers below them: `make examples`.

A block of commands is a fenced `console` block after the line `<!-- run -->`. All of them run in one shell,
in the order in which they stand, so that a variable of one is there for the next. `make up` has to run, on a
home of the demo; what the blocks change, they change there.
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
_BLOCK = re.compile(r"(<!-- run -->\n```console\n)(.*?)(```)", re.DOTALL)
_END = "==end of answer=="
_SECONDS = 180
_PREFIX = (
    'marketing() { .venv/bin/marketing "$@"; }\n'
    'curl() { command curl --silent --show-error --noproxy "*" "$@"; }\n'
    "pretty() { python3 -m json.tool --indent 2 --no-ensure-ascii; }\n"
)


class Shell:
    """One shell that runs command after command."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            ["bash"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=ROOT,
        )
        self.run(_PREFIX)

    def run(self, command: str) -> str:
        """What the command printed."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{command}\necho; echo '{_END}'\n")
        self._process.stdin.flush()
        lines = []
        for line in self._process.stdout:
            if line.strip() == _END:
                break
            lines.append(line.rstrip())
        return "\n".join(lines).rstrip("\n")

    def close(self) -> None:
        """End the shell."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(_SECONDS)


def commands(block: str) -> list[str]:
    """The commands of a block: from a line that begins with `$ ` through those that begin with `> `."""
    found: list[str] = []
    for line in block.splitlines():
        if line.startswith("$ "):
            found.append(line)
        elif line.startswith("> "):
            found[-1] += "\n" + line
    return found


def refreshed(text: str, shell: Shell) -> str:
    """The text with today's answers."""

    def run(match: re.Match[str]) -> str:
        shown = []
        for command in commands(match[2]):
            answer = shell.run("\n".join(line[2:] for line in command.splitlines()))
            shown += [command, answer] if answer else [command]
        return match[1] + "\n".join(shown) + "\n" + match[3]

    return _BLOCK.sub(run, text)


def main() -> None:
    """Refresh the pages."""
    shell = Shell()
    for page in (ROOT / "README.md", ROOT / "docs" / "api.md"):
        page.write_text(refreshed(page.read_text(encoding="utf-8"), shell), encoding="utf-8")
        sys.stdout.write(f"{page.relative_to(ROOT)} is up to date\n")
    shell.close()


if __name__ == "__main__":
    main()
