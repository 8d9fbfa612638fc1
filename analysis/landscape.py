"""The loss around trained weights, plain beside residual, along filter-normalized directions."""

from gradflow.analysis.studies.landscape import main

if __name__ == "__main__":
    main()
