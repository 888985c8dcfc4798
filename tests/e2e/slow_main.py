#!/usr/bin/env python3
# limit: 5400
"""The main job at its promised size: 300 MB and 5,000 files with a local cache of 64 MiB.  make check-slow."""
import os

os.environ.setdefault("QSFS_TREE_FILES", "5000")
os.environ.setdefault("QSFS_TREE_MB", "300")
os.environ.setdefault("QSFS_CACHE", "64M")

import libqsfs as q  # noqa: E402
import qsfs_main     # noqa: E402

if __name__ == "__main__":
    q.main(qsfs_main)
