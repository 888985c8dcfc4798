/* notes - see object/notes.h. */
#include "zstor/object/notes.h"

#include <errno.h>
#include <stdlib.h>

#define N ZSTOR_META_COPIES

static int take(const struct metastore *ms, enum note_kind kind, const struct backend_op *op,
                struct buf *out)
{
    if (op->rc == -EPROTO)
        return -EIO; /* what makes no sense does not tell what is in it */
    return op->rc < 0 ? op->rc : note_open(kind, ms->conf->key, op->out, out);
}

void notes_read(const struct metastore *ms, enum note_kind kind, struct notes *out)
{
    CLEANUP(base_free) char *name = note_name(ms->conf->prefix, kind);
    struct quorum q;

    *out = (struct notes){0};
    quorum_open(&q, ms, HEALTH_READ, true);
    for (unsigned i = 0; i < N; i++)
        quorum_command(&q.ask[i], BACKEND_NAMED_GET, slice_str(name), quorum_nothing());
    exchange_run(q.ask, N, ZSTOR_META_DATA, MAX(ms->grace_ms, (uint64_t)1000), NULL);
    for (unsigned i = 0; i < N; i++) {
        int r = take(ms, kind, &q.ask[i].op, &out->body[i]);
        out->rc[i] = r;
        out->opened += r == 0;
        out->absent += r == -ENOENT;
        out->sealed += r == -EKEYREJECTED;
        out->answers += r == 0 || r == -ENOENT || r == -EKEYREJECTED || r == -EBADMSG;
    }
    quorum_close(&q);
}

void notes_fini(struct notes *n)
{
    for (unsigned i = 0; i < N; i++)
        buf_fini(&n->body[i]);
}

int notes_write(const struct metastore *ms, enum note_kind kind, struct slice body)
{
    CLEANUP(base_free) char *name = note_name(ms->conf->prefix, kind);
    CLEANUP(buf_fini) struct buf bytes = BUF_INIT;
    uint8_t nonce[CRYPT_NONCE_LEN];
    struct slice value[N];
    struct quorum q;
    unsigned acks;
    int r = ms->random(nonce, sizeof nonce);

    if (r == 0)
        r = note_seal(kind, ms->conf->key, nonce, body, &bytes);
    if (r < 0)
        return r;
    for (unsigned i = 0; i < N; i++)
        value[i] = buf_slice(&bytes);
    quorum_open(&q, ms, HEALTH_WRITE, false);
    acks = quorum_write(&q, name, value);
    quorum_close(&q);
    return (int)acks;
}
