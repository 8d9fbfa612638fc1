"""python analysis/ledger.py outputs/STUDY: what gradflow.analysis.studies draws."""

from gradflow.analysis.studies.ledger import main

if __name__ == "__main__":
    main()
