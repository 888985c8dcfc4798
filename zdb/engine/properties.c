/* properties - properties of a namespace: descriptor file, NSSET, what NSINFO shows.  Contract:
 * engine/namespace.h. Overrides (--protect, --maxsize) stand beside the stored values, so that they
 * never reach the descriptor. */
#include "common/io.h"
#include "common/log.h"
#include "common/path.h"
#include "zdb/format/namespace.h"
#include "zdb/engine/namespace_impl.h"
#include <sodium.h>
#include <stdlib.h>
#include <unistd.h>

uint64_t ns_limit(const struct ns *ns)
{
    return ns->max_size_override ? ns->max_size_override : ns->max_size;
}

int ns_write_descriptor(struct ns *ns, struct err *e)
{
    CLEANUP(base_free) char *path = path_join(ns->index_dir, NS_FORMAT_FILE);
    struct ns_format f = {.name = slice_str(ns->name),
                          .password = buf_slice(&ns->password),
                          .max_size = ns->max_size,
                          .is_public = ns->is_public,
                          .worm = ns->worm};
    struct buf bytes = BUF_INIT;
    int r;

    ns_format_encode(&bytes, &f);
    r = path_replace(path, buf_slice(&bytes), 0600, e);
    sodium_memzero(bytes.p, bytes.cap);
    buf_fini(&bytes);
    return r;
}

static void set_bytes(struct buf *to, struct slice s)
{
    struct buf fresh = BUF_INIT;

    buf_put_slice(&fresh, s);
    if (to->p)
        sodium_memzero(to->p, to->cap);
    buf_fini(to);
    *to = fresh;
}

static bool has_segments(const struct ns *ns)
{
    CLEANUP(base_free) char *path = path_join(ns->index_dir, "i0");

    return access(path, F_OK) == 0;
}

/* A torn descriptor is written anew only where it cannot take away a password. */
int ns_read_descriptor(struct ns *ns, struct err *e)
{
    CLEANUP(base_free) char *path = path_join(ns->index_dir, NS_FORMAT_FILE);
    CLEANUP(buf_fini) struct buf bytes = BUF_INIT;
    struct ns_format f;
    int r;

    r = path_read(path, 64 * KIB, &bytes, e);
    if (r < 0 && r != -ENOENT)
        return r;
    if (r == 0 && bytes.len < NS_FORMAT_HEADER_SIZE && has_segments(ns) &&
        strcmp(ns->name, "default") != 0)
        return err_set(
            e, ENODATA,
            "descriptor %s: only %zu bytes; restore the file, or remove it to start with defaults "
            "(public, no password)",
            path, bytes.len);
    if (bytes.len < NS_FORMAT_HEADER_SIZE) {
        if (r == 0)
            log_warn("descriptor %s: only %zu bytes, written anew with defaults", path, bytes.len);
        err_clear(e);
        return ns_write_descriptor(ns, e);
    }
    r = ns_format_decode(buf_slice(&bytes), &f);
    if (r < 0)
        return err_set(
            e, -r, "descriptor %s: %s; restore the file, or move it away to start with defaults",
            path, r == -EPROTONOSUPPORT ? "unknown version" : "damaged");
    set_bytes(&ns->password, f.password);
    ns->max_size = f.max_size;
    ns->is_public = f.is_public;
    ns->worm = f.worm;
    return 0;
}

static int save(struct ns *ns)
{
    struct err e = {0};
    int r = ns_write_descriptor(ns, &e);

    if (r < 0)
        log_error("%s", e.text);
    return r;
}

static int saved(struct ns *ns, int r)
{
    struct ns_events *ev = &ns->env->events;

    if (r == 0 && ev->updated)
        ev->updated(ev->arg, ns->name);
    return r;
}

bool ns_used(const struct ns *ns)
{
    return ns->nsegs > 1 || ns_active(ns)->id != 0 || ns_active(ns)->index.size > INDEX_HEADER_SIZE;
}

int ns_set_mode(struct ns *ns, enum ns_mode mode)
{
    struct seg *s = ns_active(ns);
    enum ns_mode old = ns->mode;
    int r;

    if (ns->env->mode != NS_MIXED)
        return -NS_ESINGLE;
    if (ns_used(ns))
        return -NS_EUSED;
    r = index_write_header(&s->index, (uint8_t)mode);
    if (r == 0)
        r = io_fdatasync(s->index.file->fd); /* as durable as the descriptor: the mode is nowhere
                                                else */
    if (r == 0) {
        ns->checkpoint.now.mode = (uint32_t)mode;
        r = ns_checkpoint_open(ns);
    }
    if (r == 0) {
        r = save(ns);
        if (r < 0)
            (void)index_write_header(&s->index, (uint8_t)old);
    }
    if (r < 0) {
        ns_index_failed(ns);
        return r;
    }
    ns_sync_note(ns, s);
    ns->mode = mode;
    ids_fini(&ns->seq);
    if (mode == NS_SEQ)
        ids_push(&ns->seq, s->id, 0);
    return saved(ns, 0);
}

int ns_set_lock(struct ns *ns, enum ns_lock lock)
{
    int r = save(ns); /* nothing of it is stored; the original writes the descriptor all the same */

    if (r == 0)
        ns->lock = lock;
    return saved(ns, r);
}

int ns_set_maxsize(struct ns *ns, uint64_t bytes)
{
    uint64_t old = ns->max_size;
    int r;

    ns->max_size = bytes;
    r = save(ns);
    if (r < 0)
        ns->max_size = old;
    return saved(ns, r);
}

int ns_set_password(struct ns *ns, struct slice password)
{
    struct buf old = ns->password;
    int r;

    if (password.len > NS_PASSWORD_MAX)
        return -EINVAL;
    ns->password = (struct buf)BUF_INIT;
    buf_put_slice(&ns->password, password);
    r = save(ns);
    if (r < 0) {
        struct buf t = old;
        old = ns->password;
        ns->password = t;
    }
    if (old.p)
        sodium_memzero(old.p, old.cap);
    buf_fini(&old);
    return saved(ns, r);
}

int ns_set_public(struct ns *ns, bool on)
{
    bool old = ns->is_public;
    int r;

    ns->is_public = on;
    r = save(ns);
    if (r < 0)
        ns->is_public = old;
    return saved(ns, r);
}

int ns_set_worm(struct ns *ns, bool on)
{
    bool old = ns->worm;
    int r;

    ns->worm = on;
    r = save(ns);
    if (r < 0)
        ns->worm = old;
    return saved(ns, r);
}

static int write_policy(struct ns *ns, struct err *e)
{
    CLEANUP(base_free) char *path = path_join(ns->index_dir, POLICY_FILE);
    uint8_t bytes[POLICY_SIZE];

    policy_encode(bytes, &ns->policy);
    return path_replace(path, slice_of(bytes, sizeof bytes), 0600, e);
}

void ns_read_policy(struct ns *ns)
{
    CLEANUP(base_free) char *path = path_join(ns->index_dir, POLICY_FILE);
    CLEANUP(buf_fini) struct buf bytes = BUF_INIT;
    int r = path_read(path, 4 * KIB, &bytes, NULL);

    ns->policy = (struct policy){0};
    if (r == -ENOENT)
        return;
    if (r == 0)
        r = policy_decode(buf_slice(&bytes), &ns->policy);
    if (r < 0)
        log_error("policy %s: %s; nothing is cleaned until NSSET policy says so again", path,
                  r == -EPROTONOSUPPORT            ? "unknown version"
                  : r == -EBADMSG || r == -ENODATA ? "damaged"
                                                   : strerror(-r));
}

int ns_set_policy(struct ns *ns, unsigned percent)
{
    struct policy old = ns->policy;
    struct err e = {0};
    int r;

    ns->policy = (struct policy){.reclaim = percent > 0, .percent = (uint8_t)percent};
    r = write_policy(ns, &e);
    if (r < 0) {
        log_error("%s", e.text);
        ns->policy = old;
    }
    return saved(ns, r);
}

void ns_override_password(struct ns *ns, struct slice password)
{
    set_bytes(&ns->password_override, password);
    ns->has_password_override = true;
}

void ns_override_maxsize(struct ns *ns, uint64_t bytes)
{
    ns->max_size_override = bytes;
}

void ns_info(const struct ns *ns, struct ns_info *out)
{
    const struct seg *s = ns_active(ns);
    uint64_t file_size = 0, live_size = 0;

    for (size_t i = 0; i < ns->nsegs; i++) {
        file_size += ns->segs[i]->data.size;
        live_size += ns->segs[i]->live;
    }
    *out = (struct ns_info){
        .name = ns->name,
        .entries = ns->entries,
        .data_size = ns->data_size,
        .max_size = ns_limit(ns),
        .index_size = ns->index_size,
        .next_id = ns->mode == NS_SEQ ? ids_next(&ns->seq) : ns->next_id,
        .is_public = ns->is_public,
        .worm = ns->worm,
        .lock = ns->lock,
        .mode = ns->mode,
        .password = buf_slice(ns->has_password_override ? &ns->password_override : &ns->password),
        .index_io_errors = ns->index_io_errors,
        .data_io_errors = ns->data_io_errors,
        .index_io_error_last = ns->index_io_error_last,
        .data_io_error_last = ns->data_io_error_last,
        .index_dir = ns->index_dir,
        .data_dir = ns->data_dir,
        .index_active = s->index.path,
        .data_active = s->data.path,
        .active = s->id,
        .active_size = s->data.size,
        .file_size = file_size,
        .live_size = live_size,
        .cleaned = ns->clean.freed,
        .reclaim = ns->policy.percent,
    };
}

const char *ns_name(const struct ns *ns)
{
    return ns->name;
}

enum ns_lock ns_lock_state(const struct ns *ns)
{
    return ns->lock;
}

void ns_set_user(struct ns *ns, void *user)
{
    ns->user = user;
}

void *ns_user(const struct ns *ns)
{
    return ns->user;
}
