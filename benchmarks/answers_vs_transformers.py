"""Answers of nlpipe and of transformers on the same rows, in turn: how many times as fast, as the median of turns.

    python benchmarks/answers_vs_transformers.py --turns 5 --json FILE          # all, or of labels sentences tokens …

Aims: labels, tokens and spans in a quarter of `transformers.pipeline`'s time (by default, one row at a time) and in a
third of its best batch size's; vectors 1.4 times as fast as `SentenceTransformer.encode`; greedy answers 3 times as
fast as `model.generate` over batches of 8 in the given order. Transformers 5 has no pipeline for spans: the peer is
the loop of version 4's (`support/loops.py`). Labels, tokens, spans and vectors are those of all-MiniLM-L6-v2 (extra
`quickstart`; its heads are drawn at random, which costs the same) on mixed real texts (`sentences`: labels of short
ones alone), and on SQuAD's questions. Where texts are long, transformers is best one by one, as matrix products are
nearly all the work: there is less to be saved than where texts are short. What is written is words spelt in phonemes
by g2p-bart-en-us (`writing`), and by a model of GPT-2 small's size with random weights beginnings of abstracts gone on
with (`long`), each row for as many tokens as its real summary has: both sides are made to stop there, and their texts
are compared. Data and models lie below $NLPIPE_TEST_DATA.

`reached` is the share of the rate of plain matrix products in the same numbers, measured in the same turn, that the
rows' own tokens come to. Machines differ, and a busy one more so: look at the ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from support import loops
from support.models import ENCODER, gpt2, headed, lines, mixed, short
from support.rate import matrix_rate, training_flops

Way = Callable[[], Any]


class Setting(NamedTuple):
    """What all are measured with: batch sizes of which transformers' best counts."""

    encoder: str
    place: loops.Place
    batches: Sequence[int]
    folder: Path


def headed_ways(task: str, theirs: str, kind: str, names: list[str], texts: list[str], by: Setting) -> dict[str, Way]:
    import transformers

    import nlpipe

    where = headed(kind, names, by.folder, by.encoder)
    ours = nlpipe.pipeline(task, model=where, long="truncate", **by.place._asdict())
    other = transformers.pipeline(theirs, model=str(where), **by.place._asdict())
    cut: dict[str, Any] = {"truncation": True} if task == "classification" else {}  # V5's token pipeline always cuts
    ways: dict[str, Way] = {"nlpipe": lambda: ours(texts), "one by one": lambda: other(texts, **cut)}
    for size in by.batches:
        ways[f"batches of {size}"] = lambda size=size: other(texts, batch_size=size, **cut)
    return ways


def labelling(texts: list[str], by: Setting) -> dict[str, Way]:
    return headed_ways("classification", "text-classification", "SequenceClassification", ["a", "b"], texts, by)


def span_ways(rows: list[dict[str, Any]], by: Setting) -> dict[str, Way]:
    import nlpipe

    where = headed("QuestionAnswering", ["start", "end"], by.folder, by.encoder)
    asked = [{"question": row["question"], "context": row["context"]} for row in rows]
    ours = nlpipe.pipeline("qa", model=where, **by.place._asdict())
    other = loops.Spans(where, by.place)
    ways: dict[str, Way] = {"nlpipe": lambda: ours(asked), "one by one": lambda: other.answers(asked, 1)}
    for size in by.batches:
        ways[f"batches of {size}"] = lambda size=size: other.answers(asked, size)
    return ways


def vector_ways(texts: list[str], by: Setting) -> dict[str, Way]:
    from sentence_transformers import SentenceTransformer

    import nlpipe
    from nlpipe import locating

    ours = nlpipe.pipeline("similarity", model=by.encoder, **by.place._asdict())
    where = str(locating.locate(by.encoder).folder)
    other = SentenceTransformer(where, device=by.place.device, model_kwargs={"dtype": by.place.dtype})
    return {
        "nlpipe": lambda: ours.embed(texts),
        "encode": lambda: other.encode(texts, show_progress_bar=False),
    }


def writing_ways(words: list[str], by: Setting) -> dict[str, Way]:
    import torch
    import transformers

    import nlpipe

    where = Path(os.environ["NLPIPE_TEST_DATA"]) / "models" / "g2p-bart-en-us"
    ours = nlpipe.pipeline("generation", model=where, **by.place._asdict())
    tokenizer = transformers.AutoTokenizer.from_pretrained(where)
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(where, dtype=by.place.dtype).to(by.place.device).eval()

    def generated() -> None:
        for start in range(0, len(words), 8):
            batch = tokenizer(words[start : start + 8], return_tensors="pt", padding=True).to(by.place.device)
            batch.pop("token_type_ids", None)
            with torch.inference_mode():
                model.generate(**batch, num_beams=1, do_sample=False, max_new_tokens=64)

    return {"nlpipe": lambda: ours(words, num_beams=1, max_new_tokens=64), "generate": generated}


def long_ways(rows: list[dict[str, Any]], by: Setting) -> dict[str, Way]:
    """Abstracts' first 24 words, gone on with for as many tokens as the row's summary has."""
    import nlpipe

    where = gpt2(by.folder)
    other = loops.Continuing(where, by.place)
    prompts = [" ".join(row["document"].split()[:24]) for row in rows]
    limits = [len(other.tokenizer(row["summary"])["input_ids"]) for row in rows]
    ours = nlpipe.pipeline("generation", model=where, **by.place._asdict())
    ours.objective = loops.limited(ours, prompts, limits)
    end = other.tokenizer.eos_token_id
    settings: dict[str, Any] = {"max_new_tokens": max(limits), "suppress_tokens": [end]}
    texts = [one.text for one in ours(prompts[:8], **settings)]
    if by.place.dtype == "float32" and texts != other.texts(prompts[:8], limits[:8], 8):
        raise SystemExit("long: the two do not write the same, so their times say nothing")
    return {"nlpipe": lambda: ours(prompts, **settings), "generate": lambda: other.texts(prompts, limits, 8)}


def work(texts: list[str], by: Setting) -> float:
    """The operations of one pass over the texts' own tokens: a third of a training step's."""
    import nlpipe

    pipe = nlpipe.pipeline("similarity", model=by.encoder, device="cpu")
    seen = (pipe.objective.encode(_query(text), None, pipe.tokenizers) for text in texts)
    lengths = [sum(len(row.ids) for row in rows) for rows in seen]
    return training_flops(pipe.runner.model, lengths, full=True) / 3  # type: ignore[attr-defined]


def _query(text: str) -> Any:
    from nlpipe.objectives.base import Texts

    return Texts((text,))


def measured(ways: dict[str, Way], turns: int, flops: float | None, place: loops.Place) -> dict[str, Any]:
    """Seconds of each way turn by turn, and the ratios to ours within each turn."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    reached = []
    for turn in range(turns + 1):  # the first warms up and is left out
        for name, way in ways.items():
            before = matrix_rate(0.3, *place) if flops and name == "nlpipe" else 0.0
            start = time.perf_counter()
            way()
            took = time.perf_counter() - start
            if turn:
                seconds[name].append(took)
                if before and flops:
                    reached.append(flops / took / ((before + matrix_rate(0.3, *place)) / 2))
    ratios = {name: _ratio(times, seconds["nlpipe"]) for name, times in seconds.items() if name != "nlpipe"}
    return {"seconds": seconds, "times_as_fast": ratios, "reached": statistics.median(reached) if reached else None}


def _ratio(theirs: Iterable[float], ours: Iterable[float]) -> float:
    return statistics.median(their / our for their, our in zip(theirs, ours, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "what", nargs="*", default=["labels", "sentences", "tokens", "spans", "vectors", "writing", "long"]
    )
    parser.add_argument("--rows", type=int, default=140)
    parser.add_argument("--words", type=int, default=512)
    parser.add_argument("--written", type=int, default=64, help="rows of `long`")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--dtype", default="float32", help="of both sides")
    parser.add_argument("--encoder", default=ENCODER, help="another one, such as a folder")
    parser.add_argument("--batches", type=int, nargs="+", default=[8, 32], help="sizes that transformers tries")
    parser.add_argument("--json", type=Path, help="write all figures there")
    given = parser.parse_args()

    import torch

    torch.set_num_threads(given.threads)
    texts = mixed(given.rows)
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        by = Setting(given.encoder, loops.Place(given.device, given.dtype), given.batches, Path(folder))
        tags = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
        makers: dict[str, Callable[[], dict[str, Way]]] = {
            "labels": lambda: labelling(texts, by),
            "sentences": lambda: labelling(short(2 * given.rows), by),
            "tokens": lambda: headed_ways("ner", "token-classification", "TokenClassification", tags, texts, by),
            "spans": lambda: span_ways(lines("squad_v1_dev/dev.jsonl.gz")[:: 10_000 // given.rows], by),
            "vectors": lambda: vector_ways(texts, by),
            "writing": lambda: writing_ways([row["source"] for row in lines("g2p_en/dev.jsonl")[: given.words]], by),
            "long": lambda: long_ways(lines("scitldr/dev.jsonl.gz")[: given.written], by),
        }
        for name in given.what:
            flops = work(texts, by) if name == "vectors" else None
            found[name] = measured(makers[name](), given.turns, flops, by.place)
            ratios = ", ".join(f"{times:.2f} x {way}" for way, times in found[name]["times_as_fast"].items())
            reached = found[name]["reached"]
            print(f"{name}: {ratios}" + (f"; {reached:.0%} of the matrix rate" if reached else ""), flush=True)
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
