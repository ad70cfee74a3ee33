"""Folders of runs in a bucket: what arrives, what is refused before a load, and that a failure loses nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from botocore.session import Session
from moto.server import ThreadedMotoServer

from locust_kvcache.cli.upload import place
from locust_kvcache.contract.errors import BadInput
from locust_kvcache.contract.exit_codes import Exit
from tests.conftest import LocustProcesses, Stub

LOAD = ("-f", "locustfiles/cold_start.py", "--headless", "-u", "2", "-r", "10", "--requests", "2", "--no-report")


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The endpoint of a server that speaks S3, with one empty bucket, `runs`; the environment leads boto3 there."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    endpoint = "http://{}:{}".format(*server.get_host_and_port())
    given = {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    requests.put(f"{endpoint}/runs", timeout=10).raise_for_status()
    yield endpoint
    server.stop()


def sizes(prefix: str) -> dict[str, int]:
    client = Session().create_client("s3")
    listed = client.list_objects_v2(Bucket="runs", Prefix=prefix).get("Contents", [])
    return {each["Key"].removeprefix(prefix): each["Size"] for each in listed}


def local(folder: Path) -> dict[str, int]:
    return {str(file.relative_to(folder)): file.stat().st_size for file in folder.rglob("*") if file.is_file()}


def upload(*words: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "locust_kvcache.cli.upload", *words], capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
def test_the_command(bucket: str, tmp_path: Path) -> None:
    folder = tmp_path / "one"
    (folder / "report" / "charts").mkdir(parents=True)
    for name in ("run.json", "records.jsonl", "report/report.html", "report/charts/answer.svg"):
        (folder / name).write_text(name * 100)
    assert upload(str(folder), "--to", "s3://runs/team/") == (0, "uploaded one (4 files) to s3://runs/team/one\n")
    assert sizes("team/one/") == local(folder)
    code, said = upload(str(folder), "--to", "s3://none/team")
    assert code == Exit.NOT_UPLOADED
    assert (
        "error: s3://none/team cannot be written: FileNotFoundError: The specified bucket does not exist. Everything is kept in"
        in said
    )
    assert f"locust-kvcache upload {folder} --to s3://none/team" in said
    assert upload("--check", "--to", "s3://runs")[0] == 0
    assert not [key for key in sizes("") if "locust-kvcache" in key]  # the probe is gone
    assert upload(str(folder), "--to", f"file://{tmp_path}/share") == (
        0,
        f"uploaded one (4 files) to file://{tmp_path}/share/one\n",
    )
    assert local(tmp_path / "share" / "one") == local(folder)
    code, said = upload(str(folder), "--to", "bucket/prefix")
    assert (code, "expected one with a scheme" in said) == (Exit.BAD_INPUT, True)


def test_a_file_system_that_nobody_knows_is_bad_input() -> None:
    with pytest.raises(BadInput, match=r"nix://bucket cannot be written: .*Protocol not known: nix"):
        place("nix://bucket")


@pytest.mark.analysed
def test_a_run_is_copied_and_an_address_that_fails_is_refused_first(bucket: str, locust: LocustProcesses, stub: Stub) -> None:
    code, output = locust.run(*LOAD, "--host", stub.url, "--upload", "s3://none/x")
    assert code == Exit.BAD_INPUT
    assert "error: --upload: s3://none/x cannot be written: FileNotFoundError" in output
    assert not stub.bodies()
    code, output = locust.run(*LOAD, "--host", stub.url, "--upload", "s3://runs/ci", "--run-name", "first")
    assert code == 0, output
    (run,) = locust.runs()
    assert f"uploaded first ({len(local(run.folder))} files) to s3://runs/ci/first" in output
    assert sizes("ci/first/") == local(run.folder)
    assert {"run.json", "records.jsonl", "stats.json"} <= sizes("ci/first/").keys()


@pytest.mark.analysed
def test_a_run_that_cannot_be_copied_ends_with_9_and_keeps_everything(
    locust: LocustProcesses, stub: Stub, tmp_path: Path
) -> None:
    """The address could be written when the load began; a file then takes the place of the run's folder."""
    share = tmp_path / "share"
    share.mkdir()
    (share / "first").write_text("in the way")
    code, output = locust.run(*LOAD, "--host", stub.url, "--upload", f"file://{share}", "--run-name", "first")
    assert code == Exit.NOT_UPLOADED, output
    (run,) = locust.runs()
    assert len(run.records) == 4
    assert "Everything is kept in" in output
    assert os.listdir(share) == ["first"]
