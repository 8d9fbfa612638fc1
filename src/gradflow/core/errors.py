"""The exceptions for everything that the user can mend."""


class GradflowError(Exception):
    """A user's mistake, in one line: the offending value and what would be valid.

    The experiments and analysis scripts print it without a traceback and exit
    with status 1; any other exception is a bug and keeps its traceback.
    """

    def __str__(self) -> str:
        """The message, without characters that steer a terminal, whatever was quoted in it."""
        return "\n".join(map(_printable, super().__str__().split("\n")))


class UnreadError(GradflowError):
    """An option was given that nothing reads under the other choices.

    Attributes:
        key: the option's, such as network.gate_bias.
    """

    def __init__(self, message: str, key: str = ""):
        super().__init__(message)
        self.key = key


def shown(value: object, longest: int = 100) -> str:
    """A value as a message quotes it: on one line, unprintable characters escaped, not too long."""
    text = _printable(str(value))
    return text if len(text) <= longest else f"{text[:longest]}..."


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


class DamageError(GradflowError):
    """A file is not what was written: truncated, altered, or of another run; the line names it."""
