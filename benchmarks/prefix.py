"""Mixtures with routing prefix beside every specialist: single documents, a change of topic, chats, precision.

    python benchmarks/prefix.py --json prefix.json                       # all installed experts; half an hour, one core
    python benchmarks/prefix.py --experts clinical,power --documents 8 --pairs 2 --parts documents,switch
    python benchmarks/prefix.py --mixture FOLDER --parts chats           # one that is there already
    python benchmarks/prefix.py --split test                             # once, at the end: choices are made on dev

Losses are compared with those of the expert of the text's field alone (of the base on general text), document by
document, in the same arithmetic: excess in percent, with the 95 % bootstrap interval over documents.

documents   single documents of the split: whole, tokens 1 to 20, the rest
switch      160 tokens of one document, a blank line, 160 of a document of another field: the second part, against the
            expert of its field after the same first part; from its first and from its 40th token
chats       questions of mixing/questions.toml in the base's chat template: the slot that the router of the middle layer
            prefers at the prompt's last token; first questions, follow-ups of the same field and second questions of
            another one (both after an answer of 120 tokens of a document), first questions after a custom system prompt
precision   positions of the documents at which the middle router prefers the same slot as in float32: in bfloat16, and
            with int8 and fp8 weights and activations, simulated (mixing/quantized.py)

Losses are kept beside the models (--work), so that a run that was stopped goes on where it was.

Exit code 1 if a target is missed: experts within 1.5 % on documents and 0.8 % in the mean; 2.8 % after a change of
topic and 1 % from the 40th token; two thirds of second questions sent right.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mixing.chats import ANSWER, GENERAL, Chat, chats, prompts, questions, sent
from mixing.cogen import cogen, dense, experts
from mixing.compare import KnownLosses, excess, written

if TYPE_CHECKING:
    import numpy as np

Split = Literal["dev", "test"]
PARTS = ("documents", "switch", "chats", "precision")
#: Tokens of each half of a change of topic, and from which on the second counts as known.
HALF, LATE, START = 160, 39, 20
#: In percent, and as a share.
EACH, MEAN, SWITCH, SWITCH_LATE, SECOND = 1.5, 0.8, 2.8, 1.0, 24 / 36
Losses = list["np.ndarray"]


def documents_of(tokenizer: Any, ids: Sequence[str], split: Split) -> dict[str, list[list[int]]]:
    """Token ids of the documents of every field, and of general text."""
    from cogen.evals import general_suites, read_rows, suites_of
    from cogen.host import Host

    host = Host.discover()
    bound = {
        id: next(suite for suite in suites_of(host.expert(id)) if suite.suite.metric == "bits_per_byte") for id in ids
    }
    bound[GENERAL] = general_suites()[0]
    texts = {id: [str(row.target) for row in read_rows(suite, split)] for id, suite in bound.items()}
    return {id: tokenizer(own, add_special_tokens=False, verbose=False)["input_ids"] for id, own in texts.items()}


def opened(folder: Path, dtype: str) -> Any:
    """The model of a folder."""
    from cogen.checkpoints.load import load_model
    from cogen.checkpoints.model import open_folder

    return load_model(open_folder(folder), dtype).eval()


def cut(model: Any, layers: int | None) -> Any:
    """The same model with its first layers alone."""
    if layers is not None:
        model.model.layers = model.model.layers[:layers]
        model.config.num_hidden_layers = layers
    return model


def changes(documents: Mapping[str, list[list[int]]], blank: Sequence[int], pairs: int) -> dict[str, list[list[int]]]:
    """``"X>Y"`` → token ids of X, a blank line and Y, for every direction between fields; Y begins at a fixed place."""
    long = {field: [ids for ids in own if len(ids) >= HALF] for field, own in documents.items()}
    found: dict[str, list[list[int]]] = {}
    for first in long:
        for then in long:
            if first != then:
                ways = min(pairs, len(long[first]), len(long[then]))
                found[f"{first}>{then}"] = [
                    [*long[first][n][:HALF], *blank, *long[then][-1 - n][:HALF]] for n in range(ways)
                ]
    return found


def compared(
    texts: Mapping[str, list[list[int]]],
    owner: Callable[[str], str],
    models: Mapping[str, Path],
    dtype: str,
    prefix: int,
) -> tuple[dict[str, Losses], dict[str, Losses]]:
    """Losses of the mixture and of the owner of every group of texts; one model is in memory at a time."""

    def of(name: str, keys: Sequence[str]) -> dict[str, Losses]:
        known = KnownLosses(models[name], dtype, lambda: opened(models[name], dtype))
        found = {}
        for key in keys:
            print(f"{name}: {key}", file=sys.stderr)
            found[key] = [known.of([prefix, *ids]) for ids in texts[key]]
        return found

    reference: dict[str, Losses] = {}
    for name in sorted({owner(key) for key in texts}):
        reference |= of(name, [key for key in texts if owner(key) == name])
    return of("mixture", list(texts)), reference


def measured_documents(found: dict[str, Losses], reference: dict[str, Losses]) -> dict[str, Any]:
    return {
        field: {
            "whole": excess(found[field], reference[field]),
            "first": excess(found[field], reference[field], 0, START),
            "after": excess(found[field], reference[field], START),
            "nats": float(sum(x.sum() for x in found[field]) / sum(len(x) for x in found[field])),
        }
        for field in found
    }


def measured_switch(found: dict[str, Losses], reference: dict[str, Losses], start: int) -> dict[str, Any]:
    """By field that the text changes to, of all, and the worst direction."""

    def cell(keys: Sequence[str]) -> dict[str, Any]:
        own, other = ([x for key in keys for x in side[key]] for side in (found, reference))
        return {"whole": excess(own, other, start), "late": excess(own, other, start + LATE)}

    targets = sorted({key.split(">")[1] for key in found})
    cells = {f"to {field}": cell([key for key in found if key.endswith(f">{field}")]) for field in targets}
    single = {key: cell([key]) for key in found}
    worst = max(single, key=lambda key: float(single[key]["whole"]["percent"]))
    return cells | {"all": cell(list(found)), f"worst, {worst}": single[worst]}


def measured_chats(model: Any, tokenizer: Any, slots: Sequence[str], cases: Sequence[Chat]) -> dict[str, Any]:
    """kind → right, of, mean weight of the wanted slot among all, and what was sent where."""
    import torch

    names = [GENERAL if slot == "base" else slot for slot in slots]
    layer = model.config.num_hidden_layers // 2
    found: dict[str, Any] = {}
    for case, ids in zip(cases, prompts(tokenizer, cases), strict=True):
        weights = torch.tensor(sent(model, ids, layer)).softmax(0)
        went = names[int(weights.argmax())]
        cell = found.setdefault(case.kind, {"right": 0, "of": 0, "weight": 0.0, "sent": []})
        cell["right"] += went == case.wanted
        cell["of"] += 1
        cell["weight"] += float(weights[names.index(case.wanted)])
        cell["sent"].append([case.before, case.wanted, went])
    for cell in found.values():
        cell["weight"] /= cell["of"]
    return found


def missed(result: dict[str, Any]) -> list[str]:
    """Targets that are not met, in words."""
    found = []
    if "documents" in result:
        own = {field: cell["whole"]["percent"] for field, cell in result["documents"].items() if field != GENERAL}
        found += [
            f"{field}: {value:+.2f} % on documents, at most {EACH}" for field, value in own.items() if value > EACH
        ]
        mean = sum(own.values()) / len(own)
        found += [f"documents: {mean:+.2f} % in the mean, at most {MEAN}"] if mean > MEAN else []
    if "switch" in result:
        whole, late = (result["switch"]["all"][key]["percent"] for key in ("whole", "late"))
        found += [f"switch: {whole:+.2f} %, at most {SWITCH}"] if whole > SWITCH else []
        found += [f"switch, from the 40th token: {late:+.2f} %, at most {SWITCH_LATE}"] if late > SWITCH_LATE else []
    second = result.get("chats", {}).get("second")
    if second and second["right"] < SECOND * second["of"]:
        found.append(f"chats: {second['right']} of {second['of']} second questions, at least two thirds")
    return found


def lines(result: dict[str, Any]) -> list[str]:
    """Markdown."""
    found = []
    for part, head in (("documents", ("whole", "first", "after")), ("switch", ("whole", "late"))):
        if part in result:
            titles = {"whole": "all", "first": "tokens 1-20", "after": "after them", "late": "from the 40th token"}
            found += ["", f"| {part} | n | {' | '.join(titles[key] for key in head)} |", "|---" * (len(head) + 2) + "|"]
            found += [
                f"| {name} | {cell['whole']['documents']} | {' | '.join(written(cell[key]) for key in head)} |"
                for name, cell in result[part].items()
            ]
    if "chats" in result:
        found += ["", "| chats | sent right | mean weight of the right slot |", "|---|---|---|"]
        found += [
            f"| {kind} | {cell['right']} of {cell['of']} | {cell['weight']:.2f} |"
            for kind, cell in result["chats"].items()
        ]
    if "precision" in result:
        found += ["", "| precision | same slot as in float32 |", "|---|---|"]
        found += [f"| {name} | {share:.2%} |" for name, share in result["precision"].items()]
    return found[1:]


def measured(arguments: argparse.Namespace, work: Path) -> dict[str, Any]:
    """Everything that ``--parts`` names."""
    from cogen.checkpoints.load import load_tokenizer
    from cogen.evals.settings import prefix_token_id

    ids = sorted(arguments.experts.split(",")) if arguments.experts else sorted(experts())
    mixture = arguments.mixture or work / "mixture"
    if not (mixture / "config.json").is_file():
        words = ["--public-expert", arguments.public_expert] if arguments.public_expert else []
        cogen("fuse", *ids, "--strategy", "moe", "--routing", "prefix", *words, "--level", "none", "-o", str(mixture))
    slots = json.loads((mixture / "cogen.lock").read_text(encoding="utf-8"))["plan"]["details"]["slots"]
    ids = sorted(slot for slot in slots if slot != "base")
    tokenizer = load_tokenizer(mixture)
    prefix, blank = prefix_token_id(tokenizer), tokenizer("\n\n", add_special_tokens=False)["input_ids"]
    documents = documents_of(tokenizer, ids, arguments.split)
    few = {field: own[: arguments.documents] for field, own in documents.items()}
    few = {field: [text[: arguments.tokens] for text in own] for field, own in few.items()}
    parts = arguments.parts.split(",")
    models = {"mixture": mixture}
    if {"documents", "switch"} & {*parts}:
        models |= {GENERAL: dense(work / "dense")} | {id: dense(work / "dense", id) for id in ids}
    result: dict[str, Any] = {"split": arguments.split, "experts": ids, "dtype": arguments.dtype}
    if "documents" in parts:
        pair = compared(few, lambda key: key, models, arguments.dtype, prefix)
        result["documents"] = measured_documents(*pair)
    if "switch" in parts:
        texts = changes(documents, blank, arguments.pairs)
        pair = compared(texts, lambda key: key.split(">")[1], models, arguments.dtype, prefix)
        result["switch"] = measured_switch(*pair, HALF + len(blank))
    if "chats" in parts:
        asked = [field for field in (*ids, GENERAL) if field in questions()[0]]
        answers = {
            field: tokenizer.decode([token for ids in documents[field] for token in ids][:ANSWER]) for field in asked
        }
        cases = list(chats(asked, answers, arguments.chats))
        model = cut(opened(mixture, arguments.dtype), arguments.layers)
        result["chats"] = measured_chats(model, tokenizer, slots, cases)
    if "precision" in parts:
        from mixing.quantized import agreement

        led = [[prefix, *text] for own in few.values() for text in own[:4]]
        result["precision"] = agreement(
            mixture, led, lambda folder, dtype: cut(opened(folder, dtype), arguments.layers)
        )
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experts", help="ids with commas between them; default: all installed of relation ffn")
    parser.add_argument("--mixture", type=Path, help="folder of a mixture that is there already")
    parser.add_argument("--public-expert", choices=("mean", "base"))
    parser.add_argument("--parts", default="documents,switch,chats", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--split", choices=("dev", "test"), default="dev")
    parser.add_argument("--documents", type=int, default=20, help="of each field")
    parser.add_argument("--tokens", type=int, default=1000, help="of a document, at most")
    parser.add_argument("--pairs", type=int, default=4, help="of documents, for each direction of a change of topic")
    parser.add_argument("--chats", type=int, default=2, help="second questions for each ordered pair of fields")
    parser.add_argument(
        "--layers", type=int, help="chats, precision: the first layers alone; routers from the second on agree"
    )
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16")
    parser.add_argument("--work", type=Path, help="keep models here")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    odd = {*arguments.parts.split(",")} - {*PARTS}
    if odd:
        parser.error(f"unknown part {sorted(odd)[0]}: choose from {', '.join(PARTS)}")
    with tempfile.TemporaryDirectory() as folder:
        result = measured(arguments, arguments.work or Path(folder))
    print("\n".join(lines(result)))
    result["missed"] = missed(result)
    for line in result["missed"]:
        print(f"missed: {line}")
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    raise SystemExit(1 if result["missed"] else 0)


if __name__ == "__main__":
    main()
