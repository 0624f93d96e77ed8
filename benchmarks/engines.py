"""What other engines make of composites: every kind, in each engine, against the logits of the newest transformers.

    python benchmarks/engines.py --json engines.json                  # tiny composites of every kind, made on the spot
    python benchmarks/engines.py --engines mlx,llamacpp --kinds prefix
    python benchmarks/engines.py --folders default moe                # composites that `cogen fuse` wrote

Each engine is installed into an environment of its own below ``--environments`` on first use
(``readers/environments.py``); vLLM needs some minutes for each model. A line a composite and engine: version, the
greatest difference of the log-probabilities of all tokens of the vocabulary after every token of a text (float32 on
both sides), whether the tokenizer splits a text alike, or how the engine refuses. For both transformers also the bits
per byte of the text by the command `lm_eval`, against those of the log-probabilities. Exit code 1 if something differs
that is not in :data:`KNOWN`, or if something there does not differ.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import numpy as np
from readers.environments import ENGINES, answers, environment, python_of

#: Engine and kind of composite (or how it begins) → what the engine cannot do; docs/compatibility.md says why.
KNOWN = {
    ("mlx", "merge of Mistral, short window"): "differs",
    ("llamacpp", "merge of Mistral, short window"): "differs",
    ("mlx", "mixture, hidden: FlexOlmo"): "refused",
    ("llamacpp", "mixture, hidden: FlexOlmo"): "refused",
    ("mlx", "mixture, prefix: Mixtral"): "refused",
    ("mlx", "mixture, hidden: Qwen2-MoE"): "differs",
    ("mlx", "mixture, prefix: Qwen2-MoE"): "differs",
    ("llamacpp", "mixture, hidden: Qwen2-MoE"): "differs",
    ("llamacpp", "mixture, prefix: Qwen2-MoE"): "differs",
    ("mlx", "mixture, hidden: Qwen2-MoE, all experts"): "same",
    ("llamacpp", "mixture, hidden: Qwen2-MoE, all experts"): "same",
}
#: Every engine's tokenizer splits it.
TEXT = "The grid operator measures 電力 and Größe 😀 at\n\n every node."
#: Greatest difference of log-probabilities that float32 explains.
CLOSE = 2e-4


def expected(engine: str, kind: str) -> str:
    """ "same", "differs" or "refused": the longest entry of :data:`KNOWN` that fits."""
    fitting = [begin for name, begin in KNOWN if name == engine and kind.startswith(begin)]
    return KNOWN[engine, max(fitting, key=len)] if fitting else "same"


def compare(
    composites: dict[str, Path], engines: list[str], work: Path, environments: Path, ids: list[int], pre: str | None
) -> list[dict[str, Any]]:
    """A row for each composite and engine.

    :param composites: by kind; ``ids``: the text; ``pre``: of tokenizers that llama.cpp's converter does not know.
    """
    reference, rows = next(iter(ENGINES)), []
    answered: dict[str, list[dict[str, Any]]] = {}
    jobs = {
        name: [
            {"folder": str(folder), "ids": ids, "text": TEXT, "out": str(work / f"{number}.{name}.npy"), "pre": pre}
            for number, folder in enumerate(composites.values())
        ]
        for name in (reference, *engines)
    }
    for name in dict.fromkeys((reference, *engines)):
        answered[name] = answers(name, environments, jobs[name])
        for number, kind in enumerate(composites):
            row = {"kind": kind, "engine": name} | judged(
                answered[name][number], answered[reference][number], jobs[name][number], jobs[reference][number]
            )
            row["expected"] = expected(name, kind)
            rows.append(row)
            print(line(row), flush=True)
    return rows


def judged(
    answer: dict[str, Any], reference: dict[str, Any], job: dict[str, Any], own: dict[str, Any]
) -> dict[str, Any]:
    """Verdict "same", "differs" or "refused", with the figures."""
    if "error" in answer:
        return {"version": answer["version"], "verdict": "refused", "error": answer["error"].splitlines()[0][:300]}
    found, wanted = np.load(job["out"]), np.load(own["out"])
    # Some engines pad the vocabulary.
    difference = float(np.abs(found[:, : wanted.shape[1]] - wanted).max())
    alike = answer["tokens"] == reference["tokens"]
    verdict = "same" if alike and difference <= CLOSE else "differs"
    return {"version": answer["version"], "verdict": verdict, "difference": difference, "tokens": alike}


def line(row: dict[str, Any]) -> str:
    """One row, for people."""
    found = row.get("error") or f"{row['difference']:.1e}{'' if row['tokens'] else ', splits texts otherwise'}"
    return f"{row['kind']:45} {ENGINES[row['engine']].title} {row['version']:12} {row['verdict']:8} {found}"


def lm_eval(folder: Path, text: str, work: Path, python: str) -> float:
    """Bits per byte of a text by the command `lm_eval`."""
    task = work / "task"
    task.mkdir(exist_ok=True)
    (task / "text.jsonl").write_text(json.dumps({"text": text}) + "\n")
    (task / "text.yaml").write_text(
        "task: one_text\ndataset_path: json\n"
        f"dataset_kwargs: {{data_files: {{test: {task / 'text.jsonl'}}}}}\n"
        "test_split: test\noutput_type: loglikelihood_rolling\ndoc_to_text: ''\ndoc_to_target: '{{text}}'\n"
        "metric_list: [{metric: bits_per_byte}]\n"
    )
    out = work / "lm_eval"
    command = [str(Path(python).with_name("lm_eval")), "--model", "hf", "--tasks", "one_text"]
    command += ["--model_args", f"pretrained={folder},dtype=float32", "--include_path", str(task), "--device", "cpu"]
    command += ["--output_path", str(out), "--batch_size", "1"]
    offline = environment() | {"HF_DATASETS_CACHE": str(work / "datasets")}
    done = subprocess.run(command, env=offline, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"lm_eval ended with {done.returncode}:\n{done.stderr[-2000:]}")
    found = json.loads(max(out.rglob("results*.json"), key=lambda path: path.stat().st_mtime).read_text())
    return float(found["results"]["one_text"]["bits_per_byte,none"])


def bits_per_byte(ids: list[int], rows: Path, text: str) -> float:
    """The same by log-probabilities; ``ids`` begin with the token before the text."""
    found = np.load(rows).astype(np.float64)
    return float(-sum(found[place, token] for place, token in enumerate(ids[1:])) / np.log(2) / len(text.encode()))


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engines", default=",".join(ENGINES), help="some of %(default)s")
    parser.add_argument("--kinds", default="", help="only kinds with this in their name")
    parser.add_argument("--folders", type=Path, nargs="*", default=[], help="composites, in the place of tiny ones")
    parser.add_argument("--environments", type=Path, default=Path("runs/engines"))
    parser.add_argument("--work", type=Path, help="folder of the tiny composites and of all figures")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        work = arguments.work or Path(scratch)
        work.mkdir(parents=True, exist_ok=True)
        engines = [name for name in arguments.engines.split(",") if name in ENGINES]
        if arguments.folders:
            composites = {folder.name: folder for folder in arguments.folders}
            ids, text, pre = real_text(arguments.folders[0]), "", None
        else:
            composites = tiny(work / "kinds", arguments.kinds)
            ids, text, pre = tiny_ids()
        rows = compare(composites, engines, work, arguments.environments, ids, pre)
        if text:
            rows += evaluated(composites, engines, work, arguments.environments, ids, text)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")
    raise SystemExit(any(row["verdict"] != row["expected"] for row in rows))


def tiny(folder: Path, some: str) -> dict[str, Path]:
    """Tiny composites of every kind with ``some`` in its name."""
    from support.composites import KINDS, made

    folder.mkdir(parents=True, exist_ok=True)
    places = {kind: folder / str(number) for number, kind in enumerate(KINDS) if some in kind}
    return {kind: place if place.exists() else made(kind, place) for kind, place in places.items()}


def tiny_ids() -> tuple[list[int], str, str]:
    """A text as the tiny tokenizer reads it, the text itself, and how that tokenizer splits."""
    from support.composites import some_ids
    from support.tiny import tokenizer

    ids = some_ids()
    return ids, tokenizer().decode(ids[1:]), "gpt-2"


def real_text(folder: Path) -> list[int]:
    """A passage about a power grid as the composite reads it, behind the token that begins a text."""
    from cogen.checkpoints.load import load_tokenizer
    from cogen.evals.settings import prefix_token_id

    tokenizer = load_tokenizer(folder)
    text = "A transformer station steps the voltage of the transmission grid down to that of the distribution network. "
    return [prefix_token_id(tokenizer), *tokenizer(text * 2, add_special_tokens=False)["input_ids"]]


def evaluated(
    composites: dict[str, Path], engines: list[str], work: Path, environments: Path, ids: list[int], text: str
) -> list[dict[str, Any]]:
    """Rows of the command `lm_eval`, for one merge and one mixture."""
    rows = []
    for name in (name for name in engines if name.startswith("transformers")):
        for number, (kind, folder) in enumerate(composites.items()):
            if kind not in ("merge of Llama", "mixture, prefix: Mixtral of Llama"):
                continue
            wanted = bits_per_byte(ids, work / f"{number}.transformers5.npy", text)
            found = lm_eval(folder, text, work, python_of(name, environments))
            row = {"kind": kind, "engine": name, "what": "lm_eval", "expected": "same", "tokens": True, "version": ""}
            row |= {"difference": abs(found - wanted), "verdict": "same" if abs(found - wanted) < CLOSE else "differs"}
            rows.append(row)
            print(f"lm_eval: {line(row)} ({found:.5f} bits per byte)", flush=True)
    return rows


if __name__ == "__main__":
    main()
