/* state - what the parts of a load share: which segments there are, how far their index counts, and
 * what has been found.  Shared by recovery/ only.  Thread: the zdb loop, before service (or in a
 * RELOAD).
 *
 * The rule: the data files are the truth.  The index files are a checkpoint of them, right up to a
 * place; what lies behind it is replayed from the data.  The first record that is not whole ends
 * the history, unless the data was whole once (`safe`): then it is damage, and stepped over.
 *
 *   the watermark fits          the place is the one that it names
 *   it does not, or is missing  the files count as foreign: the place is the end of what their
 *                               index says, and only what lies behind that in the newest data file
 *                               is looked at
 *   an index file is broken     the place moves back to its beginning, when its data is here; the
 *                               watermark says so before anything is changed */
#ifndef ZDB_RECOVERY_STATE_H
#define ZDB_RECOVERY_STATE_H

#include "zdb/engine/namespace_impl.h"

struct load_seg { /* a segment as the directories have it */
    uint32_t id;
    bool index, data;
    uint64_t data_size, index_size; /* of the files */
    uint64_t used, used_before; /* end of the last data record that some index file knows, and of
                                   the one before */
    uint64_t live; /* seq mode: of live records whose index stands in earlier files (ns_live) */
};

struct load {
    struct ns *ns;
    struct err *e;
    struct load_seg *found; /* ascending */
    size_t n;
    struct watermark mark; /* the place; sequence 0: none, the files are foreign */
    bool foreign;
    size_t from; /* found[from].id is mark.segment: it is replayed, and all behind it; n: none */
    uint32_t last_segment, last_data; /* the last data record that the index names */
    uint64_t copies_end; /* seq mode: slots name copies in the newest index file up to here */
    bool no_rebuild;     /* on a read-only filesystem nothing can be built anew */
    size_t broken;       /* with -EUCLEAN: the index of this segment */
    bool bad_end;        /* foreign files: the last record of the newest data file is damaged */
    bool replayed;       /* there was something behind the place */
    uint64_t skipped; /* bytes of damage stepped over, whose records had ids that are not filled in
                       */
    bool ids_lost;    /* seq mode: records of earlier files may be missing */
    bool gap;         /* a segment number before this one is missing */
    bool changed;     /* something was decided that the watermark does not cover; it has to, before
                         anything is written behind it */
};

struct load_seg *load_found(struct load *l, uint32_t seg); /* NULL: no such segment */
/* The index names a data record of this segment. */
void load_note(struct load *l, uint32_t seg, const struct index_rec *rec);
/* Is the data record that rec names of this key?  1 yes, 0 no, -1 cannot be told (not here).  The
 * segment may be one that is not loaded yet. */
int load_has_key(struct load *l, uint32_t seg, const struct index_rec *rec);
/* Can the data record that rec names not be in the file: it ends behind it, or never reached the
 * disk?  The segment is loaded. */
bool load_is_lost(struct load *l, uint32_t seg, const struct index_rec *rec);
/* The index of s is broken.  -EUCLEAN: it can be built anew; 0: what can be read has to do. */
int load_broken(struct load *l, uint32_t seg);
/* Counters of a record that becomes live or stops to be. */
void load_count(struct ns *ns, uint32_t seg, uint64_t length, size_t keylen, bool live);
/* User mode: the record of k is superseded or deleted; rec, at (file, off), is that of k now. */
void load_dead(struct ns *ns, const struct keys_entry *k);
void load_live(struct ns *ns, struct keys_entry *k, uint32_t file, uint32_t off,
               const struct index_rec *rec);
/* A descriptor of the file for reading, kind 'i' or 'd'; -errno. */
int load_open(const struct load *l, char kind, uint32_t id);
/* The header of the index file.  0, or as index_header_decode, -errno. */
int load_header(const struct load *l, uint32_t id, struct index_header *h);

/* recovery/mode.c: ns->mode, as far as the files say.  0, -EINVAL (not what the server was told)
 * with l->e set. */
int load_mode(struct load *l);

/* recovery/judge.c: ns->mode, l->mark, l->foreign, l->from.  0 or -errno with l->e set. */
int load_judge(struct load *l, const struct watermark *w);
/* The place moves back to the beginning of found[i]; durable before anything is changed.  0 (also
 * on a read-only filesystem, with l->no_rebuild), or -errno with l->e set. */
int load_move_back(struct load *l, size_t i);

/* Records of the index file of s up to limit into memory.  0; -EUCLEAN: it is broken and can be
 * built anew, nothing was changed; -errno with l->e set.  What is behind a record whose data is
 * lost (foreign files, newest segment) is not loaded: s->index.size is less than the file. */
int load_user(struct load *l, struct seg *s, uint64_t limit);
int load_seq(struct load *l, struct seg *s, uint64_t limit);
int load_seq_finish(struct load *l); /* ids between files, the chain; -errno */
/* The ids [from, upto) go to s, with records that are deleted; the first one names `previous`. */
int load_seq_fill(struct load *l, struct seg *s, uint32_t previous, uint64_t from, uint64_t upto);
int load_seq_recount(struct ns *ns); /* after a replay: count anew what is live */

/* recovery/replay.c: the data of s from `at` on; its index is in memory.  1: history goes on with
 * the next segment; 0: it ends in this one, which is the last one now; -errno. */
int load_replay(struct load *l, size_t i, struct seg *s, uint64_t at);

/* recovery/end.c: history ends at s->data.size and s->index.size: what comes later is put aside,
 * and what it did in place to records before it is taken back.  0 or -errno. */
int load_end(struct load *l, size_t i, struct seg *s, uint64_t data_size, uint64_t index_size);
/* Only the index is cut, at s->index.size.  1 or -errno. */
int load_cut_index(struct load *l, struct seg *s);

#endif
