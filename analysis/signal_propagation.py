"""python analysis/signal_propagation.py outputs/STUDY: what gradflow.analysis.studies draws."""

from gradflow.analysis.studies.signal_propagation import main

if __name__ == "__main__":
    main()
