"""Copies the folders of runs to a bucket or another file system by fsspec (`locust-kvcache upload`): s3://bucket/prefix.

A run with --upload starts it in a process of its own when its report is written. Nothing local is changed or removed.
"""

from __future__ import annotations

import argparse
import sys
import uuid
from pathlib import Path
from typing import Any

from locust_kvcache.contract.command import command_parser, run_command
from locust_kvcache.contract.errors import BadInput
from locust_kvcache.contract.exit_codes import BAD_INPUT, NOT_UPLOADED, OK, Exit

ABOUT = "Copies folders of runs to a bucket or another file system, each below its own name (docs/files.md#in-a-bucket)."
LAST = "run.json"  # who finds it in the bucket finds the whole run


class Refused(Exception):
    """The address cannot be written, in the words of the library that was asked."""


def place(url: str) -> tuple[Any, str]:
    """The file system of an address, and the path in it; BadInput where that needs a library that is not installed."""
    if "://" not in url:
        raise BadInput(f"the address to upload to is {url!r}; expected one with a scheme, e.g. s3://bucket/prefix")
    try:
        from fsspec.core import url_to_fs

        found = url_to_fs(url)
    except ImportError as error:
        way_out = "pip install 'locust-kvcache[s3]'" if url.startswith("s3") else "pip install fsspec, and what it names"
        raise BadInput(f"{url} needs a library that is not installed ({error}); {way_out}") from error
    except ValueError as error:  # a scheme that fsspec does not know
        raise BadInput(f"{url} cannot be written: {one_line(error)}; s3://bucket/prefix is one that can") from error
    return found[0], str(found[1]).rstrip("/")


def make_folder(system: Any, path: str) -> None:
    """Where there are folders. A bucket has none, and asked for one s3fs would make a bucket of a mistyped name."""
    if "s3" not in system.protocol:
        system.makedirs(path, exist_ok=True)


def one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


def check(url: str) -> None:
    """Write a small object and remove it, before a load is sent for nothing."""
    system, path = place(url)
    probe = f"{path}/.locust-kvcache-{uuid.uuid4().hex}"
    try:
        make_folder(system, path)
        system.pipe_file(probe, b"may be removed")
        system.rm_file(probe)
    except Exception as error:  # whatever a file system's library raises
        raise Refused(one_line(error)) from error


def upload(folder: Path, url: str) -> int:
    """Copy every file and compare its size; the number of files."""
    system, path = place(url)
    files = sorted((file for file in folder.rglob("*") if file.is_file()), key=lambda file: (file.name == LAST, file))
    try:
        for file in files:
            target = f"{path}/{folder.name}/{file.relative_to(folder).as_posix()}"
            make_folder(system, target.rpartition("/")[0])
            system.put_file(str(file), target)
            system.invalidate_cache()
            if (there := system.size(target)) != file.stat().st_size:
                raise OSError(f"{target} has {there} bytes, {file} has {file.stat().st_size}")
    except Exception as error:  # whatever a file system's library raises
        raise Refused(one_line(error)) from error
    return len(files)


def parse_arguments() -> argparse.Namespace:
    parser = command_parser("upload", ABOUT, ["results/NAME --to s3://bucket/prefix", "--check --to s3://bucket/prefix"],
                            (OK, BAD_INPUT, NOT_UPLOADED))  # fmt: skip
    parser.add_argument("runs", nargs="*", type=Path, metavar="RUN", help="folders of runs, or of pages about several runs")
    parser.add_argument(
        "--to", required=True, metavar="URL", help="s3://bucket/prefix, or any other address that fsspec can write to"
    )
    parser.add_argument("--check", action="store_true", help="copy nothing; only check that a file can be written there")
    args = parser.parse_args()
    if not args.runs and not args.check:
        parser.error("the following arguments are required: RUN")
    return args


def main() -> int:
    args = parse_arguments()
    for folder in args.runs:
        if not folder.is_dir():
            raise BadInput(
                f"{folder}: is not a folder; expected the folder of a run, e.g. results/NAME. `ls results` lists them."
            )
    try:
        if args.check:
            check(args.to)
        for folder in () if args.check else args.runs:
            files = upload(folder.resolve(), args.to)
            print(f"uploaded {folder.name} ({files} files) to {args.to.rstrip('/')}/{folder.name}", flush=True)
    except Refused as refused:
        print(f"error: {args.to} cannot be written: {refused}{way_out(args)}", file=sys.stderr)
        return Exit.NOT_UPLOADED
    return Exit.OK


def way_out(args: argparse.Namespace) -> str:
    if args.check:
        return "; give another address, or credentials (docs/files.md#in-a-bucket)"
    folders = " ".join(str(folder) for folder in args.runs)
    return f". Everything is kept in {folders}; once it can be written: locust-kvcache upload {folders} --to {args.to}"


if __name__ == "__main__":
    sys.exit(run_command(main))
