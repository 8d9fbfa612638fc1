"""How did a search get to its best? History, and every trial against each key."""

from gradflow.analysis.studies.search import main

if __name__ == "__main__":
    main()
