"""Says whether this machine can run a load test (`locust-kvcache doctor`): cores, limits, clock, kernel stamps, ports, certificate."""

from __future__ import annotations

from locust_kvcache.cli.machine_checks import machine_findings
from locust_kvcache.contract.command import command_parser
from locust_kvcache.contract.exit_codes import Exit
from locust_kvcache.contract.finding import NOTE, OK, WARNING, gravest_first
from locust_kvcache.contract.language import add_language, told, use_language
from locust_kvcache.contract.text_width import left

ENDS = {
    OK: "No problem found: this machine can run a load test.",
    NOTE: "A load test can run; read the notes.",
    WARNING: "A load test can run; its times may be wrong. See the warnings.",
}


def main() -> int:
    parser = command_parser(
        "doctor",
        "Checks the machine that will generate the load. Sends nothing. To check the servers: locust-kvcache preflight.",
        ["", "--gate", "--web-port 8090"],
    )
    add_language(parser)
    parser.add_argument("--web-port", type=int, default=8089, help="port of Locust's page (default: 8089)")
    parser.add_argument("--master-port", type=int, default=5557, help="port that workers connect to (default: 5557)")
    parser.add_argument("--gate", action="store_true", help="exit with 1 if there is a warning")
    options = parser.parse_args()
    use_language(options.lang)
    for name in ("web_port", "master_port"):
        if not 0 < (port := getattr(options, name)) < 65_536:
            parser.error(f"--{name.replace('_', '-')} must be 1 to 65535, got {port}")
    findings = list(machine_findings(options.web_port, options.master_port))
    for finding in findings:
        print(left(told(f"{finding.severity}:"), 9) + told(finding.text))
        if finding.severity != OK:
            for line in filter(None, (finding.why, finding.what_to_do)):
                print(f"{'':<9}{told(line)}")
    state = gravest_first(findings)[0].severity
    print(f"\n{told(ENDS[state])}")
    return Exit.TARGET_MISSED if options.gate and state == WARNING else Exit.OK
