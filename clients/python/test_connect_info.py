"""What `kalamflight connect-info` prints for Python runs as it is."""

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize("program", ["pandas"])
def test_snippet(program):
    binary = os.environ["KALAMFLIGHT_BINARY"]
    text = subprocess.run([binary, "connect-info", "--for", program], check=True, capture_output=True, text=True).stdout
    done = subprocess.run([sys.executable, "-W", "error", "-c", text], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "version" in done.stdout
