/* claim - see object/claim.h. */
#include "zstor/object/claim.h"

#include <errno.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/log.h"
#include "common/parse.h"
#include "zstor/object/listing.h"
#include "zstor/object/metadata.h"
#include "zstor/object/notes.h"
#include "zstor/object/volume.h"

#define N         ZSTOR_META_COPIES
#define SAMPLE    16 /* records that are looked at when there is no note */
#define CLOCKS_NS ((uint64_t)300 * 1000000000) /* that the clocks of two machines may differ */

/* --- key ------------------------------------------------------------------------------------- */

struct sample {
    const struct metastore *ms;
    unsigned seen, opened, sealed;
    char host[256]; /* of a record of ours that another machine wrote; "": none */
};

static int look(void *arg, const char *key)
{
    struct sample *s = arg;
    struct metastore_state st = {0};
    struct meta_record m;
    int r = metastore_load(s->ms, key, &m, &st, NULL);

    s->seen++;
    if (r == 1) {
        s->opened += !st.fallback_key;
        if (s->ms->volume && m.has_tail && m.host &&
            strcmp(m.host, volume_host(s->ms->volume)) != 0)
            snprintf(s->host, sizeof s->host, "%s", m.host);
        meta_record_fini(&m);
    }
    s->sealed += r == -EBADMSG && st.sealed;
    return s->seen == SAMPLE ? 1 : 0;
}

static int wrong_key(struct err *e)
{
    return err_set(
        e, EKEYREJECTED,
        "encryption.key: is not the key of this volume: what the metadata backends hold "
        "was made with another one; put the right key back (or, for a new key, run zstor "
        "rekey), nothing was changed");
}

/* No backend has the note: the volume is empty, or older than notes. */
static int judge_records(const struct metastore *ms, struct sample *s, struct err *e)
{
    int r;

    *s = (struct sample){.ms = ms};
    r = listing_each(ms, look, s, e);
    if (r < 0)
        return r;
    return s->sealed && !s->opened ? wrong_key(e) : 0;
}

struct key {              /* what is known of the key and its volume */
    struct sample sample; /* when there is no note */
    uint8_t id[ZSTOR_INSTANCE_LEN];
    unsigned copies;
};

/* The id that the backends give the volume; of several the one that we know. */
static void take_id(const struct metastore *ms, const struct notes *n, struct key *k)
{
    for (unsigned i = 0; i < N; i++) {
        if (n->rc[i] < 0 || n->body[i].len != sizeof k->id)
            continue;
        if (k->copies == 0 || (ms->volume && volume_is(ms->volume, buf_data(&n->body[i]))))
            memcpy(k->id, buf_data(&n->body[i]), sizeof k->id);
        k->copies++;
    }
}

/* 1: the note is there and opens; 0: there is none, k->sample tells of the records. */
static int check_key(const struct metastore *ms, struct key *k, struct err *e)
{
    struct notes n;
    int r = 1;

    *k = (struct key){.sample.ms = ms};
    notes_read(ms, NOTE_KEY, &n);
    take_id(ms, &n, k);
    if (k->copies == 0)
        r = n.sealed ? wrong_key(e)
            : n.absent < ZSTOR_META_ABSENT_QUORUM
                ? err_set(e, EHOSTUNREACH,
                          "metadata: only %u of %u backends answered, that is too few to tell "
                          "whose the volume is",
                          n.answers, N)
                : judge_records(ms, &k->sample, e);
    notes_fini(&n);
    return r;
}

int claim_key(const struct metastore *ms, struct err *e)
{
    struct key k;
    int r = check_key(ms, &k, e);

    return MIN(r, 0);
}

static int write_key(const struct metastore *ms, struct key *k, struct err *e)
{
    int acks;

    if (k->copies == 0 && !volume_id(ms->volume, k->id) && ms->random(k->id, sizeof k->id) < 0)
        return err_set(e, EIO, "no random numbers");
    acks = notes_write(ms, NOTE_KEY, slice_of(k->id, sizeof k->id));
    return acks >= ZSTOR_META_WRITE_QUORUM || k->copies
               ? 0
               : err_set(e, EHOSTUNREACH,
                         "metadata: the check of the key was written to %d of %u "
                         "backends only",
                         MAX(acks, 0), N);
}

/* The key is right, and the volume the one that this state_dir belongs to. */
static int settle_key(const struct metastore *ms, struct sample *s, struct err *e)
{
    struct key k = {0};
    int r = check_key(ms, &k, e);

    *s = k.sample;
    if (r >= 0 && k.copies)
        r = volume_bind(ms->volume, k.id, e);
    if (r >= 0 && k.copies < N)
        r = write_key(ms, &k, e);
    return r >= 0 ? volume_bind(ms->volume, k.id, e) : r;
}

/* --- lease ----------------------------------------------------------------------------------- */

static bool newer(const struct note_lease *a, const struct note_lease *b)
{
    return a->epoch != b->epoch     ? a->epoch > b->epoch
           : a->serial != b->serial ? a->serial > b->serial
                                    : memcmp(a->instance, b->instance, ZSTOR_INSTANCE_LEN) > 0;
}

static bool mine(const struct metastore *ms, const struct note_lease *l)
{
    return memcmp(l->instance, volume_instance(ms->volume), ZSTOR_INSTANCE_LEN) == 0;
}

struct found {
    bool any;
    struct note_lease lease; /* the newest */
    unsigned answers, absent;
};

static void find(const struct metastore *ms, struct found *f)
{
    struct notes n;

    *f = (struct found){0};
    notes_read(ms, NOTE_LEASE, &n);
    for (unsigned i = 0; i < N; i++) {
        struct note_lease l;
        if (n.rc[i] < 0 || note_lease_decode(buf_slice(&n.body[i]), &l) < 0)
            continue;
        if (!f->any || newer(&l, &f->lease))
            f->lease = l;
        f->any = true;
    }
    if (f->any && ms->volume && !mine(ms, &f->lease) && f->lease.epoch < volume_epoch(ms->volume))
        f->any = false; /* an old one that is shown again: we have had a later one */
    f->answers = n.answers;
    f->absent = n.absent;
    notes_fini(&n);
}

static int anothers(const struct metastore *ms, const struct note_lease *l, struct err *e)
{
    char hex[2 * ZSTOR_INSTANCE_LEN + 1], when[32];
    time_t at = (time_t)(l->expiry_ns / 1000000000);
    struct tm tm;

    parse_to_hex(l->instance, ZSTOR_INSTANCE_LEN, hex);
    strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S UTC", gmtime_r(&at, &tm));
    return err_set(e, EBUSY,
                   "the volume %s the zstor %.8s on %s (epoch %" PRIu64
                   ", %s %s); if that one will "
                   "never write again: zstor takeover, or zstor monitor --takeover",
                   volume_held(ms->volume) ? "was taken over by" : "belongs to", hex,
                   l->host[0] ? l->host : "an unknown machine", l->epoch,
                   l->held ? "lease until" : "given back at", when);
}

static int too_few(const struct found *f, unsigned need, struct err *e)
{
    return err_set(e, EHOSTUNREACH,
                   "metadata: only %u of %u backends answered, %u are needed to claim the volume",
                   f->answers, N, need);
}

/* What the lease is to become.  0, or why not. */
static int decide(const struct metastore *ms, const struct found *f, const struct sample *s,
                  bool takeover, struct note_lease *l, unsigned *need, struct err *e)
{
    struct volume *v = ms->volume;
    bool own = f->any ? mine(ms, &f->lease) : volume_epoch(v) > 0;
    uint64_t epoch = MAX(f->lease.epoch, volume_epoch(v));

    *need = own ? ZSTOR_META_DATA : ZSTOR_META_WRITE_QUORUM;
    if (f->any && !own && !takeover)
        return anothers(ms, &f->lease, e);
    if (f->answers < *need || (!f->any && !own && f->absent < ZSTOR_META_ABSENT_QUORUM))
        return too_few(f, *need, e);
    if (!f->any && !own && !takeover && s->host[0] && volume_new(v))
        return err_set(
            e, EBUSY,
            "the volume has objects that were written on %s, and this machine has never "
            "written to it; if that one will never write again: zstor takeover, or zstor "
            "monitor --takeover",
            s->host);
    *l = (struct note_lease){.epoch = own && epoch ? epoch : epoch + 1,
                             .serial = f->lease.serial + 1,
                             .expiry_ns = base_wall_ns() + volume_lease_ms(v) * 1000000,
                             .held = true};
    memcpy(l->instance, volume_instance(v), ZSTOR_INSTANCE_LEN);
    snprintf(l->host, sizeof l->host, "%s", volume_host(v));
    return 0;
}

static int put(const struct metastore *ms, const struct note_lease *l)
{
    CLEANUP(buf_fini) struct buf body = BUF_INIT;

    note_lease_encode(l, &body);
    return notes_write(ms, NOTE_LEASE, buf_slice(&body));
}

/* The former owner sees the new epoch when it renews its lease, at the latest when that ends. */
static int wait_out(const struct metastore *ms, const struct note_lease *old,
                    const atomic_bool *stop, struct err *e)
{
    uint64_t end = base_now_ms() + volume_lease_ms(ms->volume);

    if (!old->held || base_wall_ns() > old->expiry_ns + CLOCKS_NS)
        return 0;
    log_info("takeover: waiting %" PRIu64 " s for the lease of %s to run out",
             volume_lease_ms(ms->volume) / 1000, old->host);
    while (base_now_ms() < end) {
        if (stop && atomic_load(stop))
            return err_set(e, ECANCELED, "stopped");
        usleep(20000);
    }
    return 0;
}

static int take_lease(const struct metastore *ms, const struct sample *s, bool takeover,
                      const atomic_bool *stop, struct err *e)
{
    uint64_t begin = base_now_ms();
    struct note_lease l = {0};
    struct found f;
    unsigned need;
    int r, acks;

    find(ms, &f);
    r = decide(ms, &f, s, takeover, &l, &need, e);
    if (r < 0)
        return r;
    acks = put(ms, &l);
    if (acks < (int)need)
        return err_set(e, EHOSTUNREACH,
                       "metadata: the lease was written to %d of %u backends "
                       "only, %u are needed",
                       MAX(acks, 0), N, need);
    if (f.any && mine(ms, &f.lease))
        return volume_hold(ms->volume, l.epoch, begin + volume_lease_ms(ms->volume), e);
    r = f.any ? wait_out(ms, &f.lease, stop, e) : 0;
    if (r < 0)
        return r;
    begin = base_now_ms();
    find(ms, &f); /* somebody else may have had the same idea */
    if (!f.any || !mine(ms, &f.lease))
        return f.any ? anothers(ms, &f.lease, e) : too_few(&f, need, e);
    log_info("the volume is ours: epoch %" PRIu64, l.epoch);
    return volume_hold(ms->volume, l.epoch, begin + volume_lease_ms(ms->volume), e);
}

int claim_take(const struct metastore *ms, bool takeover, const atomic_bool *stop, struct err *e)
{
    struct err own = {0}, *why = e ? e : &own;
    struct sample s = {.ms = ms};
    int r = volume_held(ms->volume) ? 0 : settle_key(ms, &s, why);

    if (r == 0)
        r = take_lease(ms, &s, takeover, stop, why);
    if (r == -EKEYREJECTED || r == -EBUSY)
        volume_refuse(ms->volume, why);
    return r;
}

static int not_all_four(struct err *e)
{
    return err_set(e, EHOSTUNREACH, "metadata: all %u backends are needed to change the key", N);
}

int claim_change_key(const struct metastore *ms, struct err *e)
{
    struct zstor_conf former_conf = *ms->conf;
    struct metastore former = *ms;
    struct note_lease l = {.held = true, .serial = 1};
    struct key k = {0};
    int r = check_key(ms, &k, e);

    if (r == 1) { /* begun before */
        r = claim_take(ms, false, NULL, e);
        return r == 0 && notes_write(ms, NOTE_KEY, slice_of(k.id, sizeof k.id)) < (int)N
                   ? not_all_four(e)
                   : r;
    }
    if (r == 0)
        return err_set(e, ENOENT, "the volume has no check of its key yet: start zstor once first");
    if (r != -EKEYREJECTED)
        return r;
    memcpy(former_conf.key, ms->conf->meta_key, sizeof former_conf.key);
    former.conf = &former_conf;
    r = claim_take(&former, false, NULL, e);
    if (r == 0)
        r = check_key(&former, &k, e);
    sodium_memzero(former_conf.key, sizeof former_conf.key);
    if (r < 0)
        return r;
    l.epoch = volume_epoch(ms->volume);
    memcpy(l.instance, volume_instance(ms->volume), sizeof l.instance);
    snprintf(l.host, sizeof l.host, "%s", volume_host(ms->volume));
    if (put(ms, &l) < (int)N || notes_write(ms, NOTE_KEY, slice_of(k.id, sizeof k.id)) < (int)N)
        return not_all_four(e);
    volume_forget(ms->volume);
    return claim_take(ms, false, NULL, e);
}

void claim_give_back(const struct metastore *ms)
{
    struct found f;

    if (!volume_held(ms->volume))
        return;
    find(ms, &f);
    volume_forget(ms->volume);
    if (!f.any || !mine(ms, &f.lease) || !f.lease.held)
        return;
    f.lease.held = false;
    f.lease.serial++;
    f.lease.expiry_ns = base_wall_ns();
    put(ms, &f.lease);
}

bool claim_is_free(const struct metastore *ms)
{
    struct found f;

    find(ms, &f);
    return f.answers >= ZSTOR_META_DATA &&
           (f.any ? !f.lease.held : f.absent >= ZSTOR_META_ABSENT_QUORUM);
}
