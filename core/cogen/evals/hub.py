"""What the Hugging Face Hub calls things: license ids, model ids, metrics, results.

The Hub checks a model card's metadata and refuses an id that it doesn't know, so an expression that has no id of its
own becomes ``other`` with a ``license_name``, and a base that was never on the Hub is left out rather than invented.
Source: https://huggingface.co/docs/hub/repositories-licenses and .../model-cards.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from cogen.spec.model import BaseRef, WeightsRef

if TYPE_CHECKING:
    from cogen.evals.results import SuiteResult

#: SPDX ids whose lower-case spelling is the Hub's id.
_SAME = frozenset(
    (
        "Apache-2.0",
        "MIT",
        "AFL-3.0",
        "Artistic-2.0",
        "BSL-1.0",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "BSD-3-Clause-Clear",
        "CC0-1.0",
        "CC-BY-2.0",
        "CC-BY-2.5",
        "CC-BY-3.0",
        "CC-BY-4.0",
        "CC-BY-SA-3.0",
        "CC-BY-SA-4.0",
        "CC-BY-NC-2.0",
        "CC-BY-NC-3.0",
        "CC-BY-NC-4.0",
        "CC-BY-ND-4.0",
        "CC-BY-NC-ND-3.0",
        "CC-BY-NC-ND-4.0",
        "CC-BY-NC-SA-2.0",
        "CC-BY-NC-SA-3.0",
        "CC-BY-NC-SA-4.0",
        "CDLA-Sharing-1.0",
        "CDLA-Permissive-1.0",
        "CDLA-Permissive-2.0",
        "ECL-2.0",
        "EPL-1.0",
        "EPL-2.0",
        "EUPL-1.1",
        "ISC",
        "LPPL-1.3c",
        "MPL-2.0",
        "MS-PL",
        "NCSA",
        "OFL-1.1",
        "OSL-3.0",
        "PostgreSQL",
        "Unlicense",
        "WTFPL",
        "Zlib",
        "unknown",
    )
)
#: The Hub doesn't tell "only" from "or later".
_GNU = re.compile(r"^(A?GPL-3\.0|GPL-2\.0|LGPL-2\.1|LGPL-3\.0)-(?:only|or-later)$")
#: Our metric → the id of the same in the Hub's `evaluate`; bits per byte has none.
METRICS = {"acc": "accuracy"}


def hub_license(expression: str) -> tuple[str, str | None]:
    """(``license``, ``license_name``) for an SPDX expression; the second only where the first is ``other``."""
    if expression in _SAME:
        return expression.lower(), None
    gnu = _GNU.match(expression)
    if gnu:
        return gnu[1].lower(), None
    return "other", re.sub(r"[^a-z0-9.]+", "-", expression.lower()).strip("-") or "other"


def hub_model(ref: WeightsRef) -> str | None:
    """``org/name`` of weights on the Hub: where they are fetched from, or what a base claims to be made from."""
    if ref.source.startswith("hf://"):
        parts = ref.source.removeprefix("hf://").partition("@")[0].strip("/").split("/")
        return "/".join(parts[:2]) if len(parts) >= 2 else None
    return ref.upstream if isinstance(ref, BaseRef) else None


def hub_languages(tags: Iterable[str]) -> list[str]:
    """The Hub knows languages of two or three letters: ``zh-Hans`` is ``zh`` there; sorted, each once."""
    primary = {re.split(r"[-_]", tag.lower())[0] for tag in tags}
    return sorted(tag for tag in primary if re.fullmatch(r"[a-z]{2,3}", tag))


def hub_tag(text: str) -> str:
    """A tag in one word."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip("-")


def dataset_name(column: str) -> str:
    """``owner/suite`` as the type of a data set in a model index, which has at most one slash and plain characters."""
    return f"cogen-{re.sub(r'[^A-Za-z0-9_.-]+', '-', column)}"


def eval_result(result: SuiteResult, title: str | None = None, digest: str | None = None) -> Any:
    """A :class:`huggingface_hub.EvalResult`: value, data set, split and n of one figure.

    :param title: of the suite. :param digest: of its test data.
    """
    from huggingface_hub import EvalResult

    arguments = {"documents": result.n, "low": result.low, "high": result.high}
    return EvalResult(
        task_type="text-generation",
        # One name without an owner: with one, the Hub would link to a data set of that owner.
        dataset_type=dataset_name(result.column),
        dataset_name=title or result.column,
        dataset_split=result.split,
        dataset_args={"digest": digest} if digest and result.split == "test" else None,
        metric_type=METRICS.get(result.metric, result.metric),
        metric_value=result.value,
        metric_name=f"{result.metric.replace('_', ' ')}, {result.n} documents, level {result.level}",
        metric_args={key: value for key, value in arguments.items() if value is not None},
    )
