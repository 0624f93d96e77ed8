"""Reading ``expert.toml``: every way in which it can be wrong becomes one line and a hint."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cogen.host.plugin import State
from cogen.untrusted.toml_text import MANIFEST_BYTES, read_toml

if TYPE_CHECKING:
    from pydantic import ValidationError

MANIFEST = "expert.toml"
#: Errors that one line names; the rest are counted.
_SHOWN = 3
#: Errors that are put into words; a hostile manifest has a hundred thousand.
_LOOKED = 200


@dataclass(frozen=True)
class Reading:
    """What a manifest turned out to be: a valid document (JSON values), or a state with its reason."""

    document: Mapping[str, Any] | None
    state: State = "ok"
    reason: str | None = None
    hint: str | None = None


def broken(reason: str, hint: str | None = None) -> Reading:
    return Reading(None, "broken", reason, hint)


def read_manifest(path: Path) -> Reading:
    """Parse and validate one ``expert.toml``; never raises."""
    try:
        if path.stat().st_size > MANIFEST_BYTES:
            return broken(f"{MANIFEST} is larger than {MANIFEST_BYTES // 1024} KiB", "put data into files of their own")
        raw = read_toml(path, what=MANIFEST)
    except OSError as error:
        return broken(f"{MANIFEST} cannot be read: {error.strerror}", "check the permissions of the installed files")
    except ValueError as error:
        return broken(str(error), "save it as UTF-8" if "UTF-8" in str(error) else "fix the line shown above")
    return validate(raw)


def validate(raw: Mapping[str, Any]) -> Reading:
    """Check ``plugin_api`` before anything else: fields of a newer contract are not errors, only not ours to judge."""
    from cogen.spec.base import PLUGIN_API

    api = raw.get("plugin_api")
    if isinstance(api, bool) or not isinstance(api, int) or api < 1:
        return broken(f"{MANIFEST}: plugin_api must be an integer, this host speaks {PLUGIN_API}", "say plugin_api = 1")
    if api > PLUGIN_API:
        return Reading(
            None,
            "incompatible",
            f"it is written for plugin_api {api}, this host speaks {PLUGIN_API}",
            "pip install --upgrade cogen-core",
        )
    from pydantic import ValidationError

    from cogen.spec.expert import ExpertSpec

    try:
        spec = ExpertSpec.model_validate(raw)
    except ValidationError as error:
        return broken(f"{MANIFEST}: {one_line(error)}", "`cogen schema` prints what each field may hold")
    return Reading(spec.model_dump(mode="json"))


def one_line(error: ValidationError) -> str:
    """pydantic's report as one readable line that names the fields."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    looked, rest = found[:_LOOKED], len(found[_LOOKED:])
    problems = list(dict.fromkeys(_problem(item["loc"], item["type"], item["msg"]) for item in looked))
    count = len(problems) + rest - _SHOWN
    more = f" (and {count} more)" if count > 0 else ""
    return "; ".join(problems[:_SHOWN]) + more


def _problem(location: tuple[int | str, ...], kind: str, message: str) -> str:
    # the last parts of a union's location are pydantic's names of its branches, not fields: "sources.tuple[...].0.uri"
    parts = [str(part) for part in location if not re.search(r"[\[(]|^(str|int|float|bool|literal)$", str(part))]
    field = re.sub(r"\.(\d+)(?=\.|$)", r"[\1]", ".".join(parts))
    if kind == "missing":
        return f"`{field}` is missing"
    if kind == "extra_forbidden":
        return f"`{field}` is not a field of the contract"
    text = message.removeprefix("Value error, ")
    return f"`{field}`: {text}" if field else text


def referenced_files(document: Mapping[str, Any], module: str) -> Iterator[str]:
    """Paths inside the plugin's package that the manifest promises."""
    for suite in document["suites"]:
        yield from (suite["task"], suite["dev"]["path"], suite["test"]["path"])
    samples = document.get("samples") or {}
    yield from filter(None, (samples.get("path"), samples.get("embedding")))
    statistics = document.get("statistics") or {}
    for kind in ("token_counts", "states", "embedding"):
        if (file := statistics.get(kind)) is not None:
            yield file["path"]
    for part in (document["model"], document["tokenizer"], document.get("router") or {}):
        own = f"package://{module}/"
        if (source := part.get("source", "")).startswith(own):
            yield source.removeprefix(own)
