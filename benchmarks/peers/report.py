"""Tables of results files: `python report.py [--short] results/run.json ...`."""

import argparse
import json
import statistics
from pathlib import Path

QUIET = 0.3
SATURATED = (32, 64, 128)
ERRORS = ("e_connect", "e_read", "e_write", "e_status", "e_timeout")
COLUMNS = {
    "req/s": ("rps", ".0f"),
    "over bare b16 (1 core)": ("ratio_b16", ".3f"),
    "over 2-core bound": ("ratio_b16x2", ".3f"),
    "server CPU ms/req": ("cpu_ms", ".2f"),
    "CPU efficiency": ("cpu_eff", ".3f"),
    "p50 ms": ("p50", ".1f"),
    "p95 ms": ("p95", ".1f"),
    "p99 ms": ("p99", ".1f"),
    "server cores": ("cpu_cores", ".2f"),
    "client cores": ("client_cores", ".2f"),
    "others' cores": ("other_cores", ".2f"),
}


def grouped(log):
    """(server, payload, callers) -> its runs; those disturbed by others are left out where a quiet one exists."""
    groups = {}
    for record in log:
        for run in record["runs"]:
            groups.setdefault((record["name"], run["payload"], run["conc"]), []).append((run, record))
    for key, runs in groups.items():
        quiet = [one for one in runs if (one[0]["other_cores"] or 0) < QUIET]
        groups[key] = quiet or runs
    return groups


def middle(runs, name):
    values = [run[name] for run, _ in runs if run[name] is not None]
    return statistics.median(values) if values else float("nan")


def errors(runs):
    return sum(run[name] for run, _ in runs for name in ERRORS)


def peak_mib(runs):
    return max((record.get("peak_rss_mib") or 0 for _, record in runs), default=0)


def table(log):
    """A line for each server, payload and number of callers: medians over the rounds."""
    head = ["server", "payload", "callers", *COLUMNS, "errors", "peak RSS MiB", "rounds"]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for (name, payload, callers), runs in grouped(log).items():
        cells = [name, payload, str(callers), *(format(middle(runs, key), form) for key, form in COLUMNS.values())]
        lines.append(f"| {' | '.join([*cells, str(errors(runs)), f'{peak_mib(runs):.0f}', str(len(runs))])} |")
    return "\n".join([*lines, "", *notes(log)])


def short_table(log):
    """A line for each server and payload: cost and rate over the saturated loads, latency at 1, 32 and 128 callers."""
    groups, kinds = grouped(log), {}
    for (name, payload, callers), runs in groups.items():
        kinds.setdefault((name, payload), {})[callers] = runs
    head = ["server", "payload", "CPU efficiency", "CPU ms/req", "req/s", "over bare b16", "over 2 cores"]
    head += ["p50/p99 at 1", "p50/p99 at 32", "p50/p99 at 128", "errors", "peak RSS MiB"]
    rows = []
    for (name, payload), by_callers in kinds.items():
        full = [run for callers in SATURATED for run in by_callers.get(callers, [])]
        figures = [(middle(full, key), form) for key, form in (("cpu_eff", ".2f"), ("cpu_ms", ".2f"), ("rps", ".0f"))]
        figures += [(middle(full, key), ".2f") for key in ("ratio_b16", "ratio_b16x2")]
        waits = [
            f"{middle(by_callers.get(c, []), 'p50'):.1f} / {middle(by_callers.get(c, []), 'p99'):.0f}"
            for c in (1, 32, 128)
        ]
        every = [run for runs in by_callers.values() for run in runs]
        cells = [name, payload, *(format(value, form) for value, form in figures), *waits]
        rows.append((figures[0][0], [*cells, str(errors(every)), f"{peak_mib(every):.0f}"]))
    rows.sort(key=lambda row: -row[0] if row[0] == row[0] else float("inf"))
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head), *(f"| {' | '.join(cells)} |" for _, cells in rows)]
    return "\n".join([*lines, "", *notes(log)])


def notes(log):
    bounds = [bound for record in log for bound in record["bound"]]
    if bounds:
        spread = [
            f"{name} {statistics.median(b[name] for b in bounds):.0f}"
            f" ({min(b[name] for b in bounds):.0f}-{max(b[name] for b in bounds):.0f})"
            for name in bounds[0]
        ]
        yield "bare windows/s, median (min-max) over the run: " + "; ".join(spread)
    for record in log:
        if record.get("failed") or record.get("wrong"):
            yield f"FAILED {record['name']}: {record.get('failed') or json.dumps(record['wrong'])}"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="one line for each server and payload")
    parser.add_argument("files", nargs="+", type=Path)
    given = parser.parse_args()
    log = [record for path in given.files for record in json.loads(path.read_text())]
    print(short_table(log) if given.short else table(log))


if __name__ == "__main__":
    main()
