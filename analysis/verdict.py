"""Verdict on each depth of a study: outcome, gradient and tuning, in plain words."""

from gradflow.analysis.studies.verdict import main

if __name__ == "__main__":
    main()
