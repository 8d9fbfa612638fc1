"""How does the gradient pass through the network? Its norm by layer, step and depth."""

from gradflow.analysis.studies.gradient_highway import main

if __name__ == "__main__":
    main()
