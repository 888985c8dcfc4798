#!/usr/bin/env python3
# limit: 900
"""The commands that README.md and docs/ show are run: every ```sh block, in the order of the document, in one shell."""
import os
import re
import shlex

import libqsfs as q
from libsystem import Install, free_ports


def blocks(document):
    text = (q.REPO / document).read_text()
    found = re.findall(r"^```sh\n(.*?)^```$", text, re.M | re.S)
    q.check(found, f"{document}: no shell block")
    return found


def shell(commands, env, port):
    """Run as a reader would, but stop at the first failure; ports 9901.. become free ones."""
    text = re.sub(r"\b990(?=\$n)", str(port)[:-1], "\n".join(commands))
    text = re.sub(r"\b990([1-4])\b", lambda m: str(port - 1 + int(m[1])), text)
    p = q.run("bash", "-c", "set -euo pipefail\nset -x\n" + text, env=env, timeout=600, cwd=env["HOME"])
    q.check(p.returncode == 0, f"exit {p.returncode}: {p.stderr.decode(errors='replace')[-600:]}")
    return p


def ports_of_one_decade():
    """First of four free ports that end in 1, 2, 3, 4: documents write 990$n."""
    while True:
        port = free_ports(4)
        if port % 10 == 1:
            return port


def install():
    i = Install()
    i.port = ports_of_one_decade()
    return i


def env_of(i, path=""):
    return {**i.env(), "PATH": f"{path}{i.top}/bin:{os.environ['PATH']}"}


def test_docs_readme_commands():
    commands = blocks("README.md")
    first, tests = commands[0].strip(), commands[1].strip()
    q.same((first, tests), ("./bootstrap/bootstrap.sh", "./tests/run.sh"), "the two commands")
    for c in (first, tests):
        q.check(os.access(q.REPO / c, os.X_OK), f"{c} cannot be run")
    i = install()
    env = env_of(i)
    # the tests are running right now; everything else as written
    shell([f"cd {shlex.quote(str(q.REPO))}", first, *commands[2:]], env, i.port)
    shell(["~/.threefold/bin/qsfs stop"], env, i.port)
    i.destroy()


def test_docs_operating_commands():
    i = install()
    i.bootstrap("--cache", "64M")
    shell(blocks("docs/OPERATING.md"), env_of(i), i.port)
    i.qsfs("start")
    i.qsfs("stop")
    i.destroy()


def test_docs_setup_by_hand():
    i = install()
    bin_dir = q.tmpdir("bin")
    for f in [q.BIN / "zdb", q.BIN / "zdbfs", q.BIN / "zstor", q.HOOK]:
        (bin_dir / f.name).symlink_to(f)
    top = i.home / "qsfs-by-hand"
    ended = 'for p in "$top"/run/*.pid; do kill "$(cat "$p")" 2>/dev/null || true; done; fusermount3 -u -z "$top/mnt" 2>/dev/null || true'
    backends = 'for f in "$top"/backend?/data; do for p in /proc/[0-9]*; do if tr "\\0" "\\n" <"$p/cmdline" 2>/dev/null | ' \
               'grep -qxF -- "$f"; then kill "${p#/proc/}"; fi; done; done'
    trap = f"trap '{{ set +ex; }} 2>/dev/null; top={shlex.quote(str(top))}; {ended}; {backends}' EXIT"
    keys = 'sha256sum "$top/password" "$top/zstor.yaml" >"$top/sums"'
    same = 'sha256sum --quiet -c "$top/sums"; test "$(cat "$top/mnt/first")" = hello'
    lost = 'sync "$top/mnt/first"; for p in "$top"/run/z*.pid; do kill -9 "$(cat "$p")"; done; ' + backends
    all_blocks = blocks("docs/SETUP.md")
    stopping = all_blocks.pop()
    shell([trap, *all_blocks, keys, *all_blocks, same, lost, *all_blocks, same, stopping], env_of(i, f"{bin_dir}:"), i.port)
    q.check(not os.path.ismount(top / "mnt"), "still mounted")


def test_docs_example_configuration_is_accepted():
    text = (q.REPO / "bootstrap/zstor.example.yaml").read_text()
    file = q.TMP / "example.yaml"
    file.write_text(text)
    file.chmod(0o600)
    p = q.run(q.BIN / "zstor", "-c", file, "--log_file", "/dev/null", "queue")
    q.check(p.returncode == 1 and b"hex digits" in p.stderr, f"placeholders: {p.stderr}")
    text = text.replace("REPLACE-WITH-THE-OUTPUT-OF-openssl-rand-hex-32", "5a" * 32)
    file.write_text(f"{text}\nsocket: {q.TMP}/no.sock\nstate_dir: {q.TMP}\n")
    p = q.run(q.BIN / "zstor", "-c", file, "--log_file", "/dev/null", "queue")
    q.check(p.returncode == 1 and b"Could not connect to daemon socket" in p.stderr, p.stderr)


def test_docs_links_lead_somewhere():
    broken = []
    for document in [q.REPO / "README.md", *sorted((q.REPO / "docs").glob("*.md"))]:
        for target in re.findall(r"\]\(([^)#]+)\)", document.read_text()):
            if not re.match(r"[a-z]+:", target) and not (document.parent / target).exists():
                broken.append(f"{document.name}: {target}")
    q.check(not broken, "; ".join(broken))


def test_docs_files_they_name_exist():
    missing = []
    for document in [q.REPO / "README.md", *sorted((q.REPO / "docs").glob("*.md"))]:
        for name in re.findall(r"`((?:bootstrap|tests|docs|hooks)/[A-Za-z0-9_./-]+\.[a-z0-9]+)`", document.read_text()):
            if not (q.REPO / name).exists():
                missing.append(f"{document.name}: {name}")
    q.check(not missing, "; ".join(missing))


def rows_of(text):
    """The texts of the first column, each as its fixed pieces: "index <path>: cut" is ["index", "cut"]."""
    for cell in re.findall(r"^\| (`.*?`) \|", text, re.M):
        for row in re.findall(r"`([^`]+)`", cell):
            yield row, [p.strip(" :,()") for p in re.split(r"<[^>]*>", row) if len(p.strip(" ,():")) > 2]


def sources(ending):
    for part in ("common", "zdb", "zdbfs", "zstor"):
        yield from sorted(q.REPO.glob(f"{part}/**/*.{ending}"))


def joined(text):
    """A string literal of several pieces as one: "a" PRIu64 "b"."""
    return re.sub(r'"\s*(PRI\w+)?\s*"', "", text).replace('\\"', '"')


def test_docs_troubleshooting_texts_are_in_the_programs():
    files = [*sources("[ch]"), q.HOOK, *q.REPO.glob("bootstrap/*")]
    code = joined(" ".join(f.read_text(errors="replace") for f in files if f.is_file()))
    absent = []
    text = (q.REPO / "docs/TROUBLESHOOTING.md").read_text()
    for row, pieces in rows_of(text.split("## The mount")[0] + text.split("## zdbfs\n", 1)[1]):
        absent += [f"{row!r}: {p!r}" for p in pieces if p not in code and p != "Address already in use"]
    q.check(not absent, "; ".join(absent))


def texts_of(calls, before=""):
    """(file, text) of each call whose text has words: log_warn("index %s: cut")."""
    call_of = re.compile(r"\b(?:" + calls + r")\(" + before + r'\s*((?:"(?:[^"\\]|\\.)*"|\s|PRI\w+)+)')
    for f in sources("c"):
        for call in call_of.finditer(f.read_text()):
            text = joined(call[1].strip()).strip('"')
            if len(re.sub(r"%[-0-9.*]*(ll|z|j)?[a-zA-Z]|[^a-z]", "", text)) > 9:
                yield str(f.relative_to(q.REPO)), text


def no_text_without_a_row(texts, at_least):
    rows = [pieces for _, pieces in rows_of((q.REPO / "docs/TROUBLESHOOTING.md").read_text()) if pieces]
    q.check(len(texts) > at_least, f"only {len(texts)} messages found")
    absent = [f"{f}: {text!r}" for f, text in texts if not any(all(piece in text for piece in row) for row in rows)]
    q.check(not absent, f"{len(absent)} without a row in docs/TROUBLESHOOTING.md: " + "; ".join(absent))


def test_docs_troubleshooting_has_each_warning_and_error_of_the_programs():
    no_text_without_a_row(list(texts_of("log_warn|log_error")), 100)


def test_docs_troubleshooting_has_each_error_that_a_command_answers():
    no_text_without_a_row(list(texts_of("err_set", r"[^,]*,[^,]*,")), 250)


if __name__ == "__main__":
    q.main()
