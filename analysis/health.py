"""Are signals and gradients healthy? Dead units, zero gradients, signal statistics, agreement."""

from gradflow.analysis.studies.health import main

if __name__ == "__main__":
    main()
