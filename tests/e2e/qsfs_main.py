#!/usr/bin/env python3
# limit: 900
"""The main job: a real tree larger than the local cache survives eviction, restart, and the loss of backends."""
import os
import shutil

import libqsfs as q
from libsystem import DAEMONS, Install, make_tree

FILES = int(os.environ.get("QSFS_TREE_FILES", 1000))
SIZE = int(os.environ.get("QSFS_TREE_MB", 60)) << 20
CACHE = os.environ.get("QSFS_CACHE", "16M")
RSS_LIMIT = 256 << 10       # KiB, promised for each daemon (not for sanitizer builds, which keep freed memory)

inst = Install()
source = q.TMP / "source"
want = {}


def same_as_source(what):
    q.same_tree(q.tree(inst.mnt / "tree"), want, what)


def test_main_copy_of_a_real_tree():
    inst.bootstrap("--cache", CACHE)
    count, total = make_tree(source, FILES, SIZE)
    q.check(count >= FILES and total >= SIZE, f"this system has only {count} files with {total} bytes under /usr")
    want.update(q.tree(source))
    q.run("cp", "-a", source, inst.mnt / "tree", check_exit=0, timeout=600)
    same_as_source("right after the copy")


def test_main_everything_reaches_the_backends():
    closed = inst.closed_segments()
    inst.qsfs("wait")
    for f, want_sum in closed.items():
        q.same(inst.zstor("check", "--file", f).stdout.decode().strip(), want_sum, f"record of {f}")
    inst.quiet()


def test_main_local_cache_goes_down_to_its_limit():
    inst.wait_evicted()
    total = sum(int(q.Redis(inst.port + n).info(f"data{n + 1}")["data_size_bytes"]) for n in range(4))
    q.check(total > inst.cache_limit(), f"only {total} bytes at the backends")


def test_main_memory_of_each_daemon_stays_bounded():
    if q.SLOWDOWN > 1:
        return
    for name in DAEMONS:
        status = open(f"/proc/{inst.pid(name)}/status").read()
        peak = int(status.split("VmHWM:")[1].split()[0])
        q.check(peak < RSS_LIMIT, f"{name} used {peak} KiB")


def test_main_reads_back_identical_after_stop_start_with_cold_caches():
    inst.qsfs("stop")
    q.check(q.drop_caches() or os.geteuid() != 0, "caches could not be dropped")
    inst.qsfs("start")
    inst.wait_evicted()
    same_as_source("after restart")


def test_main_reads_back_identical_with_two_backends_killed():
    inst.qsfs("stop")
    q.drop_caches()
    inst.qsfs("start")
    inst.wait_evicted()
    for n in (1, 2):
        inst.kill9(f"backend{n}")
    same_as_source("without backends 1 and 2")


def test_main_rebuild_makes_a_wiped_backend_whole():
    inst.qsfs("start")
    inst.qsfs("wait")
    inst.wipe_backend(3)
    q.check(not (inst.top / "data" / "backend3").exists(), "data of backend 3")
    inst.qsfs("start")                      # zstor begins to repair it by itself
    q.wait_for(lambda: inst.zstor("rebuild", "--all", timeout=600), 300, "rebuild of all, nothing out of reach meanwhile")
    with q.Redis(inst.port + 2) as c, q.Redis(inst.port + 3) as d:
        got, other = int(c.info("data3")["data_size_bytes"]), int(d.info("data4")["data_size_bytes"])
    q.check(got * 10 >= other * 9, f"{got} bytes at the rebuilt backend, {other} at the next")


def test_main_reads_back_identical_from_the_rebuilt_backend():
    inst.qsfs("stop")
    q.drop_caches()
    inst.qsfs("start")
    inst.wait_evicted()
    for n in (1, 2):
        inst.kill9(f"backend{n}")
    same_as_source("from the rebuilt backend 3 and backend 4")
    inst.qsfs("start")


def test_main_volume_is_consistent():
    inst.qsfs("wait")
    inst.check_volume()


def test_main_tree_can_be_deleted_and_the_mount_goes_on():
    shutil.rmtree(inst.mnt / "tree")
    q.same(os.listdir(inst.mnt), [], "what is left")
    (inst.mnt / "after").write_bytes(b"new life")
    inst.qsfs("stop")
    inst.qsfs("start")
    q.same((inst.mnt / "after").read_bytes(), b"new life")


def test_main_stops_cleanly():
    inst.qsfs("stop")
    q.check(not any(inst.alive(n) for n in DAEMONS), "something still runs")


if __name__ == "__main__":
    q.main()
