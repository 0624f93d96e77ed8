"""What other engines make of composites: every kind, in each engine, against the logits of the newest transformers.

    python benchmarks/engines.py --json engines.json                  # tiny composites of every kind, made on the spot
    python benchmarks/engines.py --engines mlx,llamacpp --kinds prefix
    python benchmarks/engines.py --folders default moe --peft         # composites that `cogen fuse` wrote
    python benchmarks/engines.py --folders composite-fp8 --engines vllm --dtype bfloat16

Each engine is installed into an environment of its own below ``--environments`` on first use
(``readers/environments.py``); vLLM needs some minutes for each model. A line a composite and engine: version, the
greatest difference of the log-probabilities of all tokens of the vocabulary after every token of a text (float32 on
both sides), whether the tokenizer splits a text alike, or how the engine refuses. For both transformers also the bits
per byte of the text by the command `lm_eval`, against those of the log-probabilities. Exit code 1 if something differs
that is not in :data:`KNOWN`, or if something there does not differ.

With ``--folders`` the command `lm_eval` reads the first documents of the suite of general text, and its figure is
compared with that of CoGen; ``--peft`` makes an adapter of random numbers (rank 8, on the attention) for each folder,
which peft then puts on it in every version of transformers.
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
#: Greatest difference of log-probabilities that float32 explains: of tiny models, and of real ones with 30 layers.
CLOSE, CLOSE_REAL = 2e-4, 1e-3
#: Greatest difference in bits per byte between CoGen and the command `lm_eval` with the same settings.
SAME_FIGURE = 1e-6
#: Documents of the suite of general text that the command reads of real composites.
DOCUMENTS = 8


def expected(engine: str, kind: str) -> str:
    """ "same", "differs" or "refused": the longest entry of :data:`KNOWN` that fits."""
    fitting = [begin for name, begin in KNOWN if name == engine and kind.startswith(begin)]
    return KNOWN[engine, max(fitting, key=len)] if fitting else "same"


def compare(
    composites: dict[str, Path],
    engines: list[str],
    work: Path,
    environments: Path,
    ids: list[int],
    pre: str | None,
    adapters: dict[str, Path] | None = None,
    dtype: str = "float32",
    close: float = CLOSE,
) -> list[dict[str, Any]]:
    """A row for each composite and engine.

    :param composites: by kind; ``ids``: the text; ``pre``: of tokenizers that llama.cpp's converter does not know.
    :param adapters: by kind; peft puts them on the composites.
    :param dtype: that vLLM computes in; the reference computes in float32.
    :param close: greatest difference with the verdict "same".
    """
    adapters = adapters or {}
    reference, rows = next(iter(ENGINES)), []
    answered: dict[str, list[dict[str, Any]]] = {}
    jobs = {
        name: [
            {"folder": str(folder), "ids": ids, "text": TEXT, "out": str(work / f"{number}.{name}.npy"), "pre": pre}
            | ({"adapter": str(adapters[kind])} if kind in adapters else {})
            | {"dtype": dtype}
            for number, (kind, folder) in enumerate(composites.items())
        ]
        for name in (reference, *engines)
    }
    for name in dict.fromkeys((reference, *engines)):
        answered[name] = answers(name, environments, jobs[name])
        for number, kind in enumerate(composites):
            row = {"kind": kind, "engine": name} | judged(
                answered[name][number], answered[reference][number], jobs[name][number], jobs[reference][number], close
            )
            row["expected"] = expected(name, kind)
            rows.append(row)
            print(line(row), flush=True)
    return rows


def judged(
    answer: dict[str, Any], reference: dict[str, Any], job: dict[str, Any], own: dict[str, Any], close: float
) -> dict[str, Any]:
    """Verdict "same", "differs" or "refused", with the figures."""
    if "error" in answer:
        return {"version": answer["version"], "verdict": "refused", "error": answer["error"].splitlines()[0][:300]}
    wanted = np.load(own["out"]).astype(np.float64)
    # Some engines pad the vocabulary. The shares of mlx and llama.cpp, which sum 49,152 tokens in float32, add up to as
    # much as 1.0003: that is no difference of the model.
    found, wanted = (normalized(rows) for rows in (np.load(job["out"])[:, : wanted.shape[1]], wanted))
    difference = float(np.abs(found - wanted).max())
    alike = answer["tokens"] == reference["tokens"]
    return {
        "version": answer["version"],
        "verdict": "same" if alike and difference <= close else "differs",
        "difference": difference,
        "divergence": float((np.exp(wanted) * (wanted - found)).sum(-1).mean()),
        "first": float((found.argmax(-1) == wanted.argmax(-1)).mean()),
        "tokens": alike,
    }


def normalized(rows: Any) -> Any:
    """Log-probabilities whose shares sum to one in float64; shape (tokens, vocabulary)."""
    rows = rows.astype(np.float64)
    return rows - np.log(np.exp(rows).sum(-1, keepdims=True))


def line(row: dict[str, Any]) -> str:
    """One row, for people."""
    found = row.get("error") or f"{row['difference']:.1e}{'' if row['tokens'] else ', splits texts otherwise'}"
    if row["verdict"] == "differs" and "divergence" in row:
        found += f", {row['divergence']:.1e} nats, the same first token after {row['first']:.0%} of the tokens"
    return f"{row['kind']:45} {ENGINES[row['engine']].title} {row['version']:12} {row['verdict']:8} {found}"


def lm_eval_text(folder: Path, text: str, work: Path, python: str) -> float:
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
    return lm_eval(folder, task, "one_text", work, python)


def lm_eval(folder: Path, tasks: Path, task: str, work: Path, python: str, *more: str, **of_model: int) -> float:
    """Bits per byte by the command `lm_eval`.

    :param tasks: folder of the task file, whose data files are found from there.
    :param more: arguments of the command; ``of_model``: of its model.
    """
    out = work / f"lm_eval-{Path(python).parents[1].name}-{folder.name}"
    settings = ",".join(f"{name}={value}" for name, value in of_model.items() if value is not None)
    command = [python, "-m", "lm_eval", "--model", "hf", "--tasks", task, "--device", "cpu"]
    command += ["--model_args", f"pretrained={folder.absolute()},dtype=float32{',' if settings else ''}{settings}"]
    command += ["--include_path", ".", "--output_path", str(out.absolute()), "--batch_size", "1", *more]
    offline = environment() | {"HF_DATASETS_CACHE": str((work / "datasets").absolute())}
    done = subprocess.run(command, env=offline, cwd=tasks, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"lm_eval ended with {done.returncode}:\n{done.stderr[-2000:]}")
    found = json.loads(max(out.rglob("results*.json"), key=lambda path: path.stat().st_mtime).read_text())
    return float(found["results"][task]["bits_per_byte,none"])


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
    parser.add_argument("--peft", action="store_true", help="an adapter on top of each of --folders, too")
    parser.add_argument("--documents", type=int, default=DOCUMENTS, help="that lm_eval reads of --folders; 0: none")
    parser.add_argument("--dtype", default="float32", help="that vLLM computes in; default: %(default)s")
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
            ids = real_text(arguments.folders[0])
            options = {"dtype": arguments.dtype, "close": CLOSE_REAL}
            rows = compare(composites, engines, work, arguments.environments, ids, None, **options)
            if arguments.peft:
                rows += with_adapters(composites, engines, work, arguments.environments, ids)
            if arguments.documents:
                rows += evaluated(composites, engines, work, arguments.environments, arguments.documents)
        else:
            composites = tiny(work / "kinds", arguments.kinds)
            ids, text, pre = tiny_ids()
            rows = compare(composites, engines, work, arguments.environments, ids, pre)
            rows += evaluated_text(composites, engines, work, arguments.environments, ids, text)
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


def with_adapters(
    composites: dict[str, Path], engines: list[str], work: Path, environments: Path, ids: list[int]
) -> list[dict[str, Any]]:
    """Rows of peft on top of the composites in every version of transformers."""
    place = work / "peft"
    place.mkdir(exist_ok=True)
    adapters = {f"{kind}, peft": random_adapter(folder, place / kind) for kind, folder in composites.items()}
    folders = dict(zip(adapters, composites.values(), strict=True))
    some = [name for name in engines if name.startswith("transformers")]
    rows = compare(folders, some, place, environments, ids, None, adapters, close=CLOSE_REAL)
    for number in range(len(folders)):
        own, plain = (np.load(folder / f"{number}.transformers5.npy") for folder in (place, work))
        if not np.abs(own - plain).max() > 0.01:
            raise SystemExit(f"the adapter of {list(folders)[number]} changes nothing")
    return rows


def random_adapter(folder: Path, place: Path) -> Path:
    """A LoRA adapter of rank 8 on the attention, of random numbers that leave the model a model."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    layers = ["q_proj", "k_proj", "v_proj", "o_proj"]
    lora = get_peft_model(model, LoraConfig(r=8, lora_alpha=1, target_modules=layers, init_lora_weights=False))
    lora.save_pretrained(str(place))
    return place


def evaluated(
    composites: dict[str, Path], engines: list[str], work: Path, environments: Path, documents: int
) -> list[dict[str, Any]]:
    """Rows of the command `lm_eval` on the first documents of the suite of general text, against CoGen's figure."""
    from cogen.checkpoints.load import load_model, load_tokenizer
    from cogen.checkpoints.model import open_folder
    from cogen.evals import general_suites, run_suites
    from cogen.evals.settings import Settings, prefix_token_id

    (suite,), rows = (bound for bound in general_suites() if bound.suite.metric == "bits_per_byte"), []
    settings = Settings(dtype="float32")
    for kind, folder in composites.items():
        tokenizer = load_tokenizer(folder)
        digests = {"model_digest": "", "tokenizer_digest": ""}  # not used: nothing is kept
        model = load_model(open_folder(folder), "float32")
        (own,) = run_suites(
            model,
            tokenizer,
            [suite],
            split="test",
            level="full",
            dtype="float32",
            settings=settings,
            use_cache=False,
            documents=documents,
            **digests,
        )
        del model
        pinned = {"max_length": settings.max_length, "prefix_token_id": prefix_token_id(tokenizer)}
        tasks = suite.path(suite.suite.task).parent
        for name in (name for name in engines if name.startswith("transformers")):
            python, limit = python_of(name, environments), ("--limit", str(documents))
            found = lm_eval(folder, tasks, "cogen_general", work, python, *limit, **pinned)
            rows.append(of_lm_eval(kind, name, found, own.value, SAME_FIGURE))
    return rows


def evaluated_text(
    composites: dict[str, Path], engines: list[str], work: Path, environments: Path, ids: list[int], text: str
) -> list[dict[str, Any]]:
    """Rows of the command `lm_eval`, for one merge and one mixture."""
    rows = []
    for name in (name for name in engines if name.startswith("transformers")):
        for number, (kind, folder) in enumerate(composites.items()):
            if kind not in ("merge of Llama", "mixture, prefix: Mixtral of Llama"):
                continue
            wanted = bits_per_byte(ids, work / f"{number}.transformers5.npy", text)
            found = lm_eval_text(folder, text, work, python_of(name, environments))
            rows.append(of_lm_eval(kind, name, found, wanted, CLOSE))
    return rows


def of_lm_eval(kind: str, name: str, found: float, wanted: float, close: float) -> dict[str, Any]:
    """One row; bits per byte of the command and those that it should give."""
    difference = abs(found - wanted)
    row = {"kind": kind, "engine": name, "what": "lm_eval", "expected": "same", "tokens": True, "version": ""}
    row |= {"difference": difference, "verdict": "same" if difference <= close else "differs", "found": found}
    print(f"lm_eval: {line(row)} ({found:.6f} bits per byte)", flush=True)
    return row


if __name__ == "__main__":
    main()
