"""The exceptions for everything that the user can mend."""


class GradflowError(Exception):
    """A user's mistake, in one line: the offending value and what would be valid.

    The experiments and analysis scripts print it without a traceback and exit
    with status 1; any other exception is a bug and keeps its traceback.
    """


class DamageError(GradflowError):
    """A file is not what was written: truncated, altered, or of another run; the line names it."""
