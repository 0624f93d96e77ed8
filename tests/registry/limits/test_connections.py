"""What every accepted connection is given."""

from __future__ import annotations

import asyncio
import socket

from cogen_registry.connections import _at_once


def nodelay(opened: socket.socket) -> bool:
    return bool(opened.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))


def test_the_second_write_of_an_answer_waits_for_nobody() -> None:
    """asyncio leaves Nagle's algorithm on for connections of a listener that was made by hand, as `serve` has one."""

    async def accepted() -> tuple[bool, bool]:
        found: asyncio.Future[asyncio.BaseTransport] = asyncio.get_running_loop().create_future()

        class Waiting(asyncio.Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                found.set_result(transport)

        listening = socket.socket(socket.AF_INET)
        listening.bind(("127.0.0.1", 0))
        server = await asyncio.get_running_loop().create_server(Waiting, sock=listening)
        async with server:
            _, writer = await asyncio.open_connection(*listening.getsockname())
            transport = await found
            opened = transport.get_extra_info("socket")
            before = nodelay(opened)
            _at_once(transport)
            after = nodelay(opened)
            transport.close()
            writer.close()
            await writer.wait_closed()
        return before, after

    assert asyncio.run(accepted()) == (False, True)


def test_a_socket_of_another_kind_is_left_alone() -> None:
    class Transport:
        def __init__(self, opened: socket.socket | None) -> None:
            self.opened = opened

        def get_extra_info(self, name: str) -> socket.socket | None:
            return self.opened

    one, other = socket.socketpair()
    with one, other:
        _at_once(Transport(one))
    _at_once(Transport(None))
