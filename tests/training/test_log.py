"""The lines of a run that goes on."""

import pytest

from t2icli.errors import DataError
from t2icli.training.log import Log

WHOLE = b'{"images": 4, "loss": 1.5}\n'
DAMAGED = [
    b"\xff\xfe",
    b"[]",
    b"3",
    b"{}",
    b'{"images": null}',
    b'{"images": "4"}',
    b'{"images": true}',
    b'{"images": -1}',
    b'{"images": NaN}',
    b'{"images": {"a": 4}}',
    b'{"images": 1' + b"0" * 5000 + b"}",
    b"[" * 100_000,
    b'{"images": 4, "lo',
    b"\0" * 30,
]


@pytest.mark.parametrize("line", DAMAGED, ids=range(len(DAMAGED)))
def test_damaged_lines_go(tmp_path, line):
    (tmp_path / "log.jsonl").write_bytes(WHOLE + line + b"\n" + b'{"images": 9}\n')
    Log(tmp_path, 8).close()
    assert (tmp_path / "log.jsonl").read_bytes() == WHOLE


def test_a_last_line_without_its_end_stays(tmp_path):
    (tmp_path / "log.jsonl").write_bytes(WHOLE.rstrip())
    log = Log(tmp_path, 4)
    log.write(8, {"loss": 2.0})
    log.close()
    first, second = (tmp_path / "log.jsonl").read_text().splitlines()
    assert first.encode() + b"\n" == WHOLE
    assert '"loss": 2.0' in second


def test_a_log_beyond_all_measure_is_refused(tmp_path):
    with (tmp_path / "log.jsonl").open("wb") as file:
        file.truncate((1 << 28) + 1)
    with pytest.raises(DataError, match="log.jsonl: is longer than"):
        Log(tmp_path, 8)
