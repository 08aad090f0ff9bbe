"""A network that loses packets for real: TCP itself notices, long before a query's time is over."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.requires("network_namespaces")
@pytest.mark.parametrize("what", ["idle", "waiting", "asking"])
def test_lost_packets_are_noticed_in_seconds(database_url, what: str):
    if "host=" not in database_url.get_secret_value():
        pytest.skip("needs a server with a Unix socket on this machine")
    script = ROOT / "tests" / "support" / "packet_loss.py"
    run = subprocess.run(
        ["unshare", "--net", sys.executable, str(script), database_url.get_secret_value(), what],
        capture_output=True, text=True, timeout=50, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert 1 <= float(run.stdout) < 10  # four seconds of silence are allowed
