"""Every figure against a checklist, at every venue: text, contrast, legends, slides."""

import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

from gradflow.analysis.figures import style
from gradflow.analysis.figures.slides import Slides, new_figure
from gradflow.analysis.output import Output
from gradflow.analysis.studies import degradation, gradient_highway, health, ledger, updates
from gradflow.analysis.study import load_study
from tests.support.figures import checked, cut_off, faults


@pytest.fixture
def study(study_folder):
    return load_study(study_folder)


@pytest.mark.parametrize("venue", ["web", "slides"])
def test_figures_of_degradation_pass_the_checklist(study, venue, tmp_path, monkeypatch):
    monkeypatch.setattr(Output, "figures", tmp_path)
    with checked() as found:
        degradation.analyze(Output(study, ["png"], venue))
        gradient_highway.analyze(Output(study, ["png"], venue))
    assert found == {}


@pytest.mark.slow
@pytest.mark.parametrize("venue", list(style.VENUES))
@pytest.mark.parametrize("script", [degradation, gradient_highway, ledger, updates, health])
def test_every_venue(study, script, venue, tmp_path, monkeypatch):
    monkeypatch.setattr(Output, "figures", tmp_path)
    with checked() as found:
        script.analyze(Output(study, ["png"], venue))
    assert found == {}


def test_slides_are_one_panel_each_of_16_to_9(study, tmp_path, monkeypatch):
    monkeypatch.setattr(Output, "figures", tmp_path)
    output = Output(study, ["png", "pdf"], "slides")
    gradient_highway.draw_ratios(output, ratios(study))
    assert [path.name for path in output.paths if path.suffix == ".png"] == [
        "gradient_ratio_a.png",
        "gradient_ratio_b.png",
    ]
    for path in output.paths:
        if path.suffix == ".png":
            with Image.open(path) as image:
                width, height = image.size
            assert width / height == pytest.approx(16 / 9, rel=1e-3)
    points = (tmp_path / "gradient_ratio.csv").read_text()
    assert "at initialization" in points
    assert "at the last step" in points


@pytest.mark.parametrize(
    ("venue", "stamp", "there"),
    [("web", None, True), ("web", "off", False), ("neurips", None, False), ("slides", "on", True)],
)
def test_provenance_stays_in_the_metadata_without_a_stamp(
    study, venue, stamp, there, tmp_path, monkeypatch
):
    monkeypatch.setattr(Output, "figures", tmp_path)
    stamped = []
    monkeypatch.setattr(style, "stamp", lambda made, lines: stamped.extend(lines))
    output = Output(study, ["png", "pdf"], venue, stamp)
    gradient_highway.draw_ratios(output, ratios(study))
    assert (study.provenance in stamped) == there
    for path in output.paths:
        if path.suffix == ".png":
            with Image.open(path) as image:
                assert image.text["Description"] == study.provenance
        else:
            assert study.runs.code_version.iloc[0].encode() in Path(path).read_bytes()
    facts = json.loads((tmp_path / "gradient_ratio.json").read_text())
    assert facts["code_versions"] == sorted(study.runs.code_version.unique())


def ratios(study):
    columns = ["step", "block_index", "input_grad_norm"]
    return gradient_highway.end_to_end(study.records("blocks", columns))


def test_the_checklist_finds_faults():
    """Each item, on a figure that has the fault."""
    made, axes = plt.subplots(1, 2, figsize=(4, 2))
    axes[0].plot([0, 1], color="#F0E442", label="yellow")
    axes[0].text(0.5, 0.5, "one upon", transform=axes[0].transAxes)
    axes[0].text(0.5, 0.5, "another", transform=axes[0].transAxes)
    axes[0].text(1.9, 0.5, "beyond the edge of the paper", transform=axes[1].transAxes)
    axes[1].plot([0, 1], color="#0072B2", label="own")
    axes[1].legend()
    axes[1].set(xlabel="layer (0: stem)", xticks=[0, 0.5, 1])
    text = "\n".join(faults(made, "", slide=True))
    plt.close(made)
    for fault in (
        "overlap: 'one upon' and 'another'",
        "outside the canvas: 'beyond the edge",
        "contrast 1.3 of line 'yellow'",
        "'yellow' of 'a panel' is in no legend",
        "legend on the data",
        "no caption",
        "10 points: 'one upon'",
        "tick at 0.5 of 'layer (0: stem)'",
    ):
        assert fault in text, text


@pytest.mark.parametrize("count", [1, 2, 3, 9, 16, 55, 1001])
def test_an_axis_of_indices_has_ticks_at_whole_numbers(count):
    for axis in ("x", "y"):
        made = new_figure((3, 2))
        ax = made.add_subplot()
        ax.plot(range(count), range(count))
        style.whole_axis(ax, "layer", axis=axis)
        low, high = getattr(ax, f"get_{axis}lim")()
        ticks = getattr(ax, f"get_{axis}ticks")()
        inside = ticks[(low <= ticks) & (ticks <= high)]
        assert len(inside) >= min(count, 2)
        assert (inside == inside.round()).all()


def test_limits_of_one_slide_draw_no_other_that_is_half_made():
    """The axes of a row of slides are shared; the next one's is logarithmic before it has data."""
    slides = Slides(1, 3, shared={"sharey": "row"})
    for ax, top in zip(slides.axes, (1e2, 1e-1, 1e4), strict=True):
        ax.set_yscale("log")
        ax.plot([1, 2], [1e-2, top])
        ax.set_ylim(1e-2, top)
    assert {ax.get_ylim() for ax in slides.axes} == {(1e-2, 1e4)}


def test_a_slide_has_a_legend_of_what_is_on_it_and_margins():
    """Unlabeled lines of a panel take the names that its column has for them."""
    with style.figure(2, 2, height=3, venue="slides") as (slides, axes):
        for ax, names in ((axes[0, 0], ("plain", "mHC")), (axes[0, 1], ("residual", "RevNet"))):
            for name, color in zip(names, ("C0", "C1"), strict=True):
                ax.plot([0, 1], color=color, label=name)
                axes[1, int(ax is axes[0, 1])].plot([1, 0], color=color, label="_")
        axes[1, 0].axhline(0.5, color="C2")
        handles = [plt.Line2D([], [], color=color, label=color) for color in ("C0", "C2", "0.3")]
        style.legend(slides, axes.flat, handles=handles)
        slides.finish()
        legends = [
            [text.get_text() for text in made.legends[0].get_texts()] for made in slides.figures
        ]
        # A handle of no panel's color stands on every slide: it names a style of lines.
        assert legends[0] == ["plain", "mHC", "C0", "C2", "0.3"]
        assert legends[1] == ["residual", "RevNet", "C0", "C2", "0.3"]
        assert legends[2] == ["C0", "C2", "0.3", "mHC"]
        assert legends[3] == ["C0", "C2", "0.3", "RevNet"]
        for made in slides.figures:
            made.canvas.draw()
            drawn = made.get_tightbbox()
            width, height = made.get_size_inches()
            assert drawn is not None
            assert min(drawn.x0, drawn.y0, width - drawn.x1, height - drawn.y1) > 0.25


def test_data_beyond_the_limits_are_a_fault():
    made = new_figure((4, 3))
    ax = made.add_subplot()
    ax.plot([1, 2, 3], [1.0, 2.0, 9.0], color="k", label="all")
    ax.plot([1, 2, 9], [1.0, np.nan, 99.0], color="k", label="beyond the side")
    ax.set(xlim=(0, 4), ylim=(0, 5))
    assert cut_off(made) == ["all leaves 'a panel'"]
    ax.set_ylim(0, 9)
    assert not cut_off(made)


def test_a_slide_of_cells_has_the_names_of_its_rows():
    slides = Slides(1, 2, shared={})
    left, right = slides.axes
    left.set_yticks([0.5, 1.5], ["He", "Fixup"])
    right.set_ylim(left.get_ylim())
    right.set_yticks([])
    slides.finish()
    assert [label.get_text() for label in right.get_yticklabels()] == ["He", "Fixup"]
