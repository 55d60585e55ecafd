"""The kit: packed here, run by a Python that has numpy and onnxruntime alone, and its way back to a table."""

import json
import os
import resource
import shutil
import subprocess
import sys
import venv
import zipfile
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from hw_cost import LatencyTable, TableError
from hw_cost.build import Plan
from hw_cost.kit import Kit, runner_source, table_of
from hw_cost.kit_runner import open_call
from hw_cost.probes import Stream, call_probe, dense, unary
from hw_cost.remote import Remote, RemoteError
from metaml.cli.latency import latency

PROBES = [call_probe(1), call_probe(2), *(dense(None, n, 16, 1, 20_000) for n in (16, 64, 256)), unary("Relu", 64, 1)]


@pytest.fixture(scope="module")
def small() -> Kit:
    return Kit(Plan([Stream("all", len(PROBES), lambda: iter(PROBES))], 3, 3))


def figure(median_ms: float) -> dict[str, float]:
    interval = {"median_ms": median_ms, "p10_ms": median_ms, "low_ms": 0.99 * median_ms, "high_ms": 1.01 * median_ms}
    return {**interval, "cv": 0.01, "n": 9, "calls": 90, "dropped": 0, "reference_us": 9.0}


@pytest.fixture
def result(small, tmp_path):
    """What a runner would write, with the times of a machine that the test makes up."""
    small.write(tmp_path / "kit.zip")
    with zipfile.ZipFile(tmp_path / "kit.zip") as archive:
        told = json.loads(archive.read("kit.json"))
    times = {"call": 0.005, "kernel": 0.2, "correction": 0.1, "certificate": 0.1}
    figures = {name: figure(times[item["role"]]) for name, item in told["items"].items()}
    device = LatencyTable.load(next(iter(sorted(Path("hw_cost/tables").glob("*.json"))))).device.to_json()
    limits = {"processors": 1, "memory_gib": 1.0}
    more = {"measured_at": "2026-01-01", "seconds": 9.0, "load_at_end": 0.1, "limits": limits, "reference_us": 9.0}
    return {"format": "metaml kit result", "kit": small.identity, "device": device, "figures": figures, **more}


def test_a_result_becomes_a_table_with_a_certificate(small, result):
    table = small.table(result)
    assert len(table.rows) == len(PROBES)
    assert table.certificate["n"] == 3
    assert table.provenance["limits"] == {"processors": 1, "memory_gib": 1.0}
    relu = next(row for row in table.rows if row.kernel.op == "Relu")
    assert relu.latency_us == pytest.approx((200 - 5) / 48)


def test_what_could_not_be_measured_is_left_out(small, result):
    result["figures"]["Relu(bytes=256, spans=1, inner=0)"] = {"error": "too noisy"}
    assert len(small.table(result).rows) == len(PROBES) - 1


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda r: r.update(kit="other"), "of another kit"),
        (lambda r: r.update(format="other"), "not the result of a kit"),
        (lambda r: r.pop("reference_us"), "damaged.*reference_us"),
        (lambda r: r["device"].pop("cpu"), "damaged.*cpu"),
        (lambda r: r["figures"].update({"call 1": {"median_ms": 1.0}}), "damaged"),
        (lambda r: r["figures"].pop("call 1"), "kernels are missing"),
    ],
)
def test_results_that_cannot_be_used_say_why(small, result, damage, said):
    damage(result)
    with pytest.raises(TableError, match=said):
        small.table(result)


def test_the_runner_is_one_file_that_imports_nothing_of_ours():
    source = runner_source()
    compile(source, "run.py", "exec")
    assert "hw_cost." not in "".join(line for line in source.splitlines() if line.startswith(("import", "from")))


def unpacked(kit: Kit, folder: Path) -> Path:
    kit.write(folder / "kit.zip")
    with zipfile.ZipFile(folder / "kit.zip") as archive:
        archive.extractall(folder)
    return folder


def run_there(folder: Path, python: str = sys.executable, *, seconds: int, memory_gib: float = 4.0) -> int:
    """Run the runner on one processor with little memory, out of sight of this project."""

    def confine() -> None:
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
        resource.setrlimit(resource.RLIMIT_AS, (int(memory_gib * 2**30),) * 2)

    environment = {"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1"}
    command = [python, "run.py", "--time", str(seconds)]
    return subprocess.run(
        command, cwd=folder, env=environment, preexec_fn=confine, check=False, capture_output=True
    ).returncode


def test_the_runner_can_call_every_kind_of_model_of_a_kit(tmp_path):
    kit, seen = Kit.make(), set()
    for name, item, content in kit._models():
        kind = name.split("(")[0].split("-")[0], item["optimise"]
        if kind not in seen:
            seen.add(kind)
            (tmp_path / "model.onnx").write_bytes(content)
            open_call(tmp_path / "model.onnx", item, 1)()
    assert len(seen) > 30


def test_the_runner_measures_is_stopped_and_goes_on(small, tmp_path):
    folder = unpacked(small, tmp_path)
    assert run_there(folder, seconds=0) == 3
    assert not (folder / "result.json").exists()
    run_there(folder, seconds=4)
    first = json.loads((folder / "result.json").read_text())
    assert first["limits"] == {"processors": 1, "memory_gib": 4.0}
    assert set(first["figures"]) == set(json.loads((folder / "kit.json").read_text())["items"])
    run_there(folder, seconds=1)
    second = json.loads((folder / "result.json").read_text())
    known = {name: told for name, told in first["figures"].items() if "median_ms" in told}
    assert known.items() <= second["figures"].items()


@pytest.mark.slow
def test_a_clean_environment_under_the_limits_of_a_board_gives_a_table(tmp_path):
    venv.create(tmp_path / "clean", with_pip=True)
    python = str(tmp_path / "clean" / "bin" / "python")
    installed = subprocess.run([python, "-m", "pip", "-q", "install", "numpy", "onnxruntime"], check=False)
    if installed.returncode:
        pytest.skip("numpy and onnxruntime cannot be installed here (no package index)")
    folder = unpacked(Kit.make(), tmp_path)
    run_there(folder, python, seconds=150, memory_gib=2.0)
    table = table_of(json.loads((folder / "result.json").read_text()))
    assert table.certificate["spearman"] > 0.9
    assert table.provenance["limits"] == {"processors": 1, "memory_gib": 2.0}


def test_a_host_that_is_not_there_is_told_in_one_line(small):
    if not shutil.which("scp"):
        pytest.skip("OpenSSH's client is not installed")
    with pytest.raises(RemoteError, match="127.0.0.1: ssh ended with 255"):
        Remote("127.0.0.1", ["Port=1"]).measure(small, 1)


def test_published_tables_need_a_name_and_results_do_not(small, result, tmp_path, monkeypatch):
    monkeypatch.setattr(Kit, "make", staticmethod(lambda **_: replace(small)))
    (tmp_path / "result.json").write_text(json.dumps(result))
    arguments = ["import", str(tmp_path / "result.json"), "--out", str(tmp_path / "table.json"), "--json"]
    answer = json.loads(CliRunner().invoke(latency, arguments, catch_exceptions=False).stdout)
    assert answer["kernels"] == len(PROBES)
    assert LatencyTable.load(tmp_path / "table.json").certificate["n"] == 3


@contextmanager
def ssh_server(folder: Path, port: int = 48_222):
    """An OpenSSH server on the loopback interface with a key of its own."""
    server = shutil.which("sshd") or "/usr/sbin/sshd"
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    shutil.copy(folder / "user.pub", folder / "authorized")
    (folder / "authorized").chmod(0o600)
    told = {"Port": port, "ListenAddress": "127.0.0.1", "HostKey": folder / "host", "StrictModes": "no"}
    told |= {"AuthorizedKeysFile": folder / "authorized", "PidFile": folder / "pid", "UsePAM": "no"}
    told |= {"Subsystem": "sftp internal-sftp", "PermitRootLogin": "prohibit-password"}
    (folder / "config").write_text("".join(f"{name} {value}\n" for name, value in told.items()))
    Path("/run/sshd").mkdir(exist_ok=True)  # where it gives its privileges up
    process = subprocess.Popen([server, "-D", "-e", "-f", str(folder / "config")], stderr=subprocess.PIPE, text=True)
    try:
        for line in process.stderr:
            if "listening" in line:
                break
        yield port
    finally:
        process.terminate()
        process.wait()


@pytest.mark.slow
def test_over_ssh_in_one_step(small, tmp_path):
    if not (shutil.which("sshd") or Path("/usr/sbin/sshd").exists()):
        pytest.skip("sshd is not installed (Debian: openssh-server)")
    if os.getuid():
        pytest.skip("sshd needs root to make its folder /run/sshd")
    with ssh_server(tmp_path) as port:
        told = [f"Port={port}", f"IdentityFile={tmp_path / 'user'}", "StrictHostKeyChecking=no"]
        told += [f"UserKnownHostsFile={tmp_path / 'known'}"]
        result = Remote("127.0.0.1", told, sys.executable).measure(small, 5)
    shutil.rmtree(Path.home() / f"metaml-kit-{small.identity}")
    assert result["kit"] == small.identity
    assert result["figures"]
