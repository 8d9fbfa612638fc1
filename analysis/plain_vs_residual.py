"""Plain against residual networks of several kinds: a column per norm or per family."""

from gradflow.analysis.studies.plain_vs_residual import main

if __name__ == "__main__":
    main()
