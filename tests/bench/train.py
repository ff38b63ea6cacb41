#!/usr/bin/env python3
"""Times the same training with spark-peft and with torch, transformers and peft, in turns.

Same model directory, head (a classifier reads the first token through the model's pooler; one that
the checkpoint lacks is trained by spark-peft and left random by peft), LoRA
targets and rank, batch, length, math threads, float32, optimiser (AdamW) and number of updates; no
dropout on either side. Each turn runs `bin/spark-peft bench
train` in a process of its own and then as many updates here. The ratio is that of the medians of
all turns: above 1, spark-peft is faster.

    pip install torch transformers peft
    tests/bench/train.py --model DIR --batch 32 --length 64 --threads 1

With --data, both train once over a file's texts: here transformers' Trainer with its defaults at
the same batch size, there a recipe's training, which groups texts by length:

    tests/bench/train.py --model DIR --batch 32 --data train.jsonl.gz --text text --label label
"""

import argparse
import csv
import gzip
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

LAUNCHER = Path(__file__).resolve().parents[2] / "bin" / "spark-peft"
LABELS = 4


def options():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--model", required=True, help="Hugging Face model directory")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--length", type=int, default=64, help="tokens; with --data, at most")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, default=10, help="updates of a turn")
    parser.add_argument("--warmup", type=int, default=20, help="updates of a turn before those")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--data", help="CSV or JSON lines with labels, instead of made-up tokens")
    parser.add_argument("--text", default="text")
    parser.add_argument("--label", default="label")
    parser.add_argument("--limit", type=int, default=2000, help="rows of the file")
    parser.add_argument("--launcher", default=str(LAUNCHER))
    return parser.parse_args()


def torch_threads(args):
    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(args.threads)
    try:
        import peft  # noqa: F401
        import torch
        import transformers
    except ImportError as missing:
        sys.exit(f"{missing.name} is not installed; pip install torch transformers peft")
    torch.set_num_threads(args.threads)
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    warnings.simplefilter("ignore")


def targets(config):
    """Query and value, as both sides name them."""
    names = {"bert": ["query", "value"], "gpt2": ["c_attn"], "gpt_neox": ["query_key_value"]}
    return names.get(config.model_type, ["q_proj", "v_proj"])


def load(args, labels):
    import peft
    import transformers

    config = transformers.AutoConfig.from_pretrained(args.model)
    decoder = any("CausalLM" in name or "LMHead" in name for name in config.architectures or [])
    for field in ("hidden_dropout_prob", "attention_probs_dropout_prob", "attention_dropout"):
        if not args.data and hasattr(config, field):
            setattr(config, field, 0.0)
    if decoder:
        model = transformers.AutoModelForCausalLM.from_pretrained(args.model, config=config)
    else:
        config.num_labels = labels
        model = transformers.AutoModelForSequenceClassification.from_pretrained(
            args.model, config=config
        )
    lora = peft.LoraConfig(
        r=args.rank,
        lora_alpha=2 * args.rank,
        target_modules=targets(config),
        task_type="CAUSAL_LM" if decoder else "SEQ_CLS",
    )
    return peft.get_peft_model(model.float(), lora), config, decoder


class Python:
    """Updates of one batch, again and again."""

    def __init__(self, args):
        import torch

        self.model, config, self.decoder = load(args, LABELS)
        self.model.train()
        torch.manual_seed(1)
        self.ids = torch.randint(0, config.vocab_size, (args.batch, args.length))
        self.labels = self.ids if self.decoder else torch.arange(args.batch) % LABELS
        tuned = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(tuned, lr=1e-4)
        self.tuned = tuned
        for _ in range(args.warmup):
            self.step()

    def step(self):
        import torch

        began = time.perf_counter()
        loss = self.model(input_ids=self.ids, labels=self.labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.tuned, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        loss.item()
        return (time.perf_counter() - began) * 1e3


def spark_peft(args, *more):
    command = [args.launcher, "bench", "train", "--json", "--model", str(Path(args.model).resolve())]
    command += ["--batch", str(args.batch), "--threads", str(args.threads)]
    command += ["--set", f"peft.r={args.rank}", "--set", f"peft.lora_alpha={2 * args.rank}"]
    command += ["--set", "train.learning_rate=1e-4"]
    command += ["--length", str(args.length), *more]
    environment = dict(os.environ, OMP_NUM_THREADS=str(args.threads))
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode != 0:
        sys.exit(done.stdout + done.stderr)
    return json.loads(done.stdout)["rows"][0]


def steps(args):
    import transformers

    names = ", ".join(targets(transformers.AutoConfig.from_pretrained(args.model)))
    python = Python(args)
    head = [] if python.decoder else ["--set", "model.pooling=cls"]
    ours, theirs = [], []
    for turn in range(args.turns):
        row = spark_peft(
            args,
            "--steps",
            str(args.steps),
            "--warmup",
            str(args.warmup),
            "--set",
            f"peft.target_modules=[{names}]",
            *head,
        )
        ours.append(row["step_ms"])
        theirs.append(statistics.median(python.step() for _ in range(args.steps)))
        print(f"turn {turn + 1}: spark-peft {ours[-1]:.1f} ms, python {theirs[-1]:.1f} ms")
    return statistics.median(ours), statistics.median(theirs), "ms a step"


def trainer_seconds(args, texts, names):
    """One epoch with transformers' Trainer and its defaults."""
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(args.model)
    model, _, _ = load(args, len(set(names)))
    order = sorted(set(names))
    rows = []
    for text, name in zip(texts, names):
        row = tokenizer(text, truncation=True, max_length=args.length)
        row["labels"] = order.index(name)
        rows.append(dict(row))
    with tempfile.TemporaryDirectory() as folder:
        arguments = transformers.TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=args.batch,
            num_train_epochs=1,
            learning_rate=1e-4,
            report_to=[],
            save_strategy="no",
            disable_tqdm=True,
            use_cpu=True,
        )
        trainer = transformers.Trainer(
            model=model, args=arguments, train_dataset=rows, processing_class=tokenizer
        )
        return trainer.train().metrics["train_runtime"]


def read(path):
    opened = gzip.open if path.endswith(".gz") else open
    with opened(path, "rt", newline="", encoding="utf-8") as file:
        if ".csv" in Path(path).suffixes:
            return list(csv.DictReader(file))
        return [json.loads(line) for line in file if line.strip()]


def epochs(args):
    rows = read(args.data)
    rows = rows[:: max(1, len(rows) // args.limit)][: args.limit]
    texts = [row[args.text] for row in rows]
    names = [str(row[args.label]) for row in rows]
    ours, theirs = [], []
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data.jsonl"
        with open(data, "w", encoding="utf-8") as file:
            for text, name in zip(texts, names):
                file.write(json.dumps({"text": text, "label": name}) + "\n")
        recipe = Path(folder) / "recipe.yaml"
        recipe.write_text(
            "run: {name: bench}\n"
            f"data: {{train: {data}, test: ''}}\n"
            "clients: {partition: iid, count: 1}\n"
            "model: {pooling: cls}\n"
            "peft: {peft_type: LORA, target_modules: [query, value]}\n"
        )
        for turn in range(args.turns):
            row = spark_peft(args, "-c", str(recipe))
            ours.append(len(texts) / row["examples_per_s"])
            theirs.append(trainer_seconds(args, texts, names))
            print(f"turn {turn + 1}: spark-peft {ours[-1]:.1f} s, python {theirs[-1]:.1f} s")
    return statistics.median(ours), statistics.median(theirs), "s an epoch"


def main():
    args = options()
    torch_threads(args)
    import peft
    import torch
    import transformers

    print(
        f"torch {torch.__version__}, transformers {transformers.__version__},"
        f" peft {peft.__version__}; {Path(args.model).name}, batch {args.batch},"
        f" length {args.length}, {args.threads} thread(s)"
    )
    ours, theirs, unit = epochs(args) if args.data else steps(args)
    print(f"spark-peft {ours:.1f}, python {theirs:.1f} {unit}: ratio {theirs / ours:.2f}")


if __name__ == "__main__":
    main()
