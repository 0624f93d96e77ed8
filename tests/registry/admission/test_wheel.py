"""Wheels: a plugin and nothing else. Every way of being something else is one line and a hint."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
from support.manifests import manifest, module_of
from support.wheels import WEIGHTS, build, package_files, raw

from cogen_registry.admission.wheel import check_filename, check_wheel
from cogen_registry.errors import Refused
from cogen_registry.settings import Limits

LIMITS = Limits(unpacked=2_000_000, metadata=100_000)
INFO = "cogen_plugin_power-1.0.dist-info"
CODE = "cogen_plugin_power"


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        import os

        return os.system, ("true",)


def reject(path: Path, message: str, status: int = 400, limits: Limits = LIMITS) -> Refused:
    with pytest.raises(Refused, match=message) as refused:
        check_wheel(path, path.name, limits, path.parent)
    assert refused.value.status == status
    assert "\n" not in refused.value.message
    assert list(path.parent.iterdir()) == [path], "nothing unpacked is left"
    return refused.value


def test_a_valid_wheel_is_read_as_data(tmp_path: Path) -> None:
    path = build(tmp_path, extra={f"{CODE}/hooks.py": b"raise SystemExit('imported')\n"})
    wheel = check_wheel(path, path.name, LIMITS)
    assert (wheel.project, str(wheel.version), wheel.filename) == ("cogen-plugin-power", "1.0", path.name)
    assert (wheel.requires_python, wheel.summary) == (">=3.8", "An expert for tests")
    assert wheel.metadata.startswith(b"Metadata-Version: 2.4\nName: cogen-plugin-power\n")
    (spec,) = wheel.experts
    assert (spec.id, spec.model.source) == ("power", "package://cogen_plugin_power/weights")


def test_one_wheel_may_hold_several_experts(tmp_path: Path) -> None:
    other = f"{CODE}__wind"
    files = package_files("wind")
    files["expert.toml"] = files["expert.toml"].replace(module_of("wind").encode() + b"/", other.encode() + b"/")
    path = build(
        tmp_path,
        points=f"[cogen]\npower = {CODE}\nwind = {other}\n",
        extra={f"{other}/{name}": data for name, data in files.items()},
    )
    assert [spec.id for spec in check_wheel(path, path.name, LIMITS).experts] == ["power", "wind"]


@pytest.mark.parametrize(
    ("filename", "message"),
    [
        ("cogen_plugin_power-1.0.tar.gz", "is not a wheel"),
        ("cogen_plugin_power-1.0.zip", "is not a wheel"),
        ("cogen_plugin_power-1.0-1-py3-none-any.whl", "build tag"),
        ("cogen_plugin_power-1.0-py3-none-linux_x86_64.whl", "not for everybody"),
        ("cogen_plugin_power-1.0-py2.py3-none-any.whl", "not for everybody"),
        ("cogen_plugin_power-1.0-cp311-cp311-any.whl", "not for everybody"),
        ("Cogen_Plugin_Power-1.0-py3-none-any.whl", "is called"),
        ("cogen.plugin.power-1.0-py3-none-any.whl", "is called"),
        ("cogen_plugin_power-1.0.0a1.dev0+x-py3-none-any.whl", "local version"),
        ("cogen_plugin_power-01.0-py3-none-any.whl", "is called"),
        ("cogen_plugin_power-1.0-alpha-py3-none-any.whl", "not a wheel's"),
        ("cogen_plugin_power-v1-py3-none-any.whl", "is called"),
        ("torch-2.0-py3-none-any.whl", "not a plugin's name"),
        ("../cogen_plugin_power-1.0-py3-none-any.whl", "not a wheel's|is called|not a plugin's"),
        ("cogen_plugin_power-1.0-py3-none-any.whl\n", "is not a wheel"),
        ("cogen_plugin_power-" + "1" * 101 + "-py3-none-any.whl", "more than 100 characters"),
        ("", "is not a wheel"),
        ("x.whl", "not a wheel's"),
    ],
)
def test_a_file_name_has_one_spelling(filename: str, message: str) -> None:
    with pytest.raises(Refused, match=message) as refused:
        check_filename(filename)
    assert refused.value.status == 400


def metadata(name: str = "cogen-plugin-power", version: str = "1.0", more: str = "Requires-Dist: cogen-core\n") -> str:
    return f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}\n{more}"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metadata": metadata("torch")}, "METADATA is of torch 1.0"),
        ({"metadata": metadata(version="2.0")}, "METADATA is of cogen-plugin-power 2.0"),
        ({"metadata": metadata(more="Name: torch\nRequires-Dist: cogen-core\n")}, "METADATA is not valid"),
        ({"metadata": "Name: cogen-plugin-power\n"}, "METADATA is not valid"),
        ({"metadata": metadata(more="Requires-Dist: cogen\nRequires-Dist: cogen-core\n")}, "depends on `cogen`"),
        ({"metadata": metadata(more="")}, "does not depend on cogen-core"),
        ({"metadata": metadata(more="Requires-Dist: cogen-core @ https://evil.example/x.whl\n")}, "from a URL"),
        (
            {"metadata": metadata(more="Requires-Dist: cogen-core\nRequires-Python: nonsense\n")},
            "METADATA is not valid",
        ),
        ({"info": "cogen_plugin_other-1.0.dist-info"}, "entry_points.txt is missing"),
        ({"info": "cogen_plugin_power-2.0.dist-info"}, "entry_points.txt is missing"),
        ({"extra": {"other-1.0.dist-info/METADATA": b""}}, "outside of the plugin's own packages"),
        ({"extra": {f"{INFO}/METADATA": None}}, "METADATA is missing"),
        ({"extra": {f"{INFO}/WHEEL": None}}, "WHEEL is missing"),
        ({"extra": {f"{INFO}/METADATA": b"\xff"}}, "METADATA is not valid|UTF-8"),
        ({"extra": {f"{INFO}/INSTALLER": b"pip\n"}}, "not a file that build tools write"),
        ({"extra": {f"{INFO}/direct_url.json": b"{}"}}, "not a file that build tools write"),
        ({"wheel": "Wheel-Version: 2.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"}, "version that is not known"),
        ({"wheel": "Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: py3-none-any\n"}, "contradict .* root-is-purelib"),
        ({"wheel": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: cp311-none-any\n"}, "contradict .* tag"),
        ({"wheel": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\nBuild: 1\n"}, "contradict .* build"),
    ],
)
def test_file_name_dist_info_and_metadata_are_of_one_release(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    reject(build(tmp_path, **options), message)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("evil.pth", "outside of the plugin's own packages"),
        ("torch/__init__.py", "outside of the plugin's own packages"),
        ("cogen/evil.py", "outside of the plugin's own packages"),
        ("cogen_plugin_other/__init__.py", "outside of the plugin's own packages"),
        ("cogen_plugin_power-1.0.data/scripts/pip", "outside of the plugin's own packages"),
        ("cogen_plugin_power-1.0.data/purelib/torch.py", "outside of the plugin's own packages"),
        (f"{CODE}/native.so", "not a kind of file that a plugin may ship"),
        (f"{CODE}/__pycache__/x.pyc", "not a path that a plugin may have"),
        (f"{CODE}/x.pyc", "not a kind of file that a plugin may ship"),
        (f"{CODE}/weights/pytorch_model.bin", "not a kind of file that a plugin may ship"),
        (f"{CODE}/run.sh", "not a kind of file that a plugin may ship"),
        (f"{CODE}/../evil.py", "not a path"),
        ("../evil.py", "not a path"),
        ("/etc/evil", "not a path"),
    ],
)
def test_a_plugin_writes_to_its_own_packages_alone(tmp_path: Path, name: str, message: str) -> None:
    reject(build(tmp_path, extra={name: b"x = 1\n"}), message)


@pytest.mark.parametrize("name", ["samples.jsonl", "x.safetensors", "x.py", "x.yaml", "x.json", "licence.txt"])
def test_a_pickle_in_disguise_is_refused(tmp_path: Path, name: str) -> None:
    reject(build(tmp_path, extra={f"{CODE}/{name}": pickle.dumps(Evil(), 2)}), "is a pickle in disguise")


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (f"[cogen]\npower = {CODE}\n[console_scripts]\npip = {CODE}:main\n", "of the group console_scripts"),
        (f"[pytest11]\nx = {CODE}\n", "of the group pytest11"),
        ("[cogen]\n", "no entry point of the group"),
        ("\n", "no entry point of the group"),
        ("[cogen]\npower = torch\n", "the package 'torch' is not cogen-plugin-power's own"),
        ("[cogen]\npower = os.path\n", "not an entry point: 'power = os.path'"),
        (f"[cogen]\npower = {CODE}:main\n", "not an entry point"),
        (f"[cogen]\npower = {CODE}\npower = {CODE}\n", "not an entry point"),
        (f"[cogen]\npower = {CODE}\nwind = {CODE}\n", "two entry points name the same package"),
        (f"[cogen]\nwind = {CODE}\n", "called 'wind', but expert.toml says id = 'power'"),
        (f"[cogen]\npower = {CODE}\nwind = {CODE}__wind\n", f"{CODE}__wind holds no __init__.py"),
        (f"[cogen]\n power\n = {CODE}\n", "not an entry point"),
    ],
)
def test_entry_points_are_experts_only(tmp_path: Path, points: str, message: str) -> None:
    reject(build(tmp_path, points=points), message)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"record": ""}, "RECORD and the archive differ"),
        ({"record": f"{CODE}/expert.toml,,\n"}, "without its SHA-256"),
        ({"record": f"{CODE}/expert.toml,md5=abc,1\n"}, "without its SHA-256"),
        ({"extra": {f"{INFO}/RECORD": None}, "tail": ()}, "RECORD is missing"),
        ({"tail": [(f"{CODE}/more.py", b"x = 1\n")]}, "RECORD and the archive differ in 'cogen_plugin_power/more.py'"),
        ({"extra": {f"{INFO}/RECORD": b"\xff"}}, "RECORD is not UTF-8"),
    ],
)
def test_record_lists_every_file_by_its_hash(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    reject(build(tmp_path, **options), message)


def test_a_file_that_record_does_not_know_is_refused(tmp_path: Path) -> None:
    """The bytes were swapped after the build; the zip's own check sums fit."""
    import zipfile

    path = build(tmp_path)
    with zipfile.ZipFile(path) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    changed = [
        (name, data.replace(b"traindata", b"x") + b"\n" if name.endswith("samples.jsonl") else data)
        for name, data in members
    ]
    reject(raw(tmp_path, path.name, changed), "samples.jsonl is not the file that RECORD lists")


def model(**changes: Any) -> dict[str, Any]:
    return {"model": manifest("power")["model"] | changes}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"title": None}, "`title` is missing"),
        ({"surprise": 1}, "`surprise` is not a field"),
        ({"plugin_api": 9}, "written for plugin_api 9"),
        (model(source="file:///etc/passwd"), "can be opened by nobody else"),
        (model(source="https://evil.example/x"), "can be opened by nobody else"),
        (model(source=f"package://{CODE}/../../../etc/passwd"), "is not package://module/path"),
        (model(source=f"package://{CODE}/weights/../../x"), "is not package://module/path"),
        (model(source=f"package://{CODE}//etc/passwd"), "is not package://module/path"),
        (model(source=f"package://{CODE}/nothing"), "is missing from the wheel"),
        (model(source="package://torch/weights"), "torch/weights is missing from the wheel"),
        (model(source="hf://org/x", revision=None), "hf:// needs `revision`"),
        (model(source="hf://org/x@main"), "names no commit"),
        (model(source="pypi://x==1/../y"), "is not pypi://dist==version/path"),
        (model(source="pypi://x==1/y,z"), "is not pypi://dist==version/path"),
        (model(source="hf://org/x#y", revision="0" * 40), "not well formed"),
        (model(file_digest="sha256:" + "1" * 64), "weights has digest sha256:.*, sha256:1111.* was promised"),
        (model(trust_remote_code=True), "trust_remote_code"),
        (
            {"samples": {"path": "samples.jsonl", "digest": "sha256:" + "0" * 64, "license": "CC0-1.0"}},
            "power, digests:",
        ),
        (
            {"samples": {"path": "../../x", "digest": "sha256:" + "0" * 64, "license": "CC0-1.0"}},
            "must be a path inside",
        ),
    ],
)
def test_manifests_are_valid_and_name_what_is_there(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    if "model" in changes and changes["model"].get("revision", "") is None:
        del changes["model"]["revision"]
    reject(build(tmp_path, **changes), message)


def test_files_that_differ_from_the_manifest_are_refused(tmp_path: Path) -> None:
    content = package_files("power")
    content["suites/test.jsonl"] += b'{"text": "one more"}\n'
    reject(build(tmp_path, content=content), "power, digests: suites/test.jsonl has digest")


def test_weights_that_are_no_safetensors_are_refused(tmp_path: Path) -> None:
    content = package_files("power")
    content["weights/adapter_model.safetensors"] = WEIGHTS[:-1]
    reject(build(tmp_path, content=content), "adapter_model.safetensors is not a valid safetensors file")


def test_text_that_may_not_be_passed_on_is_refused(tmp_path: Path) -> None:
    suites = manifest("power")["suites"]
    suites[0]["test"]["license"] = "CC-BY-NC-4.0"
    reject(build(tmp_path, suites=suites), "power, licenses: the text of heldout, test is under CC-BY-NC-4.0")


def test_an_empty_data_card_is_refused(tmp_path: Path) -> None:
    data = manifest("power")["data"] | {"limitations": " "}
    reject(build(tmp_path, data=data), "power, data card: the data card's `limitations` is empty")


def test_samples_that_stand_in_a_suite_are_refused(tmp_path: Path) -> None:
    from support.manifests import digest

    content = package_files("power")
    samples = content["suites/test.jsonl"].splitlines(keepends=True)[0]
    content = package_files("power", samples={"path": "samples.jsonl", "digest": digest(samples), "license": "CC0-1.0"})
    content["samples.jsonl"] = samples
    reject(build(tmp_path, content=content), "power, overlap: document 1 of suites/test.jsonl stands in the samples")


def test_too_many_samples_are_refused(tmp_path: Path) -> None:
    from support.manifests import digest

    samples = b'{"text": "' + b"x" * 65536 + b'"}\n'
    content = package_files("power", samples={"path": "samples.jsonl", "digest": digest(samples), "license": "CC0-1.0"})
    content["samples.jsonl"] = samples
    reject(build(tmp_path, content=content), "power, samples: samples.jsonl has 65,549 bytes, at most 65,536")


def test_a_task_file_that_asks_for_code_is_refused(tmp_path: Path) -> None:
    content = package_files("power")
    content["suites/heldout.yaml"] += b"process_docs: !function evil.run\n"
    reject(build(tmp_path, content=content), "power, suite heldout: ")


def test_bombs_are_refused(tmp_path: Path) -> None:
    reject(build(tmp_path, extra={f"{CODE}/zeros.txt": bytes(3_000_000)}), "at most 2,000,000 are allowed", 413)
    long = metadata() + "\n" + "x" * 200_000
    reject(build(tmp_path, metadata=long), "METADATA has 200,", 413)
    many: dict[str, bytes | None] = {f"{CODE}/{i}.txt": b"" for i in range(6000)}
    reject(build(tmp_path, extra=many), "at most 5,000 are allowed", 413)
