# /// script
# dependencies = ["nox>=2025.5"]
# ///
"""The tests on several Pythons, each in a venv of its own: nox -s tests-3.13."""

import nox

nox.needs_version = ">=2025.5"
nox.options.default_venv_backend = "uv|virtualenv"


@nox.session(python=["3.11", "3.12", "3.13", "3.14"])
def tests(session: nox.Session) -> None:
    """All tests, with the versions of constraints.txt; words after -- go to pytest."""
    session.install("--constraint", "constraints.txt", "--editable", ".[all,dev]")
    session.run("pytest", *session.posargs)


if __name__ == "__main__":
    nox.main()
