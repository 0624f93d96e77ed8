"""Source trees of plugins as a publisher has them, with a build backend of their own: no index is needed to build."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import tomlkit
from safetensors.numpy import save

from support.manifests import files, folder_digest, manifest, module_of

#: A whole PEP 517 backend: zips the package with METADATA, entry points and RECORD; the same tree, the same bytes.
BACKEND = """
import base64, hashlib, json, os, tarfile, tomllib, zipfile
from pathlib import Path

def build_wheel(out, config_settings=None, metadata_directory=None):
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    stem = project["name"].replace("-", "_") + "-" + project["version"]
    info = stem + ".dist-info"
    points = "".join(f"{k} = {v}\\n" for k, v in project["entry-points"]["cogen"].items())
    requires = "".join(f"Requires-Dist: {one}\\n" for one in project["dependencies"])
    requires += "".join(f"Classifier: {one}\\n" for one in project.get("classifiers", []))
    members = {path.as_posix(): path.read_bytes() for path in sorted(Path(stem.rpartition("-")[0]).rglob("*"))
               if path.is_file() and "__pycache__" not in path.parts}
    members[f"{info}/METADATA"] = (
        f"Metadata-Version: 2.4\\nName: {project['name']}\\nVersion: {project['version']}\\n"
        f"Summary: {project['description']}\\nRequires-Python: >=3.11\\n{requires}\\nA long text.\\n").encode()
    members[f"{info}/WHEEL"] = b"Wheel-Version: 1.0\\nGenerator: tests\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"
    members[f"{info}/entry_points.txt"] = f"[cogen]\\n{points}".encode()
    def line(name, data):
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        return f"{name},sha256={digest},{len(data)}\\n"
    record = "".join(line(*one) for one in members.items()) + f"{info}/RECORD,,\\n"
    name = f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(out, name), "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data in {**members, f"{info}/RECORD": record.encode()}.items():
            archive.writestr(zipfile.ZipInfo(path), data)
    return name

def build_sdist(out, config_settings=None):
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    stem = project["name"].replace("-", "_") + "-" + project["version"]
    with tarfile.open(os.path.join(out, f"{stem}.tar.gz"), "w:gz") as archive:
        archive.add(".", stem)
    return f"{stem}.tar.gz"
"""


def weights(seed: int = 0) -> dict[str, bytes]:
    """A small adapter: one tensor."""
    tensor = np.arange(6, dtype=np.float32).reshape(2, 3) + seed
    return {"adapter_config.json": b'{"peft_type": "LORA"}', "adapter_model.safetensors": save({"a": tensor})}


def tree(
    folder: Path,
    id: str = "power",
    version: str = "1.0",
    *,
    apart: bool = False,
    seed: int = 0,
    classifiers: tuple[str, ...] = (),
    **changes: Any,
) -> Path:
    """Write a plugin's source tree to ``folder``.

    :param apart: the weights lie in ``folder/weights`` and not in the package.
    :param seed: other seeds, other weights.
    :param classifiers: of its project.
    :param changes: of its manifest.
    """
    module, content = module_of(id), {k: v for k, v in files(id).items() if not k.startswith("weights/")}
    document = manifest(id, **changes)
    kept = weights(seed)
    # The base lies in the wheel too, so that a registry has nothing to look for elsewhere.
    base = {"source": f"package://{module}/base", "file_digest": folder_digest(weights(100))}
    document["model"]["base"] = {k: v for k, v in document["model"]["base"].items() if k != "revision"} | base
    place = folder / "weights" if apart else folder / module / "weights"
    document["model"]["file_digest"] = folder_digest(kept)
    if apart:
        document["model"]["source"] = "file://weights"
    folder.mkdir(parents=True, exist_ok=True)
    for path, data in {
        **{place / name: data for name, data in kept.items()},
        **{folder / module / "base" / name: data for name, data in weights(100).items()},
        **{folder / module / name: data for name, data in content.items()},
        folder / module / "__init__.py": b"",
        folder / module / "expert.toml": tomlkit.dumps(document).encode(),
        folder / "backend.py": BACKEND.encode(),
    }.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    project = {
        "build-system": {"requires": [], "build-backend": "backend", "backend-path": ["."]},
        "project": {
            "name": f"cogen-plugin-{id}",
            "version": version,
            "description": str(document["summary"]),
            "dependencies": ["cogen-core"],
            "classifiers": list(classifiers),
            "entry-points": {"cogen": {id: module}},
        },
    }
    (folder / "pyproject.toml").write_text(tomlkit.dumps(project))
    return folder


def built(folder: Path, out: Path) -> Path:
    """The wheel of a tree, by its own backend in this process: quicker than the isolation that a publisher has."""
    names: dict[str, Any] = {}
    exec(BACKEND, names)
    out.mkdir(parents=True, exist_ok=True)
    with contextlib.chdir(folder):
        return out / str(names["build_wheel"](str(out)))
