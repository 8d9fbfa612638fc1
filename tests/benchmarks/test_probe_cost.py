"""What measuring costs, in a tiny form: each kind of step does what its row says."""

import pytest
import torch

from benchmarks import probe_cost
from benchmarks.cases import Case
from benchmarks.others import Other, PlotGradFlow
from gradflow.records import read_records

TINY = Case(8, 4, (1, 8, 8), 4)


@pytest.fixture(autouse=True)
def threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


class Counting(Other):
    """Counts what it is asked to look at."""

    def __init__(self):
        self.count = 0

    def gradients(self, network):
        self.count += 1


def test_a_turn_of_ten_measures_its_last_step_and_no_step_of_another_kind():
    counting = Counting()
    steps = probe_cost.Steps(TINY, {"counting": counting})
    watched = probe_cost.Watched(steps)
    for kind in ("without", probe_cost.WATCHED, "counting", probe_cost.WATCHED, "without"):
        assert steps.timed_ten(kind, watched) > 0
    assert counting.count == 1
    watched.watch.close()
    layers = read_records(watched.watch.folder, "layers")
    assert layers.step.unique().tolist() == [0, 10, 20]
    assert layers.update_norm.notna().all()
    assert len(read_records(watched.watch.folder, "steps")) == 21
    watched.close()


def test_the_table_has_a_row_for_the_watch_beside_what_others_offer(monkeypatch):
    monkeypatch.setattr(probe_cost, "LIMITS", {"digits-110": {"layers": 1.02}})
    monkeypatch.setitem(probe_cost.CASES, "digits-110", TINY)
    monkeypatch.setattr(probe_cost, "others", lambda: ({"plot_grad_flow": PlotGradFlow()}, []))
    monkeypatch.setattr(probe_cost, "keep_freed_memory", lambda: None)
    [(name, table)] = probe_cost.measure(seconds=0.1)
    assert name == "probes"
    rows = {(row["network"], row["with"]): row for row in table.rows}
    assert [kind for network, kind in rows if network == "digits-110, every tenth step"] == [
        "gradflow.watch(every=10)",
        "plot_grad_flow",
    ]
    assert rows["digits-110, every tenth step", "gradflow.watch(every=10)"]["wanted"] == 1.03
    assert all(row["ratio, median (95 % interval)"].n >= 10 for row in rows.values())
