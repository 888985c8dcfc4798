#!/usr/bin/env python3
# limit: 120
"""kill -9 of zdb at random moments under load: the part of slow_zdb_crash.py that every run has to pass."""
import os
import sys

if __name__ == "__main__":
    whole = os.path.join(os.path.dirname(os.path.abspath(__file__)), "slow_zdb_crash.py")
    os.execv(sys.executable, [sys.executable, whole, *(sys.argv[1:] or ["kill_9"])])
