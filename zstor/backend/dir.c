/* dir - the kind of backend that is a directory on a marked medium (backend/medium.h): a disk, a
 * mount, a stick.  A value is a file under a random number, a name is a file under that name; what
 * was acknowledged is on stable storage. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/digest.h"
#include "common/parse.h"
#include "zstor/backend/helper.h"
#include "zstor/backend/medium.h"
#include "zstor/backend/usage.h"

#define KEY_LEN   8u       /* bytes of the key of a value */
#define MAX_ROWS  1000000u /* of one page of a listing */
#define COUNT_MS  300      /* of one question for the state are spent on counting */
#define NAME_LEN  120u     /* bytes of a name */
#define FILE_NAME (MEDIUM_NAME_MAX + 1)

struct dir {
    struct medium *medium;
    struct usage *usage;
    uint64_t capacity;
    bool names;
    const char *path; /* of the address, for messages; borrowed from the link */
};

struct page { /* what the outcome of one operation points into */
    struct buf bytes;
    struct slice *rows;
    size_t nrows, room;
    bool names;
};

static void page_free(void *holder)
{
    struct page *p = holder;

    buf_fini(&p->bytes);
    free(p);
}

/* --- names of files -------------------------------------------------------------------------- */

/* A name of ours: letters, digits, - and _ as they are, every other byte as %XX, so that nothing in
 * it can be a way out of the folder.  false: too long. */
static bool name_to_file(struct slice name, char out[FILE_NAME], unsigned *folder)
{
    uint8_t sum[DIGEST_LEN];
    size_t n = 0;

    if (name.len == 0 || name.len > NAME_LEN)
        return false;
    for (size_t i = 0; i < name.len && n + 4 < FILE_NAME; i++) {
        uint8_t c = name.p[i];
        if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
            c == '-' || c == '_')
            out[n++] = (char)c;
        else
            n += (size_t)snprintf(out + n, 4, "%%%02X", c);
        if (n + 4 >= FILE_NAME)
            return false;
    }
    out[n] = '\0';
    digest_of(name, sum);
    *folder = sum[0];
    return true;
}

static bool file_to_name(const char *file, struct buf *out)
{
    for (; *file; file++) {
        uint8_t c = (uint8_t)*file;
        if (c == '%') {
            if (!file[1] || !file[2] || parse_hex(slice_of(file + 1, 2), &c, 1) < 0)
                return false;
            file += 2;
        }
        buf_put_u8(out, c);
    }
    return true;
}

static bool key_to_file(struct slice key, char out[FILE_NAME], unsigned *folder)
{
    if (key.len != KEY_LEN)
        return false;
    parse_to_hex(key.p, KEY_LEN, out);
    *folder = key.p[0];
    return true;
}

static bool to_file(const struct dir *d, struct slice key, char out[FILE_NAME], unsigned *folder)
{
    return d->names ? name_to_file(key, out, folder) : key_to_file(key, out, folder);
}

/* --- operations ------------------------------------------------------------------------------ */

/* What the system says, as an outcome.  The words go to the log of who asked. */
static int outcome(struct backend_op *op, int r)
{
    struct err e;

    if (r >= 0 || r == -ENOENT)
        return MIN(r, 0);
    err_sys(&e, -r, "directory");
    backend_text(slice_str(e.text), op->said, sizeof op->said);
    if (r == -ENOSPC || r == -EDQUOT)
        return -ENOSPC;
    return r == -EROFS || r == -EACCES || r == -EPERM ? -EROFS : -EIO;
}

static int count_file(void *arg, const char *name)
{
    struct page *p = arg;

    (void)name;
    p->nrows++;
    return 0;
}

struct counting {
    struct dir *dir;
    unsigned folder;
    uint64_t entries, bytes;
};

static int count_bytes(void *arg, const char *name)
{
    struct counting *c = arg;
    uint64_t size;

    c->entries++;
    if (medium_stat(c->dir->medium, c->folder, name, &size, NULL) == 0)
        c->bytes += size;
    return 0;
}

/* How much is there?  With a capacity to the end, since it is needed; else for a short time. */
static int count(struct dir *d)
{
    uint64_t until = base_now_ms() + COUNT_MS;
    int part, r;

    while ((part = usage_next(d->usage)) >= 0 && (d->capacity || base_now_ms() < until)) {
        struct counting c = {.dir = d, .folder = (unsigned)part};
        struct page p = {.nrows = 0};
        r = d->capacity ? medium_list(d->medium, c.folder, count_bytes, &c)
                        : medium_list(d->medium, c.folder, count_file, &p);
        if (r < 0)
            return r;
        usage_counted(d->usage, part, d->capacity ? c.entries : p.nrows, c.bytes);
    }
    return 0;
}

static int run_info(struct dir *d, struct backend_op *op)
{
    struct backend_info *i = op->info;
    uint64_t room = 0;
    bool readonly = false;
    int r = medium_room(d->medium, &room, &readonly);

    if (r == 0)
        r = count(d);
    if (r < 0)
        return r;
    *i = (struct backend_info){.mode = d->names ? BACKEND_USERKEY : BACKEND_SEQUENTIAL,
                               .locked = readonly,
                               .data_limits_bytes = d->capacity,
                               .index_disk_free = UINT64_MAX,
                               .data_disk_free = room};
    snprintf(i->name, sizeof i->name, "%s", d->path);
    i->uncounted = !usage_get(d->usage, &i->entries, &i->data_size_bytes);
    return 0;
}

static int has_room(struct dir *d, size_t bytes)
{
    uint64_t entries, used;
    int r;

    if (!d->capacity)
        return 0;
    r = count(d);
    usage_get(d->usage, &entries, &used);
    if (r == 0 && (used > d->capacity || bytes > d->capacity - used))
        r = -ENOSPC;
    return r;
}

static int run_write(struct dir *d, struct backend_op *op, atomic_ullong *moved)
{
    struct page *p = NULL;
    uint8_t key[KEY_LEN];
    char file[FILE_NAME];
    uint64_t old = 0;
    unsigned folder = 0;
    int r = has_room(d, op->value.len);

    for (unsigned tries = 0; r == 0; tries++) {
        if (!d->names && digest_random(key, sizeof key) < 0)
            return -EIO;
        if (!to_file(d, d->names ? op->key : slice_of(key, sizeof key), file, &folder))
            return -ENAMETOOLONG;
        r = medium_write(d->medium, folder, file, op->value, d->names, &old, moved);
        if (r != -EEXIST || tries == 3)
            break;
        r = 0;
    }
    if (r < 0)
        return r;
    usage_add(d->usage, (int)folder, old == UINT64_MAX,
              (int64_t)op->value.len - (old == UINT64_MAX ? 0 : (int64_t)old));
    if (d->names)
        return 0;
    p = xcalloc(1, sizeof *p);
    buf_put(&p->bytes, key, sizeof key);
    op->holder = p;
    op->release = page_free;
    op->out = buf_slice(&p->bytes);
    return 0;
}

static int run_read(struct dir *d, struct backend_op *op, size_t max, atomic_ullong *moved)
{
    char file[FILE_NAME];
    struct page *p;
    unsigned folder;
    int r;

    if (!to_file(d, op->key, file, &folder))
        return -ENOENT;
    p = xcalloc(1, sizeof *p);
    r = medium_read(d->medium, folder, file, op->off, op->len, max, &p->bytes, moved);
    if (r < 0) {
        page_free(p);
        return r;
    }
    op->holder = p;
    op->release = page_free;
    op->out = buf_slice(&p->bytes);
    return 0;
}

static int run_remove(struct dir *d, const struct backend_op *op)
{
    char file[FILE_NAME];
    uint64_t size = 0;
    unsigned folder;
    int r;

    if (!to_file(d, op->key, file, &folder))
        return 0;
    r = medium_remove(d->medium, folder, file, &size);
    if (r == 0)
        usage_add(d->usage, (int)folder, -1, -(int64_t)size);
    return r == -ENOENT ? 0 : r;
}

static int run_time(struct dir *d, struct backend_op *op)
{
    char file[FILE_NAME];
    unsigned folder;
    uint64_t size;

    if (!to_file(d, op->key, file, &folder))
        return -ENOENT;
    return medium_stat(d->medium, folder, file, &size, &op->time_s);
}

/* Rows are kept as places in `bytes` until it does not move any more. */
static int add_row(void *arg, const char *file)
{
    struct page *p = arg;
    size_t start = p->bytes.len;
    uint8_t key[KEY_LEN];

    if (p->names && !file_to_name(file, &p->bytes)) {
        p->bytes.len = start; /* not a file of ours */
        return 0;
    }
    if (!p->names) {
        if (strlen(file) != 2 * KEY_LEN || parse_hex(slice_str(file), key, sizeof key) < 0)
            return 0;
        buf_put(&p->bytes, key, sizeof key);
    }
    if (p->nrows == MAX_ROWS)
        return -EFBIG;
    p->rows = xgrow(p->rows, p->nrows, &p->room, sizeof *p->rows);
    p->rows[p->nrows++] = slice_of(NULL, p->bytes.len - start);
    return 0;
}

/* One folder that has something, or the end.  The cursor is the number of the next folder. */
static int run_list(struct dir *d, struct backend_op *op)
{
    struct page *p = xcalloc(1, sizeof *p);
    uint64_t folder = 0;
    size_t at = 0;
    int r = 0;

    p->names = d->names;
    op->holder = p;
    op->release = page_free;
    if (op->key.len && parse_u64_slice(op->key, 1, MEDIUM_FOLDERS - 1, &folder) < 0)
        return -EIO;
    for (; r == 0 && p->nrows == 0 && folder < MEDIUM_FOLDERS; folder++)
        r = medium_list(d->medium, (unsigned)folder, add_row, p);
    op->rows = p->rows; /* backend_op_fini frees them */
    op->nrows = r < 0 ? 0 : p->nrows;
    if (r < 0)
        return r;
    if (folder < MEDIUM_FOLDERS)
        buf_printf(&p->bytes, "%u", (unsigned)folder);
    for (size_t i = 0; i < p->nrows; i++) {
        op->rows[i].p = buf_data(&p->bytes) + at;
        at += op->rows[i].len;
    }
    op->out = slice_of(buf_data(&p->bytes) + at, p->bytes.len - at);
    return 0;
}

/* --- the store of the helper ----------------------------------------------------------------- */

static int dir_run(void *store, struct backend_op *op, size_t max_answer, atomic_ullong *moved)
{
    struct dir *d = store;
    int r = -EIO;

    switch (op->verb) {
    case BACKEND_INFO:
        if (!medium_here(d->medium))
            return -ENODEV; /* the path leads elsewhere now */
        r = run_info(d, op);
        break;
    case BACKEND_PUT:
    case BACKEND_NAMED_PUT:
        if (d->names == (op->verb == BACKEND_NAMED_PUT))
            r = run_write(d, op, moved);
        break;
    case BACKEND_GET:
    case BACKEND_NAMED_GET:
        r = run_read(d, op, max_answer, moved);
        break;
    case BACKEND_DEL:
    case BACKEND_NAMED_DEL:
        r = run_remove(d, op);
        break;
    case BACKEND_SYNC: /* a write is durable when it is acknowledged */
        r = 0;
        break;
    case BACKEND_TIME:
        r = run_time(d, op);
        break;
    case BACKEND_LIST:
        r = run_list(d, op);
        break;
    case BACKEND_NEWEST: /* its values have no order: what has to be found has a name */
        r = -ENOTSUP;
        break;
    }
    op->rc = outcome(op, r);
    return 0;
}

static void dir_close(void *store)
{
    struct dir *d = store;

    if (!d)
        return;
    medium_close(d->medium);
    free(d);
}

static int dir_open(void **store, const struct backend_addr *a, char *identity, size_t size,
                    struct err *e)
{
    struct dir *d = xcalloc(1, sizeof *d);
    int r = medium_open(&d->medium, backend_addr_path(a), a->names ? "names" : "values", e);

    if (r < 0) {
        dir_close(d);
        return r;
    }
    snprintf(identity, size, "dir %s %s", medium_id(d->medium), a->names ? "names" : "values");
    d->usage = usage_of(identity, MEDIUM_FOLDERS);
    d->capacity = a->capacity;
    d->names = a->names;
    d->path = backend_addr_path(a);
    *store = d;
    return 0;
}

static int kind_open(void **link, const struct backend_addr *a, const struct backend_limits *limits,
                     char *identity, size_t size, struct err *e)
{
    static const struct helper_store store = {.open = dir_open, .close = dir_close, .run = dir_run};

    return helper_open(link, &store, a, limits, identity, size, e);
}

const struct backend_kind backend_dir = {
    .name = "directory",
    .open = kind_open,
    .close = helper_close,
    .submit = helper_submit,
    .take = helper_take,
    .want = helper_want,
    .move = helper_move,
    .flush = helper_flush,
    .moved = helper_moved,
    .idle = helper_idle,
};
