"""Figures of a private suite, sent to a registry: it keeps them as evidence, shown as measured by the publisher."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cogen.remote.client import Client
from cogen.remote.errors import NotThere, RegistryError

if TYPE_CHECKING:
    from cogen.evals.figures import FiguresDocument


def send_figures(client: Client, document: FiguresDocument) -> dict[str, Any]:
    """What the registry keeps: its number, expert and version.

    :raises RegistryError: it takes none, or none of this publisher's experts has such a suite.
    """
    try:
        answer: Any = client.send("POST", "/api/v1/private-figures", json=document.model_dump(mode="json"))
    except NotThere as error:
        raise RegistryError(
            f"{client.url} takes no figures of private suites",
            hint="it is of an older version; the file can still be sent to whoever asked for it",
        ) from error
    return {"registry": client.url, **{name: answer.get(name) for name in ("id", "expert", "version")}}
