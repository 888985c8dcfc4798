"""libproxy - a peer that lies, stalls and breaks, between zstor and a real 0-db; standard library only.

    b = q.start_backends(4)
    p = [Proxy(x) for x in b]
    z = q.start_zstor(q.zstor_config(p))       # a Proxy has entry(), like a Backend
    p[0].fault("flip", "GET", ns="data1")      # from now on; several faults: the first that fits
    p[0].clear()                               # honest again (what hangs is broken)
    p[0].done["flip"], p[0].seen["GET"]        # how often

Kinds of fault, what the client gets instead of the true reply to `command` ("*": to all but AUTH and SELECT):
    flip        one bit of the value is another one           truncate    the first half of the value
    lengthen    the value and some bytes more                 swap        the value of another key seen before
    replay      the oldest value ever seen for this key       nil         "there is nothing"
    error       an error                                      number      an integer
    garbage     bytes that are not the protocol               oversized   a value of 64 MiB
    endless     a value that never ends                       line        a line without an end
    scan        a SCAN that never ends: always a new cursor and the rows of one page
    silence     nothing, the connection stays                 drip        the true reply, one byte every `delay` seconds
    close       half of the true reply, then the end          drop        the end before any reply
    latency     the true reply, `delay` seconds late          refuse      connections are closed at once
    lost        the reply says yes, the backend never saw the command (SET, SYNC, DEL)
gray is silence for SET while everything else answers: fault("silence", "SET").  p: how often (0..1), drawn from `seed`.
"""
import random
import socket
import threading
import time

import libqsfs as q

WRITES = (b"SET", b"DEL", b"SYNC")


class Broken(Exception):
    """This connection ends here."""


class _Reader:
    def __init__(self, s):
        self.f = s.makefile("rb", buffering=1 << 16)

    def line(self):
        text = self.f.readline()
        if not text.endswith(b"\n"):
            raise Broken
        return text

    def exact(self, n):
        data = self.f.read(n)
        if data is None or len(data) != n:
            raise Broken
        return data

    def request(self):
        head = self.line()
        if not head.startswith(b"*"):
            raise Broken
        out = []
        for _ in range(int(head[1:])):
            n = int(self.line()[1:])
            out.append(self.exact(n + 2)[:-2])
        return out

    def reply(self):
        """The bytes of one whole reply."""
        head = self.line()
        if head[:1] == b"$":
            n = int(head[1:])
            return head if n < 0 else head + self.exact(n + 2)
        if head[:1] == b"*":
            return head + b"".join(self.reply() for _ in range(max(int(head[1:]), 0)))
        return head


def value_of(reply):
    """The bytes of a bulk reply, or None."""
    if not reply.startswith(b"$") or reply.startswith(b"$-"):
        return None
    return reply[reply.index(b"\n") + 1:-2]


def bulk(data):
    return b"$%d\r\n%s\r\n" % (len(data), data)


class Fault:
    def __init__(self, kind, command, ns, p, delay, count):
        self.kind, self.command, self.ns, self.p, self.delay, self.count = kind, command.encode(), ns, p, delay, count


class Proxy:
    """One listening port before one 0-db (a Backend, or anything with host and port)."""

    def __init__(self, backend, seed=1):
        self.backend = backend
        self.host = "127.0.0.1"
        self.random = random.Random(seed)
        self.lock = threading.Lock()
        self.faults = []
        self.generation = 0         # of clear(): what waits in an older one is broken
        self.seen, self.done = {}, {}
        self.values, self.last = {}, {}     # oldest value of (ns, key); last value and key of ns
        self.open = set()
        self.listener = socket.create_server((self.host, 0), backlog=256)
        self.port = self.listener.getsockname()[1]
        self.alive = True
        threading.Thread(target=self._accept, daemon=True).start()

    def entry(self, kind):
        return {**self.backend.entry(kind), "address": f"{self.host}:{self.port}"}

    def fault(self, kind, command="*", ns=None, p=1.0, delay=1.0, count=None):
        """count: so often, then no more.  ns: only in this namespace."""
        with self.lock:
            self.faults.append(Fault(kind, command, ns, p, delay, count))
        if kind == "refuse":
            self.break_all()
        return self

    def clear(self):
        """Honest from now on; replies that were held back never come, their connections end."""
        with self.lock:
            self.faults = []
            self.generation += 1
        return self

    def break_all(self):
        with self.lock:
            conns = list(self.open)
        for s in conns:
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def close(self):
        self.alive = False
        self.clear()
        self.listener.close()
        self.break_all()

    # --- inside ---

    def _accept(self):
        while self.alive:
            try:
                s, _ = self.listener.accept()
            except OSError:
                return
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self.lock:
                self.open.add(s)
            threading.Thread(target=self._serve, args=(s,), daemon=True).start()

    def _serve(self, s):
        up = None
        try:
            if any(f.kind == "refuse" for f in self.faults):
                return
            up = socket.create_connection((self.backend.host, self.backend.port), timeout=120)
            up.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            client, server, ns = _Reader(s), _Reader(up), "default"
            while True:
                argv = client.request()
                word = argv[0].upper()
                if word == b"SELECT" and len(argv) > 1:
                    ns = argv[1].decode(errors="replace")
                fault, generation = self._pick(word, ns)
                if fault and fault.kind == "lost" and word in WRITES:
                    s.sendall(b"+OK\r\n" if word != b"SET" else bulk(argv[1] or b"\0" * 8))
                    continue
                up.sendall(q.Redis.encode(*argv))
                reply = server.reply()
                self._learn(word, ns, argv, reply)
                if fault:
                    self._lie(s, fault, generation, ns, argv, reply)
                else:
                    s.sendall(reply)
        except (Broken, OSError, ValueError):
            pass
        finally:
            with self.lock:
                self.open.discard(s)
            for x in (s, up):
                if x:
                    x.close()

    def _pick(self, word, ns):
        with self.lock:
            name = word.decode(errors="replace")
            self.seen[name] = self.seen.get(name, 0) + 1
            for f in self.faults:
                if f.command != word and (f.command != b"*" or word in (b"AUTH", b"SELECT")):
                    continue
                if (f.ns and f.ns != ns) or f.count == 0 or self.random.random() >= f.p:
                    continue
                if f.count:
                    f.count -= 1
                self.done[f.kind] = self.done.get(f.kind, 0) + 1
                return f, self.generation
            return None, self.generation

    def _learn(self, word, ns, argv, reply):
        value = argv[2] if word == b"SET" and len(argv) > 2 else value_of(reply) if word == b"GET" else None
        if value is None:
            return
        key = argv[1] if word == b"GET" or argv[1] else value_of(reply) or b""
        with self.lock:
            if len(self.values) < 4096:
                self.values.setdefault((ns, key), value)
            self.last.setdefault(ns, {})
            if len(self.last[ns]) < 64 or key in self.last[ns]:
                self.last[ns][key] = value

    def _other(self, ns, key):
        with self.lock:
            others = [v for k, v in self.last.get(ns, {}).items() if k != key]
            return self.random.choice(others) if others else None

    def _hold(self, s, generation, seconds=None):
        """Until the time is over (None: never), the client leaves, or the proxy turns honest."""
        end = None if seconds is None else time.monotonic() + seconds
        s.settimeout(0.05)
        while end is None or time.monotonic() < end:
            if generation != self.generation or not self.alive:
                raise Broken
            try:
                if not s.recv(1, socket.MSG_PEEK):
                    raise Broken
                time.sleep(0.02)    # it talks on; nobody listens
            except TimeoutError:
                pass
        s.settimeout(None)

    def _flood(self, s, generation, head, piece):
        s.sendall(head)
        while generation == self.generation and self.alive:
            s.sendall(piece)
        raise Broken

    def _lie(self, s, f, generation, ns, argv, reply):
        value, key = value_of(reply), argv[1] if len(argv) > 1 else b""
        if f.kind == "flip" and value:
            at = self.random.randrange(len(value))
            value = value[:at] + bytes([value[at] ^ (1 << self.random.randrange(8))]) + value[at + 1:]
            s.sendall(bulk(value))
        elif f.kind == "truncate" and value:
            s.sendall(bulk(value[:len(value) // 2]))
        elif f.kind == "lengthen" and value is not None:
            s.sendall(bulk(value + b"and more"))
        elif f.kind == "swap" and value is not None:
            other = self._other(ns, key)
            s.sendall(bulk(value if other is None else other))
        elif f.kind == "replay" and value is not None:
            s.sendall(bulk(self.values.get((ns, key), value)))
        elif f.kind == "nil":
            s.sendall(b"$-1\r\n")
        elif f.kind == "error":
            s.sendall(b"-Cannot do that right now\r\n")
        elif f.kind == "number":
            s.sendall(b":42\r\n")
        elif f.kind == "garbage":
            s.sendall(b"HTTP/1.1 200 OK\r\n\r\n\x00\xff" * 3)
        elif f.kind == "oversized":
            s.sendall(b"$%d\r\n" % (64 << 20))
            self._flood(s, generation, b"", b"x" * 65536)
        elif f.kind == "endless":
            self._flood(s, generation, b"$8000000\r\n", b"x" * 65536)
        elif f.kind == "line":
            self._flood(s, generation, b"+", b"x" * 65536)
        elif f.kind == "scan" and reply.startswith(b"*2"):
            s.sendall(b"*2\r\n" + bulk(b"%017d" % self.random.randrange(10 ** 16)) + _scan_rows(reply))
        elif f.kind == "silence":
            self._hold(s, generation)
        elif f.kind == "drip":
            for i in range(len(reply)):
                s.sendall(reply[i:i + 1])
                self._hold(s, generation, f.delay)
        elif f.kind == "close":
            s.sendall(reply[:len(reply) // 2])
            raise Broken
        elif f.kind in ("drop", "refuse"):
            raise Broken
        elif f.kind == "latency":
            self._hold(s, generation, f.delay)
            s.sendall(reply)
        else:
            s.sendall(reply)


def _scan_rows(reply):
    """The second element of a SCAN reply *2 $n cursor *rows."""
    at = reply.index(b"\n") + 1                     # behind *2
    end = reply.index(b"\n", at) + 1                # behind $n
    return reply[end + int(reply[at + 1:end]) + 2:]
