"""A small OpenML on the loopback: its REST answers for a few tasks, and the ways in which a server fails.

Task 31 classifies dataset 61, which is ARFF with a checksum; task 32 predicts a number of dataset 62, which is Parquet;
task 33 clusters; task 34 is on a dataset that was removed; task 35 is of a type that the openml package does not know.
Study 7 is a suite of tasks 31 and 32, study 8 one of runs.
"""

from __future__ import annotations

import hashlib
import io
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pandas as pd

N_ROWS, N_FOLDS = 60, 3
XMLNS = 'xmlns:oml="http://openml.org/openml"'
PAGE = b"<!DOCTYPE html><html><body>Please log in to the hotel's network<br></body></html>"


def table() -> pd.DataFrame:
    """Return a row number, an attribute to ignore, a number, a nominal attribute with holes, a class and a number."""
    rng = np.random.default_rng(0)
    x, colours = rng.normal(size=N_ROWS).round(3), rng.choice(["red", "dark blue"], N_ROWS)
    return pd.DataFrame(
        {
            "id": np.arange(N_ROWS),
            "leak": x > 0,
            "x": x,
            "colour": pd.Categorical(np.where(np.arange(N_ROWS) % 7 == 0, None, colours)),
            "class": pd.Categorical(np.where(x > 0, "good", "bad")),
            "value": 2 * x + 1,
        }
    )


def arff() -> bytes:
    rows = table()
    rows["leak"] = rows["leak"].map({True: "yes", False: "no"})
    rows["colour"] = rows["colour"].map({"red": "red", "dark blue": "'dark blue'"}).astype(object).fillna("?")
    kinds = ["INTEGER", "{yes,no}", "REAL", "{red,'dark blue'}", "{good,bad}", "REAL"]
    header = [f"@ATTRIBUTE {name} {kind}" for name, kind in zip(rows, kinds, strict=True)]
    return "\n".join(["% a toy", "@RELATION toy", *header, "@DATA", rows.to_csv(index=False, header=False)]).encode()


def parquet() -> bytes:
    buffer = io.BytesIO()
    table().to_parquet(buffer)
    return buffer.getvalue()


def splits() -> bytes:
    """Return two repetitions of a cross-validation; in the first, row r validates in fold r modulo N_FOLDS."""
    header = ["type {TRAIN,TEST}", "rowid INTEGER", "repeat INTEGER", "fold INTEGER"]
    lines = [
        f"{'TEST' if (row + repeat) % N_FOLDS == fold else 'TRAIN'},{row},{repeat},{fold}"
        for repeat in range(2)
        for fold in range(N_FOLDS)
        for row in range(N_ROWS)
    ]
    return "\n".join(["@RELATION s", *(f"@ATTRIBUTE {name}" for name in header), "@DATA", *lines]).encode()


def _task(number: int, type_id: int, type_name: str, dataset: int, target: str, base: str) -> str:
    procedure = f"""<oml:input name="estimation_procedure"><oml:estimation_procedure>
      <oml:id>1</oml:id><oml:type>crossvalidation</oml:type>
      <oml:data_splits_url>{base}/splits/{number}.arff</oml:data_splits_url>
      <oml:parameter name="number_repeats">2</oml:parameter><oml:parameter name="number_folds">{N_FOLDS}</oml:parameter>
    </oml:estimation_procedure></oml:input>"""
    feature = f"<oml:target_feature>{target}</oml:target_feature>" if target else ""
    return f"""<oml:task {XMLNS}><oml:task_id>{number}</oml:task_id><oml:task_name>toy</oml:task_name>
    <oml:task_type_id>{type_id}</oml:task_type_id><oml:task_type>{type_name}</oml:task_type>
    <oml:input name="source_data"><oml:data_set><oml:data_set_id>{dataset}</oml:data_set_id>{feature}
    </oml:data_set></oml:input>
    {procedure}
    <oml:input name="evaluation_measures"><oml:evaluation_measures><oml:evaluation_measure>predictive_accuracy
    </oml:evaluation_measure></oml:evaluation_measures></oml:input></oml:task>"""


def _dataset(number: int, base: str) -> str:
    is_parquet = number == 62
    parquet_url = f"<oml:parquet_url>{base}/datasets/{number}/dataset.pq</oml:parquet_url>" if is_parquet else ""
    return f"""<oml:data_set_description {XMLNS}><oml:id>{number}</oml:id><oml:name>toy-{number}</oml:name>
    <oml:version>1</oml:version><oml:description>A toy</oml:description><oml:format>ARFF</oml:format>
    <oml:url>{base}/data/v1/download/{number}/toy.arff</oml:url>{parquet_url}
    <oml:default_target_attribute>class</oml:default_target_attribute>
    <oml:row_id_attribute>id</oml:row_id_attribute><oml:ignore_attribute>leak</oml:ignore_attribute>
    <oml:status>active</oml:status><oml:md5_checksum>{hashlib.md5(arff()).hexdigest()}</oml:md5_checksum>
    </oml:data_set_description>"""


def _features() -> str:
    kinds = {"id": "numeric", "leak": "nominal", "x": "numeric", "colour": "nominal", "class": "nominal"}
    kinds["value"] = "numeric"
    values = {"leak": ("yes", "no"), "colour": ("red", "dark blue"), "class": ("good", "bad")}
    features = "".join(
        f"<oml:feature><oml:index>{i}</oml:index><oml:name>{name}</oml:name><oml:data_type>{kind}</oml:data_type>"
        + "".join(f"<oml:nominal_value>{value}</oml:nominal_value>" for value in values.get(name, ()))
        + "<oml:is_target>false</oml:is_target><oml:is_ignore>false</oml:is_ignore>"
        "<oml:is_row_identifier>false</oml:is_row_identifier>"
        "<oml:number_of_missing_values>0</oml:number_of_missing_values></oml:feature>"
        for i, (name, kind) in enumerate(kinds.items())
    )
    return f"<oml:data_features {XMLNS}>{features}</oml:data_features>"


def _error(code: int, message: str) -> bytes:
    return f"<oml:error {XMLNS}><oml:code>{code}</oml:code><oml:message>{message}</oml:message></oml:error>".encode()


RUNS = [  # run, task, setup, accuracy, seconds
    (101, 31, 1, 0.90, 1.5),
    (102, 31, 2, 0.80, None),
    (103, 31, 1, 0.94, 2.5),
    (104, 31, 3, 0.70, 1.0),  # nobody knows setup 3
    (105, 31, 2, None, 1.0),  # a run without this measure
    (106, 32, 1, 0.60, 4.0),
]


def _evaluations(path: str) -> bytes | None:
    measure = path.split("/")[3]
    tasks = re.search(r"/task/([\d,]+)", path)
    limit, offset = (int(re.search(rf"/{name}/(\d+)", path)[1]) for name in ("limit", "offset"))
    wanted = {int(number) for number in tasks[1].split(",")} if tasks else {31, 32}
    runs = [run for run in RUNS if run[1] in wanted][offset : offset + limit]
    if measure not in ("predictive_accuracy", "usercpu_time_millis") or not runs:
        return None
    items = []
    for run, task, setup, accuracy, seconds in runs:
        value = accuracy if measure == "predictive_accuracy" else seconds and 1e3 * seconds
        items.append(
            f"<oml:evaluation><oml:run_id>{run}</oml:run_id><oml:task_id>{task}</oml:task_id>"
            f"<oml:setup_id>{setup}</oml:setup_id><oml:flow_id>5</oml:flow_id><oml:flow_name>weka.J48(2)</oml:flow_name>"
            f"<oml:function>{measure}</oml:function><oml:data_id>{task + 30}</oml:data_id>"
            f"<oml:data_name>toy-{task + 30}</oml:data_name><oml:upload_time>2020-01-01 00:00:00</oml:upload_time>"
            f"<oml:uploader>1</oml:uploader>"
            + ("" if value is None else f"<oml:value>{value}</oml:value>")
            + "</oml:evaluation>"
        )
    return f"<oml:evaluations {XMLNS}>{''.join(items)}</oml:evaluations>".encode()


def _setups(path: str) -> bytes | None:
    found = {1: "0.25", 2: "0.5"}
    numbers = [int(number) for number in re.search(r"/setup/([\d,]+)", path)[1].split(",")]
    setups = [
        f"<oml:setup><oml:setup_id>{number}</oml:setup_id><oml:flow_id>5</oml:flow_id><oml:parameter><oml:id>9</oml:id>"
        "<oml:flow_id>5</oml:flow_id><oml:flow_name>weka.J48</oml:flow_name>"
        "<oml:full_name>weka.J48(2)_C</oml:full_name><oml:parameter_name>C</oml:parameter_name>"
        "<oml:data_type>option</oml:data_type><oml:default_value>0.25</oml:default_value>"
        f"<oml:value>{found[number]}</oml:value></oml:parameter></oml:setup>"
        for number in numbers
        if number in found
    ]
    return f"<oml:setups {XMLNS}>{''.join(setups)}</oml:setups>".encode() if setups else None


def _datasets() -> bytes:
    names = {"NumberOfInstances": N_ROWS, "NumberOfFeatures": 6, "NumberOfClasses": 2, "NumberOfMissingValues": 9}
    qualities = "".join(f'<oml:quality name="{name}">{value}.0</oml:quality>' for name, value in names.items())
    items = "".join(
        f"<oml:dataset><oml:did>{number}</oml:did><oml:name>toy-{number}</oml:name><oml:version>1</oml:version>"
        f"<oml:status>active</oml:status><oml:format>ARFF</oml:format>{qualities}</oml:dataset>"
        for number in (61, 62)
    )
    return f"<oml:data {XMLNS}>{items}</oml:data>".encode()


def _study(number: int) -> bytes:
    kind = {7: "task", 8: "run"}[number]
    ids = "".join(f"<oml:task_id>{task}</oml:task_id>" for task in (31, 32))
    runs = "".join(f"<oml:run_id>{run[0]}</oml:run_id>" for run in RUNS)
    return f"""<oml:study {XMLNS}><oml:id>{number}</oml:id><oml:main_entity_type>{kind}</oml:main_entity_type>
    <oml:name>toys</oml:name><oml:description>d</oml:description><oml:status>active</oml:status>
    <oml:creation_date>2020-01-01</oml:creation_date><oml:creator>1</oml:creator><oml:tasks>{ids}</oml:tasks>
    <oml:runs>{runs}</oml:runs></oml:study>""".encode()


class FakeOpenML(ThreadingHTTPServer):
    """The server; ``faults`` says how it fails: part of a path -> (how, how many times)."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.base = f"http://127.0.0.1:{self.server_port}"
        self.faults: dict[str, tuple[int | str, int]] = {}
        self.asked: list[str] = []
        self.closing = threading.Event()

    def fault(self, path: str) -> int | str | None:
        """Return how this request is to fail, and count it."""
        for part, (how, times) in self.faults.items():
            if part in path and times > 0:
                self.faults[part] = (how, times - 1)
                return how
        return None

    def answer(self, path: str) -> tuple[int, str, bytes]:
        """Return status, content type and body of what is under a path."""
        if path.startswith("/api/v1/xml/"):
            body = self._xml(path.removeprefix("/api/v1/xml/").strip("/"))
            if body is None:
                return 412, "text/xml", _error(542, "No results")
            return (412 if b"oml:error" in body else 200), "text/xml", body
        files = {"/data/v1": arff, "/splits": splits, "/datasets/62": parquet}
        for start, make in files.items():
            if path.startswith(start):
                return 200, "application/octet-stream", make()
        return 404, "text/html", PAGE

    def _xml(self, path: str) -> bytes | None:
        kind, _, rest = path.partition("/")
        if path.startswith("evaluation/list/"):
            return _evaluations(path)
        if path.startswith("setup/list/"):
            return _setups(path)
        if path.startswith("data/list/"):
            return _datasets()
        if kind == "user":
            user = "<oml:user><oml:id>1</oml:id><oml:username>a</oml:username></oml:user>"
            return f"<oml:users {XMLNS}>{user}</oml:users>".encode()
        if rest.startswith("features/"):
            return _features().encode()
        number = int(rest)
        if kind == "study":
            return _study(number) if number in (7, 8) else _error(601, "Unknown study")
        if kind == "data":
            return _dataset(number, self.base).encode() if number in (61, 62) else _error(111, "Unknown dataset")
        tasks = {
            31: (1, "Supervised Classification", 61, "class"),
            32: (2, "Supervised Regression", 62, "value"),
            33: (5, "Clustering", 61, ""),
            34: (1, "Supervised Classification", 99, "class"),
            35: (7, "Survival Analysis", 61, ""),
        }
        return _task(number, *tasks[number], self.base).encode() if number in tasks else _error(151, "Unknown task")


class _Handler(BaseHTTPRequestHandler):
    server: FakeOpenML

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        self.server.asked.append(path)
        status, kind, body = self.server.answer(path)
        claimed, how = len(body), self.server.fault(path)
        if how == "silent":
            self.server.closing.wait(30)
            return
        if isinstance(how, int):
            status, kind, body = how, "text/html", PAGE
        elif how == "page":
            status, kind, body = 200, "text/html; charset=utf-8", PAGE
        elif how == "busy":
            status, kind, body = 412, "text/xml", _error(107, "Database connection error")
        elif how == "damaged":
            body = body.replace(b"good", b"goof", 1) if b"good" in body else b"\xff" + body[1:]
        elif how == "short":
            body = body[: len(body) // 2]
        claimed = claimed if how == "cut" else len(body)
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(claimed))
        self.send_header("ETag", '"1"')
        self.send_header("Last-Modified", "Wed, 01 Jan 2020 00:00:00 GMT")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body[: len(body) // 2] if how == "cut" else body)

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def fake_openml() -> Iterator[FakeOpenML]:
    """Run the server in a thread."""
    with FakeOpenML() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.closing.set()
            server.shutdown()
            thread.join()
