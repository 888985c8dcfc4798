#!/usr/bin/env python3
"""The hook script against a zstor that only writes down how it was called: every event, its commands and exit codes."""
import hashlib
import os
import pathlib
import shutil
import subprocess

import libqsfs as q

WORK = q.tmpdir("hook")
LOG = WORK / "calls"
INSTANCE = "tcp://127.0.0.1:9900"
STUB = """#!/bin/sh
for a in "$@"; do printf '%s|' "$a" >>"{log}"; done
echo >>"{log}"
case " $* " in
    *" ${{FAIL_ON:-none}} "*) echo "Zstor error: refused" >&2; exit "${{FAIL_WITH:-1}}" ;;
esac
echo "${{SAYS:-}}"
exit 0
"""


def program(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


ZSTOR = program(WORK / "stub" / "zstor", STUB.format(log=LOG))
CONFIG = WORK / "zstor.yaml"
CONFIG.write_text("socket: /nowhere\n")
DATA, INDEX = WORK / "zdb" / "data", WORK / "zdb" / "index"


def make_ns(ns, segments=2, records=True):
    for d, letter, header in ((INDEX / ns, "i", 29), (DATA / ns, "d", 28)):
        d.mkdir(parents=True)
        for n in range(segments):
            (d / f"{letter}{n}").write_bytes(b"x" * (header + (40 if records else 0)))
    (INDEX / ns / "zdb-namespace").write_bytes(b"y" * 22)


for name in ("zdbfs-meta", "zdbfs-data", "zdbfs-temp"):
    make_ns(name, 4)
make_ns("default", 1, records=False)


def call(*args, script=q.HOOK, **env):
    """(exit code, [argument list of each zstor call without -c CONFIG --log_file FILE], stderr)"""
    LOG.write_text("")
    base = {"ZSTOR_CONFIG": CONFIG, "ZSTOR_BIN": ZSTOR, "ZDB_INDEX": INDEX, "ZSTOR_READY_S": 0, "ZDBFS_PREFIX": None}
    p = q.run(script, *args, env={**base, **env})
    calls = [line.split("|")[:-1] for line in LOG.read_text().splitlines()]
    for c in calls:
        q.same(c[:2], ["-c", str(env.get("expect_config", CONFIG))], "configuration")
        q.same(c[2], "--log_file", "log option")
    return p.returncode, [c[4:] for c in calls], p.stderr.decode()


def stores(*paths):
    return [["store", "--notblocking", "--file", str(p)] for p in paths]


def test_hook_jump_index_stores_closed_and_changed_files():
    i = INDEX / "zdbfs-meta"
    code, calls, _ = call("jump-index", INSTANCE, i / "i3", i / "i4", "0 2")
    q.same(calls, stores(i / "i3", i / "i0", i / "i2"))
    q.same(code, 0, "exit code")
    code, calls, _ = call("jump-index", INSTANCE, i / "i3", i / "i4", "")
    q.same((code, calls), (0, stores(i / "i3")), "empty list")


def test_hook_jump_index_fails_when_one_file_is_refused_but_tries_all():
    i = INDEX / "zdbfs-meta"
    code, calls, err = call("jump-index", INSTANCE, i / "i3", i / "i4", "0 2", FAIL_ON=i / "i0")
    q.same(calls, stores(i / "i3", i / "i0", i / "i2"))
    q.same(code, 1, "exit code")
    q.check(f"{i / 'i0'} was not accepted" in err, err)


def test_hook_jump_index_refuses_numbers_that_are_paths():
    i = INDEX / "zdbfs-meta"
    code, calls, err = call("jump-index", INSTANCE, i / "i3", i / "i4", "../x")
    q.same((code, calls), (1, stores(i / "i3")))
    q.check("bad index number" in err, err)


def test_hook_jump_data_stores_the_closed_segment():
    d = DATA / "zdbfs-data"
    q.same(call("jump-data", INSTANCE, d / "d3", d / "d4")[:2], (0, stores(d / "d3")))
    q.same(call("jump-data", INSTANCE, d / "d3", d / "d4", FAIL_ON="store")[0], 1, "exit code of a refusal")


def test_hook_relative_paths_are_made_absolute():
    code, calls, _ = call("jump-data", INSTANCE, "data/zdbfs-data/d1", "data/zdbfs-data/d2")
    q.same((code, calls), (0, stores(pathlib.Path.cwd() / "data/zdbfs-data/d1")))


def test_hook_temp_namespace_is_never_stored():
    i, d = INDEX / "zdbfs-temp", DATA / "zdbfs-temp"
    for args in (("jump-index", INSTANCE, i / "i0", i / "i1", "0"), ("jump-data", INSTANCE, d / "d0", d / "d1"),
                 ("namespace-created", INSTANCE, "zdbfs-temp"), ("namespace-updated", INSTANCE, "zdbfs-temp"),
                 ("namespace-closing", INSTANCE, "zdbfs-temp", i / "i3", d / "d3", "1 2")):
        q.same(call(*args)[:2], (0, []), args[0])


def test_hook_namespace_events_store_the_descriptor():
    for event in ("namespace-created", "namespace-updated"):
        q.same(call(event, INSTANCE, "zdbfs-data")[:2], (0, stores(INDEX / "zdbfs-data" / "zdb-namespace")), event)
        q.same(call(event, INSTANCE, "gone")[:2], (0, []), f"{event} of a removed one")
        q.same(call(event, INSTANCE, "zdbfs-data", FAIL_ON="store")[0], 1, f"{event} refused")


def test_hook_namespace_closing_stores_active_pair_changed_files_and_descriptor():
    i, d = INDEX / "zdbfs-data", DATA / "zdbfs-data"
    code, calls, _ = call("namespace-closing", INSTANCE, "zdbfs-data", i / "i3", d / "d3", "0 1")
    q.same(sorted(calls), sorted(stores(i / "i3", d / "d3", i / "i0", i / "i1", i / "zdb-namespace")))
    q.same(code, 0, "exit code")
    code, calls, _ = call("namespace-closing", INSTANCE, "zdbfs-data", i / "i3", d / "d3", "0 1", FAIL_ON=d / "d3")
    q.same((code, len(calls)), (1, 5), "one refused, the rest tried")


def test_hook_default_namespace_is_skipped_only_while_untouched():
    i, d = INDEX / "default", DATA / "default"
    args = ("namespace-closing", INSTANCE, "default", i / "i0", d / "d0", "")
    q.same(call(*args)[:2], (0, []), "untouched")
    with open(i / "i0", "ab") as f:
        f.write(b"record")
    q.same(sorted(call(*args)[1]), sorted(stores(i / "i0", d / "d0", i / "zdb-namespace")), "with a record")


def test_hook_missing_data_retrieves_and_passes_the_exit_code_on():
    f = DATA / "zdbfs-data" / "d9"
    q.same(call("missing-data", INSTANCE, f)[:2], (0, [["retrieve", "--file", str(f)]]))
    q.same(call("missing-data", INSTANCE, f, FAIL_ON="retrieve", FAIL_WITH=3)[0], 3, "exit code")


def test_hook_retire_data_waits_until_zstor_has_the_file():
    f = DATA / "zdbfs-data" / "d1"
    sum_ = hashlib.blake2b(f.read_bytes(), digest_size=16).hexdigest()
    q.same(call("retire-data", INSTANCE, f, SAYS=f"{sum_}\t{f}")[:2], (0, [["check", "--file", str(f)]]), "stored")
    q.same(call("retire-data", INSTANCE, f, SAYS=f"{sum_[::-1]}\t{f}")[0], 75, "stored with other bytes")
    q.same(call("retire-data", INSTANCE, f, FAIL_ON="check")[0], 75, "not stored, or nobody answers")
    q.same(call("retire-data", INSTANCE, DATA / "zdbfs-temp" / "d1")[:2], (0, []), "the journal is stored nowhere")


def test_hook_ready_needs_the_daemon_but_not_every_backend():
    q.same(call("ready", INSTANCE)[:2], (0, [["queue"], ["test"]]))
    code, calls, err = call("ready", INSTANCE, FAIL_ON="queue")
    q.check(code != 0 and "zstor does not answer" in err and "monitor" in err, f"{code} {err}")
    code, calls, err = call("ready", INSTANCE, FAIL_ON="test")
    q.check(code == 0 and "warning" in err, f"degraded: {code} {err}")
    inproc = WORK / "inproc.yaml"
    inproc.write_text("minimal_shards: 2\n")
    q.same(call("ready", INSTANCE, ZSTOR_CONFIG=inproc, expect_config=inproc)[:2], (0, [["test"]]), "without socket")


def test_hook_events_without_work_succeed_silently():
    for args in (("namespaces-init", INSTANCE, INDEX, DATA), ("close", INSTANCE), ("crash", INSTANCE),
                 ("namespace-deleted", INSTANCE, "x"), ("namespace-reloaded", INSTANCE, "x"), ("of-the-future", INSTANCE)):
        code, calls, err = call(*args)
        q.same((code, calls, err), (0, [], ""), args[0])


def test_hook_names_nothing_in_temporary_directories():
    before = set(os.listdir("/tmp"))
    i = INDEX / "zdbfs-meta"
    call("jump-index", INSTANCE, i / "i3", i / "i4", "0 2")
    new = [n for n in set(os.listdir("/tmp")) - before if n.startswith("zdb.hook")]
    q.same(new, [], "files left in /tmp")


def test_hook_wrong_calls_say_what_is_missing():
    for args in (("jump-index", INSTANCE, "x"), ("jump-data", INSTANCE), ("missing-data", INSTANCE),
                 ("retire-data", INSTANCE), ("namespace-closing", INSTANCE, "x")):
        code, calls, err = call(*args)
        q.check(code == 1 and not calls and err.count("\n") == 1 and "expected" in err, f"{args[0]}: {code} {err}")
    code, _, err = call("ready")
    q.check(code == 1 and "usage" in err, err)


def test_hook_finds_config_and_program_by_prefix_layout():
    p = WORK / "prefix"
    shutil.copy(program(p / "bin" / "zstor", ZSTOR.read_text()), p / "bin" / "copy")
    for place in ("data/zstor.yaml", "etc/zstor-default.yaml", "etc/zstor.yaml"):
        conf = p / place
        conf.parent.mkdir(exist_ok=True)
        conf.write_text("socket: x\n")
        d = DATA / "zdbfs-data"
        code, calls, err = call("jump-data", INSTANCE, d / "d3", d / "d4", ZSTOR_CONFIG=None, ZSTOR_BIN=None,
                                ZDBFS_PREFIX=p, expect_config=conf)
        q.same((code, calls), (0, stores(d / "d3")), f"{place}: {err}")


def test_hook_finds_config_and_program_next_to_itself():
    p = WORK / "installed"
    program(p / "bin" / "zstor", ZSTOR.read_text())
    hook = program(p / "bin" / "zdb-hook.sh", q.HOOK.read_text())
    (p / "etc").mkdir()
    (p / "etc" / "zstor.yaml").write_text("socket: x\n")
    d = DATA / "zdbfs-data"
    code, calls, err = call("jump-data", INSTANCE, d / "d3", d / "d4", script=hook, ZSTOR_CONFIG=None, ZSTOR_BIN=None,
                            expect_config=p / "etc" / "zstor.yaml")
    q.same((code, calls), (0, stores(d / "d3")), err)


def test_hook_says_when_config_or_program_is_missing():
    d = DATA / "zdbfs-data"
    code, _, err = call("jump-data", INSTANCE, d / "d3", d / "d4", ZSTOR_CONFIG=WORK / "none.yaml")
    q.check(code == 1 and "none.yaml: cannot be read" in err, err)
    code, _, err = call("jump-data", INSTANCE, d / "d3", d / "d4", ZSTOR_BIN=WORK / "none")
    q.check(code == 1 and "no such program; set ZSTOR_BIN" in err, err)


def test_hook_runs_under_a_strict_posix_shell():
    d = DATA / "zdbfs-data"
    for shell in ("dash", "bash"):
        if not shutil.which(shell):
            raise q.Failure(f"{shell} is missing; install it")
        argv = [shell] + (["--posix"] if shell == "bash" else [])
        LOG.write_text("")
        p = subprocess.run([*argv, q.HOOK, "jump-data", INSTANCE, d / "d3", d / "d4"],
                           env=q.environment({"ZSTOR_CONFIG": CONFIG, "ZSTOR_BIN": ZSTOR}))
        q.check(p.returncode == 0 and "d3|" in LOG.read_text(), shell)


if __name__ == "__main__":
    q.main()
