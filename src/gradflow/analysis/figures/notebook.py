"""Figures that a notebook shows and a file keeps."""

import io
from pathlib import Path

from matplotlib.figure import Figure

from gradflow.core.door import of_path
from gradflow.core.errors import GradflowError, shown

FORMATS = (".png", ".pdf", ".svg")


class NotebookFigure(Figure):
    """A figure that a notebook shows, whatever its backend."""

    def _repr_png_(self) -> bytes:
        image = io.BytesIO()
        self.savefig(image, format="png", dpi=150)
        return image.getvalue()


def target_of(path: str | Path | None) -> Path | None:
    """A path that a figure can be saved to; None stays None.

    Raises:
        GradflowError: it is none, or of another format.
    """
    if path is None:
        return None
    if not isinstance(path, str | Path):
        raise GradflowError(f"path={shown(path)}: must be a path")
    if Path(path).suffix not in FORMATS:
        raise GradflowError(f"path={shown(path)}: must end in {', '.join(FORMATS)}")
    return Path(path)


def save(made: Figure, target: Path | None) -> None:
    """Save a figure, if there is a path.

    Raises:
        GradflowError: the path cannot be written to.
    """
    if target is None:
        return
    try:
        made.savefig(target)
    except OSError as error:
        raise GradflowError(f"path={of_path(error)}") from error
