"""A closed loop over loopback on every target in turn, each beside the bare model of the same minute.

    PEERS_VENVS=<folder> python bench.py --targets ours,mosec-tuned --rounds 3 --out results/run.json
    python bench.py --targets mosec --url other=http://127.0.0.1:8000/predict --url-payload json --url-pid 1234

Needs wrk on PATH, and build/ from gnn_model.py and payloads.py. Loopback addresses only.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import time
from pathlib import Path
from urllib.parse import urlparse

import report
import targets
from bound import Bound
from load import post, verify, wrk
from watch import Tree, client_cpu_s, free_port, machine_cpu_s, wait_quiet

HERE = Path(__file__).resolve().parent
VENVS = Path(os.environ.get("PEERS_VENVS", HERE / "venvs")).resolve()
WARM_CALLERS, WARM_S = 32, 1


def start(target, logs):
    """Start a server: its process, the tree that is watched, and its base address."""
    port = free_port()
    python = VENVS / target["venv"] / "bin" / "python"  # an absolute venv stays what it is
    if not python.exists():
        raise FileNotFoundError(f"no {python}: make it with install.sh {target['venv']}")
    fill = {"py": python, "bin": python.parent, "port": port, "here": HERE}
    env = {**os.environ, "PYTHONPATH": str(HERE), "BENCH_PORT": str(port), "BENCH_PY": str(python)}
    env |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", **target["env"]}
    env["PATH"] = f"{python.parent}{os.pathsep}{os.environ['PATH']}"
    with (logs / f"{target['name']}.log").open("w") as log:
        process = subprocess.Popen(
            [part.format(**fill) for part in target["cmd"]],
            env=env, cwd=logs, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    return process, Tree(process.pid), f"http://127.0.0.1:{port}"


def wait_until_answers(url, kind, process, limit_s):
    end = time.monotonic() + limit_s
    while True:
        try:
            post(url, kind, 0, timeout=5)
            return
        except OSError as error:  # urllib's errors are such
            if time.monotonic() > end or (process is not None and process.poll() is not None):
                raise RuntimeError(f"did not start: {error!r}") from error
            time.sleep(0.2)


def one_load(url, kind, callers, tree, given):
    """One closed loop with what everybody used meanwhile."""
    wait_quiet(given.quiet / 4)
    server, machine, client = tree.sample() if tree else 0.0, machine_cpu_s(), client_cpu_s()
    began = time.perf_counter()
    run = wrk(url, kind, callers, given.secs)
    wall = time.perf_counter() - began
    used = tree.sample() - server if tree else None
    run |= {"payload": kind, "conc": callers, "client_cores": (client_cpu_s() - client) / wall}
    run["cpu_cores"] = None if used is None else used / wall
    run["cpu_ms"] = None if not used or not run["requests"] else 1e3 * used / run["requests"]
    run["other_cores"] = None
    if used is not None:
        run["other_cores"] = (machine_cpu_s() - machine) / wall - run["client_cores"] - run["cpu_cores"]
    return run


def loads(target, base, process, tree, given, record):
    wanted = given.payloads.split(",") if given.payloads else target["urls"]
    kinds = [kind for kind in wanted if kind in target["urls"]]
    if not kinds:
        raise RuntimeError("serves none of --payloads")
    began = time.monotonic()
    wait_until_answers(base + target["urls"][kinds[0]], kinds[0], process, given.start_timeout)
    record["start_s"] = time.monotonic() - began
    for kind in kinds:
        url = base + target["urls"][kind]
        wrong = verify(url, kind)
        if wrong:
            record.setdefault("wrong", {})[kind] = wrong
        if given.verify_only:
            print(f"{target['name']} {kind}: {wrong or 'every answer is its own'}", flush=True)
            continue
        wrk(url, kind, WARM_CALLERS, WARM_S)
        record["runs"] += [one_load(url, kind, callers, tree, given) for callers in given.conc]


def one_target(target, given, bound, number):
    record = {"name": target["name"], "round": number, "runs": [], "bound": []}
    process = tree = None
    if bound:
        wait_quiet(given.quiet)
        record["bound"].append(bound.get())
    try:
        if "base" in target:
            base, tree = target["base"], Tree(target["pid"]) if target["pid"] else None
        else:
            process, tree, base = start(target, given.logs)
        loads(target, base, process, tree, given, record)
        record["peak_rss_mib"] = tree.peak / 2**20 if tree else None
    except Exception as error:  # noqa: BLE001 - one server that fails must not end the others' run
        record["failed"] = repr(error)[:300]
    finally:
        if process is not None:
            tree.kill()
        elif tree:
            tree.end()
    if bound:
        record["bound"].append(bound.get())
        add_ratios(record)
    return record


def add_ratios(record):
    bare = {name: statistics.mean(each[name] for each in record["bound"]) for name in record["bound"][0]}
    for run in record["runs"]:
        run["cpu_eff"] = run["cpu_ms"] and 1e3 / run["cpu_ms"] / bare["b16x2_cpu"]
        for name in ("b1", "b16", "b16x2"):
            run[f"ratio_{name}"] = run["rps"] / bare[name]


def say(record):
    best = max(record["runs"], key=lambda run: run["rps"], default=None)
    text = f"FAILED {record['failed']}" if "failed" in record else f"wrong={record.get('wrong')}"
    if best:
        text = f"best {best['rps']:.0f} req/s ({best['payload']}, {best['conc']} callers), {text}"
    print(f"[{time.strftime('%T')}] round {record['round']} {record['name']:16s} {text}", flush=True)


def parsed():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--targets", default=",".join(targets.ALL), help="names from targets.py, with commas")
    parser.add_argument("--payloads", default="", help="only these kinds")
    parser.add_argument("--conc", default="1,8,32,64,128", help="callers")
    parser.add_argument("--secs", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quiet", type=float, default=8, help="seconds to wait for a quiet machine, at most")
    parser.add_argument("--start-timeout", type=float, default=60)
    parser.add_argument(
        "--url", action="append", default=[], help="name=http://127.0.0.1:port/path of a running server"
    )
    parser.add_argument("--url-payload", default="json", help="payload kind of the --url targets")
    parser.add_argument("--url-pid", type=int, help="its process id, for CPU and memory")
    parser.add_argument("--verify-only", action="store_true", help="start and check each target; measure nothing")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "run.json")
    parser.add_argument("--logs", type=Path, default=HERE / "build" / "logs")
    given = parser.parse_args()
    given.conc = [int(callers) for callers in given.conc.split(",")]
    return given


def chosen(given):
    unknown = [name for name in given.targets.split(",") if name and name not in targets.ALL]
    if unknown:
        raise SystemExit(f"no target {', '.join(unknown)}; there are {', '.join(targets.ALL)}")
    found = [targets.ALL[name] for name in given.targets.split(",") if name]
    for text in given.url:
        name, url = text.split("=", 1)
        parts = urlparse(url)
        if parts.hostname not in {"127.0.0.1", "localhost", "::1"}:
            raise SystemExit(f"{url}: loopback addresses only")
        urls = {given.url_payload: parts.path or "/"}
        found.append({"name": name, "base": f"{parts.scheme}://{parts.netloc}", "urls": urls, "pid": given.url_pid})
    return found


def main():
    given = parsed()
    found = chosen(given)
    given.logs = given.logs.resolve()
    given.logs.mkdir(parents=True, exist_ok=True)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    bound, log = None if given.verify_only else Bound(), []
    for number in range(1 if given.verify_only else given.rounds):
        for target in random.Random(number).sample(found, len(found)):
            log.append(one_target(target, given, bound, number))
            say(log[-1])
            if bound:
                given.out.write_text(json.dumps(log, indent=1))
    if bound:
        bound.close()
        text = report.table(log)
        given.out.with_suffix(".md").write_text(text + "\n")
        print(text)
    return int(any(record.get("failed") or record.get("wrong") for record in log))


if __name__ == "__main__":
    raise SystemExit(main())
