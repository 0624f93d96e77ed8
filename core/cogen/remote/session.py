"""The one kind of :class:`requests.Session` that is used here: credentials go where they were meant to go."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import requests


def session() -> requests.Session:
    """A session whose redirects never read ``~/.netrc``.

    requests asks that file anew for each host that a redirect names, whatever ``auth`` is: a server could name any host
    of the file, or one of its own under a name that the file has, and have a password of the user's sent there. The
    environment's proxies and certificates count as before. Set ``auth`` to a callable, else the first request reads the
    file.
    """
    import requests

    class Session(requests.Session):
        def rebuild_auth(self, prepared_request: requests.PreparedRequest, response: requests.Response) -> None:
            """Only take away what another host must not see."""
            asked, headers = response.request.url or "", prepared_request.headers
            if "Authorization" in headers and self.should_strip_auth(asked, prepared_request.url or ""):
                del headers["Authorization"]

    return Session()
