"""libzdbfs - writers that do to a mount what programs do, and note what was promised to them."""
import hashlib
import os
import random
import threading

import libqsfs as q


def fsync(path):
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class Writer(threading.Thread):
    """Does what programs do with files, and notes what was promised.  promised: path -> what it must hold (bytes digest), or
    None when its removal was made durable.  open_ends: path -> all the digests it may hold, because a change was under way."""

    def __init__(self, base, seed, clock=lambda: 0):
        super().__init__(daemon=True)
        self.base = base
        self.clock = clock
        self.history = []          # (clock(), path, digest or None): promised; (clock(), path, set): may hold any of these
        self.r = random.Random(seed)
        self.promised, self.open_ends = {}, {}
        self.n = 0
        self.error = None
        self.stopped = threading.Event()

    def run(self):
        try:
            os.makedirs(self.base, exist_ok=True)
            fsync(os.path.dirname(self.base))
            while not self.stopped.is_set():
                self.r.choice((self.new_file, self.new_file, self.replace, self.overwrite, self.append, self.move,
                               self.remove, self.unsynced))()
                self.n += 1
        except OSError as e:
            self.error = e

    def data(self):
        return self.r.randbytes(self.r.choice((0, 1, 300, 4096, 70000, 131072, 131073, 400000)))

    def pick(self):
        live = [p for p, v in self.promised.items() if v is not None and p not in self.open_ends]
        return self.r.choice(live) if live else None

    @staticmethod
    def digest(data):
        return hashlib.sha256(data).hexdigest()

    def begin(self, path, *digests):
        """From here to promise() the path may hold any of these."""
        self.open_ends[path] = {self.promised.get(path), *digests}
        self.history.append((self.clock(), path, self.open_ends[path]))

    def promise(self, path, digest):
        self.history.append((self.clock(), path, digest))
        self.promised[path] = digest
        self.open_ends.pop(path, None)

    def new_file(self):
        path = os.path.join(self.base, f"f{self.n}")
        data = self.data()
        self.begin(path, "anything")
        with open(path, "wb") as f:
            f.write(data)
            f.flush()
            os.fsync(f.fileno())
        self.promise(path, self.digest(data))        # a new file's fsync makes its name durable too: one journal

    def replace(self):
        """Write anew and rename over: old or new, never nothing."""
        path = self.pick()
        if not path:
            return
        data = self.data()
        self.begin(path, self.digest(data))
        self.begin(path + ".new", None, "anything")
        with open(path + ".new", "wb") as f:
            f.write(data)
        os.rename(path + ".new", path)
        if self.r.random() < 0.5:
            fsync(self.base)
            self.promise(path, self.digest(data))
            self.promise(path + ".new", None)

    def overwrite(self):
        path = self.pick()
        if not path:
            return
        with open(path, "r+b") as f:
            old = f.read()
            if not old:
                return
            at = self.r.randrange(len(old))
            data = self.r.randbytes(min(len(old) - at, 5000))
            new = old[:at] + data + old[at + len(data):]
            blocks = [new[i:i + 131072] for i in range(0, len(new), 131072)]
            was = [old[i:i + 131072] for i in range(0, len(old), 131072)]
            # each block is old or new, so any combination of the (at most two) changed ones
            k = [i for i, b in enumerate(blocks) if b != was[i]]
            ways = set()
            for mask in range(1 << len(k)):
                mix = list(was)
                for bit, i in enumerate(k):
                    if mask >> bit & 1:
                        mix[i] = blocks[i]
                ways.add(self.digest(b"".join(mix)))
            self.begin(path, *ways)
            f.seek(at)
            f.write(data)
            f.flush()
            os.fsync(f.fileno())
        self.promise(path, self.digest(new))

    def append(self):
        path = self.pick()
        if not path:
            return
        with open(path, "rb") as f:
            old = f.read()
        data = self.data()
        self.begin(path, ("prefix", old, data))
        with open(path, "ab") as f:
            f.write(data)
            f.flush()
            os.fsync(f.fileno())
        self.promise(path, self.digest(old + data))

    def move(self):
        path = self.pick()
        if not path:
            return
        to = os.path.join(self.base, f"m{self.n}")
        digest = self.promised[path]
        self.begin(path, None)
        self.begin(to, digest)
        os.rename(path, to)
        fsync(self.base)
        self.promise(path, None)
        self.promise(to, digest)

    def remove(self):
        path = self.pick()
        if not path or self.r.random() < 0.5:
            return
        self.begin(path, None)
        os.unlink(path)
        if self.r.random() < 0.5:
            fsync(self.base)
            self.promise(path, None)

    def unsynced(self):
        """A directory with files that nobody waits for."""
        d = os.path.join(self.base, f"d{self.n}")
        os.mkdir(d)
        for i in range(self.r.randrange(5)):
            with open(os.path.join(d, f"x{i}"), "wb") as f:
                f.write(self.data())

    def check(self, what):
        broken(what, {p: self.open_ends.get(p, {self.promised.get(p)}) for p in {**self.promised, **self.open_ends}})

    def allowed(self, position):
        """What each path may hold after a crash at that position of the clock: what was last promised before, and
        everything that was begun since."""
        out = {}
        for at, path, value in self.history:
            if isinstance(value, set):
                if at <= position:
                    out.setdefault(path, {None}).update(value)
            elif at <= position:
                out[path] = {value}
            else:
                out.setdefault(path, {None}).add(value)   # done by then, perhaps, but not promised yet
        return out


def broken(what, allowed, root=None, was=None):
    """Failure when a path holds something else than one of the digests (None: absent) that are allowed.  With root and was,
    paths below `was` are looked up below `root`."""
    wrong = []
    for path, values in allowed.items():
        try:
            with open(os.path.join(root, os.path.relpath(path, was)) if root else path, "rb") as f:
                data = f.read()
            got = hashlib.sha256(data).hexdigest()
        except FileNotFoundError:
            data = got = None
        if got in values or (got is not None and "anything" in values):
            continue
        if data is not None and any(isinstance(a, tuple) and data.startswith(a[1]) and (a[1] + a[2]).startswith(data)
                                    for a in values):
            continue
        wrong.append(f"{os.path.basename(path)}: {'gone' if got is None else f'{len(data)} bytes'}, "
                     f"{len(values)} states allowed{', absence is one' if None in values else ''}")
    q.check(not wrong, f"{what}: {len(wrong)} of {len(allowed)} promises broken: {'; '.join(wrong[:4])}")


def read_everything(root):
    for base, _, names in os.walk(root, onerror=_raise):
        for name in names:
            with open(os.path.join(base, name), "rb") as f:
                while f.read(1 << 20):
                    pass


def _raise(e):
    raise q.Failure(f"directory cannot be read: {e}")
