"""Files of requests, good, bad and hostile."""

import csv
import gzip
import io
import json
import random
import string
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sola_scale.errors import RequestError
from sola_scale.requests import BadRecord, EditRequest, read_requests
from sola_scale.requests.lines import MAX_RECORD

GOOD = EditRequest("p", "t")
GOOD_LINE = '{"prompt": "p", "target": "t"}\n'

text = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=40).filter(
    str.strip
)
requests = st.builds(
    EditRequest,
    text,
    text,
    paraphrases=st.lists(text, max_size=3),
    tags=st.lists(text, max_size=3),
    source=st.none() | text,
)
relaxed = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def plain(request: EditRequest) -> dict:
    """The request as a record of our own schema."""
    record = {
        "prompt": request.prompt,
        "target": request.target,
        "paraphrases": [text for text in request.paraphrases if text != request.prompt],
        "tags": list(request.tags),
    }
    return record | ({"source": request.source} if request.source else {})


def write(tmp_path: Path, name: str, content: str | bytes) -> Path:
    """A file with this content."""
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def read(path: Path, format_: str | None = None) -> list[EditRequest | BadRecord]:
    """All that the reader yields."""
    return list(read_requests(path, format_))


@relaxed
@given(st.lists(requests, max_size=8), st.booleans(), st.sampled_from(["\n", "\r\n", "\n\n"]), st.booleans())
def test_json_lines_round_trip(
    tmp_path: Path, written: list[EditRequest], ascii_: bool, ending: str, packed: bool
) -> None:
    """What is written as JSON lines is read back, with any line ending, escaped or not, packed or not."""
    body = "".join(json.dumps(plain(request), ensure_ascii=ascii_) + ending for request in written).encode()
    path = write(tmp_path, "r.jsonl", gzip.compress(body) if packed else body)
    assert [plain(request) for request in read(path)] == [plain(request) for request in written]


@relaxed
@given(st.lists(requests, max_size=8), st.sampled_from([None, 2]), st.booleans())
def test_a_json_array_round_trips(
    tmp_path: Path, written: list[EditRequest], indent: int | None, ascii_: bool
) -> None:
    """What is written as one JSON array is read back, pretty-printed or not."""
    body = json.dumps([plain(request) for request in written], indent=indent, ensure_ascii=ascii_)
    assert [plain(request) for request in read(write(tmp_path, "r.json", body))] == [
        plain(r) for r in written
    ]


csv_text = st.text(string.ascii_letters + ' ,"\n;é', min_size=1, max_size=20).map(str.strip).filter(bool)


@relaxed
@given(
    st.lists(st.tuples(csv_text, csv_text, st.lists(csv_text, max_size=2)), max_size=8),
    st.sampled_from(",\t"),
)
def test_csv_round_trips(tmp_path: Path, rows: list[tuple[str, str, list[str]]], delimiter: str) -> None:
    """Quotes, delimiters and line breaks inside fields survive; lists are split on the bar."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, delimiter=delimiter)
    writer.writerow(["prompt", "target", "paraphrases"])
    writer.writerows([prompt, target, "|".join(paraphrases)] for prompt, target, paraphrases in rows)
    path = write(tmp_path, "r.csv" if delimiter == "," else "r.tsv", buffer.getvalue())
    expected = [EditRequest(p, t, paraphrases=[q for q in qs if q != p]) for p, t, qs in rows]
    assert read(path) == expected


def test_parquet_round_trips(tmp_path: Path) -> None:
    """Rows of several batches come back in order, other columns are not read, bad rows are named by number."""
    rows = [{"prompt": f"p{i}", "target": "t", "paraphrases": ["q"], "unknown": i} for i in range(1200)]
    rows[700]["target"] = None
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "r.parquet", row_group_size=100)
    found = read(tmp_path / "r.parquet")
    assert len(found) == 1200
    assert found[1199] == EditRequest("p1199", "t", paraphrases=("q",))
    assert isinstance(found[700], BadRecord)
    assert found[700].line == 701


@relaxed
@given(st.binary(max_size=300), st.sampled_from(["jsonl", "json", "csv", "tsv"]))
def test_no_bytes_can_crash_a_reader(tmp_path: Path, content: bytes, format_: str) -> None:
    """Any bytes at all give requests, bad records or a request error."""
    path = write(tmp_path, "r", content)
    try:
        found = read(path, format_)
    except RequestError:
        return
    assert all(isinstance(record, EditRequest | BadRecord) for record in found)


@relaxed
@given(st.integers(0, 2**32))
def test_a_damaged_array_loses_no_record_silently(tmp_path: Path, seed: int) -> None:
    """One byte knocked out of an array gives all other records or at least one bad record that says so."""
    body = bytearray(json.dumps([{"prompt": f"p{i}", "target": "t"} for i in range(6)], indent=1).encode())
    place = random.Random(seed).randrange(1, len(body))
    del body[place]
    found = read(write(tmp_path, "r.json", bytes(body)))
    good = [record for record in found if isinstance(record, EditRequest)]
    assert len(good) == 6 or any(isinstance(record, BadRecord) for record in found)


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ("{broken", "not valid JSON"),
        ('{"prompt": "p"}', "no field 'target'"),
        ("[1]", "not a list"),
        ('{"prompt": "", "target": "t"}', "prompt is empty"),
        ('{"prompt": "\\ud800", "target": "t"}', "surrogate"),
        ("[" * 100_000, "not usable JSON"),
        ('{"prompt": ' + "9" * 5000 + "}", "not usable JSON"),
        ('{"prompt": "' + "x" * MAX_RECORD + '", "target": "t"}', "longer than 1,048,576 bytes"),
    ],
)
def test_a_bad_line_never_stops_the_rest(tmp_path: Path, bad: str, said: str) -> None:
    """Between two good lines a bad one is reported with its number; both good ones are read."""
    first, second, third = read(write(tmp_path, "r.jsonl", GOOD_LINE + bad + "\n" + GOOD_LINE))
    assert first == third == GOOD
    assert isinstance(second, BadRecord)
    assert second.line == 2
    assert said in second.reason


def test_invalid_utf8_is_one_bad_line(tmp_path: Path) -> None:
    """A line in another encoding is reported, not guessed at."""
    found = read(write(tmp_path, "r.jsonl", b'{"prompt": "caf\xe9", "target": "t"}\n' + GOOD_LINE.encode()))
    assert found == [BadRecord(1, "not valid UTF-8 at byte 15"), GOOD]


def test_a_byte_order_mark_is_skipped(tmp_path: Path) -> None:
    """Files saved by Windows editors read like any other."""
    assert read(write(tmp_path, "r.jsonl", b"\xef\xbb\xbf" + GOOD_LINE.encode())) == [GOOD]
    assert read(write(tmp_path, "r.csv", b"\xef\xbb\xbfprompt,target\r\np,t\r\n")) == [GOOD]


def test_utf16_is_refused_with_the_remedy(tmp_path: Path) -> None:
    """A UTF-16 file says what to do instead of giving a thousand bad lines."""
    with pytest.raises(RequestError, match="save it as UTF-8"):
        read(write(tmp_path, "r.csv", "prompt,target\n".encode("utf-16")))


def test_lines_are_those_of_the_file(tmp_path: Path) -> None:
    """Line numbers count blank lines, and in CSV the lines inside quoted fields."""
    lines = [
        record.line for record in read(write(tmp_path, "r.jsonl", "\n" + GOOD_LINE + "\n\n" + GOOD_LINE))
    ]
    assert lines == [2, 5]
    rows = read(write(tmp_path, "r.csv", 'prompt,target\n"a\nb",t\np,t\n'))
    assert [row.line for row in rows] == [2, 4]


def test_array_elements_know_their_lines(tmp_path: Path) -> None:
    """In an array, a record's line is the one its brace stands on."""
    body = '\n[\n{"prompt": "p",\n "target": "t"},\n\n  {"prompt": 1, "target": "t"}\n]\n'
    good, bad = read(write(tmp_path, "r.json", body))
    assert (good.line, bad.line) == (3, 6)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("[]", []),
        ('[{"prompt": "p", "target": "t"}', ["not closed"]),
        ('[{"prompt": "p", "target": "t"}, {"prompt": "p', [GOOD, "not closed"]),
        ('[{"prompt": "p", "target": "t"}] and more', [GOOD, "goes on"]),
        (
            '[{"prompt": "p", "target": "t"}, {bad}, {"prompt": "p", "target": "t"}]',
            [GOOD, "not valid JSON", GOOD],
        ),
        ('["a, b]", {"prompt": "p", "target": "t"}]', ["not a text", GOOD]),
        ('[{"prompt": "p", "target": "t", "x": "\\\\\\"]"}]', [GOOD]),
    ],
)
def test_arrays_are_cut_by_brackets_and_quotes(tmp_path: Path, body: str, expected: list) -> None:
    """Brackets inside strings do not count, a broken element is skipped, a cut-off array is reported."""
    for record, wanted in zip(read(write(tmp_path, "r.json", body)), expected, strict=True):
        assert record == wanted or (isinstance(record, BadRecord) and wanted in record.reason)


def test_an_array_element_over_the_limit_is_skipped(tmp_path: Path) -> None:
    """A giant element is reported at its line and the next one read."""
    body = "[\n" + json.dumps({"prompt": "x" * (MAX_RECORD * 2), "target": "t"}) + ",\n" + GOOD_LINE + "]"
    bad, good = read(write(tmp_path, "r.json", body))
    assert good == GOOD
    assert isinstance(bad, BadRecord)
    assert "longer than" in bad.reason


def test_an_escape_across_a_chunk_border_is_seen(tmp_path: Path) -> None:
    """Wherever the file is cut into chunks, an escaped quote does not end its string."""
    for padding in range(65_500, 65_540):
        body = '[{"prompt": "' + "x" * padding + '\\"]", "target": "t"}]'
        (found,) = read(write(tmp_path, "r.json", body))
        assert isinstance(found, EditRequest | BadRecord)
        assert "array" not in getattr(found, "reason", "")


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("only-one", "1 fields where the header names 2"),
        ("a,b,c", "3 fields where the header names 2"),
        ('"open,t', "not valid CSV"),
        ('"a"b,t', "not valid CSV"),
        (",t", "no field 'prompt'"),
    ],
)
def test_a_broken_csv_row_costs_only_itself(tmp_path: Path, row: str, said: str) -> None:
    """After a broken row, even one with an open quote, reading goes on with the next line."""
    found = read(write(tmp_path, "r.csv", f'prompt,target\np,t\n{row}\n"p",t\n'))
    assert found[0] == found[2] == GOOD
    assert isinstance(found[1], BadRecord)
    assert found[1].line == 3
    assert said in found[1].reason


def test_an_open_quote_at_the_end_loses_no_row_below(tmp_path: Path) -> None:
    """A quote that never closes swallows nothing: the rows below it are read."""
    found = read(write(tmp_path, "r.csv", 'prompt,target\n"open,t\np,t\np,t\n'))
    assert isinstance(found[0], BadRecord)
    assert found[1:] == [GOOD, GOOD]


def test_a_table_without_the_columns_is_refused(tmp_path: Path) -> None:
    """A header of unknown names says which names were found."""
    with pytest.raises(RequestError, match="the file has question, answer"):
        read(write(tmp_path, "r.csv", "question,answer\na,b\n"))
    pq.write_table(pa.table({"question": ["a"]}), tmp_path / "r.parquet")
    with pytest.raises(RequestError, match="the file has question"):
        read(tmp_path / "r.parquet")


def test_csv_headers_may_be_of_another_schema(tmp_path: Path) -> None:
    """EasyEdit's column names work in CSV too, in any case."""
    body = "Prompt,Target_New,Rephrase_Prompt\np,t,a|b\n"
    assert read(write(tmp_path, "r.csv", body)) == [EditRequest("p", "t", paraphrases=("a|b",))]


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("r.txt", GOOD_LINE),
        ("r.txt", f"[{GOOD_LINE}]"),
        ("r.txt", "prompt,target\np,t\n"),
        ("r.json", GOOD_LINE),
        ("r.json.gz", gzip.compress(GOOD_LINE.encode())),
        ("r.jsonl", gzip.compress(GOOD_LINE.encode())),
        ("r.csv.gz", gzip.compress(b"prompt,target\np,t\n")),
    ],
)
def test_the_format_is_seen_from_name_and_content(tmp_path: Path, name: str, body: str | bytes) -> None:
    """An unknown suffix is sniffed; gzip is known by its bytes, not its name."""
    assert read(write(tmp_path, name, body)) == [GOOD]


def test_a_cut_off_gzip_gives_what_came_before(tmp_path: Path) -> None:
    """A download that broke off yields its good records and one bad one at the end."""
    lines = "".join(
        json.dumps({"prompt": f"p{random.random()}", "target": "t"}) + "\n" for _ in range(20_000)
    )
    packed = gzip.compress(lines.encode())
    found = read(write(tmp_path, "r.jsonl.gz", packed[: len(packed) // 2]))
    assert len(found) > 1000
    assert all(isinstance(record, EditRequest) for record in found[:-1])
    assert isinstance(found[-1], BadRecord)
    assert "damaged" in found[-1].reason


def test_a_missing_file_and_an_unknown_format_raise_at_the_call(tmp_path: Path) -> None:
    """What cannot work at all is said at once, before anything is iterated."""
    with pytest.raises(RequestError, match=r"cannot read .*No such file"):
        read_requests(tmp_path / "none.jsonl")
    with pytest.raises(RequestError, match=r"cannot read .*directory"):
        read_requests(tmp_path)
    with pytest.raises(RequestError, match="known are jsonl"):
        read_requests(tmp_path, "xml")
    with pytest.raises(RequestError, match="cannot be read as Parquet"):
        read(write(tmp_path, "r.parquet", "PAR1 but no more"))
    with pytest.raises(RequestError, match="cannot read"):
        read(write(tmp_path, "r.gz", b"\x1f\x8b\x08rubbish"))


def test_an_empty_file_holds_no_requests(tmp_path: Path) -> None:
    """Nothing in, nothing out."""
    assert read(write(tmp_path, "r.jsonl", "")) == []
    assert read(write(tmp_path, "r.csv", "")) == []
