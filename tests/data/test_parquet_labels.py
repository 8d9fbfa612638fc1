"""Labels of parquet files, and files damaged anywhere: right, or one line."""

from datetime import date
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradflow.core.errors import GradflowError
from gradflow.data.parquet import read_parquet
from tests.support.parquet_files import CHANNELS_FIRST, ENCODED, FORMS, LAYOUT, refusal, write


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        ([None, 3, 3, 3], "row 0: label is null; CIFAR-10 has whole numbers from 0 to 9"),
        ([3, 257, 3, 3], "row 1: label is 257; CIFAR-10"),
        ([3, 3, -1, 3], "row 2: label is -1; CIFAR-10"),
        ([3, 3, 3, 10], "row 3: label is 10; CIFAR-10"),
        ([3, 3, 3.7, 3], "row 2: label is 3.7; CIFAR-10"),
        ([3, 3, 3, float("nan")], "row 3: label is nan; CIFAR-10"),
        ([3, float("inf"), 3, 3], "row 1: label is inf; CIFAR-10"),
        (pa.array([0, 0, 2**64 - 1, 0], pa.uint64()), "row 2: label is 18446744073709551615;"),
        (["cat"] * 4, "row 0: label is 'cat' (string); CIFAR-10"),
        (["x\n" * 99] * 4, "row 0: label is 'x\\nx"),
        ([True] * 4, "row 0: label is True (bool); CIFAR-10"),
        ([[3]] * 4, "row 0: label is [3] (list<element: int64>)"),
        ([Decimal(3)] * 4, "row 0: label is Decimal('3') (decimal128(1, 0))"),
        ([date(2015, 12, 10)] * 4, "row 0: label is datetime.date(2015, 12, 10) (date32[day])"),
    ],
)
def test_labels_that_are_no_class_are_refused(tmp_path, labels, told):
    assert refusal(write(tmp_path / "a.parquet", labels=labels)).startswith(told)


@pytest.mark.parametrize(
    "kind",
    [pa.int8(), pa.uint8(), pa.int64(), pa.uint64(), pa.float16(), pa.float32(), pa.float64()],
    ids=str,
)
def test_whole_numbers_of_any_type_are_labels(tmp_path, kind):
    values = np.array([0, 1, 2, 9]).astype(kind.to_pandas_dtype())
    file = write(tmp_path / "a.parquet", labels=pa.array(values, kind))
    assert read_parquet(file, LAYOUT)[1].tolist() == [0, 1, 2, 9]


def test_dictionaries_are_labels_and_images(tmp_path):
    labels, images = (pa.array(x).dictionary_encode() for x in ([7, 0, 7, 7], ENCODED))
    found = read_parquet(write(tmp_path / "a.parquet", images, labels), LAYOUT)
    np.testing.assert_array_equal(found[0], CHANNELS_FIRST)
    assert found[1].tolist() == [7, 0, 7, 7]


whole = st.integers(0, 9)
strange = st.one_of(
    st.none(),
    st.integers(-(2**63), 2**63 - 1),
    st.integers(-2, 12),
    st.floats(),
    st.floats(-1, 11),
    st.text(max_size=5),
    st.binary(max_size=5),
    st.booleans(),
)


def is_class(label):
    return not isinstance(label, bool | str | bytes) and label is not None and label in range(10)


@settings(max_examples=150)
@given(data=st.data())
def test_a_column_of_labels_is_read_rightly_or_refused(tmp_path_factory, data):
    labels = data.draw(st.lists(whole | whole.map(float), min_size=4, max_size=4))
    for row in data.draw(st.sets(st.integers(0, 3), max_size=2)):
        labels[row] = data.draw(strange)
    try:
        column = pa.array(labels)
    except (pa.ArrowException, TypeError, OverflowError):
        return  # no column has such values
    file = write(tmp_path_factory.mktemp("labels") / "a.parquet", labels=column)
    stored = column.to_pylist()
    wrong = [row for row, label in enumerate(stored) if not is_class(label)]
    nulls = [row for row in wrong if stored[row] is None]
    if wrong:
        assert refusal(file).startswith(f"row {(nulls or wrong)[0]}: label is ")
    else:
        images, found = read_parquet(file, LAYOUT)
        np.testing.assert_array_equal(images, CHANNELS_FIRST)
        assert found.tolist() == stored


@settings(max_examples=150)
@given(data=st.data())
def test_a_damaged_file_is_read_rightly_or_refused(tmp_path_factory, data):
    """Anywhere: in the images, the pages, their headers or the footer."""
    form = data.draw(st.sampled_from(["struct", "plain bytes", "fixed-size lists"]))
    file = tmp_path_factory.mktemp("damaged") / "a.parquet"
    content = bytearray(write(file, FORMS[form], write_page_checksum=True).read_bytes())
    size = len(content)
    match data.draw(st.sampled_from(["flips", "end", "zeros", "insertion"])):
        case "flips":
            # Half of them in the last kilobyte, which says how to read all the others.
            place = st.integers(0, size - 1) | st.integers(max(0, size - 1000), size - 1)
            for at in data.draw(st.lists(place, min_size=1, max_size=4)):
                content[at] ^= data.draw(st.integers(1, 255))
        case "end":
            del content[data.draw(st.integers(0, size - 1)) :]
        case "zeros":
            at = data.draw(st.integers(0, size - 1))
            content[at : at + 16] = bytes(len(content[at : at + 16]))
        case "insertion":
            at = data.draw(st.integers(0, size - 1))
            content[at:at] = data.draw(st.binary(min_size=1, max_size=8))
    file.write_bytes(content)
    try:
        images, labels = read_parquet(file, LAYOUT)
    except GradflowError as error:
        line = str(error)
    else:
        np.testing.assert_array_equal(images, CHANNELS_FIRST)
        assert labels.tolist() == [0, 1, 2, 9]
        return
    assert line.startswith(f"{file}: ")
    assert "\n" not in line
