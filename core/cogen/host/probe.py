"""Importing a plugin in a process of its own, to see what that does without being harmed by it.

A plugin's import may crash the interpreter, print, open sockets or load half a gigabyte of torch: `cogen doctor` and
`cogen check` want to know, and live on.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cogen.host.plugin import Plugin

#: What no plugin may load when it is imported: seconds and hundreds of megabytes for everybody who lists plugins.
HEAVY = ("torch", "transformers", "tensorflow", "jax")
TIMEOUT = 60


@dataclass(frozen=True)
class Probe:
    """What importing a plugin and registering its hooks did."""

    reason: str | None = None
    hint: str | None = None
    traceback: str | None = None
    #: Which of :data:`HEAVY` it pulled in.
    heavy: tuple[str, ...] = ()
    #: Audit events of the network, such as "socket.connect".
    sockets: tuple[str, ...] = ()
    #: What it printed to stdout or stderr.
    output: str = ""
    hooks: tuple[str, ...] = ()


def probe(plugin: Plugin) -> Probe:
    """Import ``plugin`` in a new process; its failures come back as a value."""
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder, "answer.json")
        known = {key: getattr(plugin, key) for key in ("name", "distribution", "version", "module")}
        path = os.pathsep.join(dict.fromkeys(entry for entry in sys.path if entry))
        try:
            run = subprocess.run(
                [sys.executable, "-m", "cogen.host.probe", json.dumps(known), str(answer)],
                capture_output=True,
                text=True,
                errors="replace",
                timeout=TIMEOUT,
                check=False,
                env={**os.environ, "PYTHONPATH": path},
                stdin=subprocess.DEVNULL,
            )
        except subprocess.TimeoutExpired:
            return Probe(f"importing {plugin.module} takes more than {TIMEOUT} s", "do the work when a hook is called")
        if not answer.exists():
            return Probe(
                f"importing {plugin.module} ends the process (exit code {run.returncode})",
                "report it to its authors",
                run.stderr[-2000:] or None,
            )
        seen: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
        return Probe(
            reason=seen["reason"],
            hint=seen["hint"],
            traceback=seen["traceback"],
            heavy=tuple(seen["heavy"]),
            sockets=tuple(seen["sockets"]),
            output=(run.stdout + run.stderr).strip(),
            hooks=tuple(seen["hooks"]),
        )


def _child(known: dict[str, Any], answer: Path) -> None:
    from cogen.host.hooks import Hooks

    sockets: set[str] = set()
    sys.addaudithook(lambda event, _: sockets.add(event) if event.startswith("socket.") else None)
    plugin = Plugin(**known, state="ok", code=True)
    hooks = Hooks([plugin])
    failure = hooks.failures.get((plugin.distribution, plugin.name))
    seen = {
        "reason": failure.reason if failure else None,
        "hint": failure.hint if failure else None,
        "traceback": failure.traceback if failure else None,
        "heavy": [name for name in HEAVY if name in sys.modules],
        "sockets": sorted(sockets),
        "hooks": sorted(hooks.implemented(plugin)),
    }
    answer.write_text(json.dumps(seen), encoding="utf-8")


if __name__ == "__main__":
    _child(json.loads(sys.argv[1]), Path(sys.argv[2]))
