/* ask - see ask.h. */
#include "zdbfs/ask.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "common/io.h"
#include "zdbfs/txn/point.h"

static void when(uint64_t wall_ns, char *out, size_t size)
{
    time_t s = (time_t)(wall_ns / 1000000000);
    struct tm tm;

    if (!gmtime_r(&s, &tm) || strftime(out, size, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
        snprintf(out, size, "?");
}

static void print(const struct point *p)
{
    char text[64];

    when(p->wall_ns, text, sizeof text);
    printf("point %" PRIu64 "  %s  meta %" PRIu32 "  data %" PRIu32 "\n", p->number, text, p->meta,
           p->data);
}

static void print_json(const struct point_list *l)
{
    char text[64];

    printf("{\"points\": [");
    for (size_t i = 0; i < l->n; i++) {
        const struct point *p = &l->p[i];
        when(p->wall_ns, text, sizeof text);
        printf("%s\n  {\"number\": %" PRIu64 ", \"time_ns\": %" PRIu64
               ", \"time\": \"%s\", \"meta\": %" PRIu32 ", \"data\": %" PRIu32
               ", \"epoch\": %" PRIu64 ", \"generation\": %" PRIu64 "}",
               i ? "," : "", p->number, p->wall_ns, text, p->meta, p->data, p->epoch,
               p->generation);
    }
    printf("%s]}\n", l->n ? "\n" : "");
}

int ask_points(struct kv *kv, uint64_t points_key, bool json, struct err *e)
{
    struct point_list *l = xcalloc(1, sizeof *l);

    int r = point_read(kv, points_key, l, e);
    if (r == 0 && json)
        print_json(l);
    for (size_t i = 0; r == 0 && !json && i < l->n; i++)
        print(&l->p[i]);
    free(l);
    return r;
}

int ask_point(const char *mountpoint, struct err *e)
{
    uint8_t answer[POINT_ANSWER_BYTES] = {0};
    CLEANUP(base_close) int fd = open(mountpoint, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        return err_sys(e, errno, "%s", mountpoint);
    if (syncfs(fd) < 0)
        return err_sys(e, errno, "%s: storing what the kernel has", mountpoint);
    if (ioctl(fd, POINT_IOCTL, answer) < 0) {
        if (errno == ENOTTY)
            return err_set(e, ENOTTY, "%s: no zdbfs is mounted there, or an older one", mountpoint);
        if (errno == EOPNOTSUPP)
            return err_set(e, EOPNOTSUPP,
                           "%s: zdb does not begin new segments for it (NSJUMP needs an admin)",
                           mountpoint);
        return err_sys(e, errno, "%s: making a point", mountpoint);
    }
    struct point p;
    point_answer_decode(answer, &p);
    print(&p);
    return 0;
}
