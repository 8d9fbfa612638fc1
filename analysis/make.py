"""Every figure and table of a study, or of all studies in a folder, that is not up to date."""

from gradflow.analysis.make import main

if __name__ == "__main__":
    main()
