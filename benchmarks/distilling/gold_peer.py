"""TRL's GOLD on a student, a teacher and texts: runs in TRL's own environment and writes its figures as JSON.

python gold_peer.py STUDENT TEACHER TEXTS RESULT STEPS THREADS positional|hybrid|extended
"""

import json
import sys
import time
from pathlib import Path


def main() -> None:
    """Train for STEPS steps of two texts; when each ended goes to RESULT, or the error's name and message."""
    student, teacher, texts, result, steps, threads, variant = sys.argv[1:]
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl.experimental.gold import GOLDConfig, GOLDTrainer

    torch.set_num_threads(int(threads))
    lines = [json.loads(line)["text"] for line in Path(texts).read_text(encoding="utf-8").splitlines()]
    # GOLD refuses a text without a prompt; a newline is the shortest, so nearly all of a text is learned, as it is by
    # our side. The conversion of Gemma that both sides read has no chat template.
    rows = {"prompt": ["\n"] * len(lines), "completion": lines}
    ends: list[float] = []
    tokens: list[int] = []

    class Clock(TrainerCallback):
        def on_log(self, *_: object, logs: dict | None = None, **__: object) -> None:
            if logs and "loss" in logs:
                ends.append(time.perf_counter())

    class Counted(GOLDTrainer):
        def compute_loss(self, model: object, inputs: dict, *rest: object, **named: object) -> object:
            tokens.append(int((inputs["labels"] != -100).sum()))
            return super().compute_loss(model, inputs, *rest, **named)

    arguments = GOLDConfig(
        output_dir=str(Path(result).with_suffix(".run")),
        use_cpu=True,
        bf16=True,
        report_to=[],
        save_strategy="no",
        per_device_train_batch_size=2,
        max_steps=int(steps),
        max_length=256,
        learning_rate=1e-3,
        optim="adamw_torch",
        gradient_checkpointing=False,
        logging_steps=1,
        disable_tqdm=True,
        # on the texts as they are: nothing is generated
        lmbda=0.0,
        use_uld_loss=True,
        uld_crossentropy_weight=1.0,
        teacher_tokenizer_name_or_path=teacher,
        use_extended_uld=variant == "extended",
        uld_use_hybrid_loss=variant == "hybrid",
        uld_token_merge_strategy="bayesian",
    )
    try:
        trainer = Counted(
            model=AutoModelForCausalLM.from_pretrained(student, dtype=torch.bfloat16),
            teacher_model=AutoModelForCausalLM.from_pretrained(teacher, dtype=torch.bfloat16),
            args=arguments,
            processing_class=AutoTokenizer.from_pretrained(student),
            train_dataset=Dataset.from_dict(rows),
            callbacks=[Clock()],
            peft_config=LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"),
        )
        trainer.train()
        found = {"ends": ends, "tokens": tokens}
        found["trained"] = sum(x.numel() for x in trainer.model.parameters() if x.requires_grad)
    except (NotImplementedError, ValueError) as error:
        found = {"error": f"{type(error).__name__}: {error}"}
    Path(result).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
