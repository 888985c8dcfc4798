/* conf_node - the inside of the configuration tree, for those who build one (conf_yaml.c); everybody else uses conf.h. */
#ifndef COMMON_CONF_NODE_H
#define COMMON_CONF_NODE_H

#include "common/conf.h"

struct conf_node {
    enum conf_kind kind;
    int line;
    bool null;                 /* scalar without a value: "key:" or "key: ~" */
    char *text;                /* scalar */
    char *key;                 /* child of a map */
    char *file;                /* root only */
    struct conf_node *parent;
    struct conf_node **child;  /* map and seq, in the order of the file */
    size_t n, cap;
};

/* Root: parent NULL and file is copied.  The line counts from 1. */
struct conf_node *conf_node_new(struct conf_node *parent, const char *file, enum conf_kind kind, int line);
/* The child was made with this parent; key is copied, NULL in a sequence. */
void conf_node_add(struct conf_node *child, const char *key);

#endif
