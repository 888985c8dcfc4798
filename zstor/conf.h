/* conf - the configuration of one zstor, as a const struct after options.c has filled and checked
 * it.  Keys and meaning are upstream's (spec zstor-behaviour 2), in YAML.  Reload builds a new one.
 */
#ifndef ZSTOR_CONF_H
#define ZSTOR_CONF_H

#include "zstor/format/address.h"
#include "zstor/format/types.h"

struct zstor_group {
    struct backend_addr *backends;
    size_t n;
};

struct zstor_conf {
    unsigned minimal_shards;  /* k = data shards */
    unsigned expected_shards; /* k + m; checked: geometry_valid(minimal, expected - minimal) */
    unsigned redundant_groups;
    unsigned redundant_nodes;
    char *root;                     /* NULL or "": none */
    char *socket;                   /* NULL: none */
    char *pid_file;                 /* never NULL */
    char *state_dir;                /* never NULL: queue journal, snapshots, spool files */
    char *zdb_data_dir_path;        /* NULL: no eviction */
    char *zdb_index_dir_path;       /* NULL: what only its files tell is not compared */
    uint64_t max_zdb_data_dir_size; /* MiB; 0: not given */
    uint64_t min_free_disk_space;   /* MiB of the disk of zdb_data_dir_path; 0: any, not given: */
#define ZSTOR_FREE_DISK_DEFAULT UINT64_MAX
    uint64_t evict_proof_age; /* s that a look at the shards of an object is good for */
    char *zdbfs_mountpoint;   /* NULL: none */
    uint16_t prometheus_port; /* 0: no metrics */
    char *metrics_address;    /* never NULL */
    uint64_t lease_ms;        /* how long the claim of the volume lasts without renewal */
    uint64_t repair_delay_s;  /* a backend that is down for longer is not waited for */
    uint64_t reclaim_grace_s; /* dead shards are deleted so long after their object changed */
    uint64_t scrub_period_s;  /* in which every byte is read once; 0: never */
    uint64_t scrub_rate;      /* bytes per second at the most */
    bool metadata_log; /* the records a second time, at the data backends: object/metalog.h */
    uint8_t key[ZSTOR_KEY_LEN]; /* top-level encryption: metadata records (and upstream's data) */
    uint8_t meta_key[ZSTOR_KEY_LEN]; /* meta.config.encryption: only a fallback for reading, spec
                                        zstor-format 4 */
    char *prefix;                    /* meta.config.prefix, never NULL */
    struct backend_addr meta[ZSTOR_META_COPIES];
    struct zstor_group *groups;
    size_t ngroups;
};

/* Frees strings, addresses, groups (all by free()) and c itself; wipes keys and passwords.  NULL is
 * fine.  A half-filled, zero-initialised c is fine too. */
void zstor_conf_free(struct zstor_conf *c);
/* The configured data backend at the same place as a, or NULL; borrowed. */
const struct backend_addr *zstor_conf_find(const struct zstor_conf *c,
                                           const struct backend_addr *a);

#endif
