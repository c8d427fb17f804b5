"""`--engine ray`: the same output as one process gives, from a cluster on this machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nlpipe.engines import engine
from nlpipe.errors import DataError
from nlpipe.plugins import Plugins
from nlpipe.predicting import chosen, predict

pytestmark = pytest.mark.slow


@pytest.mark.may_skip(reason="needs the extra `ray`")
def test_the_same_output_as_from_one_process(tmp_path: Path) -> None:
    """Bad rows, a resumed output and a source that breaks off among it."""
    ray = pytest.importorskip("ray")
    from nlpipe.testing.tiny import tiny_model
    from tests.support import untrained

    made = untrained("classification", tiny_model("bert", tmp_path / "bert"), ("no", "so", "yes"))
    network: Any = made.runner.model  # type: ignore[attr-defined]
    network.save_pretrained(tmp_path / "model")
    made.tokenizers.source.save(tmp_path / "model")
    found, calls = chosen(str(tmp_path / "model"), "classification", {"windows": "max"}, Plugins.discover())
    pipe = found.open()
    rows: list[dict[str, Any]] = [{"text": f"The small fox saw {number} birds", "id": number} for number in range(2600)]
    rows[3]["text"] = rows[1500]["text"] = 5
    source = tmp_path / "in.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"text": "torn')
    for name in ("local", "ray"):
        (tmp_path / name).mkdir()
    whole = predict(pipe, str(source), str(tmp_path / "local" / "out.jsonl"), options=calls)
    cluster = engine("ray", found, 2)
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)  # both calls use it and leave it running
    try:
        target = tmp_path / "ray" / "out.jsonl"
        with pytest.raises(KeyboardInterrupt):
            predict(pipe, str(source), str(target), options=calls, engine=_stopping(cluster, 700))
        done = predict(pipe, str(source), str(target), options=calls, engine=cluster, resume=True)
    finally:
        ray.shutdown()
    assert (done.rows, done.bad) == (whole.rows, whole.bad) == (2598, 3)
    ours, theirs = (_read(tmp_path / name / "out.jsonl") for name in ("ray", "local"))
    for one, other in zip(ours, theirs, strict=True):  # passes of other rows round otherwise in the last digits
        assert one.pop("scores") == pytest.approx(other.pop("scores"), abs=1e-6)
        assert one.pop("score") == pytest.approx(other.pop("score"), abs=1e-6)
        assert one == other
    assert _read(tmp_path / "ray" / "out.errors.jsonl") == _read(tmp_path / "local" / "out.errors.jsonl")
    with pytest.raises(DataError, match="not standard input"):
        predict(pipe, "-", str(tmp_path / "ray" / "stream.jsonl"), engine=cluster)


def _read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _stopping(inner: Any, after: int) -> Any:
    def found(*given: Any) -> Any:
        for number, one in enumerate(inner(*given)):
            if number == after:
                raise KeyboardInterrupt
            yield one

    return found
