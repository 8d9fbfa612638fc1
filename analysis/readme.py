"""Put the tables and figures of studies where README.md and docs/ quote them."""

from gradflow.analysis.readme import main

if __name__ == "__main__":
    main()
