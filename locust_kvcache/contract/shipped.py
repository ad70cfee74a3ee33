"""Finds the files that come with the product: at the top of a checkout, or inside the installed package."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent
FOLDERS = ("scenarios", "locustfiles", "configs")
FILES = ("docker-compose.yml", "Dockerfile", ".dockerignore", ".env", "requirements.txt", "constraints.txt")


def checkout() -> Path | None:
    """The checkout's root if the package is used from one, else None."""
    root = PACKAGE.parent
    return root if (root / "pyproject.toml").is_file() and (root / "scenarios").is_dir() else None


def shipped(name: str) -> Path:
    """The folder or file `name` (one of FOLDERS or FILES) as it was shipped."""
    return (checkout() or PACKAGE / "shipped") / name


def find_config(given: Path) -> Path:
    """The file that is meant: as given, else by its name or path among ./configs and the configs that come with the product.

    `pd_disagg` and `configs/pd_disagg.yaml` both find the shipped file in a folder that has no such file. What is nowhere comes back
    as it was given.
    """
    if given.is_file() or given.is_absolute():
        return given
    name = Path(*given.parts[1:]) if given.parts[:1] == ("configs",) else given
    name = name if name.suffix or not name.name else name.with_suffix(".yaml")
    candidates = (Path("configs") / name, shipped("configs") / name)
    return next((path for path in candidates if path.is_file()), given)
