"""zfiles - zdb's files, read the way the original reads them (docs/FORMATS.md); independent of zdb's own code."""
import os
import struct

INDEX_HEADER, DATA_HEADER = 29, 28
INDEX_FIXED = struct.Struct("<BIIIBIIIII")   # idlength offset length previous flags dataid timestamp crc parentid parentoff
DATA_FIXED = struct.Struct("<BIIIBI")        # idlength datalength previous integrity flags timestamp


class Bad(Exception):
    """Not a file the original would open, or it would answer something wrong."""


def _table():
    out = []
    for n in range(256):
        for _ in range(8):
            n = n >> 1 ^ (0x82f63b78 if n & 1 else 0)
        out.append(n)
    return out


CRC_TABLE = _table()


def crc(data):
    """CRC-32C, initial value 0, no final inversion."""
    c, table = 0, CRC_TABLE
    for b in data:
        c = table[(c ^ b) & 0xff] ^ c >> 8
    return c


class Record:
    """Index record: file, at (offset of the record), end, and its fields."""

    def __init__(self, file, at, fields, key):
        self.file, self.at, self.key, self.end = file, at, key, at + INDEX_FIXED.size + len(key)
        (_, self.offset, self.length, self.previous, self.flags, self.dataid, self.timestamp, self.crc, self.parentid,
         self.parentoff) = fields

    deleted = property(lambda r: bool(r.flags & 1))


class DataRecord:
    def __init__(self, file, at, fields, key, payload_at):
        self.file, self.at, self.key, self.payload_at = file, at, key, payload_at
        _, self.length, self.previous, self.crc, self.flags, self.timestamp = fields
        self.end = payload_at + self.length


WATERMARK = struct.Struct("<4sIIIQIIQQIIIIQII")     # docs/FORMATS.md
CLEAN, FLUSHING = 1, 2


class Watermark:
    def __init__(self, fields):
        (_, _, self.flags, self.mode, self.sequence, self.segment, self.last_data, self.data_size, self.index_size,
         self.last_index, _, _, self.safe_segment, self.safe_size, self.chain, _) = fields


def watermark(raw):
    """The slot that counts, or None."""
    best = None
    for i in range(2):
        slot = bytes(raw[i * 4096:i * 4096 + WATERMARK.size])
        if len(slot) == WATERMARK.size and slot[:8] == b"ZWM1\1\0\0\0" and crc(slot[:-4]) == int.from_bytes(slot[-4:], "little"):
            w = Watermark(WATERMARK.unpack(slot))
            if best is None or w.sequence > best.sequence:
                best = w
    return best


def index_header(raw, path="index"):
    if len(raw) < INDEX_HEADER or raw[:4] != b"IDX0":
        raise Bad(f"{path}: no index header")
    version, _, _, number, mode = struct.unpack_from("<IQQIB", raw, 4)
    if version != 4:
        raise Bad(f"{path}: version {version}")
    return number, mode


def index_records(raw, number, path="index"):
    at, out = INDEX_HEADER, []
    while at < len(raw):
        if at + INDEX_FIXED.size > len(raw):
            raise Bad(f"{path}: torn record at {at}")
        fields = INDEX_FIXED.unpack_from(raw, at)
        key = raw[at + INDEX_FIXED.size:at + INDEX_FIXED.size + fields[0]]
        if not fields[0] or len(key) != fields[0]:
            raise Bad(f"{path}: torn record at {at}")
        out.append(Record(number, at, fields, bytes(key)))
        at = out[-1].end
    return out


def data_records(raw, number, path="data"):
    if len(raw) < DATA_HEADER or raw[:4] != b"DAT0":
        raise Bad(f"{path}: no data header")
    at, out = DATA_HEADER, []
    while at < len(raw):
        record = data_record(raw, number, at)
        if record is None:
            raise Bad(f"{path}: torn record at {at}")
        out.append(record)
        at = record.end
    return out


def data_record(raw, number, at):
    if at + DATA_FIXED.size > len(raw):
        return None
    fields = DATA_FIXED.unpack_from(raw, at)
    begin = at + DATA_FIXED.size
    r = DataRecord(number, at, fields, bytes(raw[begin:begin + fields[0]]), begin + fields[0])
    return r if r.end <= len(raw) and fields[0] else None


def numbered(directory, letter, cleaned=0):
    """Contents of iN or dN from 0 to the highest number there is; None: it is missing, which may be so below `cleaned`."""
    out = []
    if cleaned:
        for n in range(cleaned):
            p = os.path.join(directory, f"{letter}{n}")
            out.append(None)
            if os.path.exists(p):
                with open(p, "rb") as f:
                    out[n] = f.read()
    while os.path.exists(p := os.path.join(directory, f"{letter}{len(out)}")):
        with open(p, "rb") as f:
            out.append(f.read())
    highest = max((int(n[1:]) for n in os.listdir(directory) if n[0] == letter and n[1:].isdigit()), default=-1)
    if highest + 1 != len(out):
        raise Bad(f"{directory}: {letter}{len(out)} is missing")
    return out


def original_reads(index_dir, data_dir):
    """{key: value} as the original would serve it from these files; Bad when it would stumble."""
    index = numbered(index_dir, "i")
    data = numbered(data_dir, "d", len(index) - 1 if os.path.exists(os.path.join(index_dir, "zdb-policy")) else 0)
    if len(index) != len(data):
        raise Bad(f"{index_dir}: {len(index)} index files, {len(data)} data files")
    live, last = {}, 0
    modes, first = set(), 0
    for n, raw in enumerate(index):
        number, mode = index_header(raw, f"{index_dir}/i{n}")
        modes.add(mode)
        if number != n:
            raise Bad(f"{index_dir}/i{n}: file id {number}")
        records = index_records(raw, n, f"{index_dir}/i{n}")
        for rank, r in enumerate(records):
            if r.previous != last:
                raise Bad(f"{index_dir}/i{n}: record at {r.at}: previous {r.previous}, not {last}")
            last = r.at
            if mode == 1 and len(r.key) != 8:
                raise Bad(f"{index_dir}/i{n}: record at {r.at}: key of {len(r.key)} bytes")
            if mode == 1:
                if struct.unpack("<Q", r.key)[0] == first + rank and not r.deleted:
                    live[r.key] = r
            elif r.deleted:
                live.pop(r.key, None)
            else:
                live[r.key] = r
        first += len(records)
    if len(modes) != 1:
        raise Bad(f"{index_dir}: modes {modes}")
    out = {}
    seq = modes == {1}
    for key, r in live.items():
        n = r.dataid if seq else r.file
        d = data_record(data[n], n, r.offset) if n < len(data) and data[n] is not None else None
        if d is None or d.key != key or d.length != r.length or d.crc != r.crc or d.flags & 1:
            raise Bad(f"{index_dir}/i{r.file}: record at {r.at}: no such data record at {r.offset} of d{n}")
        out[key] = data[n][d.payload_at:d.end]
    for n, raw in enumerate(data):
        if raw is not None:
            data_records(raw, n, f"{data_dir}/d{n}")
    return out
