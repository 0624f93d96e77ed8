"""TRL's GOLD on a student, a teacher and texts: runs in TRL's own environment and prints its figures as JSON.

    python gold_peer.py STUDENT TEACHER TEXTS LENGTH BATCH STEPS THREADS extended|positional
"""

import json
import resource
import sys
import time
from pathlib import Path


def main() -> None:
    """Train for STEPS steps; the first two warm up."""
    student, teacher, texts, length, batch, steps, threads, alignment = sys.argv[1:]
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl.experimental.gold import GOLDConfig, GOLDTrainer

    torch.set_num_threads(int(threads))
    lines = [json.loads(line)["text"] for line in Path(texts).read_text(encoding="utf-8").splitlines()]
    # a conversation, because GOLD refuses texts without a prompt
    rows = [[{"role": "user", "content": "Go on."}, {"role": "assistant", "content": line}] for line in lines]
    tokenizer = AutoTokenizer.from_pretrained(student)
    seconds: list[float] = []
    tokens: list[int] = []

    class Clock(TrainerCallback):
        began = 0.0

        def on_step_begin(self, *_: object, **__: object) -> None:
            Clock.began = time.perf_counter()

        def on_step_end(self, *_: object, **__: object) -> None:
            seconds.append(time.perf_counter() - Clock.began)

    class Counted(GOLDTrainer):
        def compute_loss(self, model: object, inputs: dict, *rest: object, **named: object) -> object:
            tokens.append(int((inputs["labels"] != -100).sum()))
            return super().compute_loss(model, inputs, *rest, **named)

    arguments = GOLDConfig(
        output_dir=str(Path(texts).with_name("gold")), use_cpu=True, bf16=True, report_to=[], save_strategy="no",
        per_device_train_batch_size=int(batch), max_steps=int(steps), learning_rate=1e-3, lmbda=0.0,
        use_uld_loss=True, use_extended_uld=alignment == "extended", uld_token_merge_strategy="bayesian",
        uld_use_hybrid_loss=alignment == "extended", uld_crossentropy_weight=1.0,
        teacher_tokenizer_name_or_path=teacher, max_length=int(length), gradient_checkpointing=False,
        disable_tqdm=True, logging_steps=1,
    )  # fmt: skip
    trainer = Counted(
        model=AutoModelForCausalLM.from_pretrained(student, dtype=torch.bfloat16),
        teacher_model=AutoModelForCausalLM.from_pretrained(teacher, dtype=torch.bfloat16),
        args=arguments, processing_class=tokenizer, train_dataset=Dataset.from_dict({"messages": rows}),
        peft_config=LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"),
    )  # fmt: skip
    trainer.train()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"seconds": seconds[2:], "tokens": tokens[2:], "peak": peak}))


if __name__ == "__main__":
    main()
