"""Chat templates of model folders."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cogen.checkpoints.model import Checkpoint
from cogen.errors import SourceError, UsageError
from cogen.merging.vocabulary.tokens import read_settings

#: A template file, the folder of those with other names, and where older versions kept the template.
FILE, FOLDER, OLD = "chat_template.jinja", "additional_chat_templates", "chat_template.json"
#: A tag that transformers adds to Jinja.
_GENERATION = re.compile(r"\{%[-+]?\s*(end)?generation\s*[-+]?%\}")


def chat_template(folder: Path) -> str | None:
    """The default chat template of a model folder; transformers' order: its own file, then the tokenizer's settings."""
    if (folder / FILE).is_file():
        try:
            return (folder / FILE).read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise SourceError(f"{folder.name} has a damaged {FILE}", hint="fetch the model again") from error
    return _default(read_settings(folder).get("chat_template")) or _default(
        read_settings(folder, OLD).get("chat_template")
    )


def _default(found: Any) -> str | None:
    """A template, or that with the name "default" of several."""
    if isinstance(found, str):
        return found
    if isinstance(found, dict):
        return _default(found.get("default"))
    if isinstance(found, list):
        return next((str(e["template"]) for e in found if isinstance(e, dict) and e.get("name") == "default"), None)
    return None


def most_common_template(checkpoints: Iterable[Checkpoint]) -> str | None:
    """The template that most models share, ``None`` if no model has one; the first of several."""
    found = Counter(template for c in checkpoints if (template := chat_template(c.folder)) is not None)
    return found.most_common(1)[0][0] if found else None


def set_chat_template(folder: Path, template: str) -> None:
    """Put ``template`` in the place of the one that a written folder has.

    :raises UsageError: see :func:`check_template`.
    """
    check_template(template)
    (folder / FILE).write_text(template, encoding="utf-8")
    (folder / OLD).unlink(missing_ok=True)
    settings = read_settings(folder)
    if settings.pop("chat_template", None) is not None:
        text = json.dumps(settings, indent=2, ensure_ascii=False) + "\n"
        (folder / "tokenizer_config.json").write_text(text, encoding="utf-8")


def check_template(template: str) -> None:
    """:raises UsageError: not a valid Jinja template."""
    import jinja2

    plain = _GENERATION.sub("", template)
    try:
        jinja2.Environment(extensions=["jinja2.ext.loopcontrols", "jinja2.ext.do"]).parse(plain)
    except jinja2.TemplateSyntaxError as error:
        raise UsageError(f"invalid Jinja in the chat template: {error.message}", hint="correct the template") from error
