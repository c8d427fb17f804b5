"""transformers' Trainer on the same data, in the three ways people run it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

Rows = Sequence[Mapping[str, Any]]

MAX_LENGTH = 128


class Outcome(NamedTuple):
    """What a contender gives: seconds of training alone, the score, the trained model, tokens of each row."""

    seconds: float
    score: float
    model: Any
    lengths: Sequence[int]


def run(way: str, given: Any, train: Rows, scored: Rows, where: Path, folder: Path) -> Outcome:
    """Train and score.

    `way`: `padded` to the maximal length, as transformers' example scripts do by default; `dynamic`, to the longest
    row of a batch; `grouped`, the same with rows of like length in a batch.
    """
    import torch
    from transformers import AutoTokenizer, Trainer, TrainingArguments

    torch.set_num_threads(given.threads)
    torch.manual_seed(given.seed)
    tokenizer = AutoTokenizer.from_pretrained(where)
    known = [*train, *scored]  # of few training rows, a label may be missing
    kind = Words(tokenizer, known) if "tokens" in train[0] else Texts(tokenizer, known)
    model = kind.model(where)
    if given.method == "lora":
        import peft

        config = peft.LoraConfig(
            task_type=kind.peft, r=8, lora_alpha=16, target_modules=["query", "value"], modules_to_save=["classifier"]
        )
        model = peft.get_peft_model(model, config)
    padding = "max_length" if way == "padded" else False
    table = kind.table(train, padding)
    trainer = Trainer(
        model=model,
        args=TrainingArguments(
            str(folder / "trainer"),
            num_train_epochs=given.epochs,
            per_device_train_batch_size=given.batch_size,
            per_device_eval_batch_size=64,
            learning_rate=given.learning_rate,
            warmup_steps=0.06,
            weight_decay=0.01,
            seed=given.seed,
            save_strategy="no",
            logging_strategy="no",
            train_sampling_strategy="group_by_length" if way == "grouped" else "random",
            use_cpu=given.device == "cpu",
            bf16=given.device == "cuda",
            disable_tqdm=True,
        ),
        train_dataset=table,
        data_collator=kind.collator(),
        processing_class=tokenizer,
    )
    start = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - start
    lengths = [sum(mask) for mask in table["attention_mask"]]
    return Outcome(seconds, kind.score(trainer, scored), model, lengths)


class Texts:
    """A label for a text; scored by accuracy."""

    peft = "SEQ_CLS"

    def __init__(self, tokenizer: Any, rows: Rows) -> None:
        self.tokenizer = tokenizer
        self.labels = sorted({row["label"] for row in rows})

    def model(self, where: Path) -> Any:
        import torch
        from transformers import AutoModelForSequenceClassification

        return AutoModelForSequenceClassification.from_pretrained(
            where, num_labels=len(self.labels), dtype=torch.float32
        )

    def collator(self) -> Any:
        from transformers import DataCollatorWithPadding

        return DataCollatorWithPadding(self.tokenizer)

    def table(self, rows: Rows, padding: Any) -> Any:
        import datasets

        table = datasets.Dataset.from_list(
            [{"text": row["text"], "label": self.labels.index(row["label"])} for row in rows]
        )
        return table.map(
            lambda row: self.tokenizer(row["text"], truncation=True, max_length=MAX_LENGTH, padding=padding),
            batched=True,
            remove_columns=["text"],
        )

    def score(self, trainer: Any, rows: Rows) -> float:
        found = trainer.predict(self.table(rows, False))
        return float((found.predictions.argmax(-1) == found.label_ids).mean())


class Words:
    """A tag for each word, at its first piece; scored by entity F1, as seqeval counts it."""

    peft = "TOKEN_CLS"

    def __init__(self, tokenizer: Any, rows: Rows) -> None:
        self.tokenizer = tokenizer
        self.labels = sorted({tag for row in rows for tag in row["tags"]})

    def model(self, where: Path) -> Any:
        import torch
        from transformers import AutoModelForTokenClassification

        return AutoModelForTokenClassification.from_pretrained(where, num_labels=len(self.labels), dtype=torch.float32)

    def collator(self) -> Any:
        from transformers import DataCollatorForTokenClassification

        return DataCollatorForTokenClassification(self.tokenizer)

    def table(self, rows: Rows, padding: Any) -> Any:
        import datasets

        def encode(batch: Any) -> Any:
            found = self.tokenizer(
                batch["tokens"], is_split_into_words=True, truncation=True, max_length=MAX_LENGTH, padding=padding
            )
            found["labels"] = [self._labels(found.word_ids(at), tags) for at, tags in enumerate(batch["tags"])]
            return found

        table = datasets.Dataset.from_list([{"tokens": row["tokens"], "tags": row["tags"]} for row in rows])
        return table.map(encode, batched=True, remove_columns=["tokens", "tags"])

    def _labels(self, words: Sequence[int | None], tags: Sequence[str]) -> list[int]:
        return [
            -100 if word is None or word == before else self.labels.index(tags[word])
            for before, word in zip([None, *words], words, strict=False)
        ]

    def score(self, trainer: Any, rows: Rows) -> float:
        from seqeval.metrics import f1_score

        found = trainer.predict(self.table(rows, False))
        right, told = [], []
        for gold, answer in zip(found.label_ids, found.predictions.argmax(-1), strict=True):
            right.append([self.labels[g] for g in gold if g != -100])
            told.append([self.labels[a] for g, a in zip(gold, answer, strict=True) if g != -100])
        return float(f1_score(right, told))
