"""``cogen.new_from``, ``cogen.digest`` and ``cogen.fix``: plugins around weights that exist already."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cogen.api.checks import as_path, as_text, check_reporter
from cogen.api.options import PathLike
from cogen.extras import require
from cogen.reporter import SILENT, Reporter

if TYPE_CHECKING:
    from cogen.checkpoints.summary import Digests
    from cogen.conformance.fix import Change
    from cogen.scaffold.existing import NewExpert


def new_from(
    id: str,
    source: PathLike,
    folder: PathLike | None = None,
    *,
    base: PathLike | None = None,
    title: str | None = None,
    publisher: str | None = None,
    license: str | None = None,
    suite: PathLike | None = None,
    leaves: Literal["figures", "heldout"] = "figures",
    text_license: str | None = None,
    personal_data: Literal["none", "removed", "present", "unknown"] = "unknown",
    reporter: Reporter = SILENT,
) -> NewExpert:
    """Write a plugin around weights that exist: a model folder, a PEFT adapter, ``hf://org/repo``, a GGUF file.

    :param folder: to create; default: ``cogen-plugin-ID``.
    :param base: what they were trained from, in the same forms; default: what an adapter says of itself.
    :param license: SPDX expression of the weights; default: what a README beside them says.
    :param suite: JSON Lines with held-out text. ``leaves``: "heldout" ships it, which needs ``text_license`` and
        ``personal_data`` none or removed; "figures" keeps it in ``private/``.
    :raises UsageError, SourceError, UnsafeError, CompatibilityError: nothing is written.
    """
    require("fuse", "cogen.new_from")
    from cogen.scaffold.existing import create_from
    from cogen.scaffold.heldout import HeldOutText

    check_reporter(reporter)
    heldout = None
    if suite is not None:
        heldout = HeldOutText(as_path("suite", suite), leaves, text_license, personal_data)
    target = as_path("folder", folder) if folder is not None else Path(f"cogen-plugin-{id}")
    return create_from(
        id,
        target,
        as_text("source", source),
        base=None if base is None else as_text("base", base),
        title=title,
        publisher=publisher,
        license=license,
        heldout=heldout,
        reporter=reporter,
    )


def digest(source: PathLike, *, reporter: Reporter = SILENT) -> Digests:
    """File digest, weights digest, tokenizer digest and parameters of what ``source`` names.

    :raises SourceError, UnsafeError, CompatibilityError: nothing that can be opened lies there.
    """
    from cogen.checkpoints.summary import summarise

    check_reporter(reporter)
    return summarise(as_text("source", source), reporter)


def fix(expert: PathLike, *, reporter: Reporter = SILENT) -> tuple[Change, ...]:
    """Write into an expert's ``expert.toml`` what can be computed: digests, parameters, relation, dtype, sizes.

    Comments and order stay; what only its publisher knows is never touched.

    :param expert: id of an installed expert (from a source tree), or the folder of a plugin.
    :returns: what was changed.
    :raises UsageError: no such plugin. :raises SpecError: the manifest is wrong in a way that nobody can compute.
    """
    from cogen.conformance.fix import fix_manifest
    from cogen.conformance.tree import manifest_of

    check_reporter(reporter)
    return fix_manifest(manifest_of(as_text("expert", expert)), reporter)
