"""What a strategy is: an object that plans, builds, measures and describes one way of making one thing of experts.

The built-in ones lie in ``merge/``, ``moe/``, ``distill/`` and ``route/``, a folder each; plugins register theirs with
the hook ``cogen_fusion_strategies``. :mod:`cogen.fusion.strategies` finds them by name; everybody else asks the object.
"""

from __future__ import annotations

import abc
import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from cogen.errors import UsageError

if TYPE_CHECKING:
    from cogen.checkpoints.model import Checkpoint
    from cogen.evals import Matrix
    from cogen.fusion.details import PlannedStage
    from cogen.fusion.merge.measure import Trial
    from cogen.fusion.merge.search import ChosenSettings
    from cogen.fusion.moe.write import Reuse
    from cogen.fusion.plan import Plan, PlanBase
    from cogen.fusion.recipe import ExpertOptions, FuseRecipe, Level
    from cogen.fusion.results import Table
    from cogen.host import Expert, Host
    from cogen.reporter import Reporter

P = TypeVar("P", bound="PlanBase")
I = TypeVar("I")  # noqa: E741


class Fit(enum.IntEnum):
    """How well a strategy fits a recipe that names none; of equals the one that was registered first is taken."""

    #: Only where it is named.
    NO = 0
    #: It works.
    POSSIBLE = 1
    #: It is what these experts are made for.
    NATURAL = 2
    #: The recipe sets an option that only this strategy has.
    REQUESTED = 3


@dataclass(frozen=True)
class Known:
    """What a run need not find out, because a lock or an earlier composite has it.

    :param settings, trials: of a lock: nothing is searched.
    :param routers: the file of a lock's router rows: they are taken as they are.
    :param reuse: of an earlier mixture of experts.
    """

    settings: ChosenSettings | None = None
    trials: Sequence[Trial] = ()
    routers: Path | None = None
    reuse: Reuse | None = None


@dataclass(frozen=True)
class Run(Generic[P, I]):
    """One run of a strategy.

    :param folder: exists, is empty, and becomes the output if nothing fails.
    :param lap: called with a stage's name when it ends, so that its time is known.
    """

    plan: P
    inputs: I
    folder: Path
    given: Known
    reporter: Reporter
    lap: Callable[[str], None]


@dataclass(frozen=True)
class Built:
    """What building gave beside the files in the folder.

    :param settings: what was chosen; None: there was nothing to choose.
    :param hint: what to do where a replay gave other bits.
    :param state: the strategy's own, for :meth:`Strategy.measure`.
    """

    settings: ChosenSettings | None = None
    trials: Sequence[Trial] = ()
    hint: str = "the experts are as locked, so please report this: it is a bug"
    state: Any = None


@dataclass(frozen=True)
class Measurement:
    """``details`` are the strategy's own: what it shows beside the matrix."""

    matrix: Matrix | None = None
    details: Any = None


@dataclass(frozen=True)
class Description:
    """What a strategy says of a plan, or of what was built by it; command line, card and report print it.

    Plain text: whoever prints it escapes it. Sentences have no full stop.

    :param kind: what the result is called, after "a".
    :param how: what it is made by, in two words: "method ties", "routing hidden"; ``tag``: the second of them.
    :param architecture: of the result.
    :param summary: in one line: "scale 0.6, density 0.4".
    :param origin: where it comes from, after "N experts"; ``lineage``: the same as a sentence.
    :param made: how it is made, as a sentence; ``replay``: what a replay takes beside the lock; ``change``: how to take
        out an expert.
    :param intro: for somebody who decides and does not program.
    :param built: two lines for a small box.
    :param use: what to do with it, before a command.
    :param weighted: the experts' weights in the plan mean something.
    :param titles, notes: of rows of the matrix that are not called as usual.
    :param facts: about the result, by name.
    :param steps: of a run that has several, in their order.
    :param lines: of the plan, in the order in which they are printed.
    :param seed: of its random numbers.
    :param data: for ``--json``, by name.
    :param relation: to its base and experts, in the Hub's words: merge, finetune, quantized or adapter.
    """

    kind: str
    how: str
    tag: str
    architecture: str
    summary: str
    origin: str
    lineage: str
    made: str
    intro: str
    built: tuple[str, str]
    lines: tuple[str, ...]
    replay: str = ""
    change: str = ""
    use: str = "talk to it"
    weighted: bool = False
    titles: Mapping[str, str] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)
    facts: tuple[tuple[str, str], ...] = ()
    steps: tuple[PlannedStage, ...] = ()
    seed: int | None = None
    data: Mapping[str, Any] = field(default_factory=dict)
    relation: str = "merge"


class Strategy(abc.ABC, Generic[P, I]):
    """See the module. One object serves all runs, so it keeps nothing of any of them."""

    #: As ``--strategy`` takes it, and in half a sentence what it makes.
    name: ClassVar[str]
    title: ClassVar[str]
    #: Options of a recipe that only this strategy has.
    options: ClassVar[frozenset[str]] = frozenset()
    #: Does it write a model: weights, with a lock, a card and a report?
    writes_model: ClassVar[bool] = True
    #: Does the recipe's scale say how far the result goes from the base towards all experts together?
    scaled: ClassVar[bool] = False

    def fit(self, host: Host, chosen: Sequence[Expert], recipe: FuseRecipe) -> Fit:
        """How well it fits, from manifests alone."""
        return Fit.REQUESTED if self.options & requested(recipe) else Fit.NO

    @abc.abstractmethod
    def plan(self, host: Host, recipe: FuseRecipe, reporter: Reporter) -> tuple[P, I]:
        """Check that the recipe is possible, open what it refers to, and say what will be done.

        :raises UsageError: an option that is wrong, or not for this strategy.
        :raises CompatibilityError: experts that do not go together, or a license that forbids it.
        """

    def models(self, inputs: I) -> Mapping[str, Checkpoint]:
        """What the composite is made of: the base as "base", experts by id. A lock pins the files beside their weights.

        A plugin's strategy that says nothing pins none.
        """
        return {}

    @abc.abstractmethod
    def build(self, run: Run[P, I]) -> Built:
        """Fill ``run.folder``."""

    @abc.abstractmethod
    def measure(self, run: Run[P, I], built: Built) -> Measurement:
        """Measure what was built, at the plan's level; called after a replay's bits were checked."""

    @abc.abstractmethod
    def describe(self, plan: P, settings: ChosenSettings | None = None, trials: int = 0) -> Description:
        """
        :param settings: what was chosen; None: nothing is chosen yet.
        :param trials: candidates that were measured.
        """

    @abc.abstractmethod
    def recipe(self, plan: P, settings: ChosenSettings | None = None, level: Level | None = None) -> FuseRecipe:
        """The recipe that gives ``plan`` again, so that a saved one can be compared with what is installed.

        :param settings: of a lock. The recipe is then one of the locked composite: nothing is left to search.
        """

    def recipe_to_update(self, plan: P, settings: ChosenSettings, level: Level | None = None) -> FuseRecipe:
        """As :meth:`recipe`, less the options that were only made for the composite's number of experts."""
        return self.recipe(plan, level=level)

    def tables(self, details: Any) -> tuple[Table, ...]:
        """What people see of :attr:`Measurement.details`."""
        return ()

    def data(self, details: Any) -> dict[str, Any]:
        """The same figures for ``--json``."""
        return {}

    def group_recipe(self, experts: Mapping[str, ExpertOptions], level: Level) -> FuseRecipe:
        """The recipe that makes one model of several experts of one base, for a distillation.

        :raises UsageError: this strategy makes none.
        """
        raise UsageError(f"strategy {self.name} makes no student or teacher", hint='groups = "merge" or "moe"')

    def shrunk(self, plan: P, recipe: FuseRecipe) -> FuseRecipe:
        """``recipe``, from which experts of ``plan`` were taken out and no other was added."""
        return recipe

    def reusable(self, old: Plan, new: P, composite: Path) -> tuple[Reuse | None, str]:
        """What ``new`` can take as it is from a composite that was built by ``old``, and what is rebuilt and why."""
        ids = ", ".join(sorted(expert.id for expert in new.experts))
        return None, f"a {self.describe(new).kind} has no experts to take out or put in: it is rebuilt from {ids}"


def requested(recipe: FuseRecipe) -> set[str]:
    """Fields that ask for something; a method does so also by the name that it has by default."""
    fields = type(recipe).model_fields
    return {n for n in recipe.model_fields_set if n == "method" or getattr(recipe, n) != fields[n].default}
