/* volume - see txn/volume.h. */
#include "zdbfs/txn/volume.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/log.h"
#include "zdbfs/format/inode.h"
#include "zdbfs/format/list.h"

enum { SETUP_MS = 10000, ROOT = 1, ROOT_MODE = S_IFDIR | 0755 };

static const char *const role_name[ROLE_COUNT] = {"meta", "data", "temp"};

/* ---- namespaces ----------------------------------------------------------------------------- */

static void free_reply(redisReply **r)
{
    if (*r)
        freeReplyObject(*r);
}

/* One administrative command that has to be answered with OK. */
static int admin(struct zclient *c, struct err *e, unsigned argc, const char *const *word)
{
    CLEANUP(free_reply) redisReply *r = NULL;
    struct slice argv[4];

    for (unsigned i = 0; i < argc; i++)
        argv[i] = slice_str(word[i]);
    int n = zclient_call(c, &r, e, argc, argv);
    if (n < 0)
        return n;
    if (zclient_is_error(r))
        return err_set(e, EPROTO, "zdb %s: %s %s: %s", zclient_peer(c), word[0], word[1], r->str);
    return 0;
}

/* 1 and *info; 0: there is no such namespace. */
static int ask_info(struct zclient *c, const char *ns, struct kv_info *info, struct err *e)
{
    CLEANUP(free_reply) redisReply *r = NULL;
    const struct slice argv[] = {slice_str("NSINFO"), slice_str(ns)};

    int n = zclient_call(c, &r, e, 2, argv);
    if (n < 0)
        return n;
    if (zclient_is_error(r) && strstr(r->str, "not found"))
        return 0;
    if (zclient_is_error(r))
        return err_set(e, EPROTO, "zdb %s: NSINFO %s: %s", zclient_peer(c), ns, r->str);
    kv_parse_info(zclient_bulk(r), info);
    return 1;
}

static int prepare_ns(struct zclient *c, const struct conn_addr *a, enum role role, struct err *e)
{
    struct kv_info info = {0};

    int r = ask_info(c, a->ns, &info, e);
    bool existed = r == 1;
    if (r == 0) {
        r = admin(c, e, 2, (const char *const[]){"NSNEW", a->ns});
        if (r == 0)
            r = ask_info(c, a->ns, &info, e);
    }
    if (r < 0)
        return r;
    r = 0;
    if (!info.sequential)
        r = admin(c, e, 4, (const char *const[]){"NSSET", a->ns, "mode", "seq"});
    if (r == 0 && role == ROLE_TEMP)
        r = admin(c, e, 4, (const char *const[]){"NSSET", a->ns, "public", "0"});
    if (r == 0 && role == ROLE_TEMP)
        r = admin(c, e, 4, (const char *const[]){"NSSET", a->ns, "password", a->password});
    if (r < 0 && existed && info.sequential) { /* a full disk, say: what there is may do */
        log_warn("%s; going on", e->text);
        err_clear(e);
        r = 0;
    }
    return r;
}

int volume_autons(const struct options *o, struct err *e)
{
    for (int role = 0; role < ROLE_COUNT; role++) {
        struct zclient *c;
        int r = conn_plain(&o->kv.addr[role], MIN(o->kv.timeout_ms, (uint64_t)SETUP_MS), &c, e);
        if (r < 0)
            return err_prefix(e, "zdb for %s", role_name[role]);
        r = prepare_ns(c, &o->kv.addr[role], (enum role)role, e);
        zclient_close(c);
        if (r < 0)
            return r;
    }
    return 0;
}

/* ---- headers -------------------------------------------------------------------------------- */

static int insert_at(struct kv *kv, enum role role, struct slice value, uint64_t want,
                     struct err *e)
{
    uint64_t key;

    int r = kv_insert(kv, role, value, kv_deadline(kv), &key);
    if (r < 0)
        return err_sys(e, -r, "namespace for %s: SET", role_name[role]);
    if (key != want)
        return err_set(
            e, EUCLEAN,
            "namespace for %s: is not empty, but has no header (the new key is %llu, must be %llu)",
            role_name[role], (unsigned long long)key, (unsigned long long)want);
    return 0;
}

static int make_header(struct kv *kv, enum role role, const struct head *h, struct err *e)
{
    struct buf b = BUF_INIT;

    head_format_encode(&b, role, h);
    int r = insert_at(kv, role, buf_slice(&b), 0, e);
    buf_fini(&b);
    return r;
}

/* 1: there and good; 0: not there. */
static int read_header(struct kv *kv, enum role role, struct head *out, struct err *e)
{
    struct kv_val v;

    int r = kv_get(kv, role, 0, kv_deadline(kv), &v);
    if (r < 0)
        return err_sys(e, -r, "namespace for %s: GET of the header", role_name[role]);
    if (v.found) {
        r = head_format_decode(v.v, role, out, e);
        if (r < 0)
            err_prefix(e, "namespace for %s", role_name[role]);
        else
            r = 1;
    }
    kv_val_fini(&v);
    return r;
}

/* ---- root ----------------------------------------------------------------------------------- */

static int set(struct kv *kv, uint64_t key, struct buf *b, struct err *e)
{
    int r = kv_set(kv, ROLE_META, key, buf_slice(b), kv_deadline(kv));
    buf_clear(b);
    return r < 0 ? err_sys(e, -r, "namespace for meta: SET") : 0;
}

/* The lists of "." and "..", then the inode, which is reserved. */
static int fill_root(struct kv *kv, struct err *e)
{
    static const char *const dots[2] = {".", ".."};
    struct buf b = BUF_INIT, lists = BUF_INIT;
    uint64_t id[INODE_LISTS];
    struct timespec now;
    uint64_t epoch = kv_epoch(kv, ROLE_META);
    int r = 0;

    for (unsigned i = 0; i < INODE_LISTS; i++)
        id[i] = INODE_NO_LIST;
    for (int i = 0; i < 2 && r == 0; i++) {
        struct slice name = slice_str(dots[i]);
        uint64_t *key = &id[list_format_bucket(name)];
        r = kv_insert(kv, ROLE_META, slice_str("L"), kv_deadline(kv), key);
        if (r < 0) {
            err_sys(e, -r, "namespace for meta: SET");
            break;
        }
        list_format_put_head(&b, *key, 1);
        list_format_put_entry(&b, name, ROOT);
        r = set(kv, *key, &b, e);
    }
    for (unsigned i = 0; i < INODE_LISTS; i++)
        buf_put_le64(&lists, id[i]);
    clock_gettime(CLOCK_REALTIME, &now);
    struct inode_rec rec = {.a = {.mode = ROOT_MODE,
                                  .uid = getuid(),
                                  .gid = getgid(),
                                  .atime = now,
                                  .mtime = now,
                                  .ctime = now,
                                  .btime = now,
                                  .subdirs_known = true},
                            .lists = buf_slice(&lists)};
    inode_format_encode(&b, &rec);
    if (r == 0)
        r = set(kv, ROOT, &b, e);
    if (r == 0)
        r = kv_sync_since(kv, ROLE_META, epoch, kv_deadline(kv));
    if (r == -ESTALE)
        err_set(e, ESTALE, "namespace for meta: zdb was started again meanwhile; mount once more");
    buf_fini(&b);
    buf_fini(&lists);
    return r;
}

/* Is it there?  One that was only reserved (a first mount that was interrupted) is finished. */
static int check_root(struct kv *kv, struct err *e)
{
    struct inode_rec rec;
    struct kv_val v;

    int r = kv_get(kv, ROLE_META, ROOT, kv_deadline(kv), &v);
    if (r < 0)
        return err_sys(e, -r, "namespace for meta: GET of the root directory");
    bool there = v.found && !slice_eq_str(v.v, "X");
    bool reserved = v.found && !there;
    bool good = there && inode_format_decode(v.v, &rec) == 0 && S_ISDIR(rec.a.mode);
    kv_val_fini(&v);
    if (good)
        return 0;
    if (there)
        return err_set(e, EUCLEAN, "namespace for meta: key 1 is not the root directory");
    if (kv_read_only(kv))
        return err_set(e, EUCLEAN,
                       "namespace for meta: no root directory, and the mount is read-only");
    if (!reserved)
        r = insert_at(kv, ROLE_META, slice_str("X"), ROOT, e);
    return r < 0 ? r : fill_root(kv, e);
}

int volume_open(struct kv *kv, const struct options *o, struct head *head, struct err *e)
{
    int r = read_header(kv, ROLE_META, head, e);
    if (r < 0)
        return r;
    if (r < 0)
        return r;
    if (r == 0 && kv_read_only(kv))
        return err_set(e, EUCLEAN, "namespace %s: empty, and the mount is read-only",
                       o->kv.addr[ROLE_META].ns);
    if (r == 0) {
        *head = (struct head){.size_bytes = o->size_bytes};
        r = make_header(kv, ROLE_META, head, e);
    }
    return r < 0 ? r : check_root(kv, e); /* before anything else takes key 1 */
}

int volume_fill(struct kv *kv, const struct head *head, struct err *e)
{
    struct head other;

    int r = 0;
    for (int role = ROLE_DATA; role < ROLE_COUNT && r >= 0; role++) {
        r = read_header(kv, (enum role)role, &other, e);
        if (r == 0 && !kv_read_only(kv))
            r = make_header(kv, (enum role)role, &(struct head){.size_bytes = head->size_bytes}, e);
    }
    return MIN(r, 0);
}

int volume_must_be_read_only(struct kv *kv, const struct options *o, struct err *e)
{
    for (int role = ROLE_META; role <= ROLE_DATA; role++) {
        struct kv_info info;
        int r = kv_info(kv, (enum role)role, kv_deadline(kv), &info);
        if (r < 0)
            return err_sys(e, -r, "NSINFO %s", o->kv.addr[role].ns);
        if (info.password && !o->kv.addr[role].password)
            return 1;
    }
    return 0;
}
