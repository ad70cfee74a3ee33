"""Options with values of any kind: a load that is checked, or one line and exit code 3."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from locust.argument_parser import get_parser

from locust_kvcache.contract.errors import BadInput
from locust_kvcache.contract.exit_codes import Exit
from locust_kvcache.loadgen.options.declared import OPTIONS
from locust_kvcache.loadgen.options.load_options import check_users
from locust_kvcache.loadgen.options.run_options import read_options
from tests.samples import examples

PARSER = get_parser(default_config_files=[])
LOCUSTS = ("-u", "-r", "-t", "--host", "--web-port", "--processes", "--expect-workers", "--master-bind-port", "--stop-timeout")
VALUES = st.one_of(
    st.sampled_from(
        ["", "0", "-5", "1e308", "nan", "inf", "99999999999999999999", "x", "cold", "cold hit", "a=b", "ttft_ms=x", "{}", '{"a": 1', "1:2",
         "../x", "\ud800", "\x00", "a\nb", "[1", "%s", "1%", "200%", "https://", "poisson", "auto", "off"]
    ),
    st.text(max_size=12),
    st.integers(-(10**6), 10**12).map(str),
)  # fmt: skip
NAMES = st.sampled_from([*(f"--{option.name}" for option in OPTIONS), *LOCUSTS])


@examples(150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(NAMES, VALUES), min_size=1, max_size=4))
def test_any_options_are_read_or_refused(capsys: pytest.CaptureFixture[str], given_options: list[tuple[str, str]]) -> None:
    words = [word for pair in given_options for word in pair]
    capsys.readouterr()
    try:
        parsed = PARSER.parse_args(words)
        read_options(parsed)
        check_users(parsed.num_users, parsed.spawn_rate)
    except BadInput as error:
        said = str(error)
    except SystemExit as stop:
        assert stop.code == Exit.BAD_INPUT  # noqa: PT017
        said = capsys.readouterr().err.removesuffix("\n")
        assert said.startswith("error: ")
    else:
        return
    assert "\n" not in said
