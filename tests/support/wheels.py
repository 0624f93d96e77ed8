"""Wheels of plugins, and what attackers make of them: change one thing and see what the registry says.

build(folder, "power")                                   a valid wheel file
build(folder, "power", extra={"x/y.txt": b"…"})          … with more members, or other ones
raw(folder, name, [("a/b.txt", b"…")])                   any zip archive
"""

from __future__ import annotations

import base64
import hashlib
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import tomlkit

from support import weights
from support.manifests import files, folder_digest, manifest, module_of

WEIGHTS = weights.adapter()["adapter_model.safetensors"]
Member = tuple[str | zipfile.ZipInfo, bytes]


def package_files(id: str, version: str = "1.0", **changes: Any) -> dict[str, bytes]:
    """The files of a plugin's package with its manifest; ``changes`` are of the manifest.

    The base's weights lie in the wheel, too, unless ``model`` is among the changes: nothing is left to verify.
    """
    content = files(id) | {f"base/{name}": data for name, data in weights.base().items()}
    model = manifest(id)["model"]
    model["base"] |= base_in(f"package://{module_of(id)}/base")
    model["base"].pop("revision")
    if base := changes.pop("base", None):
        model["base"] |= base
    document = manifest(id, **({"model": model} | changes))
    return {"__init__.py": b"", "expert.toml": tomlkit.dumps(document).encode()} | content


def base_in(source: str, seed: int = 0) -> dict[str, Any]:
    """What a manifest says of a base that lies at ``source``."""
    content = weights.base(seed)
    digests = {"file_digest": folder_digest(content), "weights_digest": weights.tensors_digest(content)}
    return {"source": source, "dtype": "float32", **digests}


def build(
    folder: Path,
    id: str = "power",
    version: str = "1.0",
    *,
    project: str | None = None,
    module: str | None = None,
    points: str | None = None,
    metadata: str | None = None,
    wheel: str | None = None,
    info: str | None = None,
    record: str | None = None,
    filename: str | None = None,
    extra: Mapping[str, bytes | None] | None = None,
    content: Mapping[str, bytes] | None = None,
    tail: Iterable[Member] = (),
    **changes: Any,
) -> Path:
    """A wheel file in ``folder``.

    :param project: Name of the distribution, ``cogen-plugin-ID`` by default.
    :param module: The package, that of ``project`` by default.
    :param extra: More members, or other ones; ``None`` takes one out. RECORD lists what is there in the end.
    :param content: The files of the package in place of valid ones.
    :param record: RECORD as text in place of the right one.
    :param tail: Members that RECORD doesn't list.
    """
    project = project or f"cogen-plugin-{id}"
    stem = project.replace("-", "_")
    module = module or stem
    info = info or f"{stem}-{version}.dist-info"
    inside = dict(content) if content is not None else package_files(id, version, **changes)
    inside["expert.toml"] = inside["expert.toml"].replace(module_of(id).encode() + b"/", module.encode() + b"/")
    members: dict[str, bytes | None] = {f"{module}/{name}": data for name, data in inside.items()}
    members |= {
        f"{info}/METADATA": (
            metadata
            or f"Metadata-Version: 2.4\nName: {project}\nVersion: {version}\nSummary: An expert for tests\n"
            "Requires-Python: >=3.8\nRequires-Dist: cogen-core\n"
        ).encode(),
        f"{info}/WHEEL": (
            wheel or "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        ).encode(),
        f"{info}/entry_points.txt": (points or f"[cogen]\n{id} = {module}\n").encode(),
    }
    members |= extra or {}
    kept = {name: data for name, data in members.items() if data is not None}
    lines = [f"{name},sha256={_hash(data)},{len(data)}\n" for name, data in kept.items()]
    if f"{info}/RECORD" not in members:
        kept[f"{info}/RECORD"] = (record if record is not None else "".join([*lines, f"{info}/RECORD,,\n"])).encode()
    return raw(folder, filename or f"{stem}-{version}-py3-none-any.whl", [*kept.items(), *tail])


def raw(folder: Path, filename: str, members: Iterable[Member]) -> Path:
    """Any zip archive."""
    path = folder / filename
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return path


def _hash(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")


def plain(folder: Path, name: str, version: str, requires: Iterable[str] = ()) -> Path:
    """The wheel of any library: one module, and a command of its name."""
    module = name.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    needed = "".join(f"Requires-Dist: {one}\n" for one in requires)
    members = {
        f"{module}.py": f"version = {version!r}\n\n\ndef main():\n    print(version)\n".encode(),
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needed}".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[console_scripts]\n{name}-run = {module}:main\n".encode(),
    }
    lines = [f"{path},sha256={_hash(data)},{len(data)}\n" for path, data in members.items()]
    members[f"{info}/RECORD"] = "".join([*lines, f"{info}/RECORD,,\n"]).encode()
    return raw(folder, f"{module}-{version}-py3-none-any.whl", members.items())
