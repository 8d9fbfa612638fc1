"""Copy the tables and figures of studies into README.md and docs/, which quote them."""

from gradflow.analysis.readme import main

if __name__ == "__main__":
    main()
