"""``README.md`` of a composite: a model card in the Hub's format, for whoever finds the folder without us.

The front matter is what the Hub reads (base models, license, results), the text below is what people read. Manifests
are other people's words, so every one of them is escaped: a title can't become a link, a tag or another row.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cogen.artifacts import summary
from cogen.artifacts.origin import data_licenses
from cogen.artifacts.private import card_section
from cogen.evals.hub import eval_result, hub_languages, hub_license, hub_model, hub_tag
from cogen.evals.matrix import EMPTY
from cogen.fusion.merge import choice
from cogen.fusion.merge.search import ChosenSettings
from cogen.fusion.strategies import strategy_of
from cogen.fusion.strategy import Description
from cogen.markdown import plain as md
from cogen.markdown import table, word
from cogen.phrases import count

if TYPE_CHECKING:
    from cogen.artifacts.lock import Lock
    from cogen.evals import Comparison, Matrix, SuiteResult
    from cogen.fusion.plan import PlannedSuite
    from cogen.host import Expert

CARD_NAME = "README.md"
_LOAD = """\
```python
from transformers import AutoModelForCausalLM, AutoTokenizer
tokenizer, model = (cls.from_pretrained("composite") for cls in (AutoTokenizer, AutoModelForCausalLM))
text = tokenizer("The voltage at the bus", return_tensors="pt")
print(tokenizer.decode(model.generate(**text, max_new_tokens=40)[0]))
```"""


def write_card(
    folder: Path,
    lock: Lock,
    matrix: Matrix | None,
    experts: Sequence[Expert] = (),
    description: Description | None = None,
) -> None:
    """Write ``folder / README.md``.

    :param matrix: what was measured; ``None`` leaves results out.
    :param experts: the experts of the plan, for the licenses of the texts behind them; without them the card says
        where those stand.
    :param description: of the lock's plan, by its strategy; None: its strategy is a built-in one.
    """
    from cogen.files import atomic_write

    words = description or describe(lock)
    text = f"---\n{_metadata(lock, matrix, experts, words).to_yaml()}\n---\n\n" + _body(lock, matrix, experts, words)
    atomic_write(folder / CARD_NAME, text.encode())


def describe(lock: Lock) -> Description:
    """What the strategy of a lock says of its plan, where it is a built-in one."""
    settings = ChosenSettings(lock.scale, dict(lock.parameters))
    return strategy_of(lock.plan).describe(lock.plan, settings, len(lock.trials))


def _metadata(lock: Lock, matrix: Matrix | None, experts: Sequence[Expert], words: Description) -> Any:
    """A :class:`huggingface_hub.ModelCardData`."""
    from huggingface_hub import ModelCardData

    plan = lock.plan
    license, license_name = hub_license(plan.license)
    refs = [plan.base, *(expert.spec.model for expert in experts)]
    models = list(dict.fromkeys(name for name in map(hub_model, refs) if name))
    results = _eval_results(lock, matrix) if matrix is not None else []
    extra: dict[str, Any] = {"base_model_relation": words.relation} if models else {}
    return ModelCardData(
        language=hub_languages(language for expert in experts for language in expert.spec.languages) or None,
        license=license,
        license_name=license_name,
        library_name="transformers",
        pipeline_tag="text-generation",
        tags=[
            "cogen",
            plan.strategy,
            hub_tag(words.tag),
            *sorted(e.id for e in plan.experts),
        ],
        base_model=models or None,
        model_name=_name(lock) if results else None,
        eval_results=results or None,
        **extra,
    )


def _eval_results(lock: Lock, matrix: Matrix) -> list[Any]:
    """The composite's row, one result a suite, values as they stand in the matrix."""
    suites = {f"{suite.owner}/{suite.id}": suite for suite in lock.plan.suites}
    found = matrix.cells.get(summary.COMPOSITE, {})
    return [planned_result(result, suites.get(column)) for column, result in found.items()]


def planned_result(result: SuiteResult, suite: PlannedSuite | None) -> Any:
    """A :class:`huggingface_hub.EvalResult` of one figure.

    :param suite: of a plan, for its title and the digest of its data.
    """
    return eval_result(result, suite.title if suite else None, suite.test_digest if suite else None)


def _name(lock: Lock) -> str:
    ids = sorted(expert.id for expert in lock.plan.experts)
    return f"CoGen composite of {', '.join(ids) if len(ids) <= 8 else f'{len(ids)} experts'}"


def _body(lock: Lock, matrix: Matrix | None, experts: Sequence[Expert], words: Description) -> str:
    # Once for all: the intervals behind it take a second or two.
    gains = matrix.gains() if matrix is not None and summary.BASE in matrix.rows else {}
    parts = [
        f"# {_name(lock)}",
        f"One language model, built by CoGen {md(lock.cogen)} out of "
        f"{count(lock.plan.experts, 'expert')} {md(words.origin)}. "
        + " ".join(
            filter(
                None,
                (
                    summary.verdict(matrix, gains),
                    summary.against_control(matrix),
                    summary.forgetting(matrix, gains),
                    summary.answering(matrix),
                    _chosen(lock),
                ),
            )
        ),
        f"## Load it\n\n{_LOAD}",
        f"## Experts\n\n{_experts(lock, words)}",
        f"## Results\n\n{_results(matrix, gains)}",
        *filter(None, [card_section(experts)]),
        f"## Licenses\n\n{_licenses(lock, experts)}",
        f"## How it was made\n\n{_made(lock, words)}",
        f"## Limits\n\n{_limits(words, experts)}",
    ]
    return "\n\n".join(parts) + "\n"


def _chosen(lock: Lock) -> str | None:
    text = choice.sentence(lock.plan, lock.scale, lock.parameters, lock.trials)
    return None if text is None else md(text)


def _experts(lock: Lock, words: Description) -> str:
    rows = [
        [
            e.id,
            e.title,
            e.publisher,
            f"{e.distribution} {e.version}",
            e.relation,
            choice.weight(e, lock.parameters),
            e.license,
        ]
        for e in sorted(lock.plan.experts, key=lambda e: e.id)
    ]
    heads = ["expert", "title", "publisher (claimed)", "distribution", "relation", "weight", "license"]
    return f"{table(heads, rows)}\n\n{md(words.lineage)}. This model's weights are `{lock.weights_digest}`."


def _results(matrix: Matrix | None, gains: dict[str, dict[str, Comparison]]) -> str:
    if matrix is None:
        return "Not measured. `cogen eval` measures it."
    rows = []
    for row in matrix.rows:
        cells = [row]
        for column in matrix.columns:
            result, against = matrix.get(row, column), gains.get(row, {}).get(column)
            change = f" ({summary.change(against.gain)})" if against else ""
            cells.append(EMPTY if result is None else f"{result.value:.3f}{change}")
        rows.append(cells)
    numbers = sorted({result.n for found in matrix.cells.values() for result in found.values()})
    counts = f"{numbers[0]}" if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"
    about = (
        f"Level {matrix.level}, {matrix.split} split, {counts} documents a cell, change against "
        "the base. Bits per byte: lower is better; acc, exact\\_match and well formed: shares, higher is better. The "
        "intervals stand in report.html."
    )
    if matrix.not_measured:
        own = "; experts were measured on their own suites and on general text" if matrix.partial else ""
        about += f" {EMPTY}: not measured{own}."
    heads = ["model", *(f"{column} ({matrix.metric(column).replace('_', ' ')})" for column in matrix.columns)]
    return f"{table(heads, rows)}\n\n{about}"


def _licenses(lock: Lock, experts: Sequence[Expert]) -> str:
    of_base = lock.plan.base.license
    own = f"This model: **{md(lock.plan.license)}**. Its base: {md(of_base)}."
    text = [f"{own} The experts' licenses stand in the table above."]
    if experts:
        rows = [[item.license, item.names, item.experts, f"{item.tokens:,}"] for item in data_licenses(experts)]
        text.append("Texts that the experts were trained on, by license:")
        text.append(table(["license", "texts", "experts", "tokens (where known)"], rows))
    else:
        text.append("The texts that they were trained on stand with their licenses in report.html.")
    text += [f"- {md(note.source)}: {md(note.message)}" for note in lock.plan.notes]
    return "\n\n".join(text)


def _made(lock: Lock, words: Description) -> str:
    wheels = " ".join(word(f"{e.distribution}=={e.version}") for e in sorted(lock.plan.experts, key=lambda e: e.id))
    replay = f", {words.replay}" if words.replay else ""
    made = (
        f"{md(words.made)}. The same bits again{replay}:\n\n"
        f"```sh\npip install {word(f'cogen-core=={lock.cogen}')} {wheels}\n"
        "cogen fuse --lock cogen.lock -o composite\n```"
    )
    if not words.change:
        return made
    command = "cogen fuse --onto composite --remove EXPERT -o smaller"
    return f"{made}\n\nWithout one of its experts: `{command}`, {words.change}."


def _limits(words: Description, experts: Sequence[Expert]) -> str:
    parts = [
        f"A {md(words.kind)} usually knows less of each domain than the domain's own "
        "expert, and nothing that no expert learned. "
        "It writes fluent text that can be wrong; nobody checked its statements. What was measured is how well it "
        "predicts text, not whether its advice is sound."
    ]
    for expert in sorted(experts, key=lambda e: e.id):
        data = expert.spec.data
        parts.append(f"- **{md(expert.spec.title)}**. Limits: {md(data.limitations)} Not for: {md(data.not_for)}")
    return "\n\n".join(parts[:1]) + ("\n\n" + "\n".join(parts[1:]) if experts else "")
