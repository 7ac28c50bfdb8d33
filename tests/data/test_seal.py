from __future__ import annotations

import copy
import errno
import hashlib
import json
import os
import pickle
import subprocess
import sys
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest

from mlexpert.data import ledger as ledger_module
from mlexpert.data.examples import Examples
from mlexpert.data.ledger import read_chain
from mlexpert.data.seal import Ledger, Sealed, open_sealed
from mlexpert.data.splits import split
from mlexpert.errors import InputError, RunError

DATA = "ab" * 32


@pytest.fixture
def sealed() -> Sealed:
    frame = pd.DataFrame({"a": np.arange(100.0)})
    groups, times = np.arange(100) // 2, np.arange(100)
    examples = Examples("tabular", frame, np.arange(100) // 2 % 2, groups=groups, times=times)
    return split({"all": examples}).test


def filled(number: int = 3) -> Ledger:
    ledger = Ledger(DATA)
    for i in range(number):
        ledger.append(reason=f"reason {i}", run=f"runs/{i}", recipe="imbalanced-cls@1")
    return ledger


@pytest.mark.parametrize(
    "peep",
    [
        list,
        iter,
        reversed,
        lambda s: s[0],
        lambda s: s[np.array([0])],
        lambda s: s[:],
        lambda s: 1 in s,
        lambda s: s.inputs,
        lambda s: s.targets,
        lambda s: s.subgroups,
        lambda s: s.select(np.array([0])),
        lambda s: getattr(s, "targets", None),
        np.asarray,
        copy.copy,
        copy.deepcopy,
        pickle.dumps,
        lambda s: pickle.dumps({"splits": [s]}, protocol=0),
    ],
)
def test_a_sealed_split_cannot_be_looked_at(sealed, peep):
    with pytest.raises(InputError, match=r"the test split is sealed; use fitted\.final_test"):
        peep(sealed)


def test_what_an_audit_needs_stays_open(sealed):
    assert len(sealed) == len(sealed.digests) == len(sealed.groups) == len(sealed.times) > 0
    assert repr(sealed) == f"Sealed({len(sealed)} tabular rows)"
    assert not any("rows" in name.lower() and "__" not in name for name in Sealed.__slots__)
    assert not hasattr(sealed, "__dict__")
    with pytest.raises(AttributeError):
        sealed.anything_else  # noqa: B018


def test_opening_is_written_down_before_the_rows_are_given(sealed, monkeypatch):
    ledger = Ledger(sealed.fingerprint)
    seen = []
    release = Sealed._release
    monkeypatch.setattr(
        Sealed, "_release", lambda self: seen.append(len(ledger.entries())) or release(self)
    )
    rows = open_sealed(sealed, ledger, reason="table 1", run="runs/a", recipe="imbalanced-cls@1")
    assert seen == [1]
    assert len(rows) == len(sealed) and rows.part == "test"
    entry = ledger.last
    assert (entry.number, entry.reason, entry.run) == (1, "table 1", "runs/a")
    assert entry.recipe == "imbalanced-cls@1" and entry.time.endswith("+00:00")
    open_sealed(sealed, ledger, reason="once more", run="runs/b")
    assert [e.number for e in Ledger(sealed.fingerprint).entries()] == [1, 2]


@pytest.mark.parametrize("reason", ["", "  \n", None, 3])
def test_an_empty_reason_opens_nothing(sealed, reason):
    ledger = Ledger(sealed.fingerprint)
    with pytest.raises(InputError, match="needs a reason"):
        open_sealed(sealed, ledger, reason=reason, run="runs/a")
    assert ledger.entries() == () and not ledger.path.exists()


def test_the_ledger_of_other_data_opens_nothing(sealed):
    with pytest.raises(InputError, match="about other data"):
        open_sealed(sealed, Ledger(DATA), reason="table 1", run="runs/a")
    with pytest.raises(InputError, match="64 hexadecimal"):
        Ledger("../elsewhere")


def test_the_ledger_lies_in_the_home_folder(home):
    assert filled().path == home / "ledger" / f"{DATA}.jsonl"
    assert Ledger(DATA, home / "other").path == home / "other" / "ledger" / f"{DATA}.jsonl"


def test_a_hash_is_that_of_canonical_json():
    first, second, _ = filled().entries()
    assert second.previous == first.hash
    content = asdict(second)
    content.pop("hash")
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    assert second.hash == hashlib.sha256(text.encode()).hexdigest()


def lines_of(ledger: Ledger) -> list[str]:
    return ledger.path.read_text().splitlines()


def rehashed(line: str, **changes) -> str:
    """An entry that was edited and given a fitting hash of its own."""
    content = {**json.loads(line), **changes}
    content.pop("hash")
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return json.dumps({**content, "hash": hashlib.sha256(text.encode()).hexdigest()})


@pytest.mark.parametrize(
    "tamper",
    [
        lambda ls: [ls[0].replace("reason 0", "reason 9"), *ls[1:]],
        lambda ls: [*ls[:2], ls[2].replace("reason 2", "reason 9")],
        lambda ls: [rehashed(ls[0], reason="other"), *ls[1:]],
        lambda ls: [*ls[:2], rehashed(ls[2], reason="other")],
        lambda ls: ls[1:],
        lambda ls: [ls[0], ls[2]],
        lambda ls: ls[:2],
        lambda ls: [],
        lambda ls: [ls[1], ls[0], ls[2]],
        lambda ls: [*ls, ls[2]],
        lambda ls: [*ls, '{"number": 4'],
        lambda ls: [*ls, "[]"],
    ],
    ids=[
        "edited",
        "last edited",
        "edited and hashed",
        "last edited and hashed",
        "first removed",
        "middle removed",
        "last removed",
        "all removed",
        "reordered",
        "repeated",
        "torn",
        "not an entry",
    ],
)
def test_tampering_is_evident_and_keeps_the_seal(tamper):
    ledger = filled()
    ledger.verify()
    ledger.path.write_text("".join(f"{line}\n" for line in tamper(lines_of(ledger))))
    before = ledger.path.read_bytes()
    with pytest.raises(RunError, match="was altered"):
        ledger.verify()
    with pytest.raises(RunError, match="was altered"):
        ledger.append(reason="table 1", run="runs/a")
    assert ledger.path.read_bytes() == before


def test_a_missing_file_or_head_is_evident():
    ledger = filled()
    head = ledger.path.with_suffix(".head")
    kept = head.read_text()
    head.unlink()
    with pytest.raises(RunError, match=r"head file .* is gone"):
        ledger.verify()
    head.write_text("{")
    with pytest.raises(RunError, match="cannot be read"):
        ledger.verify()
    head.write_text(kept)
    ledger.path.unlink()
    with pytest.raises(RunError, match="0 entries where 3 were written"):
        ledger.verify()


def test_the_chain_of_other_data_does_not_fit():
    ledger, other = filled(), Ledger("cd" * 32)
    other.path.write_bytes(ledger.path.read_bytes())
    with pytest.raises(RunError, match="line 1 does not follow"):
        other.verify()


def test_a_copy_can_be_checked_by_itself(tmp_path):
    ledger = filled()
    ledger.export(tmp_path / "ledger.jsonl")
    assert read_chain(tmp_path / "ledger.jsonl", DATA) == ledger.entries()
    text = (tmp_path / "ledger.jsonl").read_text()
    (tmp_path / "ledger.jsonl").write_text(text.replace("reason 1", "reason 7"))
    with pytest.raises(RunError, match="entry 2 was edited"):
        read_chain(tmp_path / "ledger.jsonl", DATA)
    with pytest.raises(RunError, match="cannot write a copy"):
        ledger.export(tmp_path / "no folder" / "ledger.jsonl")


def _full(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("step", ["write", "fsync", "replace"])
def test_a_full_disk_keeps_the_seal_and_the_chain(sealed, monkeypatch, step):
    ledger = Ledger(sealed.fingerprint)
    ledger.append(reason="first", run="runs/a")
    before = ledger.path.read_bytes()
    write = os.write
    calls = []

    def torn(handle, data):  # half a line, then no space
        if bytes(data).startswith(b'{"hash"') or calls:
            calls.append(handle)
            return write(handle, data[:10]) if len(calls) == 1 else _full()
        return write(handle, data)

    monkeypatch.setattr(ledger_module.os, step, torn if step == "write" else _full)
    with pytest.raises(
        RunError, match=r"No space left.*the test split stays sealed.*MLEXPERT_HOME"
    ):
        open_sealed(sealed, ledger, reason="second", run="runs/a")
    monkeypatch.undo()
    assert ledger.path.read_bytes() == before
    assert [e.reason for e in Ledger(sealed.fingerprint, ledger.path.parents[1]).entries()] == [
        "first"
    ]
    assert not list(ledger.path.parent.glob("*.tmp"))


def test_a_home_that_cannot_be_written_keeps_the_seal(sealed, tmp_path):
    (tmp_path / "file").write_text("in the way")
    ledger = Ledger(sealed.fingerprint, tmp_path / "file")
    with pytest.raises(RunError, match=r"cannot write the ledger .*the test split stays sealed"):
        open_sealed(sealed, ledger, reason="table 1", run="runs/a")


def test_a_read_only_home_keeps_the_seal(sealed, tmp_path):
    folder = tmp_path / "ledger"
    folder.mkdir()
    folder.chmod(0o500)
    try:
        if os.access(folder, os.W_OK):
            pytest.skip("this user may write everywhere")
        with pytest.raises(RunError, match=r"Permission denied.*stays sealed"):
            open_sealed(
                sealed, Ledger(sealed.fingerprint, tmp_path), reason="table 1", run="runs/a"
            )
    finally:
        folder.chmod(0o700)


def test_processes_that_append_at_once_make_one_chain():
    code = (
        "import sys; from mlexpert.data.ledger import Ledger\n"
        "for i in range(10): Ledger(sys.argv[1]).append(reason=f'{sys.argv[2]} {i}', run='r')"
    )
    workers = [subprocess.Popen([sys.executable, "-c", code, DATA, str(w)]) for w in range(3)]
    assert [worker.wait() for worker in workers] == [0, 0, 0]
    entries = Ledger(DATA).entries()
    assert [entry.number for entry in entries] == list(range(1, 31))
    assert {entry.reason for entry in entries} == {f"{w} {i}" for w in range(3) for i in range(10)}
