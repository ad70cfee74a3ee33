"""Lists what other packages add (`locust-kvcache plugins`), and loads all of it to find broken ones."""

from __future__ import annotations

from locust_kvcache.contract.command import command_parser
from locust_kvcache.contract.exit_codes import Exit
from locust_kvcache.contract.extensions import GROUPS, extensions

ABOUT = (
    "Lists what installed packages add: scenarios, metrics, cache actions, server dialects, report sections (docs/extending.md)."
)


def main() -> int:
    command_parser("plugins", ABOUT, [""]).parse_args()
    found = {group: extensions(group) for group in GROUPS}
    if not any(found.values()):
        print("No installed package adds anything. docs/extending.md says how to write one.")
    for group, each in found.items():
        if each:
            print(f"{group.removeprefix('locust_kvcache.')}:")
            print("\n".join(f"  {name:<28}{one.package} {one.version}" for name, one in each.items()))
    return Exit.OK
