"""Files as people have them: dialects, formats, faults."""

import gzip
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metaml.data import load_task, make_task, read_table
from metaml.errors import DataError

ROWS = [f"{i % 3},{i * 0.5},{'ab'[i % 4 // 2]}" for i in range(40)]
GOOD = "\n".join(["f,g,class", *ROWS, ""])
DATA = Path(os.environ.get("METAML_DATA", Path(__file__).parents[3] / "shared" / "data"))


def write(folder, content, name="data.csv"):
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(GOOD.encode("utf-8-sig"), id="byte order mark"),
        pytest.param(GOOD.replace("\n", "\r\n").encode(), id="CRLF"),
        pytest.param(GOOD.replace("\n", "\r").encode(), id="CR"),
        pytest.param(GOOD.replace(",", ";").encode(), id="semicolon"),
        pytest.param(GOOD.replace(",", ";").replace(".", ",").encode(), id="semicolon and decimal comma"),
        pytest.param(GOOD.replace(",", "\t").encode(), id="tab"),
        pytest.param(GOOD.replace(",", "|").encode(), id="pipe"),
        pytest.param(GOOD.replace(",", ", ").encode(), id="blanks"),
        pytest.param(GOOD.encode("utf-16"), id="UTF-16"),
        pytest.param(GOOD.encode("utf-16-le"), id="UTF-16 without mark"),
        pytest.param(GOOD.encode("utf-32"), id="UTF-32"),
        pytest.param(gzip.compress(GOOD.encode()), id="gzip named .csv"),
        pytest.param(
            ",\n".join(["f,g,class", *ROWS, ""]).replace("class,", "class", 1).encode(), id="trailing delimiter"
        ),
        pytest.param(GOOD.replace("\n", ",\n").encode(), id="trailing delimiter in the header too"),
        pytest.param(
            "\n".join([",f,g,class", *(f"{i},{row}" for i, row in enumerate(ROWS))]).encode(), id="row numbers"
        ),
    ],
)
def test_dialects_give_the_same_task(tmp_path, content):
    expected = load_task(write(tmp_path, GOOD, "good.csv"))
    task = load_task(write(tmp_path, content))
    assert task.fingerprint == expected.fingerprint
    assert (task.name, task.target, task.source) == ("data", "class", str(tmp_path / "data.csv"))


@pytest.mark.parametrize(
    ("cells", "numbers"),
    [
        (["1,5", "-2,25"], [1.5, -2.25]),
        (["1,234", "5,678"], [1234, 5678]),
        (["1,234.5", "0.5"], [1234.5, 0.5]),
        (["1.234,5", "0,5"], [1234.5, 0.5]),
    ],
)
def test_marks_in_quoted_numbers(tmp_path, cells, numbers):
    lines = [f'"{cell}",x' for cell in cells]
    assert read_table(write(tmp_path, "\n".join(["f,c", *lines])))["f"].tolist() == numbers


def test_quoted_newlines_and_delimiters(tmp_path):
    frame = read_table(write(tmp_path, 'a,b\n"x\ny",1\n"x, ""z""",2\n'))
    assert frame["a"].tolist() == ["x\ny", 'x, "z"']


def test_latin_1_is_found_late(tmp_path):
    body = "1,2,ascii\n" * 20_000 + "1,3,caf\xe9\n" * 20
    assert load_task(write(tmp_path, f"f,g,class\n{body}".encode("latin-1"))).classes == ("ascii", "café")


def test_missing_marks_and_category_none(tmp_path):
    frame = read_table(write(tmp_path, "a,b\nNA,None\n?,stone\n,brick\n"))
    assert frame["a"].isna().all()
    assert frame["b"].tolist() == ["None", "stone", "brick"]


def test_notes_of_a_file(tmp_path):
    task = load_task(write(tmp_path, GOOD.replace("f,g", "f,f") + "1,2\n1,2,\n"))
    assert 'behind: "f"' in task.notes[0]
    assert "1 of the first lines have too few fields" in task.notes[1]
    assert '2 rows without a value of "class" left out' in task.notes[2]


def test_notes_of_a_frame():
    frame = pd.DataFrame([[i, -i * i, i % 2] for i in range(20)], columns=["f", "f", "y"])
    assert 'behind: "f"' in load_task(frame).notes[0]


FAULTS = {
    "empty": (b"", "is empty"),
    "blank lines": (b"\n\n", "is empty"),
    "header only": (b"f,g,class\n", "has a header but no rows"),
    "no header": (GOOD.partition("\n")[2].replace("a", "1").replace("b", "0").encode(), "has no header"),
    "unterminated quote": (f'{GOOD}1,2,"a\n{GOOD}'.encode(), "never closed"),
    "ragged row": (f"{GOOD}1,2,3,a\n{GOOD}".encode(), "4 fields in line 42 where 3 are expected"),
    "first row too long": (f"f,g,class\n1,2,3,a\n{GOOD}".encode(), "more fields in its lines"),
    "all rows too long": (GOOD.replace("f,g", "f").encode(), "more fields in its lines"),
    "binary": (bytes(range(256)) * 20, "is not a text file"),
    "a NUL byte": (f"{GOOD}1,\0,a\n".encode(), "is not a text file"),
    "Parquet": (b"PAR1" + bytes(100), "is a Parquet file: name it .parquet"),
    "zip": (b"PK\x03\x04" + bytes(100), "is a zip file: unpack it"),
    "damaged gzip": (gzip.compress(GOOD.encode())[:-20], "damaged gzip"),
    "one column": (b"class\n" + b"a\nb\n" * 20, "no column besides the target"),
    "one class": (b"f,class\n" + b"1,a\n2,a\n" * 20, "nothing to learn"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_of_text(tmp_path, fault):
    content, message = FAULTS[fault]
    with pytest.raises(DataError, match=message) as caught:
        load_task(write(tmp_path, content), "class")
    assert "\n" not in str(caught.value)


ARFF = "@relation r\n@attribute f numeric\n@attribute class {a,b}\n@data\n"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.parquet", b"PAR1" + bytes(100), "cannot be read as Parquet"),
        ("a.parquet", b"", "is empty"),
        ("a.feather", b"junk", "cannot be read as Feather"),
        ("a.arff", b"junk", "cannot be read as ARFF"),
        ("a.arff", b"", "cannot be read as ARFF"),
        ("a.arff", ARFF.encode(), "has no rows"),
        ("a.arff", f"{ARFF}1,c\n".encode(), "c not found in nominal declaration"),
        ("a.arff.gz", b"\x1f\x8b junk", "cannot be read as ARFF"),
        ("a.xlsx", b"PK", "unknown ending"),
        ("a", b"f,g", "unknown ending"),
    ],
)
def test_faults_of_other_formats(tmp_path, name, content, message):
    with pytest.raises(DataError, match=message) as caught:
        load_task(write(tmp_path, content, name))
    assert "\n" not in str(caught.value)


def test_faults_of_paths(tmp_path):
    write(tmp_path, GOOD)
    os.mkfifo(tmp_path / "pipe.csv")
    for source, message in {
        tmp_path / "date.csv": 'There is no file .*Did you mean "data.csv"?',
        tmp_path / "no" / "data.csv": "There is no file",
        tmp_path: "one subfolder of images",
        tmp_path / "pipe.csv": "no regular file",
        "https://example.org/data.csv": "download it first",
        "sklearn:irs": 'Did you mean "iris"?',
        "openml:iris": "write openml:ID",
    }.items():
        with pytest.raises(DataError, match=message):
            load_task(source)


def test_target_by_name(tmp_path):
    path = write(tmp_path, GOOD)
    assert load_task(path).target == "class"
    assert load_task(path, "g").type == "regression"
    for target, message in {
        "clas": 'No column "clas" in data.csv. Did you mean "class"?',
        "CLASS": 'Did you mean "class"?',
        "zzz": "Its columns are: f, g, class.",
    }.items():
        with pytest.raises(DataError) as caught:
            load_task(path, target)
        assert message in str(caught.value)
    with pytest.raises(DataError, match="Say which column of data.csv is the target. Its columns are: f, g, class, y."):
        load_task(write(tmp_path, GOOD.replace(",class", ",class,y").replace(",a", ",a,1").replace(",b", ",b,2")))


def frame_of(n=60):
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "number": np.where(rng.random(n) < 0.1, np.nan, rng.normal(size=n)),
            "whole": rng.integers(-5, 5, n),
            "flag": rng.choice([True, False], n),
            "day": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 900, n), "h"),
            "colour": rng.choice(["red", "light, blue", None], n),
            "class": rng.choice(["yes", "no"], n),
        }
    )


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.tsv", "t.txt", "t.parquet", "t.feather"])
def test_fingerprint_is_independent_of_the_format(tmp_path, name):
    frame, path = frame_of(), tmp_path / name
    if path.suffix in (".parquet", ".feather"):
        getattr(frame, f"to_{path.suffix[1:]}")(path)
    else:
        frame.to_csv(path, index=False, sep="\t" if path.suffix == ".tsv" else ",")
    task = load_task(path)
    assert task.name == "t"
    assert task.fingerprint == load_task(frame).fingerprint
    assert load_task(task.source, task.target).fingerprint == task.fingerprint


def test_arff_dense_and_sparse(tmp_path):
    head = "@relation r\n@attribute f numeric\n@attribute 'the kind' {x,y}\n@attribute class {a,b}\n@data\n"
    dense = head + "".join(f"{i % 3},{'xxy'[i % 3]},{'ab'[i % 2]}\n" for i in range(40)) + "?,?,a\n"
    rows = [(f"0 {i % 3}" * (i % 3 > 0), "1 y" * (i % 3 == 2), "2 b" * (i % 2)) for i in range(40)]  # zeros left out
    sparse = head + "".join(f"{{{', '.join(filter(None, row))}}}\n" for row in rows)
    first = load_task(write(tmp_path, gzip.compress(dense.encode()), "d.arff.gz"))
    second = load_task(write(tmp_path, sparse + "{0 ?, 1 ?}\n", "s.arff"))
    assert first.fingerprint == second.fingerprint
    assert [(c.name, c.kind) for c in first.columns] == [("f", "numeric"), ("the kind", "categorical")]
    assert first.X.isna().sum().tolist() == [1, 1]


@pytest.mark.parametrize(
    ("name", "type", "n_outputs"),
    [
        ("iris", "multiclass", 3),
        ("breast_cancer", "binary", 2),
        ("diabetes", "regression", 1),
        ("digits", "multiclass", 10),
    ],
)
def test_sklearn_datasets(name, type, n_outputs):
    task = load_task(f"sklearn:{name}")
    assert (task.type, task.shape.n_outputs, task.source) == (type, n_outputs, f"sklearn:{name}")
    if name == "iris":
        assert task.classes == ("setosa", "versicolor", "virginica")


TEXT = st.text(alphabet="ab1.;,\"' \n\té€😀", max_size=6)
CELLS = {
    "n": st.floats(allow_nan=True, allow_infinity=True),
    "i": st.integers(-(2**53), 2**53),
    "b": st.booleans(),
    "c": TEXT,
    "m": st.one_of(TEXT, st.none()),
    "d": st.datetimes().map(pd.Timestamp),
}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.fixed_dictionaries(CELLS), min_size=12, max_size=20))
def test_a_frame_survives_csv(tmp_path, rows):
    frame = pd.DataFrame(rows).assign(target=[i % 2 for i in range(len(rows))], e=[i / 3 for i in range(len(rows))])
    frame.to_csv(tmp_path / "data.csv", index=False)
    assert load_task(tmp_path / "data.csv").fingerprint == load_task(frame, "target").fingerprint


def test_the_door_is_light():
    """Prediction goes through this package: neither learners nor OpenML may come along."""
    code = "import metaml.data, sys; print({'sklearn', 'scipy', 'openml', 'torch', 'arff'} & set(sys.modules))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "set()"


@pytest.mark.skipif(not (DATA / "tabular").is_dir(), reason="needs the tables of METAML_DATA")
@pytest.mark.parametrize("name", ["anneal", "credit_g", "airfoil", "audiology", "autos"])
def test_real_tables(name):
    manifest = pd.read_csv(DATA / "tabular" / "manifest.csv").set_index("name").loc[name]
    task = load_task(DATA / "tabular" / manifest["file"], manifest["target"])
    assert len(task.X) == manifest["rows"]
    assert (task.type == "regression") == (manifest["task"] == "regression")
    if task.type != "regression":
        assert len(task.classes) == manifest["n_classes"]
    assert make_task(task.X, task.y, type="regression").fingerprint != task.fingerprint or task.type == "regression"
