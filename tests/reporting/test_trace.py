"""Where the time went: a trace of all ranks, and who was slowest."""

import json

import pytest

from mpipgd.comm.mpi import on_root
from mpipgd.data.create.make import make_bundled
from mpipgd.errors import UsageError
from mpipgd.reporting.timing import slowest_rank
from mpipgd.training.run import train

from ..support import options

WIDE = {"model": "mlp", "hidden": (200,)}


@pytest.mark.parametrize(
    "more",
    [{}, WIDE, {"strategy": "average", "n_sync": 9}, {"strategy": "gossip"},
     {"strategy": "async"}],
)  # fmt: skip
def test_a_trace_has_all_ranks_and_spans_that_do_not_overlap(comm, folder, agree, more):
    data, path = folder / "digits.h5", folder / "trace.json"
    on_root(comm, make_bundled, "digits", data)
    known = {"workers": 4, "trace": str(path), **more}
    summary = train(options(data, folder / "run", **known), comm=comm)
    comm.Barrier()  # idle ranks are here at once
    events = json.loads(path.read_text())["traceEvents"]
    ranks = min(comm.size, 4)
    agree({event["pid"] for event in events} == set(range(ranks)), comm)
    for rank in range(ranks):
        spans = [e for e in events if e["pid"] == rank and e["ph"] == "X"]
        spans.sort(key=lambda span: span["ts"])
        assert {"evaluate", "checkpoint", "compute"} <= {e["name"] for e in spans}
        ends = [span["ts"] + span["dur"] for span in spans]
        assert all(a <= b["ts"] + 0.01 for a, b in zip(ends, spans[1:]))
        exchanged = sum(e["dur"] for e in spans if e["name"] == "exchange") / 1e6
        told = summary["times"][rank]["exchange"] if summary else exchanged
        assert exchanged == pytest.approx(told, rel=0.5, abs=0.02)
    agree(True, comm)


def test_a_trace_wants_a_folder(comm, folder):
    data = folder / "digits.h5"
    on_root(comm, make_bundled, "digits", data)
    run = options(data, folder / "run", trace=str(folder / "nowhere/trace.json"))
    with pytest.raises(
        UsageError, match=r"nowhere/trace\.json: there is no such folder"
    ):
        train(run, comm=comm)


def test_the_slowest_rank_is_named():
    rank, text = slowest_rank([[1.0, 3.0, 0.0], [3.5, 0.5, 0.0], [2.0, 2.0, 0.0]])
    assert rank == 1
    assert "rank 1 with 3.50 s of work (mean 2.17 s); it waited 0.00 s" in text
    assert text.endswith("others 2.50 s")


def test_a_trace_replaces_no_file(tmp_path, mpipgd):
    table = tmp_path / "table.csv"
    table.write_text("x,y\n" + "1,2\n3,5\n" * 20)
    words = table, "--epochs", 1, "--run", tmp_path / "run"
    code, _, err = mpipgd(*words, "--trace", table)
    assert code == 2 and "exists already" in err
    assert table.read_text().startswith("x,y") and not (tmp_path / "run").exists()
