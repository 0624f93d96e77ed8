"""Files of weights: which may be stored at all, and the digest of a folder of them.

A kind of file is allowed when nobody runs code by reading it, and its bytes have to be of the kind that its name says:
a scanner that goes by names alone lets ``evil.safetensors`` through.
"""

from __future__ import annotations

import json
import pickletools
import re
from itertools import islice
from pathlib import Path, PurePosixPath

from cogen.wheels.errors import WheelError
from cogen.wheels.safetensors_header import check_header

#: Text that programs read as data.
TEXTS = frozenset({".json", ".jsonl", ".txt", ".md", ".sig", ".jinja"})
#: Everything that a repository of weights may hold; ``.model`` is SentencePiece's (or tiktoken's) vocabulary.
ALLOWED = TEXTS | {".safetensors", ".model"}
#: Allowed as they are, without an ending.
PLAIN_NAMES = frozenset({"LICENSE", "LICENCE", "NOTICE", "COPYING", "AUTHORS", ".gitattributes", ".gitignore"})
#: A header that is larger belongs to no model; safetensors itself stops at the same size.
MAX_HEADER = 100 << 20
#: Larger JSON is only checked to be text: the largest tokenizers have 35 MB.
_MAX_JSON = 64 << 20
_HEAD = 1 << 16
#: Values in a file of JSON, and steps of what may be a pickle: each takes memory and time.
_VALUES, _STEPS = 4_000_000, 4096
_HINT = "publish safetensors, JSON and text; a registry of weights holds nothing that can run code"


def check_weight_file(path: str, name: str) -> None:
    """Refuse a file that may not lie beside weights.

    :param path: Where its bytes are now.
    :param name: Its path in the repository or the wheel, which says what it claims to be.
    :raises WheelError: its kind is not allowed, or its bytes are of another kind.
    """
    leaf = PurePosixPath(name).name
    kind = PurePosixPath(leaf).suffix.lower()
    if kind not in ALLOWED and leaf not in PLAIN_NAMES:
        raise WheelError(f"{name} is not a kind of file that may lie here", hint=_HINT)
    file = Path(path)
    with file.open("rb") as opened:
        head = opened.read(_HEAD)
    if what := disguise(head):
        raise WheelError(f"{name} is {what} in disguise", hint=_HINT)
    if kind == ".safetensors":
        _check_safetensors(file, name)
    elif kind == ".model":
        if head and head[:1] != b"\n" and not is_text(file):  # field 1 of SentencePiece's ModelProto; else tiktoken
            raise WheelError(f"{name} is not a vocabulary of SentencePiece", hint=_HINT)
    elif not is_text(file):
        raise WheelError(f"{name} is not UTF-8 text", hint=_HINT)
    elif kind in (".json", ".sig") and file.stat().st_size <= _MAX_JSON:
        content = file.read_bytes()
        check_values(content, name)
        try:
            json.loads(content)
        except (ValueError, RecursionError):
            raise WheelError(f"{name} is not JSON", hint="upload the file as the tool wrote it") from None


def check_values(content: bytes, name: str) -> None:
    """:raises WheelError: JSON of so many values that reading it would fill the memory."""
    if content.count(b",") + content.count(b"[") + content.count(b"{") > _VALUES:
        raise WheelError(f"{name} holds more than {_VALUES:,} values", hint="ship less", too_large=True)


def disguise(head: bytes) -> str | None:
    """What a file that should be data is instead, by its first bytes; ``None``: nothing known."""
    for magic, what in (
        (b"PK\x03\x04", "a zip archive"),
        (b"\x1f\x8b", "a gzip archive"),
        (b"\x7fELF", "a program"),
        (b"MZ", "a program"),
        (b"\x93NUMPY", "a NumPy file, which can hold a pickle"),
        (b"\x89HDF", "an HDF5 file, which can hold a pickle"),
        (b"#!", "a script"),
    ):
        if head.startswith(magic):
            return what
    return "a pickle" if _is_pickle(head) else None


def _is_pickle(head: bytes) -> bool:
    """Whether unpickling these bytes would import something and call it; all protocols, the one of text too.

    Plain words can happen to be opcodes, so a name to import and a call with arguments have to follow each other.
    """
    if re.match(rb"\x80[\x02-\x05]", head):
        return True
    named = arguments = False
    try:
        for opcode, argument, _ in islice(pickletools.genops(head), _STEPS):
            if opcode.name in ("GLOBAL", "INST"):
                named = bool(re.fullmatch(r"[A-Za-z_][\w.]* [A-Za-z_][\w.]*", str(argument)))
                if not named or opcode.name == "INST":
                    return named and arguments
            elif opcode.name == "STACK_GLOBAL":
                named = True
            elif opcode.name in ("MARK", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"):
                arguments = True
            elif opcode.name in ("REDUCE", "OBJ", "NEWOBJ", "NEWOBJ_EX", "BUILD") and named and arguments:
                return True
    except Exception:  # noqa: BLE001 - bytes that are no pickle stop the reader in any way
        return False
    return False


def is_text(file: Path) -> bool:
    """UTF-8 without NUL, read in blocks."""
    import codecs

    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        with file.open("rb") as opened:
            while block := opened.read(1 << 20):
                if b"\0" in block:
                    return False
                decoder.decode(block)
            decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def _check_safetensors(file: Path, name: str) -> None:
    """Its header alone, which says where every byte of the file belongs."""
    hint = "save it again with safetensors"
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        if length > min(MAX_HEADER, file.stat().st_size - 8):
            raise WheelError(f"{name} is not a whole safetensors file", hint=hint)
        header = opened.read(length)
    check_values(header, name)
    try:
        check_header(header, file.stat().st_size - 8 - length)
    except (ValueError, RecursionError) as error:
        problem = " ".join(str(error).split())[:200]
        raise WheelError(f"{name} is not a valid safetensors file: {problem}", hint=hint) from None
