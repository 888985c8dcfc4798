"""libfar.py DIRECTORY PORT... - a proxy before each of these ports of this machine, for shell scenarios (libfar.sh).

Their own ports go to DIRECTORY/ports.  While DIRECTORY/faults is there, one in twenty answers is an error or does not come.
"""
import pathlib
import sys
import time
import types

from libproxy import Proxy

top = pathlib.Path(sys.argv[1])
proxies = [Proxy(types.SimpleNamespace(host="127.0.0.1", port=int(p)), seed=int(p)) for p in sys.argv[2:]]
(top / "ports.new").write_text("\n".join(str(p.port) for p in proxies) + "\n")
(top / "ports.new").rename(top / "ports")
faulty = False
(top / "state").write_text("honest\n")
while True:
    if faulty != (top / "faults").exists():
        faulty = not faulty
        for p in proxies:
            if faulty:
                p.fault("error", p=0.03)
                p.fault("drop", p=0.02)
            else:
                p.clear()
        (top / "state").write_text("faults\n" if faulty else "honest\n")
    time.sleep(0.05)
