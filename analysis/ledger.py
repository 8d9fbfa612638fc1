"""Which way does the gradient come back? Its share over shortcuts, by block, depth and moment."""

from gradflow.analysis.studies.ledger import main

if __name__ == "__main__":
    main()
