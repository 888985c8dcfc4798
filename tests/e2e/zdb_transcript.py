#!/usr/bin/env python3
"""Replay the 331 recorded exchanges with the original (tests/golden/zdb/transcripts.txt) and compare byte for byte.

Volatile fields are masked: times, counters, free space, the numbers of INFO, challenges and what is computed from them.
Every other difference must be in DIFFERENCES, which docs/PROTOCOL.md repeats with the reasons."""
import hashlib
import io
import re
import socket

import libqsfs as q

TRANSCRIPT = q.GOLDEN / "zdb" / "transcripts.txt"
EOF_MARK = b"<EOF>"
UNKNOWN = b"-Command not supported\r\n"

UNEXPECTED = b"-Unexpected arguments\r\n"
WORDS = "words too many are refused, never ignored"
NUMBERS = "numbers are read whole and with their range"

# (server, request) -> (our reply, why).  Requests as they stand in the transcript.
DIFFERENCES = {
    (1, '"P"'): (UNKNOWN, "command words are matched exactly, not by prefix"),
    (1, '"G" "k"'): (UNKNOWN, "command words are matched exactly, not by prefix"),
    (1, '"DATA" "RAW" "0" "438"'): (
        b"*6\r\n$1\r\nk\r\n:413\r\n$10\r\n0x00000000\r\n:1\r\n:1600000010\r\n$-1\r\n",
        "deletion records are readable: flags 1, no payload"),
    (1, '"DATA" "RAW" "0" "91"'): (
        b"*6\r\n$1\r\ne\r\n:69\r\n$10\r\n0x00000000\r\n:0\r\n:1600000004\r\n$0\r\n\r\n",
        "empty payloads are readable"),
    (1, '"HISTORY" "afterjump"'): (b"*3\r\n$-1\r\n$10\r\n1600000020\r\n$1\r\nx\r\n",
                                   "the payload of the key, not foreign bytes of segment 0"),
    (1, '"PING" "extra"'): (UNEXPECTED, WORDS),
    (1, '"SET" "junkts" "v" "abc"'): (UNEXPECTED, NUMBERS),
    (1, '"NSJUMP" "ignored"'): (UNEXPECTED, WORDS),
    (1, '"NSSET" "ns1" "worm" "yes"'): (b"-Invalid property value (expected: 0, 1)\r\n", NUMBERS),
    (1, '"SELECT" "default" "anything" "goes" "here" "x"'): (b"-Too many arguments\r\n", WORDS),
    (1, 'RAW "*0\\r\\n"'): (b"-Missing arguments\r\n" + EOF_MARK, "a malformed stream is closed after the reply"),
    (1, 'RAW "*abc\\r\\n"'): (b"-Missing arguments\r\n" + EOF_MARK, "a malformed stream is closed after the reply"),
    (1, 'RAW "*1025\\r\\n"'): (b"-Too many arguments\r\n" + EOF_MARK, "a malformed stream is closed after the reply"),
    (1, 'RAW "*1\\r\\n+PING\\r\\n"'): (b"-Malformed query string\r\n" + EOF_MARK,
                                       "a malformed stream is closed after the reply"),
    (1, 'RAW "*1\\r\\n$4\\r\\nPINGXX"'): (b"-Malformed request, payload not followed by CRLF\r\n" + EOF_MARK,
                                         "the two bytes behind a payload are checked"),
}
# What the original made of them, said properly: the rest of the transcript goes on from there.
INSTEAD = {
    (1, '"SET" "junkts" "v" "abc"'): ((b"SET", b"junkts", b"v", b"0"), b"$6\r\njunkts\r\n"),
    (1, '"NSJUMP" "ignored"'): ((b"NSJUMP",), b"+OK\r\n"),
    (1, '"SELECT" "default" "anything" "goes" "here" "x"'): ((b"SELECT", b"default"), b"+OK\r\n"),
}
# Requests that stand there several times: only the given occurrence (counted from 1) differs.
AFTER_FLUSH = ('"GET" "a"', b"$-1\r\n", "FLUSH removes the keys")
STUCK = "the connection was closed after the malformed header"

VOLATILE_INFO = re.compile(rb"^((?:server|engine)_revision|instance_id|boot_time|uptime|clients_lifetime|commands_\w+|"
                           rb"(?:index|data)_disk_\w+|network_\w+): .*$", re.M)


def unescape(text):
    out, i = bytearray(), 0
    simple = {"r": 13, "n": 10, '"': 34, "\\": 92, "t": 9}
    while i < len(text):
        if text[i] == "\\":
            if text[i + 1] == "x":
                out.append(int(text[i + 2:i + 4], 16))
                i += 4
                continue
            out.append(simple[text[i + 1]])
            i += 2
            continue
        out += text[i].encode()
        i += 1
    return bytes(out)


def strings(text):
    """The quoted strings of a line."""
    return [unescape(s) for s in re.findall(r'"((?:[^"\\]|\\.)*)"', text)]


def mask(reply):
    """Bulk texts lose their volatile values and their length."""
    if b"# server\n" in reply or b"# namespace\n" in reply:
        return VOLATILE_INFO.sub(rb"\1: *", re.sub(rb"^\$\d+", b"$*", reply))
    return reply


def raw_reply(f):
    """One whole reply as bytes; EOF_MARK when the connection is closed instead."""
    try:
        line = f.readline()
    except ConnectionResetError:
        line = b""
    if not line:
        return EOF_MARK
    if line[:1] == b"$" and int(line[1:]) >= 0:
        return line + f.read(int(line[1:]) + 2)
    if line[:1] == b"*":
        return line + b"".join(raw_reply(f) for _ in range(int(line[1:])))
    return line


def count(replies):
    f, n = io.BytesIO(replies), 0
    while raw_reply(f) != EOF_MARK:
        n += 1
    return n


class Connection:
    def __init__(self, zdb):
        self.s = socket.create_connection((zdb.host, zdb.port), timeout=20 * q.SLOWDOWN)
        self.f = self.s.makefile("rb")
        self.nonce = b""

    def replies(self, want):
        """As many replies as are wanted, and the end of the connection when that is wanted."""
        one = want.startswith(b"$")     # its length may be another with us
        n = (1 if one else count(want.replace(EOF_MARK, b""))) + want.endswith(EOF_MARK)
        try:
            return b"".join(raw_reply(self.f) for _ in range(n))
        except TimeoutError:
            raise q.Failure("no reply") from None

    def close(self):
        self.f.close()
        self.s.close()


def sections():
    """[(number, server arguments, [(connection, '>' or '<', text)])]"""
    out = []
    for line in TRANSCRIPT.read_text().splitlines():
        m = re.match(r"### server (\d+): zdb ([^(]*)", line)
        if m:
            out.append((int(m[1]), m[2].split(), []))
        elif re.match(r"[A-Z][<>] ", line):
            out[-1][2].append((line[0], line[1], line[3:]))
    return out


def secure(words, nonce, password, want):
    """The recorded hash belongs to the recorded challenge: compute ours where it was right."""
    if len(words) >= 3 and words[-2].upper() == b"SECURE" and len(words[-1]) == 40 and want == b"+OK\r\n":
        return words[:-1] + [hashlib.sha1(nonce + b":" + password).hexdigest().encode()]
    return words


class Replay:
    def __init__(self):
        self.total = self.equal = self.listed = 0
        self.faults = []
        self.flushed = False

    def expected(self, server, conn, request, want):
        if (server, request) in DIFFERENCES:
            self.listed += 1
            return DIFFERENCES[server, request][0]
        if server == 1 and conn == "C" and self.flushed and request == AFTER_FLUSH[0]:
            self.flushed = False
            self.listed += 1
            return AFTER_FLUSH[1]
        self.equal += 1
        return want

    def compare(self, server, conn, request, got, want):
        want = self.expected(server, conn, request, want)
        if mask(got) != mask(want):
            self.faults.append(f"server {server} {conn}> {request[:80]}: got {got[:300]!r}, want {want[:300]!r}")
        if request == '"FLUSH"' and got == b"+OK\r\n":
            self.flushed = True

    def command(self, c, request, want):
        words = strings(request)
        password = b"adminpw" if words[0].upper() == b"AUTH" else b"secret"
        words = secure(words, c.nonce, password, want)
        c.s.sendall(q.Redis.encode(*words))
        if words[0] == b"WAIT" and want[:1] == b"+":    # in force before another connection acts
            c.s.sendall(q.Redis.encode("PING"))
            q.same(raw_reply(c.f), b"+PONG\r\n", "PING of a waiting connection")
        return words

    def answer(self, zdb, server, conn, c, request, words, want):
        want = want.replace(b"<DIR>", str(zdb.dir).encode())
        got = c.replies(want)
        if [w.upper() for w in words] == [b"AUTH", b"SECURE", b"CHALLENGE"]:
            c.nonce = got[1:17]
            q.check(re.fullmatch(rb"\+[0-9a-f]{16}\r\n", got), f"challenge {got!r}")
            got = want
        if words[0].upper() == b"TIME":
            q.check(re.fullmatch(rb"\*2\r\n\$10\r\n\d{10}\r\n\$\d\r\n\d{1,6}\r\n", got), f"time {got!r}")
            got = want
        self.compare(server, conn, request, got, want)
        if (server, request) in INSTEAD:
            again, reply = INSTEAD[server, request]
            c.s.sendall(q.Redis.encode(*again))
            q.same(raw_reply(c.f), reply, f"{again}")

    def raw(self, zdb, server, request, want):
        """A fresh connection.  No reply wanted: the rest of the request is sent to see that none was owed."""
        c = Connection(zdb)
        data = strings(request)[0]
        c.s.sendall(data)
        if want == b"":
            c.s.sendall(b"NG\r\n")
            q.same(raw_reply(c.f), b"+PONG\r\n", f"completion of {request}")
            self.compare(server, "P", request, b"", want)
        else:
            ours = DIFFERENCES.get((server, request), (want,))[0]
            self.compare(server, "P", request, c.replies(ours), want)
            if not ours.endswith(EOF_MARK):
                c.s.sendall(b"*1\r\n$4\r\nPING\r\n")
                q.same(raw_reply(c.f), b"+PONG\r\n", f"connection after {request}")
        c.close()

    def section(self, server, args, lines):
        zdb = q.start_zdb(*args)
        conns, open_requests, stuck = {}, {}, False
        for at, (conn, way, text) in enumerate(lines):
            if way == ">":
                self.total += 1
                open_requests[conn] = text
                if conn != "P":
                    if conn not in conns:
                        conns[conn] = Connection(zdb)
                    answers = [t for w, d, t in lines[at:] if w == conn and d == "<"]
                    want = strings(answers[0])[0]
                    open_requests[conn] = (text, self.command(conns[conn], text, want))
                continue
            want = strings(text)[0]
            if conn != "P":
                request, words = open_requests[conn]
                try:
                    self.answer(zdb, server, conn, conns[conn], request.split("   (")[0], words, want)
                except q.Failure as e:
                    raise q.Failure(f"server {server} {conn}> {request[:80]}: {e}") from None
                continue
            request = open_requests[conn]
            if request.startswith('RAW "*1\\r\\n$4\\r\\nPING\\r\\n"') and want == b"-Missing arguments\r\n":
                stuck = True    # second packet on a connection that is closed with us
                self.listed += 1
                continue
            self.raw(zdb, server, request, want)
        for c in conns.values():
            c.close()
        q.same(zdb.stop(), 143, "exit code")
        return stuck


def test_transcript_replays_but_for_listed_differences():
    r = Replay()
    stuck = [r.section(*s) for s in sections()]
    for fault in r.faults:
        print("#", fault)
    q.check(any(stuck), STUCK)
    q.same(r.total, 331, "requests")
    q.same(r.faults, [], f"{len(r.faults)} unlisted differences")
    print(f"# {r.total} requests, {r.listed} listed differences")


def test_listed_differences_are_documented():
    text = (q.REPO / "docs" / "PROTOCOL.md").read_text()
    for (_, request), (_, why) in DIFFERENCES.items():
        q.check(why in text, f"docs/PROTOCOL.md does not say: {why}")
    q.check(AFTER_FLUSH[2] in text, AFTER_FLUSH[2])


if __name__ == "__main__":
    q.main()
