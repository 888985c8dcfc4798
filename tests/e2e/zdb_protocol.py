#!/usr/bin/env python3
"""Every command, reply by reply: number and order of the checks, exact texts, rights, and what each namespace state does.
Beside zdb_transcript.py, which replays what was recorded: here stands what the specification says and no record shows."""
import hashlib
import os
import re
import shutil
import struct
import time

import libqsfs as q

E = q.Error
DENIED = E("Permission denied")
UNEXPECTED, MISSING = E("Unexpected arguments"), E("Missing arguments")
INVALID, INVALIDS = E("Invalid argument"), E("Invalid arguments")
BAD_KEY, NO_KEY = E("Invalid key"), E("Key not found")
READ_ONLY = E("Namespace is in read-only mode")
FROZEN = E("Namespace is temporarily frozen (read-write disabled)")
LOCKED = E("Namespace is temporarily locked (read-only)")
NO_NS, NS_LONG = E("Namespace not found"), E("Namespace too long")
LONG = E("Argument too long")
GONE = E("Your active namespace is not available anymore (probably removed).")
UNKNOWN = E("Command not supported")
CURSOR = E("Invalid key format")

KEY_256, NS_129 = b"k" * 256, b"n" * 129

COMMANDS = ("WAIT MIRROR MASTER PING TIME AUTH HOOKS INDEX DATA SET SETX GET MGET DEL EXISTS CHECK SCAN SCANX RSCAN KSCAN "
            "HISTORY KEYCUR LENGTH KEYTIME INFO STOP DBSIZE NSNEW NSDEL NSLIST NSSET NSINFO NSJUMP SELECT RELOAD "
            "FLUSH").split()


def expect(c, table, what=""):
    """[(request words..., reply)]; all differences are told at once."""
    wrong = []
    for *words, want in table:
        got = c.cmd(*words)
        if got != want or type(got) is not type(want):
            wrong.append(f"{words}"[:120] + f": got {got!r}"[:160] + f", want {want!r}"[:160])
    q.check(not wrong, f"{what} {len(wrong)} differ: " + " ## ".join(wrong))


OK = q.Status("OK")


def test_command_words():
    zdb = q.start_zdb()
    with zdb.client() as c:
        expect(c, [(w, UNKNOWN) for w in
                   ("CONFIG", "EXPIRE", "KEYS", "SETXX", "PIN", "S", "D",
                    "N", "R", "H", "I", "M", "GE", "NSL", b"GET\0", b"\0", b"PING\0PING", "x" * 100, b"\xff\xfe", " PING",
                    "**", "SCANXX")])
        expect(c, [("*", E("This is not a valid command")), ("", E("This is not a valid command")),
                   ("pInG", q.Status("PONG")), ("PING", "a", UNEXPECTED)])
        for w in COMMANDS:
            if w not in ("WAIT", "MIRROR", "MASTER"):
                q.check(c.cmd(w.lower(), *([] if w != "AUTH" else ["x"])) != UNKNOWN, f"{w} is known")
    zdb.stop()


def test_numbers_of_arguments():
    """The command's own checks; nobody of an admin here."""
    zdb = q.start_zdb()
    with zdb.client() as c:
        for w in ("GET", "EXISTS", "CHECK", "LENGTH", "KEYTIME"):
            expect(c, [(w, UNEXPECTED), (w, "a", "b", UNEXPECTED), (w, "", INVALID), (w, KEY_256, BAD_KEY)], w)
        expect(c, [
            ("KEYCUR", UNEXPECTED), ("KEYCUR", "a", "b", UNEXPECTED), ("KEYCUR", "", INVALID), ("KEYCUR", KEY_256, NO_KEY),
            ("KEYCUR", "none", NO_KEY),
            ("SET", UNEXPECTED), ("SET", "a", UNEXPECTED), ("SET", "a", "b", "1", "x", UNEXPECTED),
            ("SET", KEY_256, "v", E("Key too large")), ("SET", KEY_256, "v", "1", E("Key too large")),
            ("SETX", KEY_256, "v", E("Key too large")), ("SETX", "a", UNEXPECTED),
            ("SET", "", "v", E("Invalid argument, key needed")), ("SET", "", "", E("Invalid argument, key needed")),
            ("SET", "e", "", b"e"), ("GET", "e", b""), ("LENGTH", "e", 0), ("CHECK", "e", 1),
            ("MGET", INVALIDS), ("MGET", "a", KEY_256, BAD_KEY), ("MGET", "", "e", "", [None, b"", None]),
            ("DEL", UNEXPECTED), ("DEL", "a", "1", "2", UNEXPECTED), ("DEL", "", INVALID), ("DEL", KEY_256, BAD_KEY),
            ("DEL", "none", NO_KEY), ("DEL", "", "5", NO_KEY), ("DEL", "none", "", UNEXPECTED),
            ("DEL", "e", "0", OK), ("DEL", "e", NO_KEY),
            ("GET", "none", None), ("CHECK", "none", None), ("LENGTH", "none", None), ("KEYTIME", "none", None),
            ("EXISTS", "none", 0),
            ("HISTORY", INVALIDS), ("HISTORY", "a", "b", "c", INVALIDS), ("HISTORY", "", NO_KEY), ("HISTORY", "none", NO_KEY),
            ("HISTORY", KEY_256, NO_KEY), ("HISTORY", "a", "", INVALIDS), ("HISTORY", "a", b"1234567", INVALIDS),
            ("HISTORY", "a", b"123456789", INVALIDS), ("HISTORY", "none", bytes(8), E("No more history")),
            ("HISTORY", "a", struct.pack("<II", 0, 29), E("Invalid arguments (invalid key)")),
            ("HISTORY", "a", struct.pack("<II", 9, 29), E("Invalid arguments (index query)")),
            ("HISTORY", "a", struct.pack("<II", 0, 99999), E("Invalid arguments (index query)")),
            ("DBSIZE", "x", UNEXPECTED), ("DBSIZE", 0),
            ("SCAN", E("No more data")), ("RSCAN", E("No more data")), ("SCANX", E("No more data")),
            ("SCAN", "", CURSOR), ("RSCAN", "short", CURSOR), ("SCANX", b"x" * 18, CURSOR), ("SCAN", b"\0" * 17, CURSOR),
            ("SCAN", b"\xff" * 17, CURSOR), ("RSCAN", b"\xff" * 17, "", UNEXPECTED), ("RSCAN", b"\xff" * 17, CURSOR),
            ("KSCAN", E("Command disabled in release code, not yet available")),
            ("KSCAN", "", "x", E("Command disabled in release code, not yet available")),
            ("NSNEW", UNEXPECTED), ("NSNEW", "a", "b", UNEXPECTED), ("NSNEW", "", INVALID), ("NSNEW", NS_129, NS_LONG),
            ("NSDEL", UNEXPECTED), ("NSDEL", "", INVALID), ("NSDEL", NS_129, NS_LONG),
            ("NSINFO", UNEXPECTED), ("NSINFO", "default", "x", UNEXPECTED), ("NSINFO", "", INVALID),
            ("NSINFO", NS_129, NS_LONG), ("NSINFO", "none", NO_NS),
            ("RELOAD", UNEXPECTED), ("RELOAD", "", INVALID), ("RELOAD", NS_129, NS_LONG), ("RELOAD", "none", NO_NS),
            ("NSSET", UNEXPECTED), ("NSSET", "default", "lock", UNEXPECTED), ("NSSET", "default", "lock", "1", "x", UNEXPECTED),
            ("NSSET", "", "lock", "1", INVALID), ("NSSET", "default", "", "1", INVALID), ("NSSET", "default", "lock", "", INVALID),
            ("NSSET", NS_129, "x" * 257, "1", NS_LONG), ("NSSET", "none", "x" * 257, "1", LONG),
            ("NSSET", "none", "x" * 256, "1" * 64, LONG), ("NSSET", "none", "x" * 256, "1" * 63, NO_NS),
            ("SELECT", INVALID), ("SELECT", NS_129, "a", "b", NS_LONG), ("SELECT", "none", NO_NS), ("SELECT", "", NO_NS),
            ("SELECT", "default", "x" * 300, "y", OK), ("SELECT", "default", "x", "y", "z", E("Too many arguments")),
            ("INDEX", MISSING), ("INDEX", "", INVALID), ("INDEX", "x" * 257, LONG), ("INDEX", "x", E("Unknown INDEX subcommand")),
            ("INDEX", "DIRT", E("Unknown INDEX subcommand")), ("INDEX", "dirty", [0]), ("INDEX", "DIRTY", "reset", OK),
            ("INDEX", "DIRTY", "RESE", E("Unknown INDEX DIRTY subcommand")),
            ("DATA", MISSING), ("DATA", "", INVALID), ("DATA", "x", E("Unknown DATA subcommand")), ("DATA", "RAW", MISSING),
            ("DATA", "raw", "0", MISSING), ("DATA", "RAW", "0", "99999", E("EOF")), ("DATA", "RAW", "7", "28", E("Invalid Request")),
            ("WAIT", INVALIDS), ("WAIT", "SET", "100", "x", INVALIDS), ("WAIT", "nothing", E("Unknown command to watch")),
            ("WAIT", "SE", E("Unknown command to watch")), ("WAIT", "SET", "99", E("Invalid timeout")),
            ("WAIT", "SET", "1800001", E("Invalid timeout")), ("WAIT", "SET", "", E("Invalid timeout")),
            ("WAIT", "SET", "0" * 14 + "100", E("Invalid timeout")), ("WAIT", "SET", "-100", E("Invalid timeout")),
            ("WAIT", "SET", "x", E("Invalid timeout")),
            ("STOP", "x", E("Unauthorized")), ("HOOKS", "a", "b", UNEXPECTED), ("HOOKS", "a", UNEXPECTED), ("HOOKS", []),
            ("AUTH", UNEXPECTED), ("AUTH", "a", "b", "c", UNEXPECTED), ("AUTH", "x", E("Authentication disabled")),
            ("AUTH", "", E("Authentication disabled")), ("AUTH", "", "x", INVALID), ("AUTH", "SECURE", "", INVALID),
            ("AUTH", "secret", "x", E("Only SECURE extra method supported")),
            ("AUTH", "SECURE", "x" * 40, E("Authentication disabled")),
            ("FLUSH", "x", UNEXPECTED), ("FLUSH", E("Flushing public namespace denied")),
            ("NSJUMP", "x", UNEXPECTED), ("NSJUMP", OK), ("NSLIST", "x", UNEXPECTED),
        ])
        t = c.ok("TIME")
        q.check(len(t) == 2 and abs(int(t[0]) - time.time()) < 3 and 0 <= int(t[1]) < 1000000, f"TIME {t}")
    zdb.stop()


def test_namespace_names():
    zdb = q.start_zdb()
    bad = E("This name is not allowed")
    with zdb.client() as c:
        expect(c, [("NSNEW", n, bad) for n in (".", "..", "default", "a/b", "/", "../x", b"default\0x", b".\0", b"\0x", b"cut\0rest")])
        expect(c, [("NSNEW", n, OK) for n in ("with space", ".hidden", "...", "ü\n\r\t", b"\xff\xfe", "cut", "n" * 128)])
        expect(c, [("NSNEW", "cut", E("This namespace is not available")), ("SELECT", b"cut\0other", NO_NS), ("SELECT", "cut", OK),
                   ("NSINFO", b"none\0", NO_NS), ("NSDEL", b"cut\0x", E("This namespace doesn't exists")), ("NSDEL", "default", E("Cannot remove default namespace")),
                   ("NSDEL", "none", E("This namespace doesn't exists")),
                   ("NSDEL", "cut", E("Cannot remove namespace you're currently using.")), ("SELECT", "default", OK)])
        want = [b"default", b"with space", b".hidden", b"...", "ü\n\r\t".encode(), b"\xff\xfe", b"cut", b"n" * 128]
        q.same(c.ok("NSLIST"), want, "NSLIST")
        expect(c, [("NSDEL", ".hidden", OK), ("NSNEW", "late", OK)])
        want[2] = b"late"
        q.same(c.ok("NSLIST"), want, "a free slot is used again")
        (zdb.data / "old").mkdir()
    zdb.stop()
    zdb.start()
    with zdb.client() as c:
        got = c.ok("NSLIST")
        q.same((got[0], sorted(got)), (b"default", sorted(want)), "namespaces after a restart")
    zdb.stop()


def test_directories_of_a_removed_namespace_come_back_with_it():
    zdb = q.start_zdb()
    with zdb.client() as c:
        c.ok("NSNEW", "a")
        c.ok("SELECT", "a")
        c.ok("SET", "k", "v")
    zdb.stop()
    for root in (zdb.data, zdb.index):
        (root / "a").rename(root.parent / f"{root.name}.kept")
    zdb.start()
    for root in (zdb.data, zdb.index):
        (root.parent / f"{root.name}.kept").rename(root / "b")
    with zdb.client() as c:
        expect(c, [("NSNEW", "b", OK), ("SELECT", "b", OK), ("GET", "k", b"v"), ("DBSIZE", 1)])
    zdb.stop()


def test_nsset():
    zdb = q.start_zdb()
    default, prop = E("Cannot update default namespace"), E("Invalid property")
    used, value = E("Cannot change mode of used namespace"), E("Invalid property value (expected: user, seq)")
    with zdb.client() as c:
        c.ok("NSNEW", "n")
        expect(c, [("NSSET", "default", p, "1", default) for p in ("maxsize", "password", "public", "worm", "nonsense", "LOCK")])
        expect(c, [("NSSET", "n", p, "1", prop) for p in ("nonsense", "LOCK", "Mode", "loc", "lockx")])
        expect(c, [("NSSET", "n", "mode", "USER", value), ("NSSET", "n", "mode", "sequential", value),
                   ("NSSET", "n", "mode", "seq", OK), ("NSSET", "n", "mode", "user", OK), ("NSSET", "n", "mode", "seq", OK),
                   ("NSSET", "default", "mode", "seq", OK), ("NSSET", "default", "mode", "user", OK)])
        q.same(c.info("n")["mode"], "sequential", "mode")
        expect(c, [("SELECT", "n", OK), ("NSJUMP", OK), ("NSSET", "n", "mode", "user", used),
                   ("NSSET", "n", "mode", "bad", used), ("NSNEW", "m", OK), ("SELECT", "m", OK), ("SET", "a", "b", b"a"),
                   ("DEL", "a", OK), ("NSSET", "m", "mode", "seq", used)])
        fields = lambda: [c.info("m")[k] for k in ("locked", "public", "worm", "password", "data_limits_bytes")]
        for prop_, val, want in (("lock", "1", ["yes", "yes", "no", "no", "0"]), ("lock", "0", ["no", "yes", "no", "no", "0"]),
                                 ("freeze", "1", ["yes", "yes", "no", "no", "0"]), ("freeze", "0", ["no", "yes", "no", "no", "0"]),
                                 ("public", "0", ["no", "no", "no", "no", "0"]), ("public", "1", ["no", "yes", "no", "no", "0"]),
                                 ("worm", "1", ["no", "yes", "yes", "no", "0"]), ("worm", "0", ["no", "yes", "no", "no", "0"]),
                                 ("maxsize", "12", ["no", "yes", "no", "no", "12"]), ("maxsize", "0", ["no", "yes", "no", "no", "0"]),
                                 ("password", "p" * 63, ["no", "yes", "no", "yes", "0"]), ("password", "*", ["no", "yes", "no", "no", "0"])):
            q.same((c.cmd("NSSET", "m", prop_, val), fields()), (OK, want), f"NSSET {prop_} {val}")
        before, switch = fields(), E("Invalid property value (expected: 0, 1)")
        expect(c, [("NSSET", "m", p, v, switch) for p in ("lock", "freeze", "public", "worm") for v in ("off", "yes", "12", "1x", "true")])
        expect(c, [("NSSET", "m", "maxsize", v, E("Invalid property value (expected: a number of bytes)"))
                   for v in ("12abc", "junk", "-1", "100M", " 1", "9223372036854775808")])
        expect(c, [("NSSET", "m", "password", b"a\0b", INVALID)])
        q.same(fields(), before, "what was refused changes nothing")
        # lock and freeze share one state, and neither is kept
        expect(c, [("NSSET", "m", "freeze", "1", OK), ("GET", "a", FROZEN), ("NSSET", "m", "lock", "1", OK), ("GET", "a", None),
                   ("SET", "a", "b", LOCKED)])
    zdb.stop()
    zdb.start()
    with zdb.client("m") as c:
        expect(c, [("SET", "a", "b", b"a"), ("SELECT", "n", OK)])
        q.same(c.info("n")["mode"], "sequential", "mode after a restart")
    zdb.stop()
    single = q.start_zdb(mode="user")
    with single.client() as c:
        c.ok("NSNEW", "n")
        one = E("This server instance is configured to use a single runtime mode")
        expect(c, [("NSSET", "n", "mode", m, one) for m in ("user", "seq", "bad")])
    single.stop()


WRITES = [("SET", "a", "x"), ("SETX", "b", "y"), ("DEL", "a")]
READS = [("GET", "a"), ("MGET", "a", "b"), ("EXISTS", "a"), ("CHECK", "a"), ("LENGTH", "a"), ("KEYTIME", "a"), ("KEYCUR", "a"),
         ("SCAN",), ("SCANX",), ("RSCAN",), ("HISTORY", "a")]
UNTOUCHED = [("DBSIZE",), ("NSINFO", "n"), ("NSLIST",), ("PING",), ("DATA", "RAW", "0", "28"), ("INDEX", "DIRTY"),
             ("SELECT", "n"), ("NSJUMP",), ("RELOAD", "n")]


def test_states_of_a_namespace():
    """Which commands each state refuses, and with what."""
    zdb = q.start_zdb(datasize=524288)
    with zdb.client() as c:
        c.ok("NSNEW", "n")
        c.ok("SELECT", "n")
        c.ok("SET", "a", "v")
        c.ok("NSSET", "n", "lock", "1")
        expect(c, [(*r, LOCKED) for r in WRITES])
        for r in READS + UNTOUCHED:
            q.check(not isinstance(c.cmd(*r), q.Error), f"locked: {r}")
        expect(c, [("SET", KEY_256, "v", E("Key too large")), ("DEL", KEY_256, BAD_KEY), ("DEL", "none", LOCKED),
                   ("SET", "", "v", LOCKED)])
        c.ok("NSSET", "n", "freeze", "1")
        expect(c, [(*r, FROZEN) for r in WRITES + READS])
        for r in UNTOUCHED:
            q.check(not isinstance(c.cmd(*r), q.Error), f"frozen: {r}")
        expect(c, [("SET", KEY_256, "v", E("Key too large")), ("GET", KEY_256, BAD_KEY), ("GET", UNEXPECTED), ("GET", "", INVALID),
                   ("MGET", INVALIDS), ("MGET", KEY_256, BAD_KEY), ("KEYCUR", KEY_256, FROZEN), ("KEYCUR", UNEXPECTED),
                   ("SCAN", "bad", FROZEN), ("HISTORY", INVALIDS), ("HISTORY", "a", "bad", FROZEN),
                   ("KSCAN", E("Command disabled in release code, not yet available"))])
        c.ok("NSSET", "n", "freeze", "0")
        # worm: new keys only, however equal the value is
        worm = E("Namespace is protected by worm mode")
        c.ok("NSSET", "n", "worm", "1")
        expect(c, [("SET", "a", "v", worm), ("SET", "a", "w", worm), ("SET", "new", "1", b"new"),
                   ("DEL", "a", E("Cannot delete a key when namespace is in worm mode")), ("DEL", "none", NO_KEY),
                   ("GET", "a", b"v"), ("SET", "", "v", E("Invalid argument, key needed"))])
        c.ok("NSSET", "n", "worm", "0")
        # quota: the sum of the values, equality is accepted
        full = E("No space left on this namespace")
        c.ok("NSSET", "n", "maxsize", "10")
        expect(c, [("SET", "q", "x" * 9, full), ("SET", "q", "x" * 8, b"q"), ("SET", "r", "", b"r"), ("SET", "r", "1", full),
                   ("SET", "", "1", full), ("SET", "q", "y" * 8, b"q"), ("SET", "q", "z" * 9, full), ("SET", "q", "z" * 7, b"q"),
                   ("SET", "r", "1", b"r"), ("DEL", "q", OK)])
        info = c.info("n")
        q.same((info["space_available"], info["data_size_bytes"]), ("7", "3"), "space left")
        c.ok("NSSET", "n", "maxsize", "1")
        expect(c, [("SET", "a", "v", full), ("SET", "a", "", full)])
        q.same(c.info("n")["space_available"], str(2**64 - 2), "negative space as in the original")
        expect(c, [("DEL", "r", OK), ("DEL", "new", OK), ("SET", "a", "v", None), ("SET", "a", "vv", full)])
        c.ok("NSSET", "n", "worm", "1")
        expect(c, [("SET", "a", "longer", worm)])
    zdb.stop()


def test_read_only_session():
    zdb = q.start_zdb()
    with zdb.client() as c, zdb.client() as r:
        c.ok("NSNEW", "n")
        c.ok("SELECT", "n")
        c.ok("SET", "a", "v")
        c.ok("NSSET", "n", "password", "pw")
        expect(r, [("SELECT", "n", OK)] + [(*w, READ_ONLY) for w in WRITES])
        for req in READS:
            q.check(not isinstance(r.cmd(*req), q.Error), f"read-only: {req}")
        c.ok("NSSET", "n", "lock", "1")
        c.ok("NSSET", "n", "freeze", "1")
        expect(r, [(*w, READ_ONLY) for w in WRITES])     # before frozen and locked
        c.ok("NSSET", "n", "freeze", "0")
        expect(r, [("SET", KEY_256, "x", E("Key too large")), ("DEL", "none", READ_ONLY), ("FLUSH", E("Flushing public namespace denied"))])
        # who has selected it keeps what it has
        c.ok("NSSET", "n", "password", "*")
        expect(r, [("SET", "b", "x", READ_ONLY), ("SELECT", "n", OK), ("SET", "b", "x", b"b")])
        c.ok("NSSET", "n", "password", "pw")
        c.ok("NSSET", "n", "public", "0")
        expect(r, [("SET", "c", "x", b"c"), ("SELECT", "n", E("Namespace protected and private")), ("SET", "d", "x", b"d")])
        expect(c, [("FLUSH", OK), ("DBSIZE", 0)])
        c.ok("NSSET", "n", "lock", "1")
        expect(c, [("FLUSH", LOCKED), ("NSSET", "n", "freeze", "1", OK), ("FLUSH", FROZEN), ("NSSET", "n", "freeze", "0", OK),
                   ("NSSET", "n", "worm", "1", OK), ("FLUSH", E("Namespace is protected by worm mode"))])
    zdb.stop()


def test_select():
    zdb = q.start_zdb()
    with zdb.client() as c:
        c.ok("NSNEW", "n")
        c.ok("NSSET", "n", "password", "pw")
        hexed = lambda nonce, pw: hashlib.sha1(f"{nonce}:{pw}".encode()).hexdigest()
        only, none = E("Only SECURE extra method supported"), E("No CHALLENGE requested, secure authentication not available")
        expect(c, [("SELECT", "n", "wrong", E("Access denied")), ("SELECT", "n", "", E("Access denied")),
                   ("SELECT", "n", "p" * 256, E("Password too long")), ("SELECT", "n", "p" * 255, E("Access denied")),
                   ("SELECT", "n", "a", "b", "c", E("Too many arguments")), ("SELECT", "n", "PLAIN", "pw", only),
                   ("SELECT", "n", "SECURES", "x", only), ("SELECT", "n", "SECURE", "x", none), ("SELECT", "n", "sec", "x" * 40, none),
                   ("SELECT", "n", "pw", OK), ("SET", "a", "1", b"a"), ("SELECT", "default", OK)])
        nonce = c.ok("AUTH", "SECURE", "CHALLENGE")
        q.check(re.fullmatch("[0-9a-f]{16}", nonce), f"challenge {nonce}")
        expect(c, [("SELECT", "n", "SECURE", "short", E("Invalid hash length")), ("SELECT", "n", "SECURE", "0" * 40, E("Access denied")),
                   ("SELECT", "n", "SECURE", hexed(nonce, "pw").upper(), E("Access denied")), ("DBSIZE", 0),
                   ("SELECT", "n", "secure", hexed(nonce, "pw"), OK), ("DBSIZE", 1), ("SET", "a", "2", b"a"),
                   ("SELECT", "n", "SECURE", hexed(nonce, "pw"), none)])      # a right one uses it up
        other = c.ok("AUTH", "secu", "chall")
        again = c.ok("AUTH", "SECURE", "CHALLENGE")
        expect(c, [("SELECT", "n", "SECURE", hexed(other, "pw"), E("Access denied")), ("SELECT", "n", "SECURE", hexed(again, "pw"), OK)])
        c.ok("NSSET", "n", "public", "0")
        expect(c, [("SELECT", "n", E("Namespace protected and private")), ("SELECT", "n", "bad", E("Access denied")), ("DBSIZE", 1)])
        c.ok("NSSET", "n", "freeze", "1")
        expect(c, [("SELECT", "default", OK), ("SELECT", "n", "pw", OK)])
    zdb.stop()


def test_auth():
    zdb = q.start_zdb(admin="adminpw")
    hexed = lambda nonce, pw: hashlib.sha1(f"{nonce}:{pw}".encode()).hexdigest()
    denied, none = E("Access denied"), E("No CHALLENGE requested, secure authentication not available")
    with zdb.client() as c:
        expect(c, [("AUTH", "", INVALID), ("AUTH", "x" * 129, E("Password too long")), ("AUTH", "x" * 128, denied),
                   ("AUTH", "adminpw\0", denied), ("AUTH", "adminp", denied), ("AUTH", "SECURE", "x", none),
                   ("AUTH", "plain", "adminpw", E("Only SECURE extra method supported")), ("NSNEW", "x", DENIED)])
        nonce = c.ok("AUTH", "SECURE", "CHALLENGE")
        expect(c, [("AUTH", "SECURE", "x" * 39, E("Invalid hash length")), ("AUTH", "SECURE", hexed(nonce, "adminpw"), OK),
                   ("AUTH", "SECURE", hexed(nonce, "adminpw"), none), ("NSNEW", "x", OK)])
    with zdb.client() as c:
        nonce = c.ok("AUTH", "SECURE", "CHALLENGE")
        expect(c, [("AUTH", "SECURE", "0" * 40, denied), ("AUTH", "SECURE", hexed(nonce, "adminpw"), none),
                   ("HOOKS", DENIED), ("AUTH", "adminpw", OK), ("HOOKS", [])])
    zdb.stop()


def test_admin_only():
    """Refused before any other check, and counted."""
    zdb = q.start_zdb(admin="adminpw")
    with zdb.client() as c:
        n = 0
        for w in ("NSNEW", "NSDEL", "NSSET", "NSJUMP", "RELOAD", "INDEX", "DATA", "HOOKS", "MIRROR", "MASTER"):
            for args in ((), ("",), ("default",), (NS_129, "x" * 300, "1"), ("a", "b", "c", "d", "e")):
                expect(c, [(w, *args, DENIED)])
                n += 1
        expect(c, [("SET", "a", "v", "5", DENIED), ("SET", KEY_256, "v", "5", DENIED), ("DEL", "", "5", DENIED), ("SETX", "a", "b", "", DENIED),
                   ("SET", "a", "b", "5", "6", UNEXPECTED), ("SET", "a", "v", b"a"), ("DEL", "a", OK), ("NOPE", UNKNOWN)])
        info = dict(x.split(": ") for x in c.ok("INFO").decode().splitlines() if ": " in x)
        q.same((info["commands_unauthorized"], info["commands_failed"]), (str(n + 4), "1"), "counters")
        text = c.ok("NSINFO", "default").decode()
        q.check("data_path" not in text and "data_current_id" not in text and "data_disk_freespace_mb" in text, "NSINFO without admin")
        c.ok("AUTH", "adminpw")
        keys = [x.split(":")[0] for x in c.ok("NSINFO", "default").decode().splitlines()]
        q.same(keys, ["# namespace", "name", "entries", "public", "worm", "locked", "password", "data_size_bytes", "data_size_mb",
                      "data_limits_bytes", "index_size_bytes", "index_size_kb", "next_internal_id", "mode", "stats_index_io_errors",
                      "stats_index_io_error_last", "stats_index_faults", "stats_data_io_errors", "stats_data_io_error_last",
                      "stats_data_faults", "index_disk_freespace_bytes", "index_disk_freespace_mb", "data_disk_freespace_bytes",
                      "data_disk_freespace_mb", "data_path", "data_active", "index_path", "index_active", "data_current_id",
                      "data_current_offset"], "fields of NSINFO")
    zdb.stop()


def test_protect():
    zdb = q.start_zdb(admin="adminpw", protect=True, maxsize=8)
    with zdb.client() as c:
        expect(c, [("SET", "a", "1", READ_ONLY), ("AUTH", "adminpw", OK), ("SET", "a", "1", READ_ONLY), ("SELECT", "default", OK),
                   ("SET", "a", "1", READ_ONLY), ("SELECT", "default", "adminpw", OK), ("SET", "a", "1", b"a"),
                   ("SET", "b", "x" * 8, E("No space left on this namespace")), ("NSSET", "default", "lock", "0", OK)])
        q.same(c.info("default")["password"], "yes", "password of default")
    q.check(b"adminpw" not in (zdb.index / "default" / "zdb-namespace").read_bytes(), "the password stays in memory")
    zdb.stop()


def test_info():
    zdb = q.start_zdb()
    with zdb.client() as c:
        text = c.ok("INFO").decode()
    names = [x.split(":")[0] for x in text.splitlines()]
    disk = [f"{k}_disk_{w}_{u}" for k in ("index", "data") for w in ("read", "write") for u in ("bytes", "mb")]
    q.same(names, ["# server", "server_name", "server_revision", "engine_revision", "instance_id", "boot_time", "uptime", "",
                   "# clients", "clients_lifetime", "", "# internals", "sequential_key_size", "data_version", "index_version", "",
                   "# stats", "commands_executed", "commands_failed", "commands_unauthorized", "index_disk_read_failed",
                   "index_disk_write_failed", "data_disk_read_failed", "data_disk_write_failed", *disk, "network_rx_bytes",
                   "network_rx_mb", "network_tx_bytes", "network_tx_mb"], "lines of INFO")
    q.check(text.startswith("# server\nserver_name: 0-db (zdb)\n") and text.endswith("\n"), text)
    q.check(1 <= int(re.search("instance_id: (.*)", text)[1]) <= 1 << 30, "instance id")
    zdb.stop()


def test_sequential_mode():
    zdb = q.start_zdb(mode="seq")
    id_ = lambda n: struct.pack("<Q", n)
    only = E("Invalid key, only update authorized")
    with zdb.client() as c:
        expect(c, [("SET", "", "zero", id_(0)), ("SETX", "", "one", id_(1)), ("SET", "", "", id_(2)), ("GET", id_(2), b""),
                   ("SET", id_(3), "x", only), ("SET", "short", "x", only), ("SET", b"x" * 255, "x", only),
                   ("SET", b"x" * 256, "x", E("Key too large")), ("GET", "short", None), ("EXISTS", id_(9), 0),
                   ("SET", id_(0), "new", id_(0)), ("SET", id_(0), "new", None), ("GET", id_(0), b"new"),
                   ("GET", id_(3), None), ("SET", id_(3), "x", only), ("SET", "", "four", id_(4)),
                   ("DEL", id_(1), OK), ("DEL", id_(1), NO_KEY), ("SET", id_(1), "x", only), ("DEL", "short", NO_KEY),
                   ("DBSIZE", 3), ("KEYCUR", "short", NO_KEY), ("HISTORY", id_(1), NO_KEY), ("CHECK", id_(4), 1),
                   ("LENGTH", id_(4), 4), ("MGET", id_(0), "", "x", id_(4), [b"new", None, None, b"four"])])
        q.same(c.info("default")["next_internal_id"], "0x500000000000000", "next id")
        cursor, time_, value = c.ok("HISTORY", id_(0))
        q.same((value, c.ok("HISTORY", id_(0), cursor)[2]), (b"new", b"zero"), "versions")
        keys = lambda r: [x[0] for x in r[1]]
        scan = c.ok("SCAN")
        q.same(keys(scan), [id_(0), id_(2), id_(4)], "SCAN")
        q.same(c.cmd("SCAN", scan[0]), E("No more data"), "SCAN behind the last")
        back = c.ok("RSCAN")
        q.same(keys(back), [id_(4), id_(2), id_(0)], "RSCAN")
        at = c.ok("KEYCUR", id_(2))
        q.same((keys(c.ok("SCAN", at)), keys(c.ok("RSCAN", at))), ([id_(4)], [id_(0)]), "behind and before a cursor")
        c.ok("SET", id_(2), "update")
        q.same(keys(c.ok("SCAN", at)), [id_(4)], "a cursor of a key that was updated")
    zdb.stop()


def test_scans_and_cursors():
    zdb = q.start_zdb(mode="user", datasize=524288)
    with zdb.client() as c:
        for i in range(5):
            c.ok("SET", f"k{i}", f"value{i}", 1000 + i)
        c.ok("NSJUMP")
        c.ok("NSJUMP")
        c.ok("SET", "k1", "later", 2**32 - 1)
        c.ok("DEL", "k3")
        cursor, entries = c.ok("SCAN")
        q.same(entries, [[b"k0", 6, 1000], [b"k2", 6, 1002], [b"k4", 6, 1004], [b"k1", 5, -1]], "SCAN: order of the last writes")
        q.same(cursor, c.ok("KEYCUR", "k1"), "cursor of the last entry")
        q.same(struct.unpack("<BIII", cursor[:13])[:3], (2, 2, 5), "fields of a cursor")
        q.same([x[0] for x in c.ok("RSCAN")[1]], [b"k1", b"k4", b"k2", b"k0"], "RSCAN over empty files")
        old = c.ok("KEYCUR", "k2")
        c.ok("DEL", "k2")
        q.same([x[0] for x in c.ok("SCANX", old)[1]], [b"k4", b"k1"], "a cursor of a deleted key stays")
        q.same([x[0] for x in c.ok("RSCAN", old)[1]], [b"k0"], "backward, too")
        for at in (0, 5, 13):   # key length, value length, crc
            bad = bytearray(old)
            bad[at] ^= 1
            q.same(c.cmd("SCAN", bytes(bad)), CURSOR, f"cursor with another byte {at}")
        # timestamps
        expect(c, [("SET", "t", "1", "77", b"t"), ("KEYTIME", "t", 77), ("SET", "t", "1", "78", None), ("KEYTIME", "t", 77),
                   ("SET", "t", "2", "NX", UNEXPECTED), ("SET", "t", "2", "", UNEXPECTED), ("SET", "t", "3", "-5", INVALID),
                   ("SET", "t", "4", str(2**32), INVALID), ("GET", "t", b"1"), ("KEYTIME", "t", 77),
                   ("SET", "t", "4", str(2**32 - 1), b"t"), ("KEYTIME", "t", 2**32 - 1)])
        c.ok("SET", "t", "6")
        q.check(abs(c.ok("KEYTIME", "t") - time.time()) < 5, "time of a SET without one")
    zdb.stop()


def test_nothing_of_a_deleted_namespace_comes_back():
    """A crash at any step of a deletion is simulated by what it leaves in the directories."""
    zdb = q.start_zdb()
    left = lambda: [f for root in (zdb.index, zdb.data) for f in root.iterdir() if f.name.startswith(".zdb-removed.")]
    with zdb.client() as c:
        for n in ("a", "b", "c"):
            c.ok("NSNEW", n)
            c.ok("SELECT", n)
            c.ok("SET", "k", "old " + n)
        c.ok("SYNC")
        c.ok("SELECT", "default")
        c.ok("NSDEL", "c")
        c.ok("NSNEW", "c")      # at once, and in one packet with the deletion
        expect(c, [("SELECT", "c", OK), ("GET", "k", None), ("DBSIZE", 0), ("SET", "k", "new", b"k"), ("SELECT", "default", OK)])
        got = c.pipeline([("NSDEL", "c"), ("NSNEW", "c"), ("SELECT", "c"), ("DBSIZE",), ("SET", "k", "newer")])
        q.same(got, [OK, OK, OK, 0, b"k"], "deleted and made again in one packet")
        expect(c, [("NSNEW", ".zdb-removed.1.x", E("This name is not allowed"))])
    zdb.stop()
    q.wait_for(lambda: not left(), what="left-overs")
    (zdb.index / "a").rename(zdb.index / ".zdb-removed.0.a")        # the data had not been moved yet
    (zdb.index / ".zdb-removed.1.b").mkdir()                        # b was made again since
    (zdb.data / ".zdb-removed.0.b").mkdir()
    (zdb.data / ".zdb-removed.0.b" / "d0").write_bytes(b"x" * 100)
    (zdb.data / ".zdb-removed.7.d3").write_bytes(b"x" * 100)        # of a FLUSH
    zdb.start()
    with zdb.client() as c:
        q.same(sorted(c.ok("NSLIST")), [b"b", b"c", b"default"], "namespaces")
        expect(c, [("NSNEW", "a", OK), ("SELECT", "a", OK), ("DBSIZE", 0), ("GET", "k", None), ("SELECT", "b", OK),
                   ("GET", "k", b"old b"), ("SELECT", "c", OK), ("GET", "k", b"newer")])
    q.wait_for(lambda: not left(), what="left-overs of a crash")
    zdb.stop()


def test_flush_and_reuse():
    zdb = q.start_zdb(datasize=524288)
    with zdb.client() as c:
        c.ok("NSNEW", "n")
        c.ok("NSSET", "n", "password", "p")
        c.ok("NSSET", "n", "public", "0")
        c.ok("SELECT", "n", "p")
        for i in range(8):
            c.ok("SET", f"k{i}", bytes([i]) * 300000)
        c.ok("FLUSH")
        expect(c, [("DBSIZE", 0), ("GET", "k0", None), ("SET", "k0", "new", b"k0"), ("SYNC", OK)])
        q.same(sorted(f.name for f in (zdb.data / "n").iterdir() if f.name[0] == "d"), ["d0"], "data files")
    zdb.kill9()
    zdb.start()
    with zdb.client() as c:
        c.ok("SELECT", "n", "p")
        expect(c, [("DBSIZE", 1), ("GET", "k0", b"new")])
    q.wait_for(lambda: not [f for f in zdb.data.iterdir() if f.name.startswith(".zdb-removed.")], what="left-overs")
    zdb.stop()


def test_empty_lines_and_quit():
    """What redis-cli --pipe sends at its end."""
    zdb = q.start_zdb()
    with zdb.client() as c:
        c.send_raw(b"\r\n\n\r\n" + c.encode("SET", "a", "1") + b"\r\n" + c.encode("GET", "a") + b"\r\n\r\n" +
                   c.encode("ECHO", "end of it") + b"\r")
        q.same([c.recv() for _ in range(3)], [b"a", b"1", b"end of it"], "replies between empty lines")
        c.send_raw(b"\n" * 100000 + c.encode("PING"))
        q.same(c.recv(), "PONG", "behind many empty lines")
        c.send_raw(c.encode("QUIT") + c.encode("PING"))
        q.same(c.recv(), "OK", "QUIT")
        q.check(c.closed(), "nothing is answered behind QUIT")
    zdb.stop()


def test_a_parked_request_meets_the_state_of_its_time():
    """It waits for a missing file; meanwhile the namespace is frozen."""
    zdb = q.Zdb(datasize=524288)
    program = zdb.dir / "hook.sh"
    zdb.dir.mkdir(exist_ok=True)
    program.write_text('#!/bin/sh\n[ "$1" = missing-data ] || exit 0\n'
                       'touch "$0.waits"\nwhile [ ! -e "$0.go" ]; do sleep 0.02; done\ncp "$0.kept" "$3"\n')
    program.chmod(0o755)
    zdb.argv += ["--hook", program]
    zdb.start()
    with zdb.client() as c:
        c.ok("NSNEW", "n")
        c.ok("SELECT", "n")
        c.ok("SET", "k", b"v" * 300000)
        c.ok("SET", "l", b"w" * 300000)
        c.ok("SYNC")
        zdb.stop()
        d0 = zdb.data / "n" / "d0"
        (zdb.dir / "hook.sh.kept").write_bytes(d0.read_bytes())
        d0.unlink()
    zdb.start()
    with zdb.client("n") as c, zdb.client("n") as m, zdb.client() as admin:
        m.send("MGET", "l", "k", "l")
        q.wait_for((zdb.dir / "hook.sh.waits").exists, what="hook")
        c.send("GET", "k")
        admin.ok("NSSET", "n", "freeze", "1")
        (zdb.dir / "hook.sh.go").touch()
        q.same(c.recv(), FROZEN, "GET that waited")
        got = m.recv()
        q.check(got[0] in (b"w" * 300000, FROZEN) and got[1:] == [FROZEN, FROZEN], f"MGET that waited {got[1:]}")
        admin.ok("NSSET", "n", "freeze", "0")
        q.same(len(c.cmd("GET", "k")), 300000, "GET afterwards")
    zdb.stop()


def test_history():
    zdb = q.start_zdb(mode="user")
    with zdb.client() as c:
        for i in range(3):
            c.ok("SET", "k", f"v{i}", 10 + i)
        chain, reply = [], c.ok("HISTORY", "k")
        while True:
            chain.append((reply[1], reply[2]))
            if reply[0] is None:
                break
            q.same(len(reply[0]), 8, "cursor")
            last = reply[0]
            reply = c.ok("HISTORY", "k", reply[0])
        q.same(chain, [(b"12", b"v2"), (b"11", b"v1"), (b"10", b"v0")], "versions")
        c.ok("DEL", "k")
        expect(c, [("HISTORY", "k", NO_KEY), ("HISTORY", "k", last, [None, b"10", b"v0"])])
        c.ok("SET", "k", "again", 20)
        q.same(c.ok("HISTORY", "k"), [None, b"20", b"again"], "a deletion cuts the chain")
    zdb.stop()


def test_detached_clients():
    zdb = q.start_zdb()
    admin = zdb.client()
    admin.ok("NSNEW", "n")
    c, w, m = zdb.client("n"), zdb.client("n"), zdb.client("n")
    w.send("WAIT", "SET", "300")
    w.send("PING")
    q.same(w.recv(), "PONG", "a waiting client is served")
    m.ok("MIRROR")
    admin.ok("NSDEL", "n")
    c.send_raw(q.Redis.encode("PING") + q.Redis.encode("NOPE"))
    q.same((c.recv(), c.recv(), c.closed()), (GONE, GONE, True), "two requests in one packet")
    q.same((w.recv(), w.cmd("PING"), w.closed()), (E("Timeout"), GONE, True), "a WAIT goes to its end")
    q.same([x for x in m.recv()[3:]], [b"NSDEL", b"n"], "a mirror goes on")
    m.send("SET", "a", "b")
    q.same((m.recv(), m.closed()), (GONE, True), "until it says something")
    admin.ok("NSNEW", "n")      # the same name is another namespace
    q.same(admin.cmd("PING"), "PONG", "server")
    zdb.stop()


def test_wait():
    zdb = q.start_zdb()
    a, b, other = zdb.client(), zdb.client(), zdb.client()
    a.ok("NSNEW", "other")
    other.ok("SELECT", "other")

    def waits(*words):
        b.send("WAIT", *words)
        q.same(b.cmd("PING"), "PONG", "in force")

    waits("SET", "5000")
    other.ok("SET", "x", "1")       # another namespace
    a.ok("SETX", "x", "1")          # another command
    b.ok("SET", "x", "own")         # its own
    a.cmd("SET", "bad")             # failed ones count
    q.same(b.recv(), q.Status("SET"), "event")
    a.ok("SET", "x", "2")
    q.same(b.cmd("PING"), "PONG", "once only")
    waits("setx")
    a.ok("SETX", "x", "3")
    q.same(b.recv(), q.Status("SETX"), "event of SETX")
    waits("*", "1000")
    a.cmd("NOPE")
    a.cmd("dbsize")
    q.same(b.recv(), q.Status("DBSIZE"), "any known command")
    waits("SET", "100")
    waits("DEL", "150")             # replaces the first
    t0 = time.monotonic()
    q.same(b.recv(), E("Timeout"), "time over")
    q.check(0.1 <= time.monotonic() - t0 < 1 * q.SLOWDOWN, "in time")
    q.same(b.cmd("PING"), "PONG", "one Timeout only")
    waits("GET", "1800000")
    b.close()
    a.ok("GET", "x")
    q.same(a.cmd("PING"), "PONG", "a client that vanished while it waited")
    zdb.stop()


def test_mirror_and_master():
    zdb = q.start_zdb()
    m, c, master = zdb.client(), zdb.client(), zdb.client()
    q.same(m.cmd("MIRROR"), q.Status("Starting mirroring"), "MIRROR")
    near = lambda r: (abs(r[0] - time.time()) < 5, *r[1:])
    c.cmd("SET", "k", b"\0\r\n")
    q.same(near(m.recv()), (True, b"default", 0, b"SET", b"k", b"\0\r\n"), "a SET")
    c.cmd("GET")
    q.same(near(m.recv()), (True, b"default", 0, b"GET"), "a request that failed")
    c.cmd("NOPE")
    q.same(master.cmd("MASTER"), q.Status("Hello, master"), "MASTER")
    q.same(near(m.recv()), (True, b"default", 0, b"MASTER"), "unknown commands are left out")
    q.same(master.cmd("SET", "a", "b", "42"), b"a", "last word is the owner")
    q.same(near(m.recv()), (True, b"default", 42, b"SET", b"a", b"b"), "its SET")
    q.same(master.cmd("SET", "a", "c", "0"), b"a", "owner 0")
    q.same(master.cmd("DBSIZE", "7"), 2, "one word and the owner")
    q.same(near(m.recv()), (True, b"default", 7, b"DBSIZE"), "owner 0 was not mirrored")
    q.same(master.cmd("PING"), MISSING, "no owner")
    q.same(master.cmd("PING", "1" * 33), LONG, "owner of 33 bytes")
    c.ok("NSNEW", "n")
    m.recv()
    c.ok("NSSET", "n", "password", "secret")
    m.recv()
    text = master.ok("NSINFO", "n", "1").decode()
    q.check("\npassword_raw: secret\n" in text, text)
    q.check("password_raw" not in c.ok("NSINFO", "n").decode(), "for a master only")
    zdb.stop()


def test_data_raw():
    zdb = q.start_zdb(mode="user", datasize=524288)
    with zdb.client() as c:
        records = [("a", "one", 5), ("b", "", 6), ("a", "two", 7)]
        for key, value, when in records:
            c.ok("SET", key, value, when)
        c.ok("DEL", "b", 8)
        c.ok("NSSET", "default", "freeze", "1")
        at, seen = 28, []
        while True:
            r = c.cmd("DATA", "RAW", "0", at)
            if isinstance(r, q.Error):
                break
            key, previous, crc, flags, when, payload = r
            q.check(re.fullmatch(rb"0x[0-9a-f]{8}", crc), f"crc {crc}")
            seen.append((key, flags, when, payload))
            at += 18 + len(key) + len(payload or b"")
        q.same((r, seen), (E("EOF"), [(b"a", 0, 5, b"one"), (b"b", 0, 6, b""), (b"a", 0, 7, b"two"), (b"b", 1, 8, None)]), "walk")
        for off in (0, 1, 27, 29, 30, 100000, 2**32, 2**40):
            r = c.cmd("DATA", "RAW", "0", off)
            q.check(r in (E("EOF"), E("Unexpected Internal Error")), f"offset {off}: {r!r}"[:200])
        expect(c, [("DATA", "RAW", *x, INVALID) for x in ((-1, 28), (0, -1), ("x", 28), (0, "28x"))])
        for seg in (1, 2**32, 2**40):
            q.same(c.cmd("DATA", "RAW", seg, 28), E("Invalid Request"), f"file {seg}")
    zdb.stop()


def test_index_dirty():
    zdb = q.start_zdb(mode="user")
    with zdb.client() as c:
        c.ok("SET", "a", "1")
        c.ok("NSJUMP")
        c.ok("SET", "b", "1")
        q.same(c.ok("INDEX", "DIRTY"), [], "appends")
        c.ok("SET", "b", "2")
        c.ok("DEL", "a")
        q.same(c.ok("INDEX", "DIRTY"), [0, 1], "changes in place")
        expect(c, [("INDEX", "DIRTY", "x", "y", UNEXPECTED), ("INDEX", "DIRTY", [0, 1]), ("INDEX", "DIRTY", "RESET", OK), ("INDEX", "DIRTY", [])])
        c.ok("DEL", "b")
        expect(c, [("INDEX", "DIRTY", [1]), ("RELOAD", "default", OK), ("INDEX", "DIRTY", [])])
    zdb.stop()


def test_rotation_by_time():
    """Only what was appended to since its last files were started; changes in place are no reason."""
    zdb = q.start_zdb(mode="user", rotate=1)
    with zdb.client() as c:
        number = lambda ns: int(c.info(ns)["data_current_id"])
        c.ok("NSNEW", "n")
        c.ok("NSNEW", "m")
        c.ok("SELECT", "n")
        t0 = time.monotonic()
        c.ok("SET", "a", "1")
        q.wait_for(lambda: number("n") == 1, 5, "rotation")
        q.check(time.monotonic() - t0 > 0.9, "not before its time")
        c.ok("DEL", "a")                # n has other reasons to rotate than m from here on, and more time
        c.ok("SELECT", "m")
        c.ok("SET", "a", "1")
        q.wait_for(lambda: number("m") == 1, 5, "rotation")
        c.ok("SET", "a", "2")
        q.wait_for(lambda: number("m") == 2, 5, "second rotation")
        q.same((number("n"), number("default")), (1, 0), "those that were not appended to")
    zdb.stop()


def forget_pages(zdb):
    """What the kernel has cached of the files is dropped (as far as it is on the disk)."""
    for root in (zdb.data, zdb.index):
        for f in root.rglob("*"):
            if f.is_file():
                fd = os.open(f, os.O_RDONLY)
                os.fdatasync(fd)
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
                os.close(fd)


def test_cold_files():
    """Nothing of the files is in memory: the same answers, in the same order, whoever asks at the same time."""
    for mode in ("user", "seq"):
        zdb = q.start_zdb(mode=mode, datasize=524288)
        value = lambda i: struct.pack("<I", i) * (20000 + i)
        n = 24
        with zdb.client() as c:
            keys = [c.ok("SET", "" if mode == "seq" else f"key{i}", value(i), 100 + i) for i in range(n)]
            old = c.ok("SET", keys[0], "newer")
            q.same(old, keys[0], "update")
        zdb.stop()
        want = [b"newer"] + [value(i) for i in range(1, n)]
        requests = [("GET", keys[3]), ("MGET", *keys), ("CHECK", keys[5]), ("HISTORY", keys[0]), ("SCAN",), ("RSCAN",),
                    ("DATA", "RAW", "1", "28"), ("LENGTH", keys[7]), ("KEYTIME", keys[9]), ("KEYCUR", keys[2]), ("PING",)]
        zdb.start()
        with zdb.client() as c:
            warm = [c.cmd(*r) for r in requests]
            q.same(warm[1], want, f"{mode}: MGET")
        for round_ in range(3):
            zdb.stop()
            zdb.start()
            forget_pages(zdb)
            clients = [zdb.client() for _ in range(4)]
            for i, c in enumerate(clients):     # each begins with another one
                c.send_raw(b"".join(q.Redis.encode(*r) for r in requests[i:] + requests[:i]))
            for i, c in enumerate(clients):
                got = [c.recv() for _ in requests]
                for r, g, w in zip(requests[i:] + requests[:i], got, warm[i:] + warm[:i]):
                    if r[0] in ("SCAN", "RSCAN"):   # what is at hand is an answer
                        q.check(g[1] and g[1] == w[1][:len(g[1])], f"{mode}, round {round_}, {r[0]}: {g!r:.100}")
                    else:
                        q.check(g == w, f"{mode}, round {round_}, {r[0]}: {g!r:.100}")
            forget_pages(zdb)
            c = clients[0]
            q.same(c.ok("SCAN", c.ok("KEYCUR", keys[n - 2]))[1][0][0], keys[n - 1], f"{mode}: SCAN behind a cursor")
            forget_pages(zdb)
            gone = zdb.client()
            gone.send("MGET", *keys)
            gone.close()
            q.same(c.cmd("SET", keys[1], value(1)), None, f"{mode}: unchanged")
        forget_pages(zdb)
        expect(c, [("SET", keys[1], "x", keys[1]), ("SET", keys[1], value(1), keys[1])])
        forget_pages(zdb)
        expect(c, [("DEL", keys[4], OK), ("GET", keys[4], None), ("DBSIZE", n - 1)])
        zdb.stop()


def test_nsset_that_cannot_be_stored_changes_nothing():
    zdb = q.start_zdb()
    descriptor = zdb.index / "n" / "zdb-namespace"
    internal = E("Internal Error")
    with zdb.client() as c:
        c.ok("NSNEW", "n")
        c.ok("NSSET", "n", "password", "old")
        kept = descriptor.read_bytes()
        descriptor.unlink()
        (descriptor / "in the way").mkdir(parents=True)
        expect(c, [("NSSET", "n", p, v, internal) for p, v in (("password", "new"), ("password", "*"), ("public", "0"), ("worm", "1"),
                                                              ("maxsize", "5"), ("lock", "1"), ("freeze", "1"), ("mode", "seq"))])
        info = c.info("n")
        q.same([info[k] for k in ("password", "public", "worm", "locked", "mode", "data_limits_bytes")],
               ["yes", "yes", "no", "no", "userkey", "0"], "properties")
        expect(c, [("SELECT", "n", "new", E("Access denied")), ("SELECT", "n", "old", OK), ("SET", "a", "b", b"a")])
        shutil.rmtree(descriptor)
        descriptor.write_bytes(kept)
        expect(c, [("NSSET", "n", "worm", "1", OK)])
    zdb.stop()
    zdb.start()
    with zdb.client("n", "old") as c:
        expect(c, [("GET", "a", b"b"), ("SET", "a", "c", E("Namespace is protected by worm mode"))])
    zdb.stop()


def test_flush():
    """The files go, the mode and the properties stay; numbers start at 0 again."""
    for mode in ("user", "seq"):
        zdb = q.start_zdb(datasize=524288)
        with zdb.client() as c:
            c.ok("NSNEW", "n")
            for words in (("mode", mode), ("password", "pw"), ("public", "0"), ("maxsize", "1000")):
                c.ok("NSSET", "n", *words)
            c.ok("SELECT", "n", "pw")
            for _ in range(2):
                c.ok("SET", "" if mode == "seq" else "a", "v")
                c.ok("NSJUMP")
            expect(c, [("FLUSH", OK), ("DBSIZE", 0), ("SCAN", E("No more data")), ("INDEX", "DIRTY", [])])
            info = c.info("n")
            q.same([info[k] for k in ("mode", "password", "public", "data_limits_bytes", "data_current_id", "data_current_offset",
                                      "data_size_bytes", "next_internal_id")],
                   ["sequential" if mode == "seq" else "userkey", "yes", "no", "1000", "0", "28", "0", "0x00000000"], f"{mode}: NSINFO")
            q.same(sorted(x.name for root in (zdb.data, zdb.index) for x in (root / "n").iterdir() if x.name[0] in "id"), ["d0", "i0"],
                   f"{mode}: files")
            key = bytes(8) if mode == "seq" else b"b"
            expect(c, [("SET", "" if mode == "seq" else "b", "after", key), ("GET", key, b"after")])
        zdb.stop()
        zdb.start()
        with zdb.client("n", "pw") as c:
            expect(c, [("DBSIZE", 1), ("GET", key, b"after")])
        zdb.stop()


def test_a_password_that_was_taken_away_is_not_on_the_disk():
    zdb = q.start_zdb()
    descriptor = zdb.index / "n" / "zdb-namespace"
    with zdb.client() as c:
        c.ok("NSNEW", "n")
        c.ok("NSSET", "n", "password", "a-long-password")
        q.check(b"a-long-password" in descriptor.read_bytes(), "stored in clear, as in the original")
        c.ok("NSSET", "n", "password", "short")
        q.check(b"password" not in descriptor.read_bytes(), "shorter one")
        c.ok("NSSET", "n", "password", "*")
        q.check(b"short" not in descriptor.read_bytes(), "none")
    zdb.stop()


def test_unchanged_values_cost_no_memory():
    zdb = q.start_zdb(mode="user")
    with zdb.client() as c:
        value = b"u" * (1 << 20)
        c.ok("SET", "k", value)
        c.cmd("SET", "k", value)
        before = zdb.rss_kib(peak=False)
        for _ in range(100):
            q.same(c.cmd("SET", "k", value), None, "unchanged")
        grown = zdb.rss_kib(peak=False) - before
        if q.SLOWDOWN == 1:     # sanitizers keep what was freed for a while
            q.check(grown < 20 * 1024, f"100 unchanged SETs of 1 MiB: {grown} KiB")
        q.check(int(c.info("default")["data_current_offset"]) < 2 << 20, "nothing was written")
    zdb.stop()


def test_rotation_by_size():
    zdb = q.start_zdb(mode="user", datasize=524288)
    with zdb.client() as c:
        number = lambda: int(c.info("default")["data_current_id"])
        size = lambda: int(c.info("default")["data_current_offset"])
        room = 524288 - size()
        c.ok("SET", "exact", b"x" * room)
        q.same(number(), 0, "a value that fits exactly")
        c.ok("DEL", "exact")
        q.same(number(), 0, "DEL starts no file")
        expect(c, [("SET", "", "v", E("Invalid argument, key needed"))])
        q.same((number(), size()), (1, 28), "a SET that is refused behind the test")
        c.ok("SET", "a", b"y" * 600000)
        q.same(number(), 2, "larger than a file")
        expect(c, [("SET", "a", b"y" * 600000, None)])
        q.same(number(), 3, "unchanged, and still a new file")
        c.ok("NSSET", "default", "freeze", "1")
        c.ok("NSJUMP")
        q.same((number(), size()), (4, 28), "NSJUMP of a frozen one")
    zdb.stop()


if __name__ == "__main__":
    q.main()
