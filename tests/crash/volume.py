"""volume - what a power cut may leave of recorded files (see shim.c).

A Log is the parsed record.  A Volume replays its file events into nodes (files and directories), each with its list of
operations and of completed fsyncs.  Volume.cut(position, kind, rng) is one legal state of the disk:

    synced  everything covered by an fsync that had returned, nothing else
    order   everything that was done before the cut, the last write torn
    files   of each file and directory its own prefix of what was not synced, the last write torn
    pages   of each page of a file its own age, of each file its own size; names made or removed are kept or lost
    zeros   sizes as they were, data of unsynced pages there or zero
    garbage the same, but what did not reach the disk is not always zero: noise, ones, or a page of somewhere else
    Chosen  what is told reached the disk or not: see there

Extended attributes are old or new, independently of everything else, until an fsync (fdatasync does not count).
A name is durable only after an fsync of its directory, contents only after an fsync of the file.  After an fsync that
failed, what it should have written is lost for good unless its page was written again (that is what Linux does)."""
import bisect
import collections
import os
import struct

PAGE = 4096
KINDS = ("synced", "order", "files", "pages", "zeros", "garbage")
PARTS = ("data", "index", "flag", "name")
NEVER = 1 << 60
HEADER = struct.Struct("<BBHIQII")
Event = collections.namedtuple("Event", "type flags port handle off data data2")
EXISTED, TRUNC, DIR, SYNC = 1, 2, 4, 8
DATA_ONLY, FAILED = 1, 2


class Chosen(collections.namedtuple("Chosen", "ns lost fill")):
    """Kind of a cut: all of namespace ns reached the disk but, of the parts that are named in lost, something: values appended to a
    data file, records appended to an index file, records of it that were rewritten in place, names of new files.  In the place of
    what was appended are zeros, or garbage from the first page on that is new.  Of other namespaces everything is there."""

    def __str__(self):
        return f"{self.ns}: {' '.join(self.lost) or 'nothing'} lost, {self.fill}"


class BadRecord(Exception):
    """The record does not describe what happened; every conclusion from it would be wrong."""


def read_log(path):
    raw = open(path, "rb").read()
    view, at, events = memoryview(raw), 0, []
    while at + HEADER.size <= len(raw):
        kind, flags, port, handle, off, n, n2 = HEADER.unpack_from(raw, at)
        at += HEADER.size
        if at + n + n2 > len(raw):
            break
        events.append(Event(chr(kind), flags, port, handle, off, view[at:at + n], view[at + n:at + n + n2]))
        at += n + n2
    return events


class Content(bytes):
    """Contents of a file, with its extended attributes.  settled: all of it is on stable storage."""
    attrs = {}
    settled = False

    def __eq__(self, other):
        return bytes.__eq__(self, other) and self.attrs == getattr(other, "attrs", {})

    def __ne__(self, other):
        return not self == other

    __hash__ = bytes.__hash__

    @classmethod
    def of(cls, data, attrs):
        self = cls(data)
        self.attrs = attrs
        return self

    @classmethod
    def read(cls, path):
        with open(path, "rb") as f:
            data = f.read()
        return cls.of(data, {n: os.getxattr(path, n) for n in os.listxattr(path) if n.startswith("user.")})


class Streams:
    """When the n-th byte of a connection was received or sent."""

    def __init__(self, events):
        self.sums = {}
        for pos, e in enumerate(events):
            if e.type in "sr":
                sums = self.sums.setdefault((e.type, e.port), ([], []))
                sums[0].append((sums[0][-1] if sums[0] else 0) + e.off)
                sums[1].append(pos)

    def position(self, kind, port, nbytes):
        sums = self.sums.get((kind, port))
        i = bisect.bisect_left(sums[0], nbytes) if sums else 0
        return sums[1][i] if sums and i < len(sums[1]) else NEVER


class Op:
    """One change of a node.  dirty: an fsync that began behind this position has made it durable (-2: it is at once).  part: one of
    PARTS, or None."""
    __slots__ = ("pos", "kind", "off", "data", "dirty", "part")

    def __init__(self, pos, kind, off, data=b"", dirty=None):
        self.pos, self.kind, self.off, self.data, self.part = pos, kind, off, data, None
        self.dirty = pos if dirty is None else dirty


class Node:
    def __init__(self, is_dir, base=Content()):
        self.is_dir = is_dir
        self.base = base          # contents of a file, entries of a directory, before the record began
        self.ops = []             # files: w off data, t size; directories: + name node, - name, r name to
        self.attrs = []           # (position, name, value)
        self.syncs = []           # (begin, end) of those that succeeded
        self.full_syncs = []      # those that were not fdatasync
        self.failed = []

    def synced_before(self, pos):
        """Operations that were dirty before this position are durable at pos."""
        return max((b for b, e in self.syncs if e <= pos), default=-1)

    def doom(self):
        """Take what failed fsyncs covered out of the reach of later ones, but for pages that were written again."""
        for begin, end in self.failed:
            ops = []
            for op in self.ops:
                if op.kind != "w" or op.dirty >= begin or op.dirty < self.synced_before(end):
                    ops.append(op)
                    continue
                for off, data in pieces(op.off, op.data, PAGE):
                    page = off // PAGE
                    again = [o.pos for o in self.ops if o.kind == "w" and o.pos > end and
                             o.off // PAGE <= page <= (o.off + max(len(o.data), 1) - 1) // PAGE]
                    ops.append(Op(op.pos, "w", off, data, again[0] if again else NEVER))
            self.ops = ops


def garbage(content, at, end, rng):
    """In place of what did not reach the disk, from the first page behind `at` on."""
    at = -(-at // PAGE) * PAGE
    if at >= end:
        return
    kind, n = rng.randrange(3), end - at
    noise = rng.randbytes(n) if kind == 0 else b"\xff" * n if kind == 1 else (bytes(content[:PAGE]) * (n // PAGE + 1))[:n]
    content[at:end] = noise.ljust(n, b"\xa5")


def pieces(off, data, unit):
    at = 0
    while at < len(data):
        n = min(unit - (off + at) % unit, len(data) - at)
        yield off + at, data[at:at + n]
        at += n


def apply(content, op, data=None):
    data = op.data if data is None else data
    if op.kind == "t":
        if op.off <= len(content):
            del content[op.off:]
        else:
            content.extend(bytes(op.off - len(content)))
        return
    end = op.off + len(data)
    if end > len(content):
        content.extend(bytes(end - len(content)))
    content[op.off:end] = data


def torn(op, rng):
    """The first bytes of a write, cut anywhere or at a sector."""
    n = rng.randrange(len(op.data) + 1)
    if rng.random() < 0.5:
        n = max(0, (op.off + n) // 512 * 512 - op.off)
    return op.data[:n]


class Volume:
    def __init__(self, events, roots, base=None):
        """roots: {name: absolute path} as recorded.  base: {name: directory} with the contents at the beginning."""
        self.events = events
        self.roots = {n: os.path.normpath(p) for n, p in roots.items()}
        self.top = {n: load_tree(base[n]) if base else Node(True, {}) for n in roots}
        self.live = {id(node): dict(node.base) for node in self.nodes() if node.is_dir}
        handles, syncs = {}, {}
        for pos, e in enumerate(events):
            if e.type == "w":
                handles[e.handle].ops.append(Op(pos, "w", e.off, bytes(e.data), -2 if e.flags else None))
            elif e.type == "t":
                handles[e.handle].ops.append(Op(pos, "t", e.off))
            elif e.type == "o":
                handles[e.handle] = self.opened(pos, e)
            elif e.type == "x":
                handles[e.handle].attrs.append((pos, bytes(e.data).decode(), None if e.flags else bytes(e.data2)))
            elif e.type == "f":
                syncs[e.off] = pos
            elif e.type == "F":
                for node in [handles[e.handle]] if e.handle else self.nodes():
                    (node.failed if e.flags & FAILED else node.syncs).append((syncs[e.off], pos))
                    if not e.flags:
                        node.full_syncs.append((syncs[e.off], pos))
            elif e.type == "m":
                self.add(pos, e.data, Node(True, {}))
            elif e.type == "u":
                parent, name = self.split(e.data)
                del self.live[id(parent)][name]
                parent.ops.append(Op(pos, "-", name))
            elif e.type == "n":
                parent, old = self.split(e.data)
                parent2, new = self.split(e.data2)
                if parent is not parent2:       # each of the two directories is durable by itself
                    node = self.live[id(parent)].pop(old)
                    self.live[id(parent2)][new] = node
                    parent2.ops.append(Op(pos, "+", new, node))
                    parent.ops.append(Op(pos, "-", old))
                    continue
                self.live[id(parent)][new] = self.live[id(parent)].pop(old)
                parent.ops.append(Op(pos, "r", old, new))
            elif e.type == "!":
                raise BadRecord(f"call that cannot be recorded: {bytes(e.data).decode()}")
        for node in self.nodes():
            node.doom()
        self.namespaces = {}    # name: directories and files
        for top in self.top.values():
            for name, node in [*top.base.items(), *((op.off, op.data) for op in top.ops if op.kind == "+")]:
                if node.is_dir:
                    self.classify(node, self.namespaces.setdefault(name, []))

    @staticmethod
    def classify(directory, nodes):
        nodes.append(directory)
        for op in directory.ops:
            if op.kind != "+" or not (op.off[:1] in ("d", "i") and op.off[1:].isdigit()):
                continue
            op.part, size = "name", 0
            nodes.append(op.data)
            for change in op.data.ops:
                if change.kind == "w":
                    change.part = "data" if op.off[0] == "d" else "index" if change.off >= size else "flag"
                    size = max(size, change.off + len(change.data))

    def loose(self, ns, pos):
        """The parts of a namespace of which something may not have reached the disk at pos."""
        return {op.part for node in self.namespaces[ns] for op in node.ops
                if op.part and op.pos < pos and op.dirty >= node.synced_before(pos)}

    def opened(self, pos, e):
        node = self.find(e.data)
        if node is None:
            if e.flags & EXISTED:
                raise BadRecord(f"unknown file: {bytes(e.data).decode()}")
            node = Node(bool(e.flags & DIR))
            self.add(pos, e.data, node)
        elif e.flags & TRUNC:
            node.ops.append(Op(pos, "t", 0))
        return node

    def add(self, pos, path, node):
        parent, name = self.split(path)
        self.live[id(parent)][name] = node
        if node.is_dir:
            self.live[id(node)] = {}
        parent.ops.append(Op(pos, "+", name, node))

    def split(self, path):
        path = os.path.normpath(bytes(path).decode(errors="surrogateescape"))
        parent = self.find(os.path.dirname(path))
        if parent is None:
            raise BadRecord(f"unknown directory of {path}")
        return parent, os.path.basename(path)

    def find(self, path):
        path = os.path.normpath(bytes(path).decode(errors="surrogateescape") if not isinstance(path, str) else path)
        for name, root in self.roots.items():
            if path == root or path.startswith(root + "/"):
                node = self.top[name]
                for part in path[len(root):].strip("/").split("/"):
                    if part:
                        node = self.live[id(node)].get(part) if node.is_dir else None
                    if node is None:
                        return None
                return node
        return None

    def nodes(self):
        seen, todo = {}, list(self.top.values())
        while todo:
            node = todo.pop()
            if id(node) in seen:
                continue
            seen[id(node)] = node
            if node.is_dir:
                todo += list(node.base.values()) + [op.data for op in node.ops if op.kind == "+"]
        return seen.values()

    # --- states -------------------------------------------------------------------------------------

    def end(self):
        """{relative path: contents, or None for a directory} when everything was done: must be what is on the disk."""
        return self.cut(len(self.events), "order", None)

    def cut(self, pos, kind, rng):
        out = {}
        for name, node in self.top.items():
            self.walk(node, name, pos, kind, rng, out)
        return out

    def walk(self, node, path, pos, kind, rng, out):
        if isinstance(kind, Chosen) and path.count("/") == 1 and os.path.basename(path) != kind.ns:
            kind = "order"
        if not node.is_dir:
            out[path] = Content.of(self.file_content(node, pos, kind, rng), self.file_attrs(node, pos, kind, rng))
            synced = node.synced_before(pos)
            out[path].settled = all(op.dirty < synced for op in node.ops if op.pos < pos)
            return
        out[path] = None
        for name, child in sorted(self.entries(node, pos, kind, rng).items()):
            self.walk(child, f"{path}/{name}", pos, kind, rng, out)

    def entries(self, node, pos, kind, rng):
        now = dict(node.base)
        synced = node.synced_before(pos)
        open_ops = [op for op in node.ops if synced <= op.dirty and op.pos < pos]
        keep = len(open_ops)
        lost = set()
        if isinstance(kind, Chosen):
            lost = {id(op) for op in self.lose(open_ops, kind, rng)}
        elif kind == "synced":
            keep = 0
        elif kind != "order" and rng.random() < 0.6:
            keep = rng.randrange(len(open_ops) + 1)
            if kind in ("pages", "zeros", "garbage") and all(op.kind == "+" for op in open_ops):
                keep = len(open_ops)
                lost = {id(op) for op in open_ops if rng.random() < 0.4}
        kept = {id(op) for op in open_ops[:keep]} - lost
        for op in node.ops:
            if op.pos >= pos or (op.dirty >= synced and id(op) not in kept):
                continue
            if op.kind == "+":
                now[op.off] = op.data
            elif op.kind == "-":
                now.pop(op.off, None)
            else:
                now[op.data] = now.pop(op.off)
        return now

    @staticmethod
    def lose(loose, kind, rng):
        """All that may be lost of the parts, or one change of each."""
        out = []
        for part in kind.lost:
            ops = [op for op in loose if op.part == part]
            out += ops if rng.random() < 0.6 or not ops else [rng.choice(ops)]
        return out

    def chosen_content(self, content, ops, loose, kind, rng):
        lost = {id(op) for op in self.lose(loose, kind, rng)}
        for op in ops:
            if id(op) not in lost:
                apply(content, op)
                continue
            old = len(content)
            if op.part != "flag" and op.off + len(op.data) > old:
                content.extend(bytes(op.off + len(op.data) - old))
                if kind.fill == "garbage":
                    garbage(content, max(old, op.off), len(content), rng)
        return bytes(content)

    def file_attrs(self, node, pos, kind, rng):
        out = dict(node.base.attrs)
        synced = max((b for b, e in node.full_syncs if e <= pos), default=-1)
        keep = kind == "order" or (kind != "synced" and rng.random() < 0.5)
        for at, name, value in node.attrs:
            if at < pos and (at < synced or keep):
                out[name] = value
        return {name: value for name, value in out.items() if value is not None}

    def file_content(self, node, pos, kind, rng):
        content = bytearray(node.base)
        synced = node.synced_before(pos)
        ops = [op for op in node.ops if op.pos < pos]
        loose = [op for op in ops if op.dirty >= synced]
        if isinstance(kind, Chosen):
            return self.chosen_content(content, ops, loose, kind, rng)
        if kind in ("pages", "zeros", "garbage"):
            sizes, size = [], 0
            shrinks = False
            for op in ops:
                shrinks = shrinks or (op.kind == "t" and op.off < size and op.dirty >= synced)
                size = op.off if op.kind == "t" else max(size, op.off + len(op.data))
            if shrinks or any(op.dirty == NEVER for op in loose):
                kind = "files"
        if kind in ("synced", "order", "files"):
            keep = 0 if kind == "synced" else len(loose)
            if kind == "files" and loose:
                keep = rng.choice((0, len(loose), rng.randrange(len(loose) + 1)))
            kept = {id(op) for op in loose[:keep]}
            if kind == "files":     # what a failed fsync lost is lost, or had been written before
                gone = rng.random() < 0.5
                kept -= {id(op) for op in loose if op.dirty == NEVER and gone}
            last = loose[keep - 1] if keep else None
            for op in ops:
                if op.dirty < synced or id(op) in kept:
                    tear = rng and op is last and op.kind == "w" and \
                        (kind == "files" and rng.random() < 0.5 or kind == "order" and op.pos == pos - 1)
                    apply(content, op, torn(op, rng) if tear else None)
            return bytes(content)
        # each page (now and then: each sector) is as it was after some operation of its own choice
        unit = 512 if rng.random() < 0.2 else PAGE
        age = {}
        favour = rng.choice((0.15, 0.5, 0.85))
        sizes = [len(content)]
        for op in ops:
            if op.dirty < synced:
                apply(content, op)
        sizes, new = [len(content)], len(content)
        for i, op in enumerate(loose):
            sizes.append(op.off if op.kind == "t" else max(sizes[-1], op.off + len(op.data)))
        size = sizes[-1] if kind in ("zeros", "garbage") else rng.choice((sizes[-1], sizes[-1], sizes[0], rng.choice(sizes)))
        if len(content) < sizes[-1]:
            content.extend(bytes(sizes[-1] - len(content)))
        for i, op in enumerate(loose):
            if op.kind != "w":
                continue
            for off, data in pieces(op.off, op.data, unit):
                page = off // unit
                if page not in age:
                    age[page] = rng.choice((len(loose), len(loose), rng.randrange(len(loose) + 1))) \
                        if rng.random() < favour else 0
                if i < age[page]:
                    content[off:off + len(data)] = data
        if kind == "garbage":
            for page in range(-(-new // PAGE), len(content) // PAGE + 1):
                at, end = page * PAGE, min(len(content), (page + 1) * PAGE)
                if not any(content[at:end]):
                    garbage(content, at, end, rng)
        del content[size:]
        return bytes(content)


def load_tree(path):
    entries = {}
    for e in os.scandir(path):
        if e.is_dir(follow_symlinks=False):
            entries[e.name] = load_tree(e.path)
        else:
            entries[e.name] = Node(False, Content.read(e.path))
    return Node(True, entries)


def read_tree(path, name):
    """A directory as cut() would give it."""
    out = {name: None}
    for e in sorted(os.scandir(path), key=lambda e: e.name):
        if e.is_dir(follow_symlinks=False):
            out.update(read_tree(e.path, f"{name}/{e.name}"))
        else:
            out[f"{name}/{e.name}"] = Content.read(e.path)
    return out


def write_tree(tree, root):
    for path, content in tree.items():
        full = os.path.join(root, path)
        if content is None:
            os.makedirs(full, mode=0o700, exist_ok=True)
        else:
            fd = os.open(full, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            try:
                view = memoryview(content)
                while view:
                    view = view[os.write(fd, view):]
                for name, value in content.attrs.items():
                    os.setxattr(fd, name, value)
            finally:
                os.close(fd)
