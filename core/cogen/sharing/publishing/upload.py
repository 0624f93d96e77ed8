"""The wheel to the registry, its signature after it, and waiting until everybody can see it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cogen.remote.client import Client, quoted
from cogen.remote.errors import NotThere, RegistryError
from cogen.sharing.wheels import Wheel

#: The fields of a wheel's METADATA that the upload API knows, and what it calls them.
_FIELDS = {
    "Metadata-Version": "metadata_version",
    "Summary": "summary",
    "Home-page": "home_page",
    "Author": "author",
    "Author-email": "author_email",
    "Maintainer": "maintainer",
    "Maintainer-email": "maintainer_email",
    "License": "license",
    "License-Expression": "license_expression",
    "Keywords": "keywords",
    "Requires-Python": "requires_python",
    "Description-Content-Type": "description_content_type",
}
_LISTS = {
    "Classifier": "classifiers",
    "Requires-Dist": "requires_dist",
    "Project-URL": "project_urls",
    "Provides-Extra": "provides_extra",
    "License-File": "license_file",
    "Dynamic": "dynamic",
    "Platform": "platform",
}


@dataclass(frozen=True)
class State:
    """What the registry says of a release. ``state``: "quarantined" (``reason`` says why) or "released"."""

    state: str
    reason: str | None
    sha256: str
    key: str | None
    #: The key that signed it was taken back.
    revoked: bool = False


def state_of(client: Client, project: str, version: str) -> State | None:
    """``None``: it was never uploaded."""
    try:
        answer: Any = client.get(f"/api/v1/releases/{quoted(project)}/{quoted(version)}")
    except NotThere:
        return None
    try:
        signature = answer.get("signature")
        files = answer.get("files") or [answer["file"]]
        return State(
            str(answer["state"]),
            answer.get("reason"),
            str(files[0]["sha256"]),
            signature["key"] if signature else None,
            bool(signature and signature.get("revoked")),
        )
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise RegistryError(
            f"{client.url} describes the release in a form that is not known", hint="a newer CoGen may be needed"
        ) from error


def upload_wheel(client: Client, wheel: Wheel, sha256: str) -> None:
    """Send a wheel as twine and uv do.

    :raises RegistryError: the registry refuses it, and says why.
    """
    import requests.auth

    fields = [(":action", "file_upload"), ("protocol_version", "1"), ("filetype", "bdist_wheel"), ("pyversion", "py3")]
    fields += [("name", wheel.project), ("version", wheel.version), ("sha256_digest", sha256), *_metadata(wheel)]
    with wheel.path.open("rb") as file:
        client.send(
            "POST",
            "/legacy/",
            data=fields,
            files={"content": (wheel.path.name, file, "application/octet-stream")},
            auth=requests.auth.HTTPBasicAuth("__token__", client.registry.token or ""),
            timeout=(10, 300),
        )


def _metadata(wheel: Wheel) -> list[tuple[str, str]]:
    import email

    message = email.message_from_string(wheel.metadata)
    found = [(field, str(message[name])) for name, field in _FIELDS.items() if message[name]]
    found += [(field, str(value)) for name, field in _LISTS.items() for value in message.get_all(name) or ()]
    text = message.get_payload()
    return [*found, ("description", text)] if isinstance(text, str) and text.strip() else found


def upload_signature(client: Client, statement: dict[str, Any], bundle: dict[str, Any]) -> None:
    """:raises RegistryError: the registry does not accept it, and says why."""
    path = f"/api/v1/releases/{quoted(statement['project'])}/{quoted(statement['version'])}/signature"
    client.send("PUT", path, json={"statement": statement, "bundle": bundle})


def wait_until_visible(client: Client, project: str, version: str, seconds: float, say: Callable[[str], None]) -> State:
    """The last state that was seen: released, or still in quarantine when the time is over."""
    end, shown, pause = time.monotonic() + seconds, None, 0.2
    while True:
        state = state_of(client, project, version)
        if state is None:
            raise RegistryError(f"{client.url} has lost {project} {version}", hint="run `cogen publish` again")
        if state.state == "released" or time.monotonic() >= end:
            return state
        if state.reason and state.reason != shown:
            shown = state.reason
            say(f"in quarantine: {shown}")
        time.sleep(min(pause, max(0.0, end - time.monotonic())))
        pause = min(pause * 1.5, 3.0)


def upload_to_pypi(wheel: Path) -> None:
    """By the user's own twine, which asks for what it needs.

    :raises RegistryError: twine is not here, or failed.
    """
    import importlib.util
    import subprocess
    import sys

    if importlib.util.find_spec("twine") is None:
        raise RegistryError("publishing to PyPI needs twine", hint="pip install twine")
    stderr = 2  # progress: stdout is for results
    done = subprocess.run([sys.executable, "-m", "twine", "upload", str(wheel)], stdout=stderr, check=False)
    if done.returncode:
        raise RegistryError(f"twine ended with exit code {done.returncode}", hint="see its output above")
