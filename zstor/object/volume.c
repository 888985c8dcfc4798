/* volume - see object/volume.h. */
#include "zstor/object/volume.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/digest.h"
#include "common/log.h"
#include "common/parse.h"
#include "common/path.h"
#include "zstor/object/generations.h"

#define FILE_HEAD "zstor-instance 1 " /* 32 hex digits, epoch, and 32 of the volume's id or - */
#define FILE_MAX  256

struct volume {
    pthread_mutex_t file_lock; /* of the content of `file`; taken before `lock` */
    pthread_mutex_t lock;      /* of what follows `file`, and of bound and id */
    uint8_t instance[ZSTOR_INSTANCE_LEN];
    char host[256];
    uint64_t lease_ms;
    bool is_new;
    bool bound; /* to `id` */
    uint8_t id[ZSTOR_INSTANCE_LEN];
    char *file;
    enum { UNKNOWN, HELD, REFUSED } state;
    uint64_t epoch, until_ms;
    struct err why; /* REFUSED */
    struct generations *known;
};

bool volume_id(struct volume *v, uint8_t *id)
{
    bool known;

    pthread_mutex_lock(&v->lock);
    known = v->bound;
    if (known)
        memcpy(id, v->id, sizeof v->id);
    pthread_mutex_unlock(&v->lock);
    return known;
}

/* file_lock is held, or nobody else knows v yet. */
static int file_write(struct volume *v, uint64_t epoch, struct err *e)
{
    CLEANUP(buf_fini) struct buf text = BUF_INIT;
    char hex[2 * ZSTOR_INSTANCE_LEN + 1], id[2 * ZSTOR_INSTANCE_LEN + 1] = "-";
    uint8_t raw[sizeof v->id];

    parse_to_hex(v->instance, sizeof v->instance, hex);
    if (volume_id(v, raw))
        parse_to_hex(raw, sizeof raw, id);
    buf_printf(&text, FILE_HEAD "%s %" PRIu64 " %s\n", hex, epoch, id);
    return path_replace(v->file, buf_slice(&text), 0600, e);
}

/* "zstor-instance 1 <32 hex digits> <epoch> <32 hex digits, or ->\n" */
static int file_parse(struct volume *v, struct slice text)
{
    const size_t head = strlen(FILE_HEAD), hex = 2 * sizeof v->instance;
    struct slice rest, id;
    const uint8_t *blank;

    if (!text.p || text.len < head + hex + 3 || memcmp(text.p, FILE_HEAD, head) != 0 ||
        text.p[text.len - 1] != '\n' || text.p[head + hex] != ' ' ||
        parse_hex(slice_of(text.p + head, hex), v->instance, sizeof v->instance) < 0)
        return -EBADMSG;
    rest = slice_of(text.p + head + hex + 1, text.len - head - hex - 2);
    blank = memchr(rest.p, ' ', rest.len);
    id = blank ? slice_of(blank + 1, rest.len - (size_t)(blank + 1 - rest.p)) : slice_str("-");
    v->bound = !slice_eq_str(id, "-");
    if (v->bound && (id.len != 2 * sizeof v->id || parse_hex(id, v->id, sizeof v->id) < 0))
        return -EBADMSG;
    return parse_u64_slice(slice_of(rest.p, blank ? (size_t)(blank - rest.p) : rest.len), 0,
                           UINT64_MAX, &v->epoch);
}

static int file_open(struct volume *v, const char *state_dir, struct err *e)
{
    CLEANUP(buf_fini) struct buf text = BUF_INIT;
    CLEANUP(base_free) char *queue = path_join(state_dir, "queue");
    struct err why = {0};
    int r = path_read(v->file, FILE_MAX, &text, &why);

    if (r == 0) {
        r = file_parse(v, buf_slice(&text));
        return r < 0 ? err_set(e, EBADMSG,
                               "%s: is no identity of a zstor; without it the volume can only be "
                               "taken over: remove the file, then zstor takeover",
                               v->file)
                     : 0;
    }
    if (r != -ENOENT)
        return err_set(e, -r, "state_dir: %s", why.text);
    v->is_new = access(queue, F_OK) < 0;
    r = path_mkdirs(state_dir, 0700);
    if (r < 0)
        return err_sys(e, -r, "state_dir %s", state_dir);
    if (digest_random(v->instance, sizeof v->instance) < 0)
        return err_set(e, EIO, "no random numbers");
    r = file_write(v, 0, e);
    return r < 0 ? err_prefix(e, "state_dir") : 0;
}

int volume_open(struct volume **out, const char *state_dir, uint64_t lease_ms, struct err *e)
{
    struct volume *v = xcalloc(1, sizeof *v);
    int r;

    pthread_mutex_init(&v->file_lock, NULL);
    pthread_mutex_init(&v->lock, NULL);
    v->lease_ms = lease_ms;
    v->file = path_join(state_dir, "instance");
    if (gethostname(v->host, sizeof v->host - 1) < 0)
        v->host[0] = '\0';
    r = file_open(v, state_dir, e);
    if (r >= 0)
        r = generations_open(&v->known, state_dir, e);
    if (r < 0) {
        volume_close(v);
        return r;
    }
    *out = v;
    return 0;
}

void volume_close(struct volume *v)
{
    if (!v)
        return;
    generations_close(v->known);
    pthread_mutex_destroy(&v->lock);
    pthread_mutex_destroy(&v->file_lock);
    free(v->file);
    free(v);
}

const uint8_t *volume_instance(const struct volume *v)
{
    return v->instance;
}

const char *volume_host(const struct volume *v)
{
    return v->host;
}

uint64_t volume_lease_ms(const struct volume *v)
{
    return v->lease_ms;
}

bool volume_new(const struct volume *v)
{
    return v->is_new;
}

uint64_t volume_epoch(struct volume *v)
{
    uint64_t epoch;

    pthread_mutex_lock(&v->lock);
    epoch = v->epoch;
    pthread_mutex_unlock(&v->lock);
    return epoch;
}

bool volume_is(struct volume *v, const uint8_t *id)
{
    bool same;

    pthread_mutex_lock(&v->lock);
    same = !v->bound || memcmp(v->id, id, sizeof v->id) == 0;
    pthread_mutex_unlock(&v->lock);
    return same;
}

int volume_bind(struct volume *v, const uint8_t *id, struct err *e)
{
    uint8_t known[sizeof v->id];
    int r = 0;

    if (!volume_is(v, id))
        return err_set(e, EBUSY,
                       "state_dir: %s is of another volume than the one at the backends: give each "
                       "configuration its own",
                       v->file);
    pthread_mutex_lock(&v->file_lock);
    if (!volume_id(v, known)) {
        pthread_mutex_lock(&v->lock);
        memcpy(v->id, id, sizeof v->id);
        v->bound = true;
        pthread_mutex_unlock(&v->lock);
        r = file_write(v, volume_epoch(v), e);
    }
    pthread_mutex_unlock(&v->file_lock);
    return r;
}

int volume_hold(struct volume *v, uint64_t epoch, uint64_t until_ms, struct err *e)
{
    int r = 0;

    pthread_mutex_lock(&v->file_lock);
    if (epoch != volume_epoch(v))
        r = file_write(v, epoch, e);
    if (r == 0) {
        pthread_mutex_lock(&v->lock);
        v->state = HELD;
        v->epoch = epoch;
        v->until_ms = MAX(v->until_ms, until_ms);
        pthread_mutex_unlock(&v->lock);
    }
    pthread_mutex_unlock(&v->file_lock);
    return r;
}

void volume_refuse(struct volume *v, const struct err *why)
{
    pthread_mutex_lock(&v->lock);
    v->state = REFUSED;
    v->until_ms = 0;
    v->why = *why;
    pthread_mutex_unlock(&v->lock);
}

void volume_forget(struct volume *v)
{
    pthread_mutex_lock(&v->lock);
    v->state = UNKNOWN;
    v->until_ms = 0;
    pthread_mutex_unlock(&v->lock);
}

bool volume_held(struct volume *v)
{
    bool held;

    pthread_mutex_lock(&v->lock);
    held = v->state == HELD;
    pthread_mutex_unlock(&v->lock);
    return held;
}

int volume_writable(struct volume *v, uint64_t need_ms, struct err *e)
{
    int r = 0;

    pthread_mutex_lock(&v->lock);
    if (v->state == REFUSED)
        r = err_set(e, v->why.code, "%s", v->why.text);
    else if (v->state == UNKNOWN || base_now_ms() + need_ms > v->until_ms)
        r = -EAGAIN;
    pthread_mutex_unlock(&v->lock);
    return r;
}

int volume_may_replace(struct volume *v, const struct meta_record *old, struct err *e)
{
    char hex[2 * ZSTOR_INSTANCE_LEN + 1];

    if (!old->has_tail || !old->has_writer || memcmp(old->writer, v->instance, 16) == 0 ||
        old->epoch < volume_epoch(v))
        return 0;
    parse_to_hex(old->writer, sizeof old->writer, hex);
    return err_set(e, EBUSY,
                   "its record was written by the zstor %.8s on %s (epoch %" PRIu64
                   "), which has the volume: not replaced",
                   hex, old->host ? old->host : "another machine", old->epoch);
}

static bool key_digest(const char *key, uint8_t out[ZSTOR_DIGEST_LEN])
{
    size_t len = strlen(key), hex = 2 * ZSTOR_DIGEST_LEN;

    return len > hex && parse_hex(slice_of(key + len - hex, hex), out, ZSTOR_DIGEST_LEN) == 0;
}

uint64_t volume_generation(struct volume *v, const char *key, bool *deleted)
{
    uint8_t digest[ZSTOR_DIGEST_LEN];
    uint64_t generation;

    *deleted = false;
    if (!key_digest(key, digest))
        return 0;
    pthread_mutex_lock(&v->lock);
    generation = generations_get(v->known, digest, deleted);
    pthread_mutex_unlock(&v->lock);
    return generation;
}

size_t volume_alive(struct volume *v)
{
    size_t n;

    pthread_mutex_lock(&v->lock);
    n = generations_alive(v->known);
    pthread_mutex_unlock(&v->lock);
    return n;
}

int volume_learn(struct volume *v, const char *key, uint64_t generation, bool deleted, bool written)
{
    uint8_t digest[ZSTOR_DIGEST_LEN];
    int r;

    if (!key_digest(key, digest))
        return 0;
    pthread_mutex_lock(&v->lock);
    r = generations_put(v->known, digest, generation, deleted, written);
    pthread_mutex_unlock(&v->lock);
    if (r < 0)
        log_warn("%s: the generation of %s is not remembered: %s", v->file, key, strerror(-r));
    return r;
}

int volume_compact(struct volume *v, struct err *e)
{
    int r;

    pthread_mutex_lock(&v->lock);
    r = generations_compact(v->known, e);
    pthread_mutex_unlock(&v->lock);
    return r;
}

void volume_sign(struct volume *v, struct meta_record *m)
{
    m->has_tail = m->has_writer = true;
    memcpy(m->writer, v->instance, sizeof m->writer);
    m->epoch = volume_epoch(v);
}
