"""Export a study's tables as CSV, parquet or TensorBoard event files."""

from gradflow.analysis.export import main

if __name__ == "__main__":
    main()
