/* metrics - Prometheus text format (version 0.0.4) from collectors, and the HTTP listener for it
 * (evhttp). Collectors run on the loop at each scrape. */
#ifndef COMMON_METRICS_H
#define COMMON_METRICS_H

#include "common/buf.h"
#include "common/err.h"

struct loop;
struct metrics;
struct metrics_http;

typedef void metrics_fn(struct buf *out, void *arg);

int metrics_new(struct metrics **out);
void metrics_free(struct metrics *m);
void metrics_collector(struct metrics *m, metrics_fn *fn, void *arg);
void metrics_render(struct metrics *m, struct buf *out);

/* For collectors: first the family ("counter" or "gauge"), then its samples; labels NULL or
 * alternating name, value, NULL */
void metrics_family(struct buf *out, const char *name, const char *type, const char *help);
void metrics_sample(struct buf *out, const char *name, const char *const *labels, double value);
void metrics_sample_u64(struct buf *out, const char *name, const char *const *labels,
                        uint64_t value);

/* GET /metrics; other pages through handlers: fn fills out and returns the HTTP status, *type is
 * the content type. */
typedef int metrics_page_fn(struct buf *out, const char **type, void *arg);
int metrics_serve(struct metrics_http **out, struct loop *l, struct metrics *m, const char *host,
                  uint16_t port, struct err *e);
int metrics_port(const struct metrics_http *h); /* the one in use, for port 0 */
void metrics_page(struct metrics_http *h, const char *path, metrics_page_fn *fn, void *arg);
void metrics_close(struct metrics_http *h);

#endif
