#!/usr/bin/env python3
"""zstor and toml2yaml.py against wrong options, wrong configurations, wrong requests: one clear line, exit 1, nothing
touched, no secret told."""
import copy
import socket
import subprocess

import libqsfs as q

TOML2YAML = q.REPO / "bootstrap" / "toml2yaml.py"
WORK = q.tmpdir("work")
KEY = "00" * 31 + "5a"
PASSWORD = "pass-word-that-nobody-may-see"


def base():
    """A valid configuration; its backends need not exist."""
    entry = lambda kind, n: {"address": f"127.0.0.1:{20000 + n}", "namespace": f"{kind}{n}", "password": PASSWORD}
    return {
        "minimal_shards": 2, "expected_shards": 4, "redundant_groups": 0, "redundant_nodes": 0,
        "socket": str(WORK / "z.sock"), "pid_file": str(WORK / "z.pid"), "state_dir": str(WORK / "state"),
        "encryption": {"algorithm": "AES", "key": KEY}, "compression": {"algorithm": "snappy"},
        "meta": {"type": "zdb", "config": {"prefix": "bad", "encryption": {"algorithm": "AES", "key": KEY},
                                           "backends": [entry("meta", n) for n in range(4)]}},
        "groups": [{"backends": [entry("data", n) for n in range(4)]}],
    }


def write(config, name="z.yaml", mode=0o600):
    path = WORK / name
    path.write_text(config if isinstance(config, str) else q.to_yaml(config))
    path.chmod(mode)
    return path


def zstor(*args, cwd=None, **kw):
    return q.run(q.BIN / "zstor", *args, cwd=cwd or WORK, **kw)


def untouched():
    for name in ("state", "z.pid", "z.sock"):
        q.check(not (WORK / name).exists(), f"{name} was made")


def refused(p, *words, lines=1):
    text = p.stderr.decode()
    q.same(p.returncode, 1, f"exit code ({text.strip()})")
    q.same(p.stdout, b"", "standard output")
    for w in words:
        q.check(w in text, f"{w!r} is not in {text!r}")
    q.check(len(text.strip().split("\n")) <= lines, f"more than {lines} lines: {text!r}")
    for secret in (KEY, PASSWORD):
        q.check(secret not in text, f"a secret is told: {text!r}")


def test_options():
    write(base())
    for args, word in (
            (["--nope"], "--nope"), (["-x"], "-x"), (["-c"], "-c"), (["frob"], "frob"), (["store"], "--file"),
            (["store", "-f"], "-f"), (["store", "-f", ""], "empty"), (["store", "-f", "a", "b"], "b"),
            (["store", "--what", "-f", "a"], "--what"), (["check"], "--file"), (["retrieve", "-f", "x", "-o", ""], "empty"),
            (["wait", "-t", "soon"], "seconds"), (["wait", "-t", "-1"], "seconds"), (["monitor", "--drain", "x"], "seconds"),
            (["status", "extra"], "extra"), (["test", "-f", "x"], "-f")):
        with q.case("option refused: " + " ".join(args)):
            refused(zstor("-c", WORK / "z.yaml", *args), word, lines=2)
            untouched()
    for args, word in ((["rebuild"], "Either `file` or `key`"), (["rebuild", "-f", "a", "-k", "b"], "Only one of"),
                       (["rebuild", "--all", "-k", "b"], "Only one of")):
        with q.case("option refused: " + " ".join(args)):
            refused(zstor("-c", WORK / "z.yaml", *args), word)
    with q.case("no command prints the usage, exit 1"):
        p = zstor()
        q.same(p.returncode, 1)
        q.check(b"usage: zstor" in p.stderr)
    for args in (["--help"], ["help"], ["store", "--help"]):
        with q.case("help: " + " ".join(args)):
            q.check(b"usage: zstor" in zstor(*args, check_exit=0).stdout)
    for args in (["--version"], ["-V"], ["version"]):
        with q.case("the version is the second word: " + args[0]):
            q.same(zstor(*args, check_exit=0).stdout.decode(), f"zstor {q.VERSION}\n", "line")


def changed(edit):
    c = copy.deepcopy(base())
    edit(c)
    return c


CONFIGS = [
    ("unknown key", lambda c: c.update(foo=1), ["unknown key `foo`"]),
    ("unknown key of a backend", lambda c: c["groups"][0]["backends"][1].update(port=1), ["unknown key `port`"]),
    ("missing key", lambda c: c.pop("expected_shards"), ["missing key `expected_shards`"]),
    ("key of the wrong length", lambda c: c["encryption"].update(key=KEY[2:]), ["encryption.key", "62 characters", "64 hex digits"]),
    ("key that is not hex", lambda c: c["encryption"].update(key="g" + KEY[1:]), ["encryption.key", "character 1", "hex"]),
    ("algorithm", lambda c: c["encryption"].update(algorithm="DES"), ["algorithm", "DES", "AES"]),
    ("no shards", lambda c: c.update(minimal_shards=0), ["minimal_shards: 0", "1 to 255"]),
    ("minimal = expected", lambda c: c.update(minimal_shards=4), ["expected_shards: 4", "minimal_shards"]),
    ("too many shards", lambda c: c.update(expected_shards=300), ["expected_shards: 300", "256"]),
    ("not enough backends", lambda c: c.update(expected_shards=5), ["require at least 5", "only found 4"]),
    ("backend twice", lambda c: c["groups"][0]["backends"].append(c["groups"][0]["backends"][0]), ["twice"]),
    ("metadata backend twice", lambda c: c["meta"]["config"]["backends"].__setitem__(1, c["meta"]["config"]["backends"][0]), ["twice"]),
    ("data backend is a metadata backend", lambda c: c["groups"][0]["backends"].append(c["meta"]["config"]["backends"][0]), ["twice"]),
    ("three metadata backends", lambda c: c["meta"]["config"]["backends"].pop(), ["3 entries", "exactly 4"]),
    ("five metadata backends", lambda c: c["meta"]["config"]["backends"].append({"address": "127.0.0.1:3"}), ["5 entries", "exactly 4"]),
    ("redundancy that cannot be met", lambda c: c.update(redundant_groups=1), ["groups: "]),
    ("host name", lambda c: c["groups"][0]["backends"][0].update(address="localhost:9900"), ["address", "localhost:9900"]),
    ("port", lambda c: c["groups"][0]["backends"][0].update(address="127.0.0.1:70000"), ["address", "127.0.0.1:70000"]),
    ("metrics port", lambda c: c.update(prometheus_port=70000), ["prometheus_port: 70000", "65535"]),
    ("number that is none", lambda c: c.update(redundant_nodes="many"), ["redundant_nodes: many"]),
]


def test_configurations():
    for name, edit, words in CONFIGS:
        path = write(changed(edit))
        for command in (["monitor"], ["check", "-f", "/x"]):
            with q.case(f"configuration refused by {command[0]}: {name}"):
                refused(zstor("-c", path, *command), f"{path}:", *words)
                untouched()
        line = zstor("-c", path, "status").stderr.decode().split(f"{path}:")[1].split(":")[0]
        with q.case(f"line number of: {name}"):
            q.check(1 <= int(line) <= len(path.read_text().split("\n")), line)


def test_files():
    with q.case("no configuration in the working directory"):
        refused(zstor("status", cwd=q.tmpdir("empty")), "zstor_config.yaml", "No such file")
    for name, text, word in (("not YAML", "a: [1\n", "z.yaml:"), ("a list", "- 1\n", "z.yaml:1:"), ("empty", "", "z.yaml"),
                             ("binary", "\x00\x01\x02", "z.yaml"), ("a key twice", q.to_yaml(base()) + "minimal_shards: 2\n", "minimal_shards")):
        with q.case(f"configuration refused: {name}"):
            refused(zstor("-c", write(text), "status"), word)
            untouched()
    with q.case("a file that everybody may write"):
        refused(zstor("-c", write(base(), mode=0o666), "monitor"), "chmod 600")
        untouched()
    for mode in (0o644, 0o640, 0o604, 0o660):
        with q.case(f"a file with the keys and mode {mode:04o}"):
            refused(zstor("-c", write(base(), mode=mode), "test"), f"has mode {mode:04o}", "chmod 600")
    with q.case("a directory"):
        refused(zstor("-c", WORK, "status"), str(WORK))
    with q.case("TOML"):
        refused(zstor("-c", write("minimal_shards = 2\n", "z.toml"), "status"), "toml2yaml.py")
    with q.case("monitor without socket"):
        c = base()
        del c["socket"]
        refused(zstor("-c", write(c), "monitor"), 'Missing "socket" argument in config')
        untouched()
    with q.case("monitor whose log file cannot be opened"):
        refused(zstor("-c", write(base()), "--log_file", WORK, "monitor"), str(WORK))
        untouched()
    with q.case("state_dir that cannot be made"):
        c = base()
        c["state_dir"] = "/dev/null/state"
        refused(zstor("-c", write(c), "monitor"), "state_dir", "/dev/null/state")
        untouched()
    with q.case("metrics port in use"), socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        c = base()
        c["prometheus_port"] = s.getsockname()[1]
        refused(zstor("-c", write(c), "monitor"), "prometheus_port", str(s.getsockname()[1]))
        for name in ("z.pid", "z.sock"):
            q.check(not (WORK / name).exists(), f"{name} was left behind")
    with q.case("a file where the socket should be is not removed"):
        c = base()
        (WORK / "precious").write_text("x")
        c["socket"] = str(WORK / "precious")
        refused(zstor("-c", write(c), "monitor"), "precious")
        q.same((WORK / "precious").read_text(), "x")
    with q.case("no daemon"):
        refused(zstor("-c", write(base()), "store", "-f", "/etc/hostname"), "Could not connect to daemon socket", str(WORK / "z.sock"))


def test_examples():
    examples = sorted((q.REPO / "docs" / "examples").glob("zstor*.yaml")) + [q.REPO / "bootstrap" / "zstor.example.yaml"]
    for path in examples:
        with q.case(f"the example {path.name} is accepted once it has keys"):
            text = path.read_text().replace("REPLACE-WITH-THE-OUTPUT-OF-openssl-rand-hex-32", KEY)
            text = text.replace("/run/zstor", f"{WORK}/zstor") + ("" if "socket:" in text else f"socket: {WORK}/z.sock\n")
            refused(zstor("-c", write(text), "queue"), "Could not connect to daemon socket")  # past the configuration


def test_unreachable_backends():
    path = write(base())
    with q.case("test names each backend that fails, metadata included"):
        p = zstor("-c", path, "test")
        q.same(p.returncode, 1)
        text = p.stderr.decode()
        for kind in ("data", "metadata"):
            for n in range(4):
                q.check(f"{kind} backend 127.0.0.1:{20000 + n}" in text, f"{kind} {n}: {text}")
        q.check(PASSWORD not in text and KEY not in text, "a secret is told")
    with q.case("status of unreachable backends"):
        p = zstor("-c", path, "status")
        q.same(p.returncode, 1)
        q.same(p.stdout.decode().count("| No "), 8)
        q.check("daemon: not running" in p.stdout.decode())


# --- toml2yaml.py ---------------------------------------------------------------------------------

TOML = f"""# the original's configuration
minimal_shards = 2
expected_shards = 4
redundant_groups = 0
redundant_nodes = 0
root = ""
socket = "{WORK}/t.sock"
max_zdb_data_dir_size = 64

[encryption]
algorithm = "AES"
key = "{KEY}"

[compression]
algorithm = "snappy"

[meta]
type = "zdb"

[meta.config]
prefix = "yes"
backends = [
    {{ address = "127.0.0.1:20000", namespace = "12" }}, # a comment, with "quotes" and [brackets]
    {{ address = "[::1]:20001", namespace = "null", password = "p\\u00e4ss: \\"x\\" # \\\\ \\U0001F511" }},
    {{ address = "[::1]:20002", password = '' }},
    {{ address = "[::1]:20003", namespace = ' sp ace ' }},
]

[meta.config.encryption]
algorithm = "AES"
key = "{KEY}"

[[groups]]
backends = [{{ address = "127.0.0.1:20010" }}, {{ address = "127.0.0.1:20011" }}]

[[groups]]
[[groups.backends]]
address = "127.0.0.1:20012"
[[groups.backends]]
address = "127.0.0.1:20013"
namespace = '''~'''
"""


def convert(text, name="t.toml"):
    (WORK / name).write_text(text)
    return q.run("python3", TOML2YAML, WORK / name)


def test_toml2yaml():
    with q.case("a converted configuration is accepted, values kept"):
        p = convert(TOML)
        q.same((p.returncode, p.stderr), (0, b""), "outcome")
        path = write(p.stdout.decode(), "t.yaml")
        text = zstor("-c", path, "status").stdout.decode()
        for name in ("127.0.0.1:20000 - 12 ", "[::1]:20001 - null ", "[::1]:20002 - default ", "[::1]:20003 -  sp ace  ",
                     "127.0.0.1:20013 - ~ "):
            q.check(name in text, f"{name!r} is not in {text}")
        q.check('password: "päss: \\"x\\" # \\\\ 🔑"' in p.stdout.decode(), p.stdout.decode())
    with q.case("the file on standard output is private"):
        out = WORK / "out.yaml"
        with open(out, "wb") as f:

            subprocess.run(["python3", TOML2YAML, WORK / "t.toml"], stdout=f, check=True)
        q.same(out.stat().st_mode & 0o777, 0o600)
    for name, old, new, line, words in (
            ("unknown key", "root = ", "boot = ", 6, ["boot", "unknown key"]),
            ("unknown key of encryption", "[compression]", "iv = 1\n[compression]", 14, ["encryption.iv", "unknown key"]),
            ("renamed key", "minimal_shards", "data_shards", 2, ["data_shards", "minimal_shards"]),
            ("missing key", "redundant_nodes = 0\n", "", 1, ["redundant_nodes"]),
            ("negative number", "redundant_groups = 0", "redundant_groups = -1", 4, ["redundant_groups", "-1"]),
            ("number in quotes", "= 64", '= "64"', 8, ["max_zdb_data_dir_size", "whole number"]),
            ("text without quotes", 'prefix = "yes"', "prefix = true", 21, ["meta.config.prefix", "text"]),
            ("broken syntax", 'prefix = "yes"', 'prefix = "yes', 21, []),
            ("password that is no text", "password = ''", "password = 7", 25, ["meta.config.backends[3].password"]),
            ("backend without address", 'address = "127.0.0.1:20013"\n', "", 39, ["groups[2].backends[2]", "address"])):
        with q.case(f"toml2yaml refuses: {name}"):
            p = convert(TOML.replace(old, new, 1), "bad.toml")
            refused(p, f"bad.toml:{line}:", *words)
    with q.case("what the original ignored is left out with a warning"):
        p = convert(TOML.replace('{ address = "127.0.0.1:20010" }', '{ address = "127.0.0.1:20010", weight = 3 }'))
        q.same(p.returncode, 0)
        q.check(b"weight" in p.stderr and b"left out" in p.stderr and b"weight" not in p.stdout, p.stderr)
    with q.case("toml2yaml without file, with a missing file, with a binary file"):
        q.same(q.run("python3", TOML2YAML).returncode, 1)
        refused(q.run("python3", TOML2YAML, WORK / "none.toml"), "none.toml")
        (WORK / "bin.toml").write_bytes(b"a = 1\n\xff\xfe\n")
        refused(q.run("python3", TOML2YAML, WORK / "bin.toml"), "bin.toml:2:", "UTF-8")
    golden = sorted((q.GOLDEN / "zstor").glob("*/config*.toml")) if (q.GOLDEN / "zstor").is_dir() else []
    for path in golden:
        with q.case(f"configuration of the original: {path.parent.name}/{path.name}"):
            p = q.run("python3", TOML2YAML, path, check_exit=0)
            text = zstor("-c", write(p.stdout.decode(), "g.yaml"), "status")
            q.check(b"| backend" in text.stdout, text.stderr)


if __name__ == "__main__":
    q.main()
