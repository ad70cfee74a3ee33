"""The Chinese pages keep up with the English ones, and quote only figures that stand where they link to."""

from __future__ import annotations

import re
from pathlib import Path

from locust_kvcache.contract.exit_codes import Exit
from tests.conftest import ROOT
from tests.docs.pages import shell_lines, table_commands

ENGLISH, CHINESE = ROOT / "README.md", ROOT / "README.zh-CN.md"
GUIDE = ROOT / "docs" / "zh-CN" / "guide.md"
SCRIPTS = ROOT / "docs" / "coming-from-scripts.md"
NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?")


def read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def section(text: str, title: str) -> str:
    """What stands below a heading of the second level."""
    return text.split(f"\n## {title}\n")[1].split("\n## ")[0]


def test_both_readmes_give_the_same_commands() -> None:
    """Who changes a command in README.md changes it in README.zh-CN.md."""
    assert table_commands(read(CHINESE)) == table_commands(read(ENGLISH)) != []
    assert shell_lines(read(CHINESE)) == shell_lines(read(ENGLISH)) != []


def test_both_readmes_link_to_each_other() -> None:
    assert "(README.zh-CN.md)" in read(ENGLISH).split("\n\n")[1]
    assert "(README.md)" in read(CHINESE).split("\n\n")[1]
    assert "docs/zh-CN/guide.md" in read(CHINESE)


def test_what_scripts_are_called_here_is_the_same_in_both_languages() -> None:
    commands = [command for command in table_commands(section(read(SCRIPTS), "Commands")) if "locust-kvcache" in command]
    assert [each for each in table_commands(section(read(GUIDE), "从脚本迁移")) if "locust-kvcache" in each] == commands != []


def sourced_rows(text: str) -> list[tuple[str, str]]:
    """Rows of tables whose last column is 出处: what the row says, and the page that it links to."""
    rows, sourced = [], False
    for line in text.splitlines():
        if not line.startswith("|"):
            sourced = False
        elif line.rstrip().endswith("| 出处 |"):
            sourced = True
        elif sourced and not line.startswith("|---"):
            *cells, source = [cell.strip() for cell in line.strip("| \n").split(" | ")]
            link = re.search(r"\]\(([^)#]+)", source)
            assert link, line
            rows.append((" | ".join(cells), link.group(1)))
    return rows


def test_figures_stand_where_the_guide_links_to() -> None:
    rows = sourced_rows(read(GUIDE))
    assert len(rows) > 25
    for row, link in rows:
        figures = set(NUMBER.findall(read(GUIDE.parent / link)))
        assert [number for number in NUMBER.findall(row) if number not in figures] == [], row


def test_figures_of_both_readmes_are_the_same() -> None:
    def measured(text: str) -> list[str]:
        return sorted(NUMBER.findall(next(part for part in text.split("\n\n") if "(docs/results/README.md)" in part)))

    assert set(measured(read(CHINESE))) <= set(measured(read(ENGLISH)))


def test_the_guide_names_every_exit_code() -> None:
    table = read(GUIDE).split("### 退出码\n")[1].split("\n\n")[0]
    assert {int(code) for code in re.findall(r"^\| (\d) \|", table, flags=re.M)} == {int(code) for code in Exit}
