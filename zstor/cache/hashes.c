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

struct entry {
    char *path;
    struct local_id id;
    uint8_t digest[ZSTOR_DIGEST_LEN];
    unsigned marks;
    bool proved; /* the rest is there */
    unsigned good;
    uint64_t era, at_ms;
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

void hashes_put(struct hashes *h, const char *path, const struct local_id *id,
                const uint8_t digest[ZSTOR_DIGEST_LEN])
{
    struct entry *en;
    unsigned marks = 0;

    pthread_mutex_lock(&h->lock);
    en = find(h, path);
    if (en && local_id_eq_mtime(&en->id, id) && memcmp(en->digest, digest, sizeof en->digest) == 0)
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

bool hashes_get(struct hashes *h, const char *path, const struct local_id *id,
                uint8_t digest[ZSTOR_DIGEST_LEN])
{
    struct entry *en;
    bool known;

    pthread_mutex_lock(&h->lock);
    en = find(h, path);
    known = en && local_id_eq(&en->id, id);
    if (known)
        memcpy(digest, en->digest, sizeof en->digest);
    pthread_mutex_unlock(&h->lock);
    return known;
}

void hashes_forget(struct hashes *h, const char *path)
{
    struct entry *en;

    pthread_mutex_lock(&h->lock);
    en = find(h, path);
    if (en)
        drop(h, en);
    pthread_mutex_unlock(&h->lock);
}

void hashes_mark(struct hashes *h, const char *path, const struct local_id *id,
                 enum hashes_mark mark)
{
    struct entry *en;

    pthread_mutex_lock(&h->lock);
    en = find(h, path);
    if (en && local_id_eq_mtime(&en->id, id))
        en->marks |= mark;
    pthread_mutex_unlock(&h->lock);
}

bool hashes_marked(struct hashes *h, const char *path, const struct local_id *id,
                   enum hashes_mark mark)
{
    struct entry *en;
    bool yes;

    pthread_mutex_lock(&h->lock);
    en = find(h, path);
    yes = en && (en->marks & mark) && local_id_eq_mtime(&en->id, id);
    pthread_mutex_unlock(&h->lock);
    return yes;
}

void hashes_prove(struct hashes *h, const char *path, const struct local_id *id, unsigned good,
                  uint64_t era)
{
    struct entry *en;

    pthread_mutex_lock(&h->lock);
    en = find(h, path);
    if (en && local_id_eq_mtime(&en->id, id)) {
        en->proved = true;
        en->good = good;
        en->era = era;
        en->at_ms = base_now_ms();
    }
    pthread_mutex_unlock(&h->lock);
}

int hashes_proved(struct hashes *h, const char *path, const struct local_id *id, uint64_t era,
                  uint64_t max_age_ms)
{
    struct entry *en;
    int good = -1;

    pthread_mutex_lock(&h->lock);
    en = find(h, path);
    if (en && en->proved && en->era == era && local_id_eq_mtime(&en->id, id) &&
        base_now_ms() - en->at_ms <= max_age_ms)
        good = (int)en->good;
    pthread_mutex_unlock(&h->lock);
    return good;
}

static int same_state(int fd, const struct local_id *id)
{
    struct local_id now;
    struct stat st;

    if (fstat(fd, &st) < 0)
        return -errno;
    local_id_of(&now, &st);
    return S_ISREG(st.st_mode) && local_id_eq(&now, id) ? 0 : -ESTALE;
}

int hashes_of(struct hashes *h, const char *path, const struct local_id *id,
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
        r = digest_fd(fd, stop, digest);
    if (r == 0)
        r = same_state(fd, id);
    if (r == 0)
        hashes_put(h, path, id, digest);
    return r;
}
