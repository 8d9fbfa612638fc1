"""Records: typed long tables as parquet; written crash-safe, read without torch."""

from gradflow.records.diagnoses import failures, measurable, pending
from gradflow.records.index import ended_runs, has_ended, read_runs
from gradflow.records.means import read_means
from gradflow.records.quantities import HISTOGRAM_EDGES
from gradflow.records.reader import read_records
from gradflow.records.schema import SCHEMAS
from gradflow.records.writer import RecordWriter, cut_back, cut_rows

__all__ = [
    "HISTOGRAM_EDGES",
    "SCHEMAS",
    "RecordWriter",
    "cut_back",
    "cut_rows",
    "ended_runs",
    "failures",
    "has_ended",
    "measurable",
    "pending",
    "read_means",
    "read_records",
    "read_runs",
]
