"""Signals and gradients through random networks, block by block, against mean-field theory."""

from gradflow.analysis.studies.signal_propagation import main

if __name__ == "__main__":
    main()
