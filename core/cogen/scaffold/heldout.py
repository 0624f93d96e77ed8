"""A suite out of texts that somebody hands over: shipped with the plugin, or kept at home as a private suite."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cogen.checkpoints.digests import file_digest
from cogen.errors import UsageError
from cogen.evals.private import write_private
from cogen.untrusted.json_lines import read_bytes, text_lines

#: Bytes of a file, which is the user's own.
_LARGEST = 1 << 32

#: As many test documents as `cogen check` asks for, and dev documents for a search to tell candidates apart.
_TEST, _DEV = 30, 10
#: More documents are not needed for a narrow interval, and would make every plugin larger.
_MOST = 500


@dataclass(frozen=True)
class HeldOutText:
    """Held-out text: JSON Lines with a field ``text``, a document a line.

    ``leaves``: "heldout" ships the text, so that everybody can measure on it; "figures" keeps it in ``private/``.
    ``license`` and ``personal_data`` are of the text, and needed where it ships.
    """

    path: Path
    leaves: Literal["figures", "heldout"]
    license: str | None = None
    personal_data: Literal["none", "removed", "present", "unknown"] = "unknown"


@dataclass(frozen=True)
class WrittenSuite:
    """``suite`` and ``source``: tables of the manifest; ``None`` where nothing of the text may be in it yet."""

    suite: dict[str, Any] | None
    source: dict[str, Any]
    personal_data: str


def write_suite(heldout: HeldOutText, id: str, title: str, project: Path, package: Path) -> WrittenSuite:
    """Split the texts and write them into the package, or into ``private/`` beside it.

    :raises UsageError: too few texts, or text that may not ship.
    """
    texts = _texts(heldout.path)
    if len(texts) < _TEST + _DEV:
        raise UsageError(
            f"{heldout.path} holds {len(texts)} different texts, {_TEST + _DEV} are needed for a suite",
            hint=f"{_DEV} become the dev split, {_TEST} or more the test split",
        )
    # By digest: the same texts in any order give the same splits.
    texts = sorted(texts, key=lambda text: hashlib.sha256(text.encode()).hexdigest())[:_MOST]
    dev, test = texts[: max(_DEV, len(texts) // 5)], texts[max(_DEV, len(texts) // 5) :]
    source: dict[str, Any] = {
        "name": "held-out texts",
        "uri": "file://heldout",
        "license": heldout.license or "unknown",
        "license_evidence": "TODO: where the license of these texts is stated" if heldout.license else "unknown",
        "revision": "unknown",
        "archive_digest": "unknown",
        "documents": "unknown",
        "bytes": "unknown",
        "tokens": "unknown",
        "share": "unknown",
        "heldout": heldout.leaves == "heldout",
        "leaves": heldout.leaves,
        "personal_data": heldout.personal_data,
    }
    if heldout.leaves == "figures":
        write_private(project / "private", "private", f"{title}: private held-out text", dev, test)
        return WrittenSuite(None, source, heldout.personal_data)
    _check_ships(heldout)
    suites = package / "suites"
    suites.mkdir()
    template = (Path(__file__).parent / "template" / "heldout.yaml.in").read_text(encoding="utf-8")
    (suites / "heldout.yaml").write_text(template.replace("${task}", package.name), encoding="utf-8")
    parts = {}
    for split, documents in (("dev", dev), ("test", test)):
        path = suites / f"{split}.jsonl"
        lines = ({"text": text, "source": source["name"], "license": heldout.license} for text in documents)
        path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")
        parts[split] = {
            "path": f"suites/{split}.jsonl",
            "digest": file_digest(path),
            "documents": len(documents),
            "license": heldout.license,
        }
    suite = {
        "id": "heldout",
        "title": f"{title}: held-out text",
        "task": "suites/heldout.yaml",
        "metric": "bits_per_byte",
        **parts,
    }
    return WrittenSuite(suite, source, heldout.personal_data)


def _check_ships(heldout: HeldOutText) -> None:
    if heldout.license is None:
        raise UsageError(
            "text that ships needs a license", hint="--text-license CC-BY-4.0, or keep it at home: --leaves figures"
        )
    if heldout.personal_data not in ("none", "removed"):
        raise UsageError(
            f"text with personal data {heldout.personal_data} never ships",
            hint="say --personal-data none or removed if that is so, or keep it at home: --leaves figures",
        )


def _texts(path: Path) -> list[str]:
    """The different texts of a file; an error names the line, and shows nothing of it.

    :raises UsageError: it is not JSON Lines with a field ``text``.
    """
    name, hint = str(path), '{"text": "…"}, in UTF-8, a document a line'
    content = read_bytes(path, name, limit=_LARGEST, error=UsageError)
    return list(dict.fromkeys(text.strip() for text in text_lines(content, name, error=UsageError, hint=hint)))
