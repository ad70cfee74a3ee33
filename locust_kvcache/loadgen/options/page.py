"""Makes docs/options.md from the declared options.

python -m locust_kvcache.loadgen.options.page docs/options.md      writes it (make options)
python -m locust_kvcache.loadgen.options.page                      prints it
"""

from __future__ import annotations

import sys
from pathlib import Path

from locust_kvcache.loadgen.options.declared import OPTIONS
from locust_kvcache.loadgen.options.option import GROUPS, Option

INTRODUCTION = """# Options

This page is made from `locust_kvcache/loadgen/options/declared.py` by `make options`; do not edit it.

The same options work in five places. An earlier one wins over a later one:

1. the command line: `locust-kvcache run cold_start --rounds 3 ...`, or
   `locust -f locustfiles/cold_start.py --rounds 3 ...`
2. the environment: `KV_ROUNDS=3`; several words in brackets: `KV_SCENARIOS="[cold_start, code_generation]"`
3. a YAML file: `locust-kvcache run --config configs/run.yaml` ([configuration.md](configuration.md))
4. a configuration file of Locust (`--config FILE`, `./locust.conf`, `~/.locust.conf`): `rounds = 3`,
   `scenarios = [cold_start, code_generation]`
5. the default

`locust-kvcache run --help` shows them too. `locust --help` and
[Locust's documentation](https://docs.locust.io/en/stable/configuration.html) have Locust's own options (`--host`, `-u`,
`-r`, `--headless`, `--processes`, ...). Options marked * are also in the start form at
`/kvcache/start`.
"""


def _row(option: Option) -> str:
    names = ", ".join(f"`--{name}`" for name in (option.name, *option.aliases)) + (" *" if option.in_form else "")
    value = "" if option.flag else option.metavar or " | ".join(option.choices)
    value += " ..." if option.many else ""
    variable = f"`{option.variable}`" if option.variable else ""
    cells = (names, value, variable, f"`{option.name}`", option.default_text, option.help)
    return "| " + " | ".join(cell.replace("<", "&lt;").replace("|", "\\|") for cell in cells) + " |"


def page() -> str:
    lines = [INTRODUCTION]
    for group in GROUPS:
        lines += [
            f"## {group}",
            "",
            "| option | value | environment | file key | default | meaning |",
            "|---|---|---|---|---|---|",
        ]
        lines += [*(_row(option) for option in OPTIONS if option.group == group), ""]
    return "\n".join(lines)


def main() -> int:
    if sys.argv[1:]:
        Path(sys.argv[1]).write_text(page(), encoding="utf-8")
    else:
        print(page(), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
