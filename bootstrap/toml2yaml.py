#!/usr/bin/env python3
"""Convert the TOML configuration of the original zstor to the YAML that zstor reads.

    toml2yaml.py CONFIG.toml > CONFIG.yaml

Same keys, same values.  Needs nothing but Python 3.11.  What the original would have refused is refused here,
with file and line; what it silently ignored (unknown keys of a backend entry, metadata backends behind the
fourth) is left out with a warning.  A file on standard output is made private (0600): it holds keys.
"""
import os
import re
import stat
import sys
import tomllib

BACKEND = ("address", "namespace", "password")
TOP = (
    "minimal_shards", "expected_shards", "redundant_groups", "redundant_nodes", "root", "socket", "pid_file",
    "zdb_data_dir_path", "max_zdb_data_dir_size", "zdbfs_mountpoint", "prometheus_port", "encryption", "compression",
    "meta", "groups",
)
UNSIGNED = {"minimal_shards", "expected_shards", "redundant_groups", "redundant_nodes", "max_zdb_data_dir_size",
            "prometheus_port"}
TEXT = {"root", "socket", "pid_file", "zdb_data_dir_path", "zdbfs_mountpoint"}
GONE = {
    "data_shards": "renamed: write minimal_shards with the same value",
    "parity_shards": "renamed: write expected_shards with the sum of data_shards and parity_shards",
    "network": "an option of the grid, no longer known: remove the line",
    "wallet_secret": "an option of the grid, no longer known: remove the line",
    "identity_id": "an option of the grid, no longer known: remove the line",
    "identity_mnemonic": "an option of the grid, no longer known: remove the line",
    "horizon_url": "an option of the grid, no longer known: remove the line",
}


class Refused(Exception):
    """Text of one line; the path of the entry it is about."""

    def __init__(self, path, text):
        super().__init__(text)
        self.path = path


class Lines:
    """Line number of every key of a document that tomllib has accepted: {path: line}, a path is a tuple of names
    and array positions."""

    STRING = re.compile(r'"""(?:[^\\]|\\.)*?"{3,5}|\'\'\'.*?\'{3,5}|"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'', re.S)
    BARE = re.compile(r"[A-Za-z0-9_-]+")
    SCALAR = re.compile(r"[^,\]}#\n]+")

    def __init__(self, text):
        self.text, self.pos, self.at = text, 0, {}
        table, tables = (), {}
        while self.blank(newlines=True):
            if self.text[self.pos] != "[":
                self.pair(table)
                continue
            array = self.text.startswith("[[", self.pos)
            line = self.line()
            self.pos += 2 if array else 1
            table = self.key(tables)
            if array:
                tables[table] = tables.get(table, -1) + 1
                table += (tables[table],)
            self.at.setdefault(table, line)
            self.pos = self.text.index("]", self.pos) + (2 if array else 1)

    def line(self):
        return self.text.count("\n", 0, self.pos) + 1

    def blank(self, newlines):
        """Skip blanks and comments; False at the end."""
        skip = " \t\r\n" if newlines else " \t"
        while self.pos < len(self.text):
            if self.text[self.pos] == "#":
                end = self.text.find("\n", self.pos)
                self.pos = len(self.text) if end < 0 else end
                if not newlines:
                    return True
            elif self.text[self.pos] in skip:
                self.pos += 1
            else:
                return True
        return False

    def key(self, tables):
        """A dotted key; positions are put behind the names of arrays of tables."""
        path = ()
        while True:
            self.blank(newlines=False)
            quoted = self.STRING.match(self.text, self.pos)
            m = quoted or self.BARE.match(self.text, self.pos)
            name = m.group()
            self.pos = m.end()
            path += (tomllib.loads("x = " + name)["x"] if quoted else name,)
            self.blank(newlines=False)
            if self.text[self.pos] != ".":
                return path
            self.pos += 1
            if path in tables:
                path += (tables[path],)

    def pair(self, table):
        self.blank(newlines=True)
        line = self.line()
        path = table + self.key({})
        self.at.setdefault(path, line)
        self.pos += 1  # the equals sign
        self.value(path)

    def value(self, path):
        self.blank(newlines=True)
        self.at.setdefault(path, self.line())
        c = self.text[self.pos]
        if c == "[":
            self.members("]", path, False)
        elif c == "{":
            self.members("}", path, True)
        else:
            m = self.STRING.match(self.text, self.pos) or self.SCALAR.match(self.text, self.pos)
            self.pos = m.end()

    def members(self, close, path, keys):
        self.pos += 1
        i = 0
        while True:
            self.blank(newlines=True)
            if self.text[self.pos] == close:
                self.pos += 1
                return
            if self.text[self.pos] == ",":
                self.pos += 1
            elif keys:
                self.pair(path)
            else:
                self.value(path + (i,))
                i += 1

    def of(self, path):
        while path and path not in self.at:
            path = path[:-1]
        return self.at.get(path, 1)


def shown(path):
    text = ""
    for p in path:
        text += f"[{p + 1}]" if isinstance(p, int) else ("." if text else "") + p
    return text or "the file"


class Converter:
    def __init__(self, doc, warn):
        self.doc, self.warn, self.out = doc, warn, []

    def convert(self):
        self.keys((), self.doc, TOP)
        for key in TOP[:4] + ("encryption", "compression", "meta", "groups"):
            if key not in self.doc:
                raise Refused((), f"missing key `{key}`")
        for key in TOP[:-4]:
            if key in self.doc:
                self.scalar(0, (key,), self.doc[key], int if key in UNSIGNED else str)
        self.crypt(0, ("encryption",), self.doc["encryption"])
        self.line(0, "compression:")
        self.known(1, ("compression",), self.doc["compression"], {"algorithm"}, ("algorithm",))
        self.meta(self.doc["meta"])
        self.groups(self.doc["groups"])
        return "\n".join(self.out) + "\n"

    def line(self, depth, text):
        self.out.append("  " * depth + text)

    def keys(self, path, table, allowed):
        if not isinstance(table, dict):
            raise Refused(path, "must be a table")
        for key in table:
            if key not in allowed:
                hint = GONE.get(key) if not path else None
                raise Refused(path + (key,), hint or "unknown key; allowed here: " + ", ".join(allowed))

    def scalar(self, depth, path, value, kind, lead=""):
        if kind is int:
            if not isinstance(value, int) or isinstance(value, bool):
                raise Refused(path, "must be a whole number")
            if value < 0 or value > 0xFFFFFFFFFFFFFFFF:
                raise Refused(path, f"{value} is out of range, 0 or more is allowed")
            text = str(value)
        else:
            if not isinstance(value, str):
                raise Refused(path, "must be text in quotes")
            if "\0" in value:
                raise Refused(path, "contains a NUL character")
            text = quoted(value)
        self.line(depth, f"{lead}{path[-1]}: {text}")

    def known(self, depth, path, table, required, allowed, lead=""):
        """A table of texts in which the original ignores keys that it does not know."""
        if not isinstance(table, dict):
            raise Refused(path, "must be a table")
        for key in table:
            if key not in allowed:
                self.warn(path + (key,), "unknown key, left out (the original ignored it too)")
        for key in allowed:
            if key in table:
                self.scalar(depth, path + (key,), table[key], str, lead)
                lead = "  " if lead else ""
            elif key in required:
                raise Refused(path, f"missing key `{key}`")

    def crypt(self, depth, path, table):
        self.keys(path, table, ("algorithm", "key"))
        self.line(depth, path[-1] + ":")
        self.known(depth + 1, path, table, {"algorithm", "key"}, ("algorithm", "key"))

    def backends(self, depth, path, entries, lead=""):
        if not isinstance(entries, list):
            raise Refused(path, "must be an array of backends")
        self.line(depth, lead + "backends:" + ("" if entries else " []"))
        if lead:
            depth += 1
        for i, entry in enumerate(entries):
            self.known(depth + 1, path + (i,), entry, {"address"}, BACKEND, "- ")

    def meta(self, table):
        self.keys(("meta",), table, ("type", "config"))
        for key in ("type", "config"):
            if key not in table:
                raise Refused(("meta",), f"missing key `{key}`")
        self.line(0, "meta:")
        self.scalar(1, ("meta", "type"), table["type"], str)
        path, config = ("meta", "config"), table["config"]
        if not isinstance(config, dict):
            raise Refused(path, "must be a table")
        self.line(1, "config:")
        for key in ("prefix", "encryption", "backends"):
            if key not in config:
                raise Refused(path, f"missing key `{key}`")
        for key in config:
            if key not in ("prefix", "encryption", "backends"):
                self.warn(path + (key,), "unknown key, left out (the original ignored it too)")
        self.scalar(2, path + ("prefix",), config["prefix"], str)
        self.crypt(2, path + ("encryption",), config["encryption"])
        entries = config["backends"]
        if isinstance(entries, list) and len(entries) > 4:
            self.warn(path + ("backends", 4), "only the first 4 metadata backends count (also for the original), the others are left out")
            entries = entries[:4]
        self.backends(2, path + ("backends",), entries)

    def groups(self, groups):
        if not isinstance(groups, list):
            raise Refused(("groups",), "must be an array of tables")
        self.line(0, "groups:" + ("" if groups else " []"))
        for i, group in enumerate(groups):
            path = ("groups", i)
            self.keys(path, group, ("backends",))
            if "backends" not in group:
                raise Refused(path, "missing key `backends`")
            self.backends(1, path + ("backends",), group["backends"], "- ")


def quoted(text):
    """A double-quoted YAML scalar: always text, whatever it looks like."""
    out = ['"']
    for c in text:
        n = ord(c)
        if c in '"\\':
            out.append("\\" + c)
        elif n < 0x20 or 0x7F <= n < 0xA0:
            out.append(f"\\x{n:02x}")
        elif n in (0x2028, 0x2029, 0xFEFF, 0xFFFE, 0xFFFF):
            out.append(f"\\u{n:04x}")
        else:
            out.append(c)
    return "".join(out) + '"'


def main(argv):
    if len(argv) != 2 or argv[1].startswith("-"):
        print("usage: toml2yaml.py CONFIG.toml > CONFIG.yaml", file=sys.stderr)
        return 0 if argv[1:] in (["-h"], ["--help"]) else 1
    name = argv[1]
    try:
        with open(name, "rb") as f:
            text = f.read().decode("utf-8")
    except OSError as e:
        print(f"{name}: {e.strerror}", file=sys.stderr)
        return 1
    except UnicodeDecodeError as e:
        line = e.object.count(b"\n", 0, e.start) + 1
        print(f"{name}:{line}: not UTF-8 text", file=sys.stderr)
        return 1
    try:
        doc = tomllib.loads(text)
    except tomllib.TOMLDecodeError as e:
        m = re.search(r"^(.*) \(at line (\d+), column (\d+)\)$", str(e), re.S)
        what, line = (m.group(1), m.group(2)) if m else (str(e), text.count("\n") + 1)
        print(f"{name}:{line}: {what}", file=sys.stderr)
        return 1
    lines = Lines(text.replace("\r\n", "\n"))

    def say(path, what):
        print(f"{name}:{lines.of(path)}: {shown(path)}: {what}", file=sys.stderr)

    try:
        result = Converter(doc, lambda path, what: say(path, "warning: " + what)).convert()
    except Refused as e:
        say(e.path, e)
        return 1
    out = sys.stdout.fileno()
    if stat.S_ISREG(os.fstat(out).st_mode):
        os.fchmod(out, 0o600)
    sys.stdout.buffer.write(result.encode("utf-8"))
    sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
