"""Prose of controlled vocabularies: OBO ontologies, ICD-10-CM, EnergyPlus data dictionaries."""

from __future__ import annotations

import re
from collections.abc import Iterator
from xml.etree import ElementTree

from cogen.forge.extractors.member import Pieces, SourceFile


def obo(member: SourceFile) -> Pieces:
    """Terms of an OBO ontology as a definition each; children of one parent are one group."""
    for stanza in re.split(r"\n\[", member.text):
        if not stanza.startswith("Term]") or "is_obsolete: true" in stanza:
            continue
        fields: dict[str, list[str]] = {}
        for line in stanza.splitlines()[1:]:
            key, _, value = line.partition(": ")
            fields.setdefault(key, []).append(value)
        quoted = [
            re.findall(r'"((?:[^"\\]|\\.)*)"', value) for value in fields.get("def", []) + fields.get("synonym", [])
        ]
        if "name" not in fields or "def" not in fields or not quoted or not quoted[0]:
            continue
        definition, synonyms = quoted[0][0], [item[0] for item in quoted[1:] if item]
        also = f" Also called: {'; '.join(synonyms[:6])}." if synonyms else ""
        comment = " " + " ".join(fields["comment"]) if "comment" in fields else ""
        parent = fields.get("is_a", ["root"])[0].split(" ! ")
        kind = f" It is a kind of {parent[1].strip().lower()}." if len(parent) > 1 else ""
        yield (
            f"{member.name}#{parent[0]}",
            f"{fields['name'][0]}: {definition}{comment}{also}{kind}".replace('\\"', '"').replace("\\n", " "),
        )


def icd10(member: SourceFile) -> Pieces:
    """ICD-10-CM tabular list: one text a three-character category; categories of one section are one group."""
    labels = {
        "includes": "Includes",
        "inclusionTerm": "Such as",
        "excludes1": "Excludes",
        "excludes2": "Not included here",
        "codeFirst": "Code first",
        "useAdditionalCode": "Use additional code",
        "notes": "Note",
    }

    def describe(node: ElementTree.Element) -> Iterator[str]:
        yield f"{node.findtext('desc', '').strip()} ({node.findtext('name', '').strip()})."
        for tag, label in labels.items():
            notes = [(note.text or "").strip() for note in node.findall(f"{tag}/note")]
            if notes:
                yield f"{label}: {'; '.join(notes)}."
        for child in node.findall("diag"):
            yield from describe(child)

    for chapter in ElementTree.fromstring(member.text).iter("chapter"):
        for section in chapter.iter("section"):
            for category in section.findall("diag"):
                yield f"{member.name}#{section.get('id')}", " ".join(describe(category))


def idd(member: SourceFile) -> Pieces:
    """EnergyPlus data dictionary: memo and field notes of one object are one text; a \\group is one group."""
    group, title, notes, field = "", "", list[str](), ""

    def finish() -> Pieces:
        if title and notes:
            yield f"{member.name}#{group}", f"{title}. " + " ".join(notes)

    for raw in member.text.splitlines():
        line = raw.split("!")[0].rstrip()
        match = re.search(r"\\(\S+)\s*(.*)$", line)
        if match and match[1] == "group":
            if not member.latin:  # at first, the last object of a group was counted to the next one
                yield from finish()
                title, notes = "", []
            group = match[2]
        start = re.match(r"^([A-Za-z][\w:\- ]*),\s*$", line)
        if start:
            yield from finish()
            title, notes, field = start[1], [], ""
        elif match and match[1] == "field":
            field = match[2]
        elif match and match[1] in ("memo", "note") and match[2]:
            lead = f"{field}: " if field else ""
            field = ""
            notes.append(lead + match[2].strip())
    yield from finish()
