"""The command line that the analysis scripts share."""

import sys
from collections.abc import Callable, Sequence

from gradflow.analysis.figures.style import VENUES
from gradflow.analysis.output import FORMATS, STAMPS, Output, check_look
from gradflow.analysis.study import load_study
from gradflow.analysis.swept import label
from gradflow.core.command_line import CommandLine
from gradflow.core.door import folder_of, one_line
from gradflow.core.errors import GradflowError


@one_line()
def run_script(
    analyze: Callable[[Output], None], description: str, swept: Sequence[str] = ()
) -> None:
    """Analyze each setting of the study that the command line names; print what was written.

    Args:
        analyze: writes a study's figures and tables.
        description: for --help.
        swept: the settings that a figure shows besides depth, skip and seed.
    """
    parser = CommandLine(description)
    parser.add_argument(
        "folder", type=folder_of, help="a study's folder, such as outputs/degradation"
    )
    parser.add_argument(
        "--where",
        nargs="*",
        default=[],
        metavar="COLUMN=VALUE",
        help="take the runs with these values, such as optimizer.learning_rate=0.1; they get "
        "files of their own",
    )
    add_figure_options(parser)
    parser.add_argument(
        "--stamp",
        help=f"study, runs and code in a figure's footer: {', '.join(STAMPS)}; default: on for "
        "the web, else off. The file's metadata name them either way",
    )
    arguments = parser.parse_args()
    try:
        formats = formats_of(arguments.format)
        check_look(formats, arguments.style, arguments.stamp)
        study = load_study(arguments.folder, _pairs(arguments.where))
    except GradflowError as error:
        sys.exit(f"error: {error}")
    refusals = []
    for part in study.split(swept):
        output = Output(part, formats, arguments.style, arguments.stamp)
        for note in part.notes:
            print(f"note: {note}")
        try:
            analyze(output)
        except GradflowError as error:
            shown = label(part.setting)
            refusals.append(f"error: {shown}: {error}" if shown else f"error: {error}")
        for path in output.paths:
            print(path)
    if refusals:
        sys.exit("\n".join(refusals))


def add_figure_options(parser: CommandLine) -> None:
    """Add --format and --style."""
    parser.add_argument(
        "--format",
        default="png,pdf",
        help=f"figure formats, some of {', '.join(FORMATS)}; default: png,pdf",
    )
    parser.add_argument(
        "--style",
        default="web",
        help=f"venue that sets width and type: {', '.join(VENUES)}; default: web",
    )


def formats_of(text: str) -> list[str]:
    """The value of --format as a list."""
    return text.split(",")


def _pairs(where: list[str]) -> dict[str, str]:
    for text in where:
        if "=" not in text:
            raise GradflowError(f"--where {text}: must be COLUMN=VALUE, such as data_name=digits")
    return dict(text.split("=", 1) for text in where)
