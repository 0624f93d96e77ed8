"""The upload form of twine and uv: a multipart body that is read while it streams, its file straight into the store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from cogen_registry.blobs.store import Staged
from cogen_registry.errors import Refused

#: Fields of the form: an upload has a few dozen, most of them classifiers.
_MOST_FIELDS = 2_000
_HINT = "upload with twine or uv"


class UploadForm:
    """Feeds a body of ``multipart/form-data`` to a parser. ``fields``: the first value of each name.

    :param limit: Bytes that all fields together may have; :param file_limit: and the file.
    :raises Refused: 415, the content type is another one.
    """

    def __init__(self, content_type: str, staged: Staged, limit: int, file_limit: int) -> None:
        kind, options = parse_options_header(content_type)
        if kind != b"multipart/form-data" or not options.get(b"boundary"):
            raise Refused(415, "the body is not a form with a file", hint=_HINT)
        self.fields: dict[str, str] = {}
        self.filename: str | None = None
        self._staged, self._limit, self._file_limit = staged, limit, file_limit
        self._names, self._bytes, self._ended = 0, 0, False
        self._header: list[bytes] = [b"", b""]
        self._headers: dict[bytes, bytes] = {}
        self._name, self._value, self._is_file = "", bytearray(), False
        callbacks: Any = {
            "on_part_begin": self._begin,
            "on_header_field": self._field,
            "on_header_value": self._output,
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_end,
            "on_part_data": self._data,
            "on_part_end": self._end,
            "on_end": self._finish,
        }
        try:
            self._parser = MultipartParser(options[b"boundary"], callbacks)
        except FormParserError as error:
            raise Refused(400, f"the form cannot be read: {error}", hint=_HINT) from None

    def feed(self, data: bytes) -> None:
        """:raises Refused: 400, 413"""
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise Refused(400, f"the form cannot be read: {error}", hint=_HINT) from None

    def close(self) -> None:
        """:raises Refused: 400, the form is not whole, or has no file."""
        if not self._ended:
            raise Refused(400, "the form ends too early", hint="upload it again")
        if self.filename is None:
            raise Refused(400, "the form has no file `content`", hint=_HINT)

    def _begin(self) -> None:
        self._names += 1
        if self._names > _MOST_FIELDS:
            raise Refused(400, f"the form has more than {_MOST_FIELDS:,} fields", hint=_HINT)
        self._headers, self._header, self._value = {}, [b"", b""], bytearray()

    def _field(self, data: bytes, start: int, end: int) -> None:
        self._header[0] += data[start:end]

    def _output(self, data: bytes, start: int, end: int) -> None:
        self._header[1] += data[start:end]

    def _header_end(self) -> None:
        self._headers[self._header[0].lower()] = self._header[1]
        self._header = [b"", b""]

    def _headers_end(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        self._name = options.get(b"name", b"").decode("utf-8", "replace")
        self._is_file = self._name == "content"
        if self._is_file:
            if self.filename is not None:
                raise Refused(400, "the form has two files", hint=_HINT)
            self.filename = options.get(b"filename", b"").decode("utf-8", "replace")

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._is_file:
            self._staged.write(data[start:end])
            if self._staged.size > self._file_limit:
                raise Refused(
                    413,
                    f"the wheel is larger than {self._file_limit:,} bytes",
                    hint="upload large weights as a repository and pin them with hf://",
                )
            return
        self._bytes += end - start
        if self._bytes > self._limit:
            raise Refused(413, f"the form's fields have more than {self._limit:,} bytes", hint="shorten the metadata")
        self._value += data[start:end]

    def _end(self) -> None:
        if not self._is_file:
            self.fields.setdefault(self._name, self._value.decode("utf-8", "replace"))

    def _finish(self) -> None:
        self._ended = True


async def drain(body: AsyncIterator[bytes], most: int) -> None:
    """Read on and forget, so that a client that is still sending gets to hear the answer."""
    async for block in body:
        most -= len(block)
        if most < 0:
            return
