/* nsinfo - see backend/nsinfo.h.  NSINFO: "name: value" lines, lines that start with # are skipped.
 */
#include "zstor/backend/nsinfo.h"

#include <errno.h>
#include <inttypes.h>

#include "common/parse.h"

#define MAX_TEXT (64 * 1024)

enum field_kind { TEXT_NAME, TEXT_MODE, YES_NO, NUMBER };

struct field {
    const char *name;
    enum field_kind kind;
    size_t offset; /* in struct backend_info */
    bool required;
};

#define AT(m) offsetof(struct backend_info, m)

static const struct field fields[] = {
    {"name", TEXT_NAME, AT(name), true},
    {"mode", TEXT_MODE, AT(mode), true},
    {"entries", NUMBER, AT(entries), true},
    {"public", YES_NO, AT(is_public), false},
    {"password", YES_NO, AT(password), false},
    {"worm", YES_NO, AT(worm), true},
    {"locked", YES_NO, AT(locked), true},
    {"frozen", YES_NO, AT(frozen), false},
    {"data_size_bytes", NUMBER, AT(data_size_bytes), true},
    {"data_limits_bytes", NUMBER, AT(data_limits_bytes), true},
    {"index_size_bytes", NUMBER, AT(index_size_bytes), false},
    {"stats_index_io_errors", NUMBER, AT(index_io_errors), false},
    {"stats_index_io_error_last", NUMBER, AT(index_io_error_last), false},
    {"stats_index_faults", NUMBER, AT(index_faults), false},
    {"stats_data_io_errors", NUMBER, AT(data_io_errors), false},
    {"stats_data_io_error_last", NUMBER, AT(data_io_error_last), false},
    {"stats_data_faults", NUMBER, AT(data_faults), false},
    {"index_disk_freespace_bytes", NUMBER, AT(index_disk_free), false},
    {"data_disk_freespace_bytes", NUMBER, AT(data_disk_free), false},
};

static bool set_field(const struct field *f, struct slice v, struct backend_info *out)
{
    char *at = (char *)out + f->offset;

    switch (f->kind) {
    case TEXT_NAME:
        if (v.len == 0 || v.len >= sizeof out->name)
            return false;
        for (size_t i = 0; i < v.len; i++)
            if (v.p[i] < 0x20)
                return false;
        memcpy(out->name, v.p, v.len);
        out->name[v.len] = '\0';
        return true;
    case TEXT_MODE:
        out->mode = slice_eq_str(v, "userkey")      ? BACKEND_USERKEY
                    : slice_eq_str(v, "sequential") ? BACKEND_SEQUENTIAL
                                                    : BACKEND_OTHER;
        return true;
    case YES_NO:
        *(bool *)at = slice_eq_str(v, "yes");
        return *(bool *)at || slice_eq_str(v, "no");
    case NUMBER:
        return parse_u64_slice(v, 0, UINT64_MAX, (uint64_t *)(void *)at) == 0;
    }
    return false;
}

static int take_line(struct slice line, struct backend_info *out, uint32_t *seen, struct err *e)
{
    const uint8_t *colon = memmem(line.p, line.len, ": ", 2);
    struct slice name, value;

    if (!colon || line.p[0] == '#')
        return 0;
    name = slice_of(line.p, (size_t)(colon - line.p));
    value = slice_of(colon + 2, line.len - name.len - 2);
    if (value.len && value.p[value.len - 1] == '\r')
        value.len--;
    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        if (!slice_eq_str(name, fields[i].name))
            continue;
        if (!set_field(&fields[i], value, out))
            return err_set(e, EPROTO, "NSINFO: malformed value of %s", fields[i].name);
        *seen |= 1u << i;
    }
    return 0;
}

int backend_info_parse(struct slice text, struct backend_info *out, struct err *e)
{
    uint32_t seen = 0;

    *out = (struct backend_info){.mode = BACKEND_OTHER,
                                 .index_disk_free = UINT64_MAX,
                                 .data_disk_free = UINT64_MAX};
    if (text.len > MAX_TEXT)
        return err_set(e, EPROTO, "NSINFO: answer of %zu bytes", text.len);
    while (text.len) {
        const uint8_t *nl = memchr(text.p, '\n', text.len);
        size_t n = nl ? (size_t)(nl - text.p) : text.len;
        int r = n ? take_line(slice_of(text.p, n), out, &seen, e) : 0;
        if (r < 0)
            return r;
        n += nl != NULL;
        text.p += n;
        text.len -= n;
    }
    for (size_t i = 0; i < ARRAY_LEN(fields); i++)
        if (fields[i].required && !(seen & 1u << i))
            return err_set(e, EPROTO, "NSINFO: %s is missing in the answer", fields[i].name);
    return 0;
}

uint64_t backend_info_free(const struct backend_info *i)
{
    uint64_t room = i->data_disk_free;

    if (i->data_limits_bytes)
        room = MIN(room, i->data_limits_bytes > i->data_size_bytes
                             ? i->data_limits_bytes - i->data_size_bytes
                             : 0);
    return room;
}

int backend_info_writable(const struct backend_info *i, enum backend_mode want, uint64_t bytes,
                          struct err *e)
{
    if (i->mode != want)
        return err_set(e, EINVAL, "expected 0-db namespace to be in %s mode, but is in %s",
                       want == BACKEND_SEQUENTIAL ? "sequential" : "userkey",
                       i->mode == BACKEND_SEQUENTIAL ? "sequential"
                       : i->mode == BACKEND_USERKEY  ? "user-key"
                                                     : "another");
    if (i->locked || i->frozen)
        return err_set(e, EROFS, "namespace %s is locked", i->name);
    if (i->worm && want == BACKEND_USERKEY)
        return err_set(e, EROFS, "namespace %s is write-once, metadata could not be replaced",
                       i->name);
    if (backend_info_free(i) < bytes)
        return err_set(e, ENOSPC,
                       "namespace %s only has %" PRIu64 " bytes of space left, but %" PRIu64
                       " bytes are needed",
                       i->name, backend_info_free(i), bytes);
    return 0;
}

const char *backend_text(struct slice said, char *out, size_t size)
{
    size_t n = MIN(said.len, size - 1);

    for (size_t i = 0; i < n; i++)
        out[i] = said.p[i] < 0x20 || said.p[i] == 0x7f ? '.' : (char)said.p[i];
    out[n] = '\0';
    return out;
}
