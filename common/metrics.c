/* metrics - see metrics.h. */
#include "common/metrics.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/http.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/loop.h"
#include "common/net.h"

enum {
    HTTP_TIMEOUT_S = 10,
    HTTP_MAX_HEADERS = 8192,
    HTTP_MAX_BODY = 1024,
};

struct collector {
    metrics_fn *fn;
    void *arg;
};

struct metrics {
    struct collector *v;
    size_t n;
};

struct page {
    struct page *next;
    char *path;
    metrics_page_fn *fn;
    void *arg;
};

struct metrics_http {
    struct metrics *m;
    struct evhttp *http;
    struct page *pages;
    int port;
};

/* ---- text ----------------------------------------------------------------------------------- */

int metrics_new(struct metrics **out)
{
    *out = xcalloc(1, sizeof **out);
    return 0;
}

void metrics_free(struct metrics *m)
{
    if (!m)
        return;
    free(m->v);
    free(m);
}

void metrics_collector(struct metrics *m, metrics_fn *fn, void *arg)
{
    m->v = realloc(m->v, (m->n + 1) * sizeof *m->v);
    if (!m->v)
        base_panic("out of memory");
    m->v[m->n++] = (struct collector){fn, arg};
}

void metrics_render(struct metrics *m, struct buf *out)
{
    for (size_t i = 0; i < m->n; i++)
        m->v[i].fn(out, m->v[i].arg);
}

static void put_escaped(struct buf *out, const char *s, bool quotes)
{
    for (; *s; s++) {
        if (*s == '\\')
            buf_put_str(out, "\\\\");
        else if (*s == '\n')
            buf_put_str(out, "\\n");
        else if (*s == '"' && quotes)
            buf_put_str(out, "\\\"");
        else
            buf_put_u8(out, (uint8_t)*s);
    }
}

void metrics_family(struct buf *out, const char *name, const char *type, const char *help)
{
    buf_printf(out, "# HELP %s ", name);
    put_escaped(out, help, false);
    buf_printf(out, "\n# TYPE %s %s\n", name, type);
}

static void put_name(struct buf *out, const char *name, const char *const *labels)
{
    buf_put_str(out, name);
    if (!labels || !labels[0]) {
        buf_put_u8(out, ' ');
        return;
    }
    for (size_t i = 0; labels[i]; i += 2) {
        buf_put_u8(out, i ? ',' : '{');
        buf_printf(out, "%s=\"", labels[i]);
        put_escaped(out, labels[i + 1], true);
        buf_put_u8(out, '"');
    }
    buf_put_str(out, "} ");
}

void metrics_sample(struct buf *out, const char *name, const char *const *labels, double value)
{
    char text[40];

    put_name(out, name, labels);
    if (isnan(value)) {
        buf_put_str(out, "NaN\n");
    } else if (isinf(value)) {
        buf_put_str(out, value > 0 ? "+Inf\n" : "-Inf\n");
    } else {
        snprintf(text, sizeof text, "%.15g", value); /* the shorter one when it says the same */
        if (strtod(text, NULL) != value)
            snprintf(text, sizeof text, "%.17g", value);
        buf_printf(out, "%s\n", text);
    }
}

void metrics_sample_u64(struct buf *out, const char *name, const char *const *labels,
                        uint64_t value)
{
    put_name(out, name, labels);
    buf_printf(out, "%" PRIu64 "\n", value);
}

/* ---- http ----------------------------------------------------------------------------------- */

static int metrics_page_text(struct buf *out, const char **type, void *arg)
{
    struct metrics_http *h = arg;

    metrics_render(h->m, out);
    *type = "text/plain; version=0.0.4; charset=utf-8";
    return HTTP_OK;
}

static void answer(struct evhttp_request *req, int status, const char *type, const struct buf *body)
{
    struct evkeyvalq *headers = evhttp_request_get_output_headers(req);
    struct evbuffer *eb = evbuffer_new();
    bool head = evhttp_request_get_command(req) == EVHTTP_REQ_HEAD;
    char length[24];

    if (!eb || (!head && body->len && evbuffer_add(eb, buf_data(body), body->len) < 0)) {
        evhttp_send_error(req, HTTP_INTERNAL, NULL);
    } else {
        snprintf(length, sizeof length, "%zu", body->len); /* evhttp would send the body of a HEAD
                                                              as well */
        evhttp_add_header(headers, "Content-Length", length);
        evhttp_add_header(headers, "Content-Type", type);
        evhttp_add_header(headers, "X-Content-Type-Options", "nosniff");
        evhttp_send_reply(req, status, NULL, eb);
    }
    if (eb)
        evbuffer_free(eb);
}

static void on_request(struct evhttp_request *req, void *arg)
{
    struct metrics_http *h = arg;
    const struct evhttp_uri *uri = evhttp_request_get_evhttp_uri(req);
    const char *path = uri ? evhttp_uri_get_path(uri) : NULL, *type = "text/plain; charset=utf-8";
    CLEANUP(buf_fini) struct buf body = BUF_INIT;
    int status = HTTP_NOTFOUND;

    struct page *p = h->pages;
    while (p && (!path || strcmp(p->path, *path ? path : "/") != 0))
        p = p->next;
    if (p)
        status = p->fn(&body, &type, p->arg);
    else
        buf_put_str(&body, "no such page\n");
    answer(req, status, type, &body);
}

int metrics_serve(struct metrics_http **out, struct loop *l, struct metrics *m, const char *host,
                  uint16_t port, struct err *e)
{
    char text[8];
    int fd;

    snprintf(text, sizeof text, "%u", (unsigned)port);
    int r = net_listen_tcp(host, text, &fd, e);
    if (r < 0) {
        err_prefix(e, "metrics");
        return r;
    }
    struct metrics_http *h = xcalloc(1, sizeof *h);
    h->m = m;
    h->port = net_local_port(fd);
    h->http = evhttp_new(loop_base(l));
    if (!h->http || !evhttp_accept_socket_with_handle(h->http, fd)) {
        close(fd);
        metrics_close(h);
        return err_set(e, ENOMEM, "metrics: http server cannot be made");
    }
    evhttp_set_timeout(h->http, HTTP_TIMEOUT_S);
    evhttp_set_max_headers_size(h->http, HTTP_MAX_HEADERS);
    evhttp_set_max_body_size(h->http, HTTP_MAX_BODY);
    evhttp_set_allowed_methods(h->http, EVHTTP_REQ_GET | EVHTTP_REQ_HEAD);
    evhttp_set_gencb(h->http, on_request, h);
    metrics_page(h, "/metrics", metrics_page_text, h);
    *out = h;
    return 0;
}

int metrics_port(const struct metrics_http *h)
{
    return h->port;
}

void metrics_page(struct metrics_http *h, const char *path, metrics_page_fn *fn, void *arg)
{
    struct page *p = xcalloc(1, sizeof *p);

    p->path = xstrdup(path);
    p->fn = fn;
    p->arg = arg;
    p->next = h->pages;
    h->pages = p;
}

void metrics_close(struct metrics_http *h)
{
    if (!h)
        return;
    if (h->http)
        evhttp_free(h->http);
    while (h->pages) {
        struct page *p = h->pages;
        h->pages = p->next;
        free(p->path);
        free(p);
    }
    free(h);
}
