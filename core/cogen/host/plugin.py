"""The values that discovery returns. A plugin that cannot be used is a value too, with a state and a reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from cogen.spec.expert import ExpertSpec

#: ok: usable. broken: something in it is wrong. incompatible: written for a newer contract.
#: duplicate: two distributions offer the same expert. blocked: the user's settings leave it out.
State = Literal["ok", "broken", "incompatible", "duplicate", "blocked"]


class Expert:
    """One expert and where it is installed.

    Immutable. ``spec`` may be given as the JSON form of a manifest that has been validated before (the host's index
    holds those): the models of the contract, which cost 0.2 s to import, are then built when they are first asked for.

    :param spec: An :class:`~cogen.spec.expert.ExpertSpec`, or its JSON form.
    :param distribution: Name of the distribution that declares it.
    :param version: Version of that distribution.
    :param root: Folder of the plugin's package; relative paths of the spec start here.
    """

    __slots__ = ("_document", "_spec", "distribution", "root", "version")

    _document: Mapping[str, Any] | None
    _spec: ExpertSpec | None
    distribution: str
    version: str
    root: Path

    def __init__(self, spec: ExpertSpec | Mapping[str, Any], distribution: str, version: str, root: Path) -> None:
        document = spec if isinstance(spec, Mapping) else None
        for name, value in {
            "_document": document,
            "_spec": None if document is not None else spec,
            "distribution": distribution,
            "version": version,
            "root": Path(root),
        }.items():
            object.__setattr__(self, name, value)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._spec or self._document, self.distribution, self.version, self.root)

    @property
    def spec(self) -> ExpertSpec:
        """The validated manifest."""
        if self._spec is None:
            from cogen.spec.expert import ExpertSpec

            object.__setattr__(self, "_spec", ExpertSpec.model_validate(self._document))
        assert self._spec is not None
        return self._spec

    @property
    def document(self) -> Mapping[str, Any]:
        """The manifest as JSON values; costs nothing where the host's index has it."""
        if self._document is None:
            object.__setattr__(self, "_document", self.spec.model_dump(mode="json"))
        assert self._document is not None
        return self._document

    @property
    def id(self) -> str:
        """The expert's id, which is the name of its entry point."""
        return str(self._spec.id if self._spec is not None else self.document["id"])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Expert):
            return NotImplemented
        return self._key() == other._key() and self.spec == other.spec

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        return f"Expert({self.id!r}, {self.distribution} {self.version})"

    def _key(self) -> tuple[str, str, str, Path]:
        return self.id, self.distribution, self.version, self.root


@dataclass(frozen=True)
class Plugin:
    """One entry point of the group ``cogen``."""

    #: Name of the entry point: the id of the expert.
    name: str
    #: Distribution that declares it, as its metadata spells it.
    distribution: str
    version: str
    state: State
    #: Why the state is not ``ok``: one line, no full stop.
    reason: str | None = None
    #: What to do about it.
    hint: str | None = None
    expert: Expert | None = None
    #: The package that the entry point names, and its folder where it was found.
    module: str = ""
    root: Path | None = None
    #: Whether the package's ``__init__.py`` holds any code; a plugin of data alone is never imported.
    code: bool = False
    #: Traceback of the failed import, for `cogen doctor NAME`.
    traceback: str | None = None


@dataclass(frozen=True)
class Diagnostic:
    """What a reviewer of a plan found. ``veto`` stops the run before anything is read."""

    severity: Literal["warn", "veto"]
    message: str
    hint: str | None = None


@dataclass(frozen=True)
class ProgressEvent:
    """One step of a long run: ``done`` of ``total`` units (``None``: unknown) of a stage such as "evaluate"."""

    stage: str
    label: str
    done: float
    total: float | None = None
