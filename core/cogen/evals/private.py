"""A private suite at its publisher's: held-out text that stays in one folder, of which figures alone go out.

The folder holds ``private.yaml`` (:func:`read_private` gives its keys), two JSON Lines files and the salt of the
digests. Nothing in here, no error and no ``repr``, shows text or salt.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import Field, ValidationError

from cogen.errors import DigestError, EvalError
from cogen.evals.bound import BoundSuite
from cogen.evals.documents import DATA_LIMIT
from cogen.evals.safe_yaml import read_yaml
from cogen.evals.settings import Split
from cogen.files import atomic_write
from cogen.spec.base import Digest, Frozen, Line, RelativePath
from cogen.spec.suite import DataFile, Metric, Suite, SuiteId
from cogen.untrusted.json_lines import json_lines

#: Owner of a private suite among the columns of a matrix, and the name of the file that describes it.
PRIVATE, PRIVATE_FILE = "private", "private.yaml"
_FOLDER_MODE, _FILE_MODE = 0o700, 0o600
_SALT_BYTES = 32
#: The task of a suite in bits per byte that names no task file: the one of the general suite.
_DEFAULT_TASK = "heldout.yaml"
#: The task file of any other one, as it is written here.
_TASK = "task.yaml"
#: Field of what a text is of, and the task of a suite whose lines have it.
_GROUP = "document"
_GROUPED = """\
task: cogen_private
dataset_path: json
dataset_kwargs:
  data_files: {validation: dev.jsonl, test: test.jsonl}
validation_split: validation
test_split: test
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{text}}"
metric_list:
  - metric: bits_per_byte
    aggregation: bits_per_byte
    higher_is_better: false
metadata:
  version: 1.0
  # Texts of one file are not independent: intervals draw whole files.
  cluster_by: document
"""
_HINT = "write it again with `cogen train`, or see docs/evaluation.md for its keys"


def text_digest(salt: bytes, texts: Iterable[str]) -> str:
    """``sha256:…`` over the salt, then for each text its length in bytes (8 bytes, big-endian) and its UTF-8.

    Without the salt nobody can test whether a text that they guess is among them.

    :param salt: 32 secret bytes.
    """
    if len(salt) != _SALT_BYTES:
        raise EvalError(f"the salt has {len(salt)} bytes, {_SALT_BYTES} are needed", hint=_HINT)
    digest = hashlib.sha256(salt)
    for text in texts:
        data = text.encode()
        digest.update(len(data).to_bytes(8, "big") + data)
    return "sha256:" + digest.hexdigest()


class _Files(Frozen):
    dev: RelativePath
    test: RelativePath


class _Digests(Frozen):
    dev: Digest
    test: Digest


class _Described(Frozen):
    """Keys of ``private.yaml``; paths start at its folder."""

    id: SuiteId
    title: Line
    metric: Metric = "bits_per_byte"
    data: _Files
    salt: RelativePath = "salt"
    #: Task file of lm-eval's; for ``acc`` and ``exact_match``, and for text that is not in the field ``text``.
    task: RelativePath | None = None
    #: Field that is the same in lines of one document: documents are counted by it, not by lines.
    count_by: Line | None = None
    #: Field that says which document a line's ``text`` is of, and is no text: intervals draw by it.
    group: Line | None = None
    #: Text digests of both splits as they were written, so that a changed file is noticed.
    digests: _Digests | None = Field(default=None)


@dataclass(frozen=True)
class PrivateTask:
    """A private suite as it lies in ``folder``. The documents are read when they are asked for."""

    id: str
    title: str
    metric: Metric
    folder: Path
    #: File of each split, relative to ``folder``.
    files: dict[Split, str]
    #: Documents, bytes of text (UTF-8) and salted digest of each split.
    documents: dict[Split, int]
    sizes: dict[Split, int]
    digests: dict[Split, str]
    #: Lines of each split; more than documents where several are of one.
    lines: dict[Split, int] = field(default_factory=dict)
    task: str | None = None
    group: str | None = None
    salt: bytes = field(default=b"", repr=False)

    def texts(self, split: Split) -> list[str]:
        """The documents of one split in the order of the file; see :func:`read_private` for what a text is.

        :raises EvalError: the file is gone or no longer JSON Lines.
        """
        return _texts(_read(self.folder / self.files[split]), self.files[split], self.group)

    def bound(self) -> BoundSuite:
        """As :func:`cogen.evals.run_suites` takes it, owned by ``private``. Use no cache of results with it: those
        hold figures of each document and digests without salt."""
        data = {split: self._data(split) for split in ("dev", "test")}
        suite = Suite(id=self.id, title=self.title, task=self.task or _DEFAULT_TASK, metric=self.metric, **data)
        return _PrivateSuite(PRIVATE, suite, self.folder, general_task=self.task is None)

    def _data(self, split: Split) -> DataFile:
        digest = "sha256:" + hashlib.sha256(_read(self.folder / self.files[split])).hexdigest()
        return DataFile(path=self.files[split], digest=digest, documents=self.lines[split], license="unknown")


@dataclass(frozen=True)
class _PrivateSuite(BoundSuite):
    general_task: bool = False

    def path(self, relative: str) -> Path:
        if self.general_task and relative == _DEFAULT_TASK:
            return Path(__file__).parent / "general" / _DEFAULT_TASK
        return super().path(relative)


def is_private_suite(name: str) -> bool:
    """Does ``name`` mean a file that describes a private suite, or its folder?"""
    return name.endswith((".yaml", ".yml")) or (("/" in name or "\\" in name) and Path(name).is_dir())


def read_private(path: Path) -> PrivateTask:
    """The private suite that ``private.yaml`` describes: ``path`` is that file or its folder.

    Keys: ``id``, ``title``, ``metric`` (bits_per_byte unless given), ``data: {dev: dev.jsonl, test: test.jsonl}``,
    ``salt`` (a file with 64 hexadecimal digits), ``task`` (a task file of lm-eval, for other metrics or fields) and
    ``digests``. A document is a JSON object; its text is the field ``text``, or the object itself where it has more.

    :raises EvalError: something of it is missing or wrong.
    :raises DigestError: a split is not the text that the file was written for.
    :raises UnsafeError: it asks for code, or is too large.
    """
    path = path / PRIVATE_FILE if path.is_dir() else path
    if not path.is_file():
        raise EvalError(f"{path} is missing", hint="give the private.yaml of a private suite; `cogen train` writes it")
    try:
        found = _Described.model_validate(read_yaml(path))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "keys"
        raise EvalError(f"{path.name}: `{where}`: {first['msg']}", hint=_HINT) from error
    if found.metric != "bits_per_byte" and found.task is None:
        raise EvalError(
            f"{path.name}: metric {found.metric} needs `task`", hint="name a task file of lm-eval beside it: task.yaml"
        )
    files: dict[Split, str] = {"dev": found.data.dev, "test": found.data.test}
    salt = _read_salt(path.parent / found.salt)
    content = {split: _read(path.parent / file) for split, file in files.items()}
    texts = {split: _texts(content[split], file, found.group) for split, file in files.items()}
    digests = {split: text_digest(salt, split_texts) for split, split_texts in texts.items()}
    for split, digest in digests.items():
        if found.digests is not None and getattr(found.digests, split) != digest:
            raise DigestError(
                f"{files[split]} or the salt is not what {path.name} was written for",
                hint="figures before and after cannot be compared; if that is meant, remove `digests` from the file",
            )
    sizes = {split: sum(len(text.encode()) for text in split_texts) for split, split_texts in texts.items()}
    lines = {split: len(split_texts) for split, split_texts in texts.items()}
    counts = lines
    if found.count_by is not None:
        counts = {split: _distinct(data, found.count_by, files[split]) for split, data in content.items()}
    return PrivateTask(
        found.id,
        found.title,
        found.metric,
        path.parent,
        files,
        counts,
        sizes,
        digests,
        lines,
        found.task,
        found.group,
        salt,
    )


def write_private(
    folder: Path,
    id: str,
    title: str,
    dev_texts: Sequence[str],
    test_texts: Sequence[str],
    groups: tuple[Sequence[str], Sequence[str]] | None = None,
) -> PrivateTask:
    """Write a suite in bits per byte of two lists of texts, for the eyes of its owner alone (modes 0700 and 0600).

    A salt that is there stays, so that the same texts have the same digest; other files are left alone.

    :param groups: of each dev and of each test text what it is of, such as its file: intervals draw whole groups.
    :raises EvalError: the texts make no suite, or the folder cannot be written.
    """
    named: tuple[Sequence[str], ...] = groups or ((), ())
    lines: dict[Split, bytes] = {
        "dev": _lines("dev", dev_texts, named[0]),
        "test": _lines("test", test_texts, named[1]),
    }
    if set(dev_texts) & set(test_texts):
        raise EvalError("a private document stands in both the dev and the test split", hint="remove the copies")
    if groups is None:
        return _store(folder, id, title, "bits_per_byte", lines)
    return _store(folder, id, title, "bits_per_byte", lines, _GROUPED, group=_GROUP)


def write_private_task(
    folder: Path,
    id: str,
    title: str,
    metric: Metric,
    task: str,
    dev: bytes,
    test: bytes,
    *,
    count_by: str | None = None,
) -> PrivateTask:
    """Write a suite that has a task file of lm-eval's, in the same way.

    :param task: text of the task file, whose data are ``dev.jsonl`` and ``test.jsonl``.
    :param dev, test: JSON Lines.
    :param count_by: field that is the same in lines of one document; without it each line is one.
    :raises EvalError: a split is empty or no JSON Lines, or the folder cannot be written.
    """
    return _store(folder, id, title, metric, {"dev": dev, "test": test}, task, count_by=count_by)


def _store(
    folder: Path,
    id: str,
    title: str,
    metric: Metric,
    lines: Mapping[Split, bytes],
    task: str | None = None,
    *,
    count_by: str | None = None,
    group: str | None = None,
) -> PrivateTask:
    """The files of a suite: data, salt, task file, and last what describes them."""
    import yaml

    texts = {split: _texts(data, f"{split}.jsonl", group) for split, data in lines.items()}
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=_FOLDER_MODE)
        folder.chmod(_FOLDER_MODE)
        salt = _kept_salt(folder / "salt")
        described = _Described(
            id=id,
            title=title,
            metric=metric,
            data=_Files(dev="dev.jsonl", test="test.jsonl"),
            task=None if task is None else _TASK,
            count_by=count_by,
            group=group,
            digests=_Digests(dev=text_digest(salt, texts["dev"]), test=text_digest(salt, texts["test"])),
        )
        if task is not None:
            atomic_write(folder / _TASK, task.encode(), _FILE_MODE)
        for split, data in lines.items():
            atomic_write(folder / f"{split}.jsonl", data, _FILE_MODE)
        # last: it names the digests of both, so that a run that was stopped halfway is noticed
        written = yaml.safe_dump(described.model_dump(exclude_none=True), sort_keys=False, allow_unicode=True)
        atomic_write(folder / PRIVATE_FILE, written.encode(), _FILE_MODE)
    except OSError as error:
        raise EvalError(
            f"{error.filename or folder} cannot be written: {error.strerror}",
            hint="private text stays in this folder: make it writable",
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        raise EvalError(
            f"private suite: `{first['loc'][0]}`: {first['msg']}", hint="choose another id or title"
        ) from error
    return read_private(folder / PRIVATE_FILE)


def _lines(split: Split, texts: Sequence[str], groups: Sequence[str] = ()) -> bytes:
    if not texts or not all(isinstance(text, str) and text for text in texts):
        raise EvalError(f"the private {split} split has no text, or an empty one", hint="give it at least one document")
    rows: list[dict[str, str]] = [{"text": text} for text in texts]
    if groups:
        numbers = {group: str(number) for number, group in enumerate(dict.fromkeys(groups), 1)}
        rows = [{"text": text, _GROUP: numbers[group]} for text, group in zip(texts, groups, strict=True)]
    data = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    if len(data) > DATA_LIMIT:
        raise EvalError(
            f"the private {split} split is larger than {DATA_LIMIT >> 20} MiB", hint="hold out fewer documents"
        )
    return data


def _kept_salt(path: Path) -> bytes:
    import secrets

    if not path.exists():
        atomic_write(path, (secrets.token_hex(_SALT_BYTES) + "\n").encode(), _FILE_MODE)
    return _read_salt(path)


def _read_salt(path: Path) -> bytes:
    try:
        found = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise EvalError(
            f"the salt {path.name} cannot be read", hint=f"{_SALT_BYTES} random bytes in hexadecimal, kept secret"
        ) from error
    if not re.fullmatch(rf"[0-9a-f]{{{2 * _SALT_BYTES}}}", found):
        raise EvalError(
            f"the salt {path.name} is not {2 * _SALT_BYTES} hexadecimal digits",
            hint="`python -c 'import secrets; print(secrets.token_hex(32))'` makes one; keep it as secret as the text",
        )
    return bytes.fromhex(found)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(DATA_LIMIT + 1)
    except OSError as error:
        raise EvalError(f"{path.name} cannot be read: {error.strerror}", hint=_HINT) from error
    if len(data) > DATA_LIMIT:
        raise EvalError(f"{path.name} is larger than {DATA_LIMIT >> 20} MiB", hint="hold out fewer documents")
    return data


def _distinct(data: bytes, name: str, file: str) -> int:
    """How many values the field has."""
    values = {row.get(name) for _, row in json_lines(data, file, error=EvalError, hint=_HINT)}
    if not all(isinstance(value, str) and value for value in values):
        raise EvalError(f"{file}: a line has no text in the field {name!r}", hint=_HINT)
    return len(values)


def _texts(data: bytes, name: str, group: str | None = None) -> list[str]:
    """One text a line. An error names the line and never shows it.

    :param group: a field that is no text.
    """
    texts = []
    for _, document in json_lines(data, name, error=EvalError, hint=_HINT):
        text = document.get("text")
        if not isinstance(text, str) or not document.keys() <= {"text", group}:
            text = json.dumps(document, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        texts.append(text)
    if not texts:
        raise EvalError(f"{name} holds no document", hint='JSON Lines such as {"text": "…"}')
    return texts
