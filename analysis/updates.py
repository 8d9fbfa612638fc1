"""How far does a step move each layer? Update-to-weight ratio by layer and step."""

from gradflow.analysis.studies.updates import main

if __name__ == "__main__":
    main()
