"""A picture of the evidence along one chat: docs/images/prefix-routing.svg.

    python benchmarks/prefix_picture.py FOLDER docs/images/prefix-routing.svg

FOLDER is a mixture with routing prefix that has the experts clinical and power. No model is run: the curves are the
closed forms of docs/prefix-routing.md for a question about power, 120 tokens of a power document, and a clinical
question with 60 tokens of a clinical document; the dashed ones are without what forgets at the second question.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

WIDTH, HEIGHT, LEFT, TOP = 760, 300, 56, 34
COLORS = {"power": "#d17b0f", "clinical": "#1b6ca8"}


def curves(folder: Path) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], list[tuple[int, str]]]:
    """(logits by expert, those without forgetting, where parts of the chat begin and what they are)."""
    import numpy as np
    from mixing.chats import ANSWER, questions
    from prefix import documents_of

    from cogen.checkpoints.load import load_tokenizer
    from cogen.checkpoints.safetensors_file import read_header, read_tensor
    from cogen.fusion.moe.routers import router_file

    file = router_file(folder)
    if file is None:
        raise SystemExit(f"{folder} is no mixture with routing prefix")
    lock = json.loads((folder / "cogen.lock").read_text(encoding="utf-8"))
    planned = lock["plan"]["details"]["prefix"]
    rows = {name: read_tensor(info).double().numpy() for name, info in read_header(file).items()}
    tokenizer, documents = load_tokenizer(folder), documents_of(load_tokenizer(folder), list(COLORS), "dev")
    answers = [
        tokenizer.decode([t for ids in documents[id] for t in ids][:length])
        for id, length in (("power", ANSWER), ("clinical", 60))
    ]
    asked, _ = questions()
    contents = (asked["power"][0], answers[0], asked["clinical"][1], answers[1])
    messages = [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(contents)]
    tokens = np.array(tokenizer.apply_chat_template(messages)["input_ids"])
    count, half = len(tokens), len(rows[".kernel"])
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    frequencies = config["rope_parameters"]["rope_theta"] ** (-np.arange(half) / half)
    distance = np.arange(count)[:, None] - np.arange(count)
    weights = np.exp((np.cos(np.abs(distance)[..., None] * frequencies) - 1) @ rows[".kernel"]) * (distance >= 0)
    shares = weights / weights.sum(1, keepdims=True)
    marks = tokens == planned["turn"]
    plain = {id: shares @ rows[id][tokens] for id in COLORS}
    taken = planned["reset"] * float(weights[-1].sum())
    kept = {id: mean - taken * shares @ np.where(marks, mean, 0.0) for id, mean in plain.items()}
    strength = planned["strength"]
    parts = [(int(place), "question") for place in np.nonzero(marks)[0]]
    starts = [int(place) for place in np.nonzero(tokens == tokenizer.convert_tokens_to_ids("<|im_start|>"))[0]]
    parts += [(place, "answer") for place in starts if place + 1 not in dict(parts) and place > 0]
    scaled = [{id: strength * values for id, values in found.items()} for found in (kept, plain)]
    return scaled[0], scaled[1], sorted(parts)


def drawn(kept: dict[str, np.ndarray], plain: dict[str, np.ndarray], parts: Sequence[tuple[int, str]]) -> str:
    """SVG."""
    every = [value for found in (kept, plain) for values in found.values() for value in values]
    low, high, count = min(every), max(every), len(next(iter(kept.values())))

    def x(place: float) -> float:
        return LEFT + place * (WIDTH - LEFT - 10) / (count - 1)

    def y(value: float) -> float:
        return float(TOP + (high - value) * (HEIGHT - TOP - 40) / (high - low))

    def line(values: np.ndarray, color: str, dash: str = "") -> str:
        points = " ".join(f"{x(n):.1f},{y(value):.1f}" for n, value in enumerate(values))
        return f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="1.6"{dash}/>'

    found = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        'font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<line x1="{LEFT}" x2="{WIDTH - 10}" y1="{y(0):.1f}" y2="{y(0):.1f}" stroke="#999"/>',
        f'<text x="{LEFT - 6}" y="{y(0) + 4:.1f}" text-anchor="end">public 0</text>',
    ]
    found += [
        f'<line x1="{x(place):.1f}" x2="{x(place):.1f}" y1="{TOP}" y2="{HEIGHT - 36}" stroke="#ccc"/>'
        f'<text x="{x(place) + 3:.1f}" y="{HEIGHT - 22}" fill="#555">{name}</text>'
        for place, name in parts
    ]
    dash = ' stroke-dasharray="4 3" opacity="0.6"'
    found += [line(values, COLORS[id], dash) for id, values in plain.items()]
    found += [line(values, COLORS[id]) for id, values in kept.items()]
    found += [
        f'<text x="{LEFT + 110 * n}" y="18" fill="{color}">{id}</text>' for n, (id, color) in enumerate(COLORS.items())
    ]
    found.append(
        f'<text x="{LEFT + 230}" y="18" fill="#555">router logits by token; dashed: nothing is forgotten</text>'
    )
    return "\n".join([*found, "</svg>", ""])


def main() -> None:
    folder, out = map(Path, sys.argv[1:3])
    out.write_text(drawn(*curves(folder)), encoding="utf-8")


if __name__ == "__main__":
    main()
