"""If the best map is the identity: do residual branches reach 0, and what do plain stacks do?"""

from gradflow.analysis.studies.identity import main

if __name__ == "__main__":
    main()
