#!/usr/bin/env python3
# limit: 1800
"""zstor_crash.py with 300 kills."""
import os

os.environ.setdefault("QSFS_KILLS", "300")

import libqsfs as q            # noqa: E402
import zstor_crash             # noqa: E402

if __name__ == "__main__":
    q.main(zstor_crash)
