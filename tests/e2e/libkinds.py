"""libkinds - backends of zstor that are not 0-dbs, with the face of a Backend."""
import shutil

import libqsfs as q


class Directory:
    """A directory backend; gone(): as if its medium was not mounted, back(): mounted again."""

    def __init__(self, **keys):
        self.base = q.tmpdir("medium")
        self.path = self.base / "mnt"
        self.path.mkdir()
        self.address = f"dir:{self.path}"
        self.keys = keys
        q.run(q.BIN / "zstor", "--log_file", self.base / "cli.log", "mark", self.address, check_exit=0)

    def entry(self, kind):
        return {"address": self.address, **(self.keys if kind == "data" else {})}

    def files(self, part="values"):
        return [p for p in (self.path / part).glob("*/*")]

    def count(self):
        return len(self.files())

    def gone(self):
        self.path.rename(self.base / "unplugged")
        self.path.mkdir()

    def back(self):
        q.same(list(self.path.iterdir()), [], "what was written where nothing is mounted")
        self.path.rmdir()
        (self.base / "unplugged").rename(self.path)

    def wipe(self):
        shutil.rmtree(self.path / "values")

    def stop(self):
        pass


class RedisServer(q.Daemon):
    """A real redis that keeps what it has acknowledged; gone(): killed."""
    name = "redis"

    def __init__(self, *options, password=None):
        self.base = q.tmpdir("redis")
        self.port = q.free_port()
        self.password = password
        self.address = f"redis://127.0.0.1:{self.port}/1"
        argv = ["redis-server", "--port", self.port, "--bind", "127.0.0.1", "--dir", self.base, "--save", "",
                "--appendonly", "yes", "--appendfsync", "always", *options]
        super().__init__(argv + (["--requirepass", password] if password else []), self.base / "log")

    def client(self):
        c = q.Redis(port=self.port)
        if self.password:
            c.ok("AUTH", self.password)
        c.ok("SELECT", "1")
        return c

    def ready(self):
        with self.client() as c:
            return c.cmd("PING") == "PONG"

    def entry(self, kind):
        return {"address": self.address, **({"password": self.password} if self.password else {})}

    def keys(self, start=b"qsfs:v:"):
        with self.client() as c:
            return [k for k in c.ok("KEYS", "*") if bytes(k).startswith(start)]

    def count(self):
        return len(self.keys())

    def gone(self):
        self.kill9()

    def back(self):
        self.start()


class Zdb(q.Backend):
    def count(self):
        with self.client() as c:
            return int(c.info(self.data_ns)["entries"])

    def gone(self):
        self.kill9()

    def back(self):
        self.start()
