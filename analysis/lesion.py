"""How much error does a trained network gain if blocks are deleted or swapped?"""

from gradflow.analysis.studies.lesion import main

if __name__ == "__main__":
    main()
