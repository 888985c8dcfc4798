"""load - a mixed load from several clients, and what may be found afterwards.

Every key belongs to one client, so the operations on it have an order: a Key is the list of the values it was given
(None: absent).  After a crash a key may have the value of the last operation that has to be there, or of any later one,
and nothing else.  What has to be there is for the caller to say: everything answered (kill -9), or everything answered
before an answered SYNC was asked for (power cut)."""
import random
import selectors
import socket
import struct

NAMESPACES = {"default": "user", "user2": "user", "seq1": "seq", "seq2": "seq"}
BRIEF = {"brief-user": "user", "brief-seq": "seq"}   # emptied, or deleted and made again, now and then: one client each


class Op:
    """One request that changes a key.  port, rank: connection and number on it; begin, end: bytes of the request stream
    and of the reply stream when it was sent and answered."""
    __slots__ = ("value", "port", "rank", "begin", "reply_end", "answered")

    def __init__(self, value, port=0, rank=0, begin=0):
        self.value, self.port, self.rank, self.begin = value, port, rank, begin
        self.reply_end, self.answered = None, False


class Sync:
    __slots__ = ("ns", "port", "rank", "begin", "reply_end")

    def __init__(self, ns, port, rank, begin):
        self.ns, self.port, self.rank, self.begin, self.reply_end = ns, port, rank, begin, None


class History:
    """What was done to the keys of all namespaces.  keys[ns][key] = [Op]; orphans[ns]: inserts without an answer."""

    def __init__(self, namespaces=None):
        self.modes = dict(NAMESPACES if namespaces is None else namespaces)
        self.keys = {ns: {} for ns in self.modes}
        self.orphans = {ns: [] for ns in self.modes}
        self.syncs = []
        self.requests = self.serial = 0

    def restart(self, seen):
        """After a crash: what was found is what is there.  seen[ns] = {key: value}.  Former values stay as history."""
        for ns, keys in self.keys.items():
            for key, value in seen.get(ns, {}).items():
                keys.setdefault(key, [])
            for key, ops in keys.items():
                op = Op(seen.get(ns, {}).get(key))
                op.answered = True
                ops.append(op)
            self.orphans[ns] = []


class Client:
    def __init__(self, addr, ns, mode, history, rng, prefix, options):
        self.select = (b"SELECT", ns.encode()) + ((b"p",) if ns in BRIEF else ())
        self.s = socket.create_connection(addr)
        self.s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.port = self.s.getsockname()[1]
        self.ns, self.mode, self.history, self.rng, self.prefix, self.o = ns, mode, history, rng, prefix, options
        self.sent = self.received = self.rank = 0
        self.buf = b""
        self.waiting = []               # what to do with each reply to come
        self.mine = []                  # keys that exist or existed
        self.request(lambda reply: self.expect(reply, b"+OK"), *self.select)
        self.flush()

    # --- requests ---------------------------------------------------------------------------------

    def request(self, done, *args):
        out = b"*%d\r\n" % len(args) + b"".join(b"$%d\r\n%s\r\n" % (len(a), a) for a in args)
        self.out = getattr(self, "out", b"") + out
        self.sent += len(out)
        self.waiting.append(done)
        self.rank += 1
        self.history.requests += 1

    def flush(self):
        out, self.out = self.out, b""
        self.s.settimeout(20)
        self.s.sendall(out)
        self.s.setblocking(False)

    def batch(self):
        if self.ns in BRIEF and self.rng.random() < self.o["empty"]:
            self.empty()
            return self.flush()
        for _ in range(self.rng.choice((1, 1, 2, 3, 5, 8))):
            self.one()
        self.flush()

    def value(self, key):
        self.history.serial += 1
        kind = self.rng.random()
        size = 0 if kind < 0.03 else self.rng.randrange(40) if kind < 0.45 else self.rng.randrange(400) if kind < 0.8 \
            else self.rng.randrange(6000) if kind < 0.99 else self.rng.randrange(60000)
        if size == 0 and kind < 0.03:
            return b""
        head = b"%s/%s/%d:" % (self.ns.encode(), key.hex().encode(), self.history.serial)
        return head + self.rng.randbytes(size)

    def one(self):
        o, rng, kind = self.o, self.rng, self.rng.random()
        if kind < o["sync"]:
            sync = Sync(self.ns, self.port, self.rank, self.sent + 1)
            self.request(lambda reply: self.synced(reply, sync), b"SYNC")
        elif kind < o["sync"] + o["jump"]:
            self.request(lambda reply: self.expect(reply, b"+OK"), b"NSJUMP")
        elif kind < o["sync"] + o["jump"] + o["reload"]:
            self.request(lambda reply: self.expect(reply, b"+OK"), b"RELOAD", self.ns.encode())
        elif rng.random() < o["clean"]:
            self.request(lambda reply: self.expect(reply, b"+OK"), b"CLEAN")
        elif kind < o["sync"] + o["jump"] + 0.12 and self.mine:
            key = rng.choice(self.mine)
            want = self.history.keys[self.ns][key][-1].value
            self.request(lambda reply: self.got(reply, key, want), b"GET", key)
        elif kind < o["sync"] + o["jump"] + 0.24 and self.mine:
            key = rng.choice(self.mine)
            ops = self.history.keys[self.ns][key]
            if ops[-1].value is None:
                self.request(lambda reply: self.expect(reply, b"-Key not found"), b"DEL", key)
            else:
                self.change(ops, key, None, b"+OK", b"DEL", key)
        elif self.mode == "user":
            key = b"%s%d" % (self.prefix, rng.randrange(o["keys"]))
            if rng.random() < 0.02:
                key = key.ljust(255, b"k")
            ops = self.history.keys[self.ns].setdefault(key, [])
            if not ops:
                self.mine.append(key)
            self.store(key, ops)
        elif self.mine and (len(self.mine) >= o["keys"] or rng.random() < 0.6):
            key = rng.choice(self.mine)
            ops = self.history.keys[self.ns][key]
            if ops[-1].value is not None:
                self.store(key, ops)
        else:
            value = self.value(b"new")
            op = Op(value, self.port, self.rank, self.sent + 1)
            self.history.orphans[self.ns].append(op)
            self.request(lambda reply: self.inserted(reply, op), b"SET", b"", value)

    def store(self, key, ops):
        value = self.value(key)
        if ops and ops[-1].value is not None and self.rng.random() < 0.05:
            value = ops[-1].value                   # unchanged: answered with nil
        same = bool(ops) and ops[-1].value == value
        self.change(ops, key, value, b"$-1" if same else b"$%d" % len(key), b"SET", key, value)

    def empty(self):
        """FLUSH, or NSDEL and NSNEW: no key is there any more, and that is durable."""
        ok, name, deletes = lambda reply: self.expect(reply, b"+OK"), self.ns.encode(), self.rng.random() < 0.4
        if deletes:
            self.request(ok, b"SELECT", b"default")
        gone, sync = [], Sync(self.ns, self.port, self.rank + 1, self.sent + 1)
        for ops in self.history.keys[self.ns].values():
            if ops and ops[-1].value is not None:
                gone.append(Op(None, self.port, self.rank, self.sent + 1))
                ops.append(gone[-1])

        def done(reply):
            for op in gone:
                self.changed(reply, op, b"+OK")
            self.synced(reply, sync)

        self.mine = []
        if not deletes:
            return self.request(done, b"FLUSH")
        self.request(done, b"NSDEL", name)
        for args in setup(self.ns, self.mode, self.o["clean"]):
            self.request(ok, *args)
        self.request(ok, *self.select)

    def change(self, ops, key, value, answer, *args):
        op = Op(value, self.port, self.rank, self.sent + 1)
        ops.append(op)
        self.request(lambda reply: self.changed(reply, op, answer), *args)

    # --- replies ----------------------------------------------------------------------------------

    def expect(self, reply, want):
        if reply[0] != want:
            raise AssertionError(f"{self.ns}: answered {reply[0][:100]!r}, not {want!r}")

    def changed(self, reply, op, answer):
        self.expect(reply, answer)
        op.answered, op.reply_end = True, self.received

    def inserted(self, reply, op):
        self.expect(reply, b"$8")
        op.answered, op.reply_end = True, self.received
        self.history.orphans[self.ns].remove(op)
        keys = self.history.keys[self.ns]
        if any(o.value is not None for o in keys.get(reply[1], [])[-1:]):
            raise AssertionError(f"{self.ns}: new id {reply[1].hex()} is in use")
        keys.setdefault(reply[1], []).append(op)
        self.mine.append(reply[1])

    def got(self, reply, key, want):
        value = None if reply[0] == b"$-1" else reply[1] if reply[0][:1] == b"$" else reply[0]
        if value != want:
            raise AssertionError(f"{self.ns}: GET {key!r} answered {reply[0]!r}")

    def synced(self, reply, sync):
        if self.o.get("may_fail") and reply[0][:1] == b"-":
            return
        self.expect(reply, b"+OK")
        sync.reply_end = self.received
        self.history.syncs.append(sync)

    def feed(self):
        """False: the server is gone."""
        try:
            data = self.s.recv(1 << 20)
        except BlockingIOError:
            return True
        except ConnectionError:
            return False
        if not data:
            return False
        self.buf += data
        at = 0
        while self.waiting:
            end = self.buf.find(b"\r\n", at)
            if end < 0:
                break
            line, payload, end = self.buf[at:end], None, end + 2
            if line[:1] == b"$" and line != b"$-1":
                n = int(line[1:])
                if len(self.buf) < end + n + 2:
                    break
                payload = self.buf[end:end + n]
                end += n + 2
            self.received += end - at
            at = end
            self.waiting.pop(0)((line, payload))
        self.buf = self.buf[at:]
        return True


OPTIONS = {"sync": 0.03, "jump": 0.005, "reload": 0, "clean": 0, "keys": 40, "empty": 0.03}


def setup(ns, mode, clean=0):
    """The requests that make a namespace."""
    name = ns.encode()
    yield b"NSNEW", name
    if clean:
        yield b"NSSET", name, b"policy", b"reclaim 90"
    if mode == "seq":
        yield b"NSSET", name, b"mode", b"seq"
    if ns in BRIEF:     # or nobody may FLUSH it
        yield b"NSSET", name, b"password", b"p"
        yield b"NSSET", name, b"public", b"0"


def prepare(redis, history, options=None):
    """Namespaces, modes and policies, over a connection of libqsfs."""
    have = {n.decode() for n in redis.ok("NSLIST")}
    for ns, mode in history.modes.items():
        new = ns not in have
        if not new and (options or {}).get("clean"):
            redis.ok("NSSET", ns, "policy", "reclaim 90")
        for args in setup(ns, mode, (options or {}).get("clean")):    # a kill may have come in between
            if new or (ns in BRIEF and args[0] == b"NSSET" and (args[2] != b"mode" or redis.info(ns)["mode"] != "sequential")):
                redis.ok(*args)


def run(addr, history, seed, requests, options=None, stop=None):
    """Two clients for each namespace, one for each of BRIEF, until this many requests were sent and answered, or the server is gone.
    stop(): called now and then; true ends the load without waiting for answers.  Answers that had been sent are read."""
    rng = random.Random(seed)
    o = dict(OPTIONS, **(options or {}))
    sel = selectors.DefaultSelector()
    clients = []
    ok = True
    lasting, brief = [ns for ns in history.modes if ns not in BRIEF], [ns for ns in history.modes if ns in BRIEF]
    for i, ns in enumerate(lasting * 2 + brief):
        try:
            c = Client(addr, ns, history.modes[ns], history, random.Random(rng.random()), b"%c" % (97 + i), o)
        except ConnectionError:
            return False
        c.mine = [k for n, k in enumerate(sorted(history.keys[ns])) if owner(k, n, i, len(lasting))]
        if ns in brief:     # ids that are free may be given anew
            c.mine = [k for k, ops in sorted(history.keys[ns].items()) if ops and ops[-1].value is not None]
        clients.append(c)
        sel.register(c.s, selectors.EVENT_READ, c)
    end = history.requests + requests
    while ok:
        busy = [c for c in clients if c.waiting]
        if history.requests >= end and not busy:
            break
        if stop and stop():
            ok = False
            break
        if history.requests < end:
            for c in clients:
                if not c.waiting and rng.random() < 0.7:
                    try:
                        c.batch()
                    except (ConnectionError, TimeoutError):
                        ok = False
        for key, _ in sel.select(0.0005 if history.requests < end else 0.05):
            if not key.data.feed():
                ok = False
    for c in clients:
        if not ok:                      # what was answered before the end is in the socket buffers
            c.s.setblocking(False)
            while True:
                try:
                    if not c.s.recv(1, socket.MSG_PEEK) or not c.feed():
                        break
                except BlockingIOError:
                    break
                except ConnectionError:
                    break
        c.s.close()
    return ok


def owner(key, n, i, namespaces):
    """Whether client i of the load goes on with this key of its namespace: user keys carry a letter, ids are dealt out."""
    if len(key) == 8:
        return n % 2 == i // namespaces
    return key[:1] == b"%c" % (97 + i)


def seq_key(n):
    return struct.pack("<Q", n)


# --- what may be found -----------------------------------------------------------------------------------

class Allowed:
    """For one key: the operation that has to be there (index, -1 none) and those that may."""

    def __init__(self, ops, base):
        self.ops, self.base = ops, base

    def values(self):
        return ([None] if self.base < 0 else []) + [op.value for op in self.ops[max(self.base, 0):]]

    def versions(self):
        return {op.value for op in self.ops}


def allowed_after_kill(history):
    """Everything answered is there."""
    out = {}
    for ns, keys in history.keys.items():
        out[ns] = {}
        for key, ops in keys.items():
            base = max((i for i, op in enumerate(ops) if op.answered), default=-1)
            out[ns][key] = Allowed(ops, base)
    return out


class PowerCut:
    """Where each answer and each request is in the record, so that what is allowed at a position can be said."""

    def __init__(self, history, streams, always_synced=False):
        self.history, self.always = history, always_synced
        self.ack = {id(op): streams.position("s", op.port, op.reply_end) if op.answered and op.port else -1
                    for keys in history.keys.values() for ops in keys.values() for op in ops}
        self.asked = {id(op): streams.position("r", op.port, op.begin) if op.port else -1
                      for keys in history.keys.values() for ops in keys.values() for op in ops}
        self.syncs = sorted((streams.position("s", s.port, s.reply_end), streams.position("r", s.port, s.begin), s.ns,
                             s.port, s.rank) for s in history.syncs)

    def ack_positions(self):
        return [s[0] for s in self.syncs]

    def allowed(self, pos):
        horizon, ranks = {}, {}
        for ack, asked, ns, port, rank in self.syncs:
            if ack >= pos:
                break
            horizon[ns] = max(horizon.get(ns, -1), asked)
            ranks[port] = rank
        out = {}
        for ns, keys in self.history.keys.items():
            out[ns] = {}
            h = pos if self.always else horizon.get(ns, -1)
            for key, ops in keys.items():
                base = -1
                asked = [op for op in ops if self.asked[id(op)] < pos]
                for i, op in enumerate(asked):
                    if self.ack[id(op)] < h or (op.port in ranks and op.rank < ranks[op.port]):
                        base = i
                out[ns][key] = Allowed(asked, base)
        return out
