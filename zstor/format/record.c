/* record - see format/record.h. */
#include "zstor/format/record.h"

#include <errno.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdlib.h>

#include "common/crc.h"
#include "common/parse.h"

#define MAX_TEXT 4096u /* namespace, password */
/* In front of the keys of a shard that is not on a 0-db (spec section 14): a key of the old
 * variant, as no 0-db gives it out any more, "QSFE"; then the number of the backend. */
#define ELSEWHERE_MAGIC 0x45465351u
#define ELSEWHERE_KEYS  2u
#define TAIL_HEAD       12u
#define TAIL_MAX        65536u
#define TAIL_VERSION    1u

enum tail_type {
    TAIL_GENERATION = 1, /* u64 */
    TAIL_TIME = 2,       /* u64, unix nanoseconds */
    TAIL_SIZE = 3,       /* u64, of the file */
    TAIL_PATH = 4,       /* bytes */
    TAIL_HOST = 5,       /* bytes */
    TAIL_BLOB = 6,       /* u64, length of the encrypted blob */
    TAIL_NAME = 7,       /* bytes */
    TAIL_WRITER = 8,     /* 16 bytes instance, u64 epoch */
    TAIL_BORN = 9,       /* u64 of each shard, by index */
};

static const uint8_t tail_magic[4] = {'Q', 'Z', 'T', 1};

void meta_record_init(struct meta_record *m, struct geometry geo)
{
    *m = (struct meta_record){.geo = geo, .size = META_SIZE_UNKNOWN};
    m->shards = xcalloc(geometry_total(geo), sizeof *m->shards);
}

void meta_record_fini(struct meta_record *m)
{
    for (unsigned i = 0; m->shards && i < geometry_total(m->geo); i++) {
        free(m->shards[i].keys);
        backend_addr_fini(&m->shards[i].addr);
    }
    free(m->shards);
    free(m->name);
    free(m->path);
    free(m->host);
    sodium_memzero(m, sizeof *m);
}

void meta_record_copy(struct meta_record *out, const struct meta_record *m)
{
    *out = *m;
    out->shards = xcalloc(geometry_total(m->geo), sizeof *out->shards);
    for (unsigned i = 0; i < geometry_total(m->geo); i++) {
        struct meta_shard *to = &out->shards[i];
        const struct meta_shard *from = &m->shards[i];
        *to = *from;
        to->keys = xcalloc(MAX(from->nkeys, (size_t)1), sizeof *to->keys);
        if (from->nkeys)
            memcpy(to->keys, from->keys, from->nkeys * sizeof *to->keys);
        if (from->present)
            backend_addr_copy(&to->addr, &from->addr);
    }
    out->name = m->name ? xstrdup(m->name) : NULL;
    out->path = m->path ? xstrdup(m->path) : NULL;
    out->host = m->host ? xstrdup(m->host) : NULL;
}

/* --- encode ---------------------------------------------------------------------------------- */

static void put_text(struct buf *b, const char *s)
{
    buf_put_le64(b, strlen(s));
    buf_put_str(b, s);
}

static void put_optional(struct buf *b, const char *s)
{
    buf_put_u8(b, s != NULL);
    if (s)
        put_text(b, s);
}

static void put_addr(struct buf *b, const struct backend_addr *a)
{
    buf_put_le32(b, a->v6);
    buf_put(b, a->ip, a->v6 ? 16 : 4);
    buf_put_le16(b, a->port);
    put_optional(b, a->ns);
    put_optional(b, a->password);
}

static void put_key(struct buf *b, bool v2, uint64_t id)
{
    buf_put_le32(b, v2);
    if (v2)
        buf_put_le64(b, id);
    else
        buf_put_le32(b, (uint32_t)id);
}

/* The 0-db that a shard elsewhere names: one that has another shard of the object; NULL: there is
 * none. */
static const struct backend_addr *stand_in(const struct meta_record *m)
{
    const struct backend_addr *any = NULL;

    for (unsigned i = 0; i < geometry_total(m->geo); i++) {
        const struct meta_shard *s = &m->shards[i];
        if (!s->present || s->addr.place != BACKEND_AT_ZDB)
            continue;
        if (s->nkeys)
            return &s->addr;
        any = &s->addr;
    }
    return any;
}

static void put_nowhere(struct buf *b) /* 100::1, which nobody has (RFC 6666) */
{
    static const uint8_t ip[16] = {1, [15] = 1};
    struct backend_addr a;

    backend_addr_make(&a, true, ip, 1, NULL, NULL);
    put_addr(b, &a);
    backend_addr_fini(&a);
}

static void put_shard(struct buf *b, uint64_t idx, const struct meta_shard *s,
                      const struct backend_addr *other)
{
    bool elsewhere = s->addr.place != BACKEND_AT_ZDB;

    buf_put_le64(b, idx);
    buf_put(b, s->digest, sizeof s->digest);
    buf_put_le64(b, s->nkeys + (elsewhere ? ELSEWHERE_KEYS : 0));
    if (elsewhere) {
        put_key(b, false, ELSEWHERE_MAGIC);
        put_key(b, true, s->addr.number);
    }
    for (size_t i = 0; i < s->nkeys; i++)
        put_key(b, s->keys[i].v2, s->keys[i].id);
    if (!elsewhere)
        put_addr(b, &s->addr);
    else if (other)
        put_addr(b, other);
    else
        put_nowhere(b);
}

static void put_entry(struct buf *b, enum tail_type type, const void *p, size_t n)
{
    if (n > UINT16_MAX / 2) /* a path longer than any file system takes is not worth its place */
        return;
    buf_put_le16(b, (uint16_t)type);
    buf_put_le16(b, (uint16_t)n);
    buf_put(b, p, n);
}

static void put_number(struct buf *b, enum tail_type type, uint64_t v)
{
    uint8_t raw[8];

    le64_put(raw, v);
    put_entry(b, type, raw, sizeof raw);
}

static void put_writer(struct buf *b, const struct meta_record *m)
{
    uint8_t raw[ZSTOR_INSTANCE_LEN + 8];

    memcpy(raw, m->writer, ZSTOR_INSTANCE_LEN);
    le64_put(raw + ZSTOR_INSTANCE_LEN, m->epoch);
    put_entry(b, TAIL_WRITER, raw, sizeof raw);
}

static void put_born(struct buf *b, const struct meta_record *m)
{
    uint8_t raw[8 * ZSTOR_MAX_SHARDS];
    unsigned n = geometry_total(m->geo);
    bool any = false;

    for (unsigned i = 0; i < n; i++) {
        le64_put(raw + (size_t)8 * i, m->shards[i].born);
        any = any || m->shards[i].born;
    }
    if (any)
        put_entry(b, TAIL_BORN, raw, (size_t)8 * n);
}

static void put_tail(struct buf *b, const struct meta_record *m)
{
    size_t start = b->len;

    buf_put(b, tail_magic, sizeof tail_magic);
    buf_put_le16(b, TAIL_VERSION);
    buf_put_le16(b, 0);
    buf_put_le32(b, 0); /* length, below */
    put_number(b, TAIL_GENERATION, m->generation);
    put_number(b, TAIL_TIME, m->time_ns);
    if (m->size != META_SIZE_UNKNOWN)
        put_number(b, TAIL_SIZE, m->size);
    if (m->blob_len)
        put_number(b, TAIL_BLOB, m->blob_len);
    if (m->name)
        put_entry(b, TAIL_NAME, m->name, strlen(m->name));
    if (m->has_writer)
        put_writer(b, m);
    put_born(b, m);
    if (m->path)
        put_entry(b, TAIL_PATH, m->path, strlen(m->path));
    if (m->host)
        put_entry(b, TAIL_HOST, m->host, strlen(m->host));
    le32_put(buf_data(b) + start + 8, (uint32_t)(b->len - start - TAIL_HEAD));
    buf_put_le32(b, crc_std(0, buf_data(b) + start, b->len - start));
}

void meta_format_encode(const struct meta_record *m, struct buf *out)
{
    unsigned n = geometry_total(m->geo), listed = 0;
    char hex[2 * ZSTOR_KEY_LEN + 1];
    const struct backend_addr *other;

    for (unsigned i = 0; i < n; i++)
        listed += m->shards[i].present;
    other = stand_in(m);
    buf_put_le64(out, m->geo.data);
    buf_put_le64(out, m->geo.parity);
    buf_put(out, m->checksum, sizeof m->checksum);
    buf_put_le32(out, 0); /* Aes */
    parse_to_hex(m->key, sizeof m->key, hex);
    put_text(out, hex);
    sodium_memzero(hex, sizeof hex);
    buf_put_le32(out, 0); /* Snappy */
    buf_put_le64(out, listed);
    for (unsigned i = 0; i < n; i++)
        if (m->shards[i].present)
            put_shard(out, i, &m->shards[i], other);
    if (m->has_tail)
        put_tail(out, m);
}

uint64_t meta_format_bound(const struct meta_record *m, uint64_t nkeys)
{
    uint64_t n = geometry_total(m->geo), per_shard = 8 + 16 + 8 + 22 + 18;

    for (uint64_t i = 0; i < n; i++) {
        const struct backend_addr *a = &m->shards[i].addr;
        per_shard = MAX(per_shard, 8 + 16 + 8 + 22 + 18 + (a->ns ? strlen(a->ns) : 0) +
                                       (a->password ? strlen(a->password) : 0));
    }
    if (add_ovf(nkeys, (uint64_t)ELSEWHERE_KEYS, &nkeys) || mul_ovf(nkeys, (uint64_t)12, &nkeys) ||
        add_ovf(nkeys, per_shard, &per_shard) || mul_ovf(per_shard, n, &per_shard))
        return UINT64_MAX;
    return per_shard + 120 + TAIL_MAX;
}

/* --- decode ---------------------------------------------------------------------------------- */

static char *take_text(struct rd *r)
{
    uint64_t len = rd_le64(r);
    const uint8_t *p;
    char *s;

    if (len > MAX_TEXT) {
        r->bad = true;
        return NULL;
    }
    p = rd_take(r, len);
    if (!p || memchr(p, 0, len)) { /* a NUL cannot be part of a name we could ever select */
        r->bad = true;
        return NULL;
    }
    s = xcalloc(len + 1, 1);
    memcpy(s, p, len);
    return s;
}

static char *take_optional(struct rd *r)
{
    uint8_t some = rd_u8(r);

    if (some > 1)
        r->bad = true;
    return some == 1 ? take_text(r) : NULL;
}

static void take_addr(struct rd *r, struct backend_addr *a)
{
    uint32_t variant = rd_le32(r);
    const uint8_t *ip;
    uint16_t port;
    char *ns, *password;

    if (variant > 1)
        r->bad = true;
    ip = rd_take(r, variant ? 16 : 4);
    port = rd_le16(r);
    ns = take_optional(r);
    password = take_optional(r);
    if (!r->bad)
        backend_addr_make(a, variant, ip, port, ns, password);
    if (password)
        sodium_memzero(password, strlen(password));
    free(ns);
    free(password);
}

static void take_keys(struct rd *r, struct meta_shard *s)
{
    uint64_t n = rd_le64(r);

    if (n > rd_left(r) / 8) { /* the shortest key takes 8 bytes */
        r->bad = true;
        return;
    }
    s->keys = calloc(n ? n : 1, sizeof *s->keys);
    if (!s->keys) {
        r->bad = true;
        return;
    }
    s->nkeys = n;
    for (uint64_t i = 0; i < n && !r->bad; i++) {
        uint32_t variant = rd_le32(r);
        if (variant > 1)
            r->bad = true;
        s->keys[i].v2 = variant == 1;
        s->keys[i].id = variant == 1 ? rd_le64(r) : rd_le32(r);
    }
}

/* Is it the shard of another kind of backend?  Then its keys and its place are put right.  Keys of
 * a 0-db are all of one variant. */
static void take_elsewhere(struct meta_shard *s)
{
    if (s->nkeys < ELSEWHERE_KEYS || s->keys[0].v2 || s->keys[0].id != ELSEWHERE_MAGIC ||
        !s->keys[1].v2)
        return;
    backend_addr_fini(&s->addr);
    backend_addr_elsewhere(&s->addr, s->keys[1].id);
    s->nkeys -= ELSEWHERE_KEYS;
    memmove(s->keys, s->keys + ELSEWHERE_KEYS, s->nkeys * sizeof *s->keys);
}

static void take_shard(struct rd *r, uint64_t position, struct meta_record *m)
{
    uint64_t idx = rd_le64(r);
    const uint8_t *digest = rd_take(r, ZSTOR_DIGEST_LEN);
    struct meta_shard *s;

    if (r->bad || idx >= geometry_total(m->geo) || m->shards[idx].present) {
        r->bad = true;
        return;
    }
    m->irregular |= idx != position;
    s = &m->shards[idx];
    s->present = true;
    memcpy(s->digest, digest, sizeof s->digest);
    take_keys(r, s);
    take_addr(r, &s->addr);
    if (!r->bad)
        take_elsewhere(s);
}

static bool entry_u64(struct slice s, uint64_t *out)
{
    if (s.len != 8)
        return false;
    *out = le64_get(s.p);
    return true;
}

static bool entry_writer(struct slice s, struct meta_record *m)
{
    if (s.len != ZSTOR_INSTANCE_LEN + 8)
        return false;
    memcpy(m->writer, s.p, ZSTOR_INSTANCE_LEN);
    m->epoch = le64_get(s.p + ZSTOR_INSTANCE_LEN);
    m->has_writer = true;
    return true;
}

static bool entry_born(struct slice s, struct meta_record *m)
{
    if (s.len != (size_t)8 * geometry_total(m->geo))
        return false;
    for (unsigned i = 0; i < geometry_total(m->geo); i++)
        m->shards[i].born = le64_get(s.p + (size_t)8 * i);
    return true;
}

static char *entry_text(struct slice s)
{
    char *t = xcalloc(s.len + 1, 1);

    if (s.len)
        memcpy(t, s.p, s.len);
    return t;
}

/* 0: no tail of ours, or a good one; -EPROTO: from a future version */
static int take_tail(struct slice in, struct meta_record *m, struct err *e)
{
    struct rd r = rd_of(in), body;
    const uint8_t *head = rd_take(&r, TAIL_HEAD);
    uint32_t n;

    if (!head || memcmp(head, tail_magic, sizeof tail_magic) != 0)
        return 0;
    n = le32_get(head + 8);
    if (n > TAIL_MAX || !rd_take(&r, n) || rd_left(&r) < 4 ||
        crc_std(0, head, TAIL_HEAD + n) != rd_le32(&r))
        return 0;
    if (le16_get(head + 4) != TAIL_VERSION || le16_get(head + 6) != 0)
        return err_set(
            e, EPROTO,
            "metadata record: tail of version %u with flags %#x, known are version %u and no flags",
            le16_get(head + 4), le16_get(head + 6), TAIL_VERSION);
    body = rd_of(slice_of(head + TAIL_HEAD, n));
    while (rd_left(&body)) {
        uint16_t type = rd_le16(&body), len = rd_le16(&body);
        struct slice v = rd_slice(&body, len);
        bool good = !body.bad;
        switch (good ? type : 0) {
        case TAIL_GENERATION:
            good = entry_u64(v, &m->generation);
            break;
        case TAIL_TIME:
            good = entry_u64(v, &m->time_ns);
            break;
        case TAIL_SIZE:
            good = entry_u64(v, &m->size);
            break;
        case TAIL_BLOB:
            good = entry_u64(v, &m->blob_len);
            break;
        case TAIL_PATH:
            free(m->path);
            m->path = entry_text(v);
            break;
        case TAIL_NAME:
            free(m->name);
            m->name = entry_text(v);
            break;
        case TAIL_WRITER:
            good = entry_writer(v, m);
            break;
        case TAIL_BORN:
            good = entry_born(v, m);
            break;
        case TAIL_HOST:
            free(m->host);
            m->host = entry_text(v);
            break;
        default:
            break;
        }
        if (!good)
            return err_set(e, EBADMSG, "metadata record: malformed entry %u in the tail", type);
    }
    m->has_tail = true;
    return 0;
}

int meta_format_decode(struct slice in, struct meta_record *out, struct err *e)
{
    struct rd r = rd_of(in);
    uint64_t data = rd_le64(&r), parity = rd_le64(&r), n;
    const uint8_t *sum = rd_take(&r, ZSTOR_DIGEST_LEN);
    uint32_t cipher = rd_le32(&r);
    struct slice hex = rd_slice(&r, rd_le64(&r));
    uint32_t packer = rd_le32(&r);
    uint8_t key[ZSTOR_KEY_LEN];
    int err;

    *out = (struct meta_record){0};
    n = rd_le64(&r);
    if (r.bad)
        return err_set(e, EBADMSG, "metadata record: truncated");
    if (!geometry_valid(data, parity))
        return err_set(e, EBADMSG,
                       "metadata record: %" PRIu64 " data and %" PRIu64
                       " parity shards are not possible",
                       data, parity);
    if (cipher != 0 || packer != 0 || parse_hex(hex, key, sizeof key) < 0)
        return err_set(e, EBADMSG,
                       "metadata record: unknown encryption or compression, or a malformed key");
    meta_record_init(out, (struct geometry){(unsigned)data, (unsigned)parity});
    memcpy(out->checksum, sum, sizeof out->checksum);
    memcpy(out->key, key, sizeof out->key);
    sodium_memzero(key, sizeof key);
    if (n > geometry_total(out->geo))
        r.bad = true;
    for (uint64_t i = 0; i < n && !r.bad; i++)
        take_shard(&r, i, out);
    out->irregular |= n != geometry_total(out->geo);
    if (r.bad) {
        meta_record_fini(out);
        return err_set(e, EBADMSG, "metadata record: malformed shard list");
    }
    err = take_tail(slice_of(r.p, rd_left(&r)), out, e);
    if (err < 0)
        meta_record_fini(out);
    return err;
}

size_t meta_key_to_wire(const struct meta_key *k, uint8_t out[8])
{
    if (k->v2)
        le64_put(out, k->id);
    else
        le32_put(out, (uint32_t)k->id);
    return k->v2 ? 8 : 4;
}

int meta_key_from_wire(struct slice s, struct meta_key *out)
{
    if (s.len != 4 && s.len != 8)
        return -EPROTO;
    *out = s.len == 8 ? (struct meta_key){true, le64_get(s.p)}
                      : (struct meta_key){false, le32_get(s.p)};
    return 0;
}

/* --- JSON ------------------------------------------------------------------------------------ */

static void json_text(struct buf *out, const char *s)
{
    if (!s) {
        buf_put_str(out, "null");
        return;
    }
    buf_put_u8(out, '"');
    for (; *s; s++) {
        if (*s == '"' || *s == '\\')
            buf_printf(out, "\\%c", *s);
        else if ((uint8_t)*s < 0x20)
            buf_printf(out, "\\u%04x", (unsigned)*s);
        else
            buf_put_u8(out, (uint8_t)*s);
    }
    buf_put_u8(out, '"');
}

static void json_hex(struct buf *out, const uint8_t *p, size_t n)
{
    char hex[2 * ZSTOR_KEY_LEN + 1];

    parse_to_hex(p, n, hex);
    buf_printf(out, "\"%s\"", hex);
    sodium_memzero(hex, sizeof hex);
}

static void json_shard(struct buf *out, unsigned idx, const struct meta_shard *s, int in)
{
    buf_printf(out, "%*s{\n%*s\"checksum\": ", in, "", in + 2, "");
    json_hex(out, s->digest, sizeof s->digest);
    buf_printf(out, ",\n%*s\"ci\": {\n%*s\"address\": ", in + 2, "", in + 4, "");
    json_text(out, s->addr.address);
    buf_printf(out, ",\n%*s\"namespace\": ", in + 4, "");
    json_text(out, s->addr.ns);
    buf_printf(out, ",\n%*s\"password\": ", in + 4, "");
    json_text(out, s->addr.password);
    buf_printf(out, "\n%*s},\n%*s\"keys\": [", in + 2, "", in + 2, "");
    for (size_t i = 0; i < s->nkeys; i++)
        buf_printf(out, "%s\n%*s{\n%*s\"%s\": %" PRIu64 "\n%*s}", i ? "," : "", in + 4, "", in + 6,
                   "", s->keys[i].v2 ? "V2" : "V1", s->keys[i].id, in + 4, "");
    if (s->nkeys)
        buf_printf(out, "\n%*s", in + 2, "");
    buf_printf(out, "],\n%*s\"shard_idx\": %u\n%*s}", in + 2, "", idx, in, "");
}

void meta_format_json(const struct meta_record *m, unsigned indent, struct buf *out)
{
    int in = (int)indent;
    bool first = true;

    buf_printf(out, "{\n%*s\"checksum\": ", in + 2, "");
    json_hex(out, m->checksum, sizeof m->checksum);
    buf_printf(out,
               ",\n%*s\"compression\": \"Snappy\",\n%*s\"data_shards\": "
               "%u,\n%*s\"disposable_shards\": %u,\n",
               in + 2, "", in + 2, "", m->geo.data, in + 2, "", m->geo.parity);
    buf_printf(out, "%*s\"encryption\": {\n%*s\"Aes\": ", in + 2, "", in + 4, "");
    json_hex(out, m->key, sizeof m->key);
    buf_printf(out, "\n%*s},\n%*s\"shards\": [", in + 2, "", in + 2, "");
    for (unsigned i = 0; i < geometry_total(m->geo); i++) {
        if (!m->shards[i].present)
            continue;
        buf_put_str(out, first ? "\n" : ",\n");
        first = false;
        json_shard(out, i, &m->shards[i], in + 4);
    }
    if (!first)
        buf_printf(out, "\n%*s", in + 2, "");
    buf_printf(out, "]\n%*s}", in, "");
}
