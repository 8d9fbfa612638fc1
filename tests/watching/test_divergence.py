"""A 48-layer GPT that diverges: an alert names a place before the loss is not finite."""

import torch
import torch.nn.functional as F

import gradflow
from benchmarks.gpt import GPT
from gradflow.analysis.report.run_page import make_run_page


def test_the_alert_comes_before_the_loss_is_lost(tmp_path):
    torch.manual_seed(0)
    model = GPT(layers=48, width=16, tokens=16, context=8)
    optimizer = torch.optim.SGD(model.parameters(), lr=10.0)
    lost = None
    with gradflow.watch(model, tmp_path / "diverging", every=2) as watch:
        for step in range(60):
            tokens = torch.randint(16, (8, 9))
            loss = F.cross_entropy(model(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            watch.step(loss)
            if not torch.isfinite(loss):
                lost = step
                break
    assert lost is not None
    first = watch.alerts[0]
    assert first.step < lost
    make_run_page(tmp_path / "diverging")
    page = (tmp_path / "diverging" / "report.html").read_text()
    assert f"first alert at step {first.step}" in page
    assert first.place in page
    assert f"diverged: the loss was not finite at step {lost}" in page
