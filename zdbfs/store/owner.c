/* owner - see store/owner.h. */
#include "zdbfs/store/owner.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/parse.h"

enum { EXITING_MS = 3000 }; /* a killed process that still ends its system calls */

static size_t read_text(const char *path, char *out, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, out, size - 1) : -1;

    base_close(&fd);
    out[n > 0 ? n : 0] = 0;
    return n > 0 ? (size_t)n : 0;
}

/* 32 hexadecimal digits, with or without hyphens; all zero when it is something else. */
static void read_id(const char *path, uint8_t out[16])
{
    char text[64], digits[33] = {0};
    size_t n = 0;

    memset(out, 0, 16);
    read_text(path, text, sizeof text);
    for (const char *p = text; *p && n < 32; p++)
        if (isxdigit((unsigned char)*p))
            digits[n++] = *p;
    if (n != 32)
        return;
    for (unsigned i = 0; i < 16; i++) {
        char pair[3] = {digits[2 * i], digits[2 * i + 1], 0};
        out[i] = (uint8_t)strtoul(pair, NULL, 16);
    }
}

/* State and start of a process.  false: there is none. */
static bool read_stat(uint32_t pid, char *state, uint64_t *start)
{
    char path[64], text[1024];
    uint64_t field = 2;

    snprintf(path, sizeof path, "/proc/%u/stat", pid);
    if (read_text(path, text, sizeof text) == 0)
        return false;
    const char *p = strrchr(text, ')'); /* behind the name, which may hold anything */
    if (!p || p[1] != ' ')
        return false;
    *state = p[2];
    for (p++; *p && field < 22; p++)
        field += *p == ' ';
    char *end;
    *start = strtoull(p, &end, 10);
    return end != p;
}

static bool has_threads(uint32_t pid)
{
    char path[64];
    unsigned n = 0;

    snprintf(path, sizeof path, "/proc/%u/task", pid);
    DIR *d = opendir(path);
    for (const struct dirent *de; d && (de = readdir(d));)
        n += de->d_name[0] != '.';
    if (d)
        closedir(d);
    return n > 1;
}

static uint64_t own_namespace(void)
{
    struct stat st;
    return stat("/proc/self/ns/pid", &st) == 0 ? st.st_ino : 0;
}

void owner_refresh_process(struct head_owner *o)
{
    char state;

    o->pid = (uint32_t)getpid();
    if (!read_stat(o->pid, &state, &o->pid_start))
        o->pid_start = 0;
}

void owner_self(struct head_owner *o, const char *where)
{
    size_t len = strlen(where);

    *o = (struct head_owner){.pid_ns = own_namespace()};
    if (getrandom(o->instance, sizeof o->instance, 0) != sizeof o->instance) {
        le64_put(o->instance, base_wall_ns());
        le64_put(o->instance + 8, (uint64_t)getpid());
    }
    owner_refresh_process(o);
    read_id("/proc/sys/kernel/random/boot_id", o->boot);
    read_id("/etc/machine-id", o->machine);
    if (gethostname(o->host, sizeof o->host) < 0)
        o->host[0] = 0;
    o->host[sizeof o->host - 1] = 0;
    snprintf(o->where, sizeof o->where, "%s",
             where + (len < sizeof o->where ? 0 : len + 1 - sizeof o->where));
}

static bool known(const uint8_t id[16])
{
    static const uint8_t zero[16];
    return memcmp(id, zero, 16) != 0;
}

enum owner_state owner_look(const struct head_owner *o)
{
    struct head_owner me;
    uint64_t start, until = base_now_ms() + EXITING_MS;
    char state;

    owner_self(&me, "");
    if (!known(o->boot) || !known(me.boot))
        return OWNER_ELSEWHERE;
    if (memcmp(o->boot, me.boot, 16) != 0)
        return known(me.machine) && memcmp(o->machine, me.machine, 16) == 0 &&
                       strcmp(o->host, me.host) == 0
                   ? OWNER_REBOOTED
                   : OWNER_ELSEWHERE;
    if (!o->pid_ns || o->pid_ns != me.pid_ns)
        return OWNER_ELSEWHERE;
    for (;;) {
        if (!read_stat(o->pid, &state, &start) || start != o->pid_start)
            return OWNER_GONE;
        bool exiting = state == 'Z' || state == 'X';
        if (exiting && !has_threads(o->pid))
            return OWNER_GONE;
        if (!exiting || base_now_ms() >= until)
            return OWNER_ALIVE;
        usleep(5000);
    }
}

void owner_describe(const struct head_owner *o, char *out, size_t size)
{
    uint64_t now = base_wall_ns() / 1000000;

    snprintf(out, size, "process %u on host %s, mounted at %s, heard of %llu s ago", o->pid,
             o->host[0] ? o->host : "(unnamed)", o->where,
             (unsigned long long)(now > o->wall_ms ? (now - o->wall_ms) / 1000 : 0));
}
