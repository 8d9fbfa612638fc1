"""Which initializations and branch scales train without a norm? Error and gradient by depth."""

from gradflow.analysis.studies.initialization import main

if __name__ == "__main__":
    main()
