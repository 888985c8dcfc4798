/* conf - a configuration file as a tree with line numbers, and typed getters whose errors read
 * "<file>:<line>: <key>: <value> <what is wrong>, <what is allowed>".  YAML through libyaml
 * (conf_yaml.c). */
#ifndef COMMON_CONF_H
#define COMMON_CONF_H

#include "common/bytes.h"
#include "common/err.h"

enum conf_kind { CONF_SCALAR, CONF_MAP, CONF_SEQ };
struct conf_node; /* opaque; all nodes belong to the root */

/* Given: conf_free(root).  Anchors, aliases, tags, several documents, duplicate keys, depth > 16,
 * size > 4 MiB: refused. */
int conf_load_yaml(struct conf_node **root, const char *path, struct err *e);
int conf_parse_yaml(struct conf_node **root, const char *name, struct slice text, struct err *e);
void conf_free(struct conf_node *root);

enum conf_kind conf_kind(const struct conf_node *n);
int conf_line(const struct conf_node *n);
/* err_set with "<file>:<line>: " in front; returns -EINVAL. */
int conf_error(const struct conf_node *n, struct err *e, const char *fmt, ...) PRINTF(3, 4);

/* Every key of map must be in allowed (ends with NULL), else -EINVAL with the list of allowed ones.
 */
int conf_check_keys(const struct conf_node *map, const char *const *allowed, struct err *e);
const struct conf_node *conf_get(const struct conf_node *map, const char *key); /* NULL when absent
                                                                                 */
size_t conf_len(const struct conf_node *seq);
const struct conf_node *conf_at(const struct conf_node *seq, size_t i);

/* Getters.  1: found; 0: absent (out untouched); -EINVAL: wrong kind, not a number, out of range; e
 * says which.  With `required` absence is -EINVAL as well ("missing key `x`"). */
int conf_str(const struct conf_node *map, const char *key, bool required, const char **out,
             struct err *e); /* borrowed */
int conf_u64(const struct conf_node *map, const char *key, bool required, uint64_t min,
             uint64_t max, uint64_t *out, struct err *e);
int conf_bool(const struct conf_node *map, const char *key, bool required, bool *out,
              struct err *e);
int conf_map(const struct conf_node *map, const char *key, bool required,
             const struct conf_node **out, struct err *e);
int conf_seq(const struct conf_node *map, const char *key, bool required,
             const struct conf_node **out, struct err *e);
/* Text of a scalar node, NULL for the other kinds. */
const char *conf_text(const struct conf_node *scalar);

/* For readers of a format (conf_yaml.c): a node that belongs to its parent, behind the children
 * that are there; key is copied, NULL in a list.  The root has no parent, and gets the name of the
 * file.  Depth is bounded by the reader. */
struct conf_node *conf_new_root(const char *file, enum conf_kind kind, int line);
struct conf_node *conf_new_child(struct conf_node *parent, const char *key, enum conf_kind kind,
                                 int line);
void conf_set_text(struct conf_node *scalar, const char *text, bool null); /* null: "key:" or "key:
                                                                              ~", no value */
bool conf_is_null(const struct conf_node *n);

#endif
