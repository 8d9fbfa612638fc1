"""Records: typed long tables as parquet; written crash-safe, read without torch."""

from gradflow.records.reader import read_means, read_records, read_runs
from gradflow.records.schema import SCHEMAS
from gradflow.records.writer import RecordWriter, cut_back

__all__ = ["SCHEMAS", "RecordWriter", "cut_back", "read_means", "read_records", "read_runs"]
