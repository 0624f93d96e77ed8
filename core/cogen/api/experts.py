"""``cogen.list_experts``: what is installed and can be used."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cogen.host import Expert, Host


def list_experts(*, computed: bool = False, host: Host | None = None) -> tuple[Expert, ...]:
    """The experts that can be used, sorted by id. For those that cannot, and why: ``cogen.Host.discover().plugins``.

    :param computed: also those that a plugin's hook ``cogen_experts`` computes; this imports plugin code.
    :raises UsageError: a ``COGEN_*`` setting names something that is not installed.
    """
    from cogen.api.checks import as_host

    return as_host(host).experts(computed=computed)
