"""Copies the files that users edit from the package into a folder (`locust-kvcache init DIR`)."""

from __future__ import annotations

import shutil
from pathlib import Path

from locust_kvcache.contract.command import PROGRAM, command_parser
from locust_kvcache.contract.errors import BadInput
from locust_kvcache.contract.shipped import FILES, FOLDERS, shipped

CONTENTS = {
    "scenarios": "what is sent: copy one, change its name and its lengths",
    "locustfiles": "a user class for each scenario, and a place for your own",
    "configs": "deployments under test, models, Prometheus, Grafana, Kubernetes",
    "docker-compose.yml": "servers and load generator on one host (docs/deploy.md)",
}


def copy_to(folder: Path) -> list[str]:
    """The names copied; BadInput if one of them is there already: nothing is overwritten, and nothing is left half done."""
    names = [*FOLDERS, *(name for name in FILES if shipped(name).is_file())]
    if folder.exists() and not folder.is_dir():
        raise BadInput(f"init: {folder} is a file; name a folder")
    if there := [name for name in names if (folder / name).exists()]:
        raise BadInput(
            f"init: {folder} has {', '.join(there)} already; nothing was copied. Name another folder, or move them away"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in FOLDERS:
            shutil.copytree(shipped(name), folder / name, ignore=shutil.ignore_patterns("__pycache__", "__init__.py"))
        for name in names[len(FOLDERS) :]:
            shutil.copyfile(shipped(name), folder / name)
    except OSError as error:
        raise BadInput(f"init: {error.filename or folder} cannot be written: {error.strerror}; name another folder") from error
    return names


def main() -> int:
    parser = command_parser("init", "Copies scenarios, locustfiles, configs and the compose file into DIR, for you to edit; overwrites "
                            "nothing.", ["load-test", "."])  # fmt: skip
    parser.add_argument("folder", metavar="DIR", type=Path, help="folder to make, or an existing one without these names")
    folder: Path = parser.parse_args().folder
    copied = copy_to(folder)
    print(f"Copied to {folder}:")
    print("\n".join(f"  {name:<20}{CONTENTS[name]}" for name in copied if name in CONTENTS))
    print(f"""
What to do next:
  cd {folder}
  {PROGRAM} emulator --port 8000 --time-scale 0.1 &          an emulated server; or take your own
  {PROGRAM} preflight --host http://127.0.0.1:8000           is it fit to be measured?
  {PROGRAM} run cold_start --headless -u 4 -r 4 --host http://127.0.0.1:8000
  docker compose --profile emulator up --build               needs the wheel of {PROGRAM} beside the Dockerfile
Names are looked up here first: `run cold_start` now reads {folder / "scenarios" / "cold_start.yaml"}.""")
    return 0
