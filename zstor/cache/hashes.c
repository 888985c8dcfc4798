/* hashes - table of content digests by path and file state.  The oldest entry goes when the table
 * is full. */
#include "zstor/cache/hashes.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <uthash.h>

#include "common/digest.h"

#define CHUNK (256 * KIB)

struct entry {
    char *path;
    struct snapshot_id id;
    uint8_t digest[ZSTOR_DIGEST_LEN];
    unsigned marks;
    UT_hash_handle hh;
};

struct hashes {
    pthread_mutex_t lock;
    struct entry *table; /* in order of insertion */
    size_t max;
};

struct hashes *hashes_new(size_t max_entries)
{
    struct hashes *h = xcalloc(1, sizeof *h);

    pthread_mutex_init(&h->lock, NULL);
    h->max = max_entries;
    return h;
}

static void drop(struct hashes *h, struct entry *en)
{
    HASH_DEL(h->table, en);
    free(en->path);
    free(en);
}

void hashes_free(struct hashes *h)
{
    if (!h)
        return;
    while (h->table)
        drop(h, h->table);
    pthread_mutex_destroy(&h->lock);
    free(h);
}

static struct entry *find(struct hashes *h, const char *path)
{
    struct entry *en = NULL;

    HASH_FIND_STR(h->table, path, en);
    return en;
}

void hashes_put(struct hashes *h, const char *path, const struct snapshot_id *id,
                const uint8_t digest[ZSTOR_DIGEST_LEN])
{
    struct entry *en;
    unsigned marks = 0;

    pthread_mutex_lock(&h->lock);
    en = find(h, path);
    if (en && snapshot_id_eq_mtime(&en->id, id) &&
        memcmp(en->digest, digest, sizeof en->digest) == 0)
        marks = en->marks;
    if (en)
        drop(h, en);
    else if (HASH_COUNT(h->table) >= h->max)
        drop(h, h->table);
    en = xcalloc(1, sizeof *en);
    en->path = xstrdup(path);
    en->id = *id;
    en->marks = marks;
    memcpy(en->digest, digest, sizeof en->digest);
    HASH_ADD_KEYPTR(hh, h->table, en->path, strlen(en->path), en);
    pthread_mutex_unlock(&h->lock);
}

bool hashes_get(struct hashes *h, const char *path, const struct snapshot_id *id,
                uint8_t digest[ZSTOR_DIGEST_LEN])
{
    struct entry *en;
    bool known;

    pthread_mutex_lock(&h->lock);
    en = find(h, path);
    known = en && snapshot_id_eq(&en->id, id);
    if (known)
        memcpy(digest, en->digest, sizeof en->digest);
    pthread_mutex_unlock(&h->lock);
    return known;
}

void hashes_mark(struct hashes *h, const char *path, const struct snapshot_id *id,
                 enum hashes_mark mark)
{
    struct entry *en;

    pthread_mutex_lock(&h->lock);
    en = find(h, path);
    if (en && snapshot_id_eq_mtime(&en->id, id))
        en->marks |= mark;
    pthread_mutex_unlock(&h->lock);
}

bool hashes_marked(struct hashes *h, const char *path, const struct snapshot_id *id,
                   enum hashes_mark mark)
{
    struct entry *en;
    bool yes;

    pthread_mutex_lock(&h->lock);
    en = find(h, path);
    yes = en && (en->marks & mark) && snapshot_id_eq_mtime(&en->id, id);
    pthread_mutex_unlock(&h->lock);
    return yes;
}

static int same_state(int fd, const struct snapshot_id *id)
{
    struct snapshot_id now;
    struct stat st;

    if (fstat(fd, &st) < 0)
        return -errno;
    snapshot_id_of(&now, &st);
    return S_ISREG(st.st_mode) && snapshot_id_eq(&now, id) ? 0 : -ESTALE;
}

static int read_all(int fd, const atomic_bool *stop, uint8_t digest[ZSTOR_DIGEST_LEN])
{
    CLEANUP(base_free) uint8_t *chunk = xcalloc(1, CHUNK);
    struct digest d;

    digest_init(&d);
    for (;;) {
        ssize_t n;

        if (atomic_load(stop))
            return -ECANCELED;
        n = read(fd, chunk, CHUNK);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        digest_update(&d, chunk, (size_t)n);
    }
    digest_final(&d, digest);
    return 0;
}

int hashes_of(struct hashes *h, const char *path, const struct snapshot_id *id,
              const atomic_bool *stop, uint8_t digest[ZSTOR_DIGEST_LEN])
{
    CLEANUP(base_close) int fd = -1;
    int r;

    if (hashes_get(h, path, id, digest))
        return 0;
    fd = open(path, O_RDONLY | O_NOFOLLOW | O_NOATIME | O_CLOEXEC); /* the access time is the
                                                                       evictor's order */
    if (fd < 0 && errno == EPERM)
        fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? -ESTALE : -errno;
    r = same_state(fd, id);
    if (r == 0)
        r = read_all(fd, stop, digest);
    if (r == 0)
        r = same_state(fd, id);
    if (r == 0)
        hashes_put(h, path, id, digest);
    return r;
}
