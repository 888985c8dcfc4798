/* fake_zdb - a small 0-db inside the test process, with faults on demand.  Keeps values in memory;
 * knows SELECT (plain and SECURE), AUTH SECURE CHALLENGE, INFO, NSINFO, SET, GET, DEL, KEYTIME,
 * SCAN, SYNC.  One thread per connection.  Header only. */
#ifndef TESTS_ZSTOR_FAKE_ZDB_H
#define TESTS_ZSTOR_FAKE_ZDB_H

#include <check.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/digest.h"
#include "common/net.h"
#include "common/resp.h"

#define FAKE_NS 64

struct fake_entry {
    uint8_t key[64];
    size_t key_len;
    struct buf value;
    uint64_t time;
    bool deleted;
};

struct fake_ns {
    char name[32];
    const char *password; /* NULL: none */
    bool seq;
    uint64_t limit; /* 0: none */
    struct fake_entry *entry;
    size_t n, cap;
    /* faults; set by the test at any time */
    atomic_bool hang;     /* requests are read, nothing is answered */
    atomic_bool refuse;   /* every connection that selects it is closed */
    atomic_bool hang_set; /* the same, but SETs alone hang */
    atomic_int drip_ms;   /* > 0: answers come byte by byte, one each time */
    atomic_int late_ms;   /* > 0: answers come so much later */
    atomic_bool locked, no_sync_command, full;
    atomic_int garble;   /* GET: 1 flip a bit, 2 cut, 3 lengthen, 4 nil, 5 integer, 6 not the
                            protocol, 7 close in between */
    atomic_int fail_set; /* > 0: so many SETs are done, then -Cannot write data right now */
    atomic_uint gets, sets, dels, syncs, selects;
};

struct fake {
    int listen_fd, port;
    pthread_t acceptor;
    atomic_bool stop, no_secure;
    atomic_bool redis;          /* INFO says that it is something else */
    atomic_uint accepted, live; /* connections */
    pthread_mutex_t lock;       /* of all entries */
    uint64_t clock;
    struct fake_ns ns[FAKE_NS];
    size_t nns;
    atomic_int fds[256];
};

struct fake_conn {
    struct fake *f;
    int fd, slot;
    struct fake_ns *ns;
    bool nonce;
};

static inline struct fake_ns *fake_add(struct fake *f, const char *name, bool seq,
                                       const char *password)
{
    struct fake_ns *n = &f->ns[f->nns++];

    snprintf(n->name, sizeof n->name, "%s", name);
    n->seq = seq;
    n->password = password;
    atomic_store(&n->fail_set, -1);
    return n;
}

static inline struct fake_ns *fake_ns(struct fake *f, struct slice name)
{
    for (size_t i = 0; i < f->nns; i++)
        if (slice_eq_str(name, f->ns[i].name))
            return &f->ns[i];
    return NULL;
}

static inline struct fake_entry *fake_find(struct fake_ns *n, struct slice key)
{
    for (size_t i = n->n; i > 0; i--)
        if (!n->entry[i - 1].deleted &&
            slice_eq(slice_of(n->entry[i - 1].key, n->entry[i - 1].key_len), key))
            return &n->entry[i - 1];
    return NULL;
}

static inline struct fake_entry *fake_insert(struct fake_ns *n, struct slice key)
{
    struct fake_entry *e;

    if (n->n == n->cap) {
        n->cap = n->cap ? n->cap * 2 : 64;
        n->entry = realloc(n->entry, n->cap * sizeof *n->entry);
    }
    e = &n->entry[n->n];
    *e = (struct fake_entry){.value = BUF_INIT};
    if (n->seq) {
        le64_put(e->key, n->n);
        e->key_len = 8;
    } else {
        memcpy(e->key, key.p, key.len);
        e->key_len = key.len;
    }
    n->n++;
    return e;
}

static inline uint64_t fake_used(struct fake_ns *n)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < n->n; i++)
        sum += n->entry[i].deleted ? 0 : n->entry[i].value.len;
    return sum;
}

static inline size_t fake_live(struct fake *f, struct fake_ns *n)
{
    size_t live = 0;

    pthread_mutex_lock(&f->lock);
    for (size_t i = 0; i < n->n; i++)
        live += !n->entry[i].deleted;
    pthread_mutex_unlock(&f->lock);
    return live;
}

static inline void fake_set(struct fake *f, struct fake_ns *n, struct slice key, struct slice value,
                            struct buf *out)
{
    struct fake_entry *e = n->seq ? NULL : fake_find(n, key);

    atomic_fetch_add(&n->sets, 1);
    if (atomic_load(&n->locked)) {
        resp_put_error(out, "Namespace is temporarily locked (read-only)");
    } else if (atomic_load(&n->full) || (n->limit && fake_used(n) + value.len > n->limit)) {
        resp_put_error(out, "No space left on this namespace");
    } else if (atomic_load(&n->fail_set) == 0) {
        resp_put_error(out, "Cannot write data right now");
    } else if (e && slice_eq(buf_slice(&e->value), value)) {
        resp_put_nil(out);
    } else {
        if (atomic_load(&n->fail_set) > 0)
            atomic_fetch_sub(&n->fail_set, 1);
        if (!e)
            e = fake_insert(n, key);
        buf_clear(&e->value);
        buf_put_slice(&e->value, value);
        e->time = ++f->clock;
        resp_put_bulk(out, slice_of(e->key, e->key_len));
    }
}

/* false: close the connection */
static inline bool fake_get(struct fake_ns *n, struct slice key, struct buf *out)
{
    struct fake_entry *e = fake_find(n, key);
    int garble = atomic_load(&n->garble);
    size_t start = out->len, len;

    atomic_fetch_add(&n->gets, 1);
    if (!e || garble == 4) {
        resp_put_nil(out);
        return true;
    }
    len = e->value.len;
    switch (garble) {
    case 2:
        resp_put_bulk(out, slice_of(buf_data(&e->value), len / 2));
        return true;
    case 3:
        resp_put_bulk_head(out, len + 5);
        buf_put_slice(out, buf_slice(&e->value));
        buf_put_str(out, "extra\r\n");
        return true;
    case 5:
        resp_put_int(out, 42);
        return true;
    case 6:
        buf_put_str(out, "HTTP/1.1 200 OK\r\n\r\n");
        return true;
    case 7:
        resp_put_bulk_head(out, len);
        buf_put(out, buf_data(&e->value), len / 2);
        return false;
    default:
        resp_put_bulk(out, buf_slice(&e->value));
        if (garble == 1 && len)
            buf_data(out)[out->len - 3 - (out->len - start > 40 ? 7 : 0)] ^= 0x10;
        return true;
    }
}

static inline void fake_scan(struct fake_ns *n, struct slice cursor, struct buf *out)
{
    size_t at = cursor.len == 17 ? (size_t)le64_get(cursor.p) : 0, end = at, rows = 0;
    uint8_t next[17] = {0};

    for (; end < n->n && rows < 3; end++)
        rows += !n->entry[end].deleted;
    if (rows == 0) {
        resp_put_error(out, "No more data");
        return;
    }
    le64_put(next, end);
    resp_put_array(out, 2);
    resp_put_bulk(out, slice_of(next, sizeof next));
    resp_put_array(out, rows);
    for (; at < end; at++)
        if (!n->entry[at].deleted) {
            resp_put_array(out, 3);
            resp_put_bulk(out, slice_of(n->entry[at].key, n->entry[at].key_len));
            resp_put_int(out, (int64_t)n->entry[at].value.len);
            resp_put_int(out, (int64_t)n->entry[at].time);
        }
}

static inline void fake_info(struct fake_ns *n, struct buf *out)
{
    struct buf t = BUF_INIT;
    size_t live = 0;

    for (size_t i = 0; i < n->n; i++)
        live += !n->entry[i].deleted;
    buf_printf(
        &t, "# namespace\nname: %s\nentries: %zu\npublic: no\nworm: no\nlocked: %s\npassword: %s\n",
        n->name, live, atomic_load(&n->locked) ? "yes" : "no", n->password ? "yes" : "no");
    buf_printf(&t, "data_size_bytes: %llu\ndata_limits_bytes: %llu\nmode: %s\n",
               (unsigned long long)fake_used(n), (unsigned long long)n->limit,
               n->seq ? "sequential" : "userkey");
    buf_printf(&t, "data_disk_freespace_bytes: 1000000000000\n");
    resp_put_bulk(out, buf_slice(&t));
    buf_fini(&t);
}

static inline void fake_select(struct fake_conn *c, const struct resp_req *r, struct buf *out)
{
    struct fake_ns *n = fake_ns(c->f, r->argv[1]);
    char want[41];

    if (!n) {
        resp_put_error(out, "Namespace not found");
        return;
    }
    atomic_fetch_add(&n->selects, 1);
    if (n->password && r->argc == 2) {
        resp_put_error(out, "Namespace protected and private");
    } else if (n->password && r->argc == 4) {
        char text[128];
        snprintf(text, sizeof text, "challenge:%s", n->password);
        digest_sha1_hex(slice_str(text), want);
        if (c->nonce && slice_eq_str(r->argv[3], want)) {
            c->ns = n;
            resp_put_simple(out, "OK");
        } else {
            resp_put_error(out, "Access denied");
        }
    } else if (n->password && !slice_eq_str(r->argv[2], n->password)) {
        resp_put_error(out, "Access denied");
    } else {
        c->ns = n;
        resp_put_simple(out, "OK");
    }
}

/* false: close */
static inline bool fake_command(struct fake_conn *c, const struct resp_req *r, struct buf *out)
{
    struct slice word = r->argv[0], none = slice_of(NULL, 0);
    struct fake_ns *n = c->ns;
    bool keep = true;

    pthread_mutex_lock(&c->f->lock);
    if (slice_eq_str(word, "AUTH") && r->argc == 3 && !atomic_load(&c->f->no_secure)) {
        c->nonce = true;
        resp_put_simple(out, "challenge");
    } else if (slice_eq_str(word, "INFO")) {
        char text[128];
        snprintf(text, sizeof text,
                 atomic_load(&c->f->redis) ? "# Server\r\nredis_version:7.0.0\r\n"
                                           : "# server\nserver_name: 0-db (zdb)\ninstance_id: %d\n",
                 c->f->port);
        resp_put_bulk(out, slice_str(text));
    } else if (slice_eq_str(word, "SELECT")) {
        fake_select(c, r, out);
    } else if (slice_eq_str(word, "NSINFO") && fake_ns(c->f, r->argv[1])) {
        fake_info(fake_ns(c->f, r->argv[1]), out);
    } else if (n && slice_eq_str(word, "SET")) {
        fake_set(c->f, n, r->argv[1], r->argv[2], out);
    } else if (n && slice_eq_str(word, "GET")) {
        keep = fake_get(n, r->argv[1], out);
    } else if (n && slice_eq_str(word, "KEYTIME")) {
        struct fake_entry *e = fake_find(n, r->argv[1]);
        if (e)
            resp_put_int(out, (int64_t)e->time);
        else
            resp_put_nil(out);
    } else if (n && slice_eq_str(word, "DEL")) {
        struct fake_entry *e = fake_find(n, r->argv[1]);
        atomic_fetch_add(&n->dels, 1);
        if (e) {
            e->deleted = true;
            resp_put_simple(out, "OK");
        } else {
            resp_put_error(out, "Key not found");
        }
    } else if (n && slice_eq_str(word, "SCAN")) {
        fake_scan(n, r->argc > 1 ? r->argv[1] : none, out);
    } else if (n && slice_eq_str(word, "SYNC") && !atomic_load(&n->no_sync_command)) {
        atomic_fetch_add(&n->syncs, 1);
        resp_put_simple(out, "OK");
    } else {
        resp_put_error(out, "Command not supported");
    }
    pthread_mutex_unlock(&c->f->lock);
    return keep;
}

/* What this namespace does to an answer before it is sent; false: the connection ends. */
static inline bool fake_delay(struct fake_conn *c, bool set, struct buf *out)
{
    struct fake_ns *n = c->ns;

    if (!n)
        return true;
    while ((atomic_load(&n->hang) || (set && atomic_load(&n->hang_set))) &&
           !atomic_load(&c->f->stop))
        usleep(2000);
    if (atomic_load(&n->late_ms))
        usleep((useconds_t)atomic_load(&n->late_ms) * 1000);
    while (atomic_load(&n->drip_ms) && out->len && !atomic_load(&c->f->stop)) {
        if (send(c->fd, buf_data(out), 1, MSG_NOSIGNAL) != 1)
            return false;
        buf_consume(out, 1);
        usleep((useconds_t)atomic_load(&n->drip_ms) * 1000);
    }
    return true;
}

static inline bool fake_send(int fd, struct buf *out)
{
    while (out->len) {
        ssize_t n = send(fd, buf_data(out), out->len, MSG_NOSIGNAL);
        if (n <= 0)
            return false;
        buf_consume(out, (size_t)n);
    }
    return true;
}

static inline void *fake_serve(void *arg)
{
    struct fake_conn *c = arg;
    struct buf in = BUF_INIT, out = BUF_INIT;
    struct resp_limits lim = {16, 9 * MIB, 1024};
    struct resp_parser p;
    bool keep = true;

    resp_init(&p, &lim);
    while (keep && !atomic_load(&c->f->stop)) {
        struct resp_req r;
        int got = resp_next(&p, buf_slice(&in), &r);
        if (got < 0)
            break;
        if (got == 1) {
            bool set = slice_eq_str(r.argv[0], "SET");
            keep = fake_command(c, &r, &out);
            buf_consume(&in, r.bytes);
            if (c->ns && atomic_load(&c->ns->refuse))
                break;
            if (!fake_delay(c, set, &out) || !fake_send(c->fd, &out))
                break;
            continue;
        }
        uint8_t *room = buf_reserve(&in, 256 * 1024);
        ssize_t n = recv(c->fd, room, 256 * 1024, 0);
        if (n <= 0)
            break;
        buf_commit(&in, (size_t)n);
    }
    resp_fini(&p);
    buf_fini(&in);
    buf_fini(&out);
    atomic_store(&c->f->fds[c->slot], -1);
    close(c->fd);
    atomic_fetch_sub(&c->f->live, 1);
    free(c);
    return NULL;
}

static inline void *fake_accept(void *arg)
{
    struct fake *f = arg;

    while (!atomic_load(&f->stop)) {
        struct pollfd pfd = {.fd = f->listen_fd, .events = POLLIN};
        struct fake_conn *c;
        pthread_t t;
        int fd;
        if (poll(&pfd, 1, 20) <= 0 || (fd = accept(f->listen_fd, NULL, NULL)) < 0)
            continue;
        c = calloc(1, sizeof *c);
        *c = (struct fake_conn){.f = f,
                                .fd = fd,
                                .slot = (int)(atomic_fetch_add(&f->accepted, 1) % 256)};
        atomic_store(&f->fds[c->slot], fd);
        atomic_fetch_add(&f->live, 1);
        pthread_create(&t, NULL, fake_serve, c);
        pthread_detach(t);
    }
    return NULL;
}

static inline struct fake *fake_start(void)
{
    struct fake *f = calloc(1, sizeof *f);

    pthread_mutex_init(&f->lock, NULL);
    for (size_t i = 0; i < ARRAY_LEN(f->fds); i++)
        atomic_store(&f->fds[i], -1);
    ck_assert_int_eq(net_listen_tcp("127.0.0.1", "0", &f->listen_fd, NULL), 0);
    f->port = net_local_port(f->listen_fd);
    pthread_create(&f->acceptor, NULL, fake_accept, f);
    return f;
}

/* Break all connections now. */
static inline void fake_disconnect(struct fake *f)
{
    for (size_t i = 0; i < ARRAY_LEN(f->fds); i++) {
        int fd = atomic_load(&f->fds[i]);
        if (fd >= 0)
            shutdown(fd, SHUT_RDWR);
    }
}

static inline void fake_stop(struct fake *f)
{
    atomic_store(&f->stop, true);
    pthread_join(f->acceptor, NULL);
    close(f->listen_fd);
    while (atomic_load(&f->live)) {
        fake_disconnect(f);
        usleep(1000);
    }
    for (size_t i = 0; i < f->nns; i++) {
        for (size_t k = 0; k < f->ns[i].n; k++)
            buf_fini(&f->ns[i].entry[k].value);
        free(f->ns[i].entry);
    }
    pthread_mutex_destroy(&f->lock);
    free(f);
}

#endif
