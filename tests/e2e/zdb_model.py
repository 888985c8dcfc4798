#!/usr/bin/env python3
# limit: 300
"""Random commands against a model: the modes of slow_zdb_model.py that every run has to pass."""
import os
import sys

if __name__ == "__main__":
    whole = os.path.join(os.path.dirname(os.path.abspath(__file__)), "slow_zdb_model.py")
    os.execv(sys.executable, [sys.executable, whole, *(sys.argv[1:] or ["mixed_modes", "user_mode"])])
