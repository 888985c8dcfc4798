/* compaction - see the header. */
#include "zdb/file/compaction.h"
#include "common/log.h"
#include "common/path.h"
#include "zdb/file/segment_list.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define SUFFIX      ".compact"
#define JOURNAL_NEW "." COMPACT_FORMAT_FILE "." /* what path_replace() writes */

char *compact_new_path(const char *dir, char kind, uint32_t id)
{
    return xasprintf("%s/.%c%u" SUFFIX, dir, kind, id);
}

static bool is_new_name(const char *name)
{
    size_t n = strlen(name), tail = sizeof SUFFIX - 1;

    if (strncmp(name, JOURNAL_NEW, sizeof JOURNAL_NEW - 1) == 0)
        return true;
    if (n < 3 + tail || name[0] != '.' || (name[1] != 'd' && name[1] != 'i') ||
        strcmp(name + n - tail, SUFFIX) != 0)
        return false;
    return strspn(name + 2, "0123456789") == n - 2 - tail;
}

/* New files in dir; removed, when they are to be. */
static size_t new_files(const char *dir, bool remove)
{
    char **names;
    size_t n, found = 0;

    if (path_list(dir, &names, &n) < 0)
        return 0;
    for (size_t i = 0; i < n; i++) {
        CLEANUP(base_free) char *path = path_join(dir, names[i]);
        if (!is_new_name(names[i]))
            continue;
        found++;
        if (remove && unlink(path) < 0)
            log_warn("%s: left by an interrupted compaction, cannot be removed: %s", path,
                     strerror(errno));
    }
    path_list_free(names, n);
    return found;
}

bool compact_has_leftovers(const char *index_dir, const char *data_dir)
{
    return new_files(index_dir, false) + new_files(data_dir, false) > 0;
}

size_t compact_discard(const char *index_dir, const char *data_dir)
{
    return new_files(index_dir, true) + new_files(data_dir, true);
}

int compact_journal_read(const char *index_dir, struct compact_list *out, struct err *e)
{
    CLEANUP(base_free) char *path = path_join(index_dir, COMPACT_FORMAT_FILE);
    CLEANUP(buf_fini) struct buf b = BUF_INIT;
    struct err why = {0};
    int r = path_read(path, COMPACT_FORMAT_BYTES, &b, &why);

    if (r == -ENOENT)
        return 0;
    if (r < 0)
        return err_set(e, -r, "%s", why.text);
    r = compact_format_decode(buf_slice(&b), out);
    if (r == -EPROTONOSUPPORT)
        return err_set(e, -r, "%s: journal of a compaction by a newer zdb; start that one", path);
    if (r < 0)
        return err_set(
            e, -r,
            "%s: damaged journal of a compaction; give the files .*" SUFFIX
            " beside it, and those in the data directory, their names without dot and " SUFFIX
            ", then remove it",
            path);
    return 1;
}

bool compact_journal_has(const struct compact_list *l, char kind, uint32_t id)
{
    for (size_t i = 0; i < l->n; i++) {
        if (l->entries[i].kind == kind && l->entries[i].id == id)
            return true;
    }
    return false;
}

static int sync_both(const char *index_dir, const char *data_dir, struct err *e)
{
    int r = path_sync_dir(data_dir);

    if (r == 0)
        r = path_sync_dir(index_dir);
    return r < 0 ? err_sys(e, -r, "sync of %s and %s", data_dir, index_dir) : 0;
}

static int check_size(const char *dir, const struct compact_entry *entry, struct err *e)
{
    CLEANUP(base_free) char *from = compact_new_path(dir, entry->kind, entry->id);
    struct stat st;

    if (lstat(from, &st) < 0)
        return errno == ENOENT ? 0 : err_sys(e, errno, "%s", from); /* it has its name already */
    if ((uint64_t)st.st_size == entry->size)
        return 0;
    return err_set(e, EBADMSG,
                   "%s: has %lld bytes, the journal of the compaction says %llu; restore the "
                   "namespace from a backup",
                   from, (long long)st.st_size, (unsigned long long)entry->size);
}

static int give_name(const char *dir, const struct compact_entry *entry, struct err *e)
{
    CLEANUP(base_free) char *from = compact_new_path(dir, entry->kind, entry->id);
    CLEANUP(base_free) char *to = segment_path(dir, entry->kind, entry->id);

    return rename(from, to) < 0 && errno != ENOENT ? err_sys(e, errno, "rename %s to %s", from, to)
                                                   : 0;
}

static int finish(const char *index_dir, const char *data_dir, const struct compact_list *l,
                  struct err *e)
{
    CLEANUP(base_free) char *journal = path_join(index_dir, COMPACT_FORMAT_FILE);
    int r = 0;

    for (size_t i = 0; r == 0 && i < l->n; i++)
        r = check_size(l->entries[i].kind == 'i' ? index_dir : data_dir, &l->entries[i], e);
    for (size_t i = 0; r == 0 && i < l->n; i++)
        r = give_name(l->entries[i].kind == 'i' ? index_dir : data_dir, &l->entries[i], e);
    if (r == 0)
        r = sync_both(index_dir, data_dir, e);
    if (r == 0 && unlink(journal) < 0)
        r = err_sys(e, errno, "remove %s", journal);
    return r < 0 ? r : sync_both(index_dir, data_dir, e);
}

int compact_commit(const char *index_dir, const char *data_dir, const struct compact_list *l,
                   struct err *e)
{
    CLEANUP(base_free) char *journal = path_join(index_dir, COMPACT_FORMAT_FILE);
    CLEANUP(buf_fini) struct buf b = BUF_INIT;
    int r = sync_both(index_dir, data_dir, e);

    compact_format_encode(&b, l);
    if (r == 0)
        r = path_replace(journal, buf_slice(&b), 0600, e);
    return r < 0 ? r : finish(index_dir, data_dir, l, e);
}

int compact_recover(const char *index_dir, const char *data_dir, struct err *e)
{
    struct compact_list l = {0};
    size_t n;
    int r = compact_journal_read(index_dir, &l, e);

    if (r < 0)
        return r;
    if (r > 0) {
        r = finish(index_dir, data_dir, &l, e);
        if (r == 0)
            log_info("directory %s: an interrupted compaction was finished (%zu files)", index_dir,
                     l.n);
        compact_list_fini(&l);
        if (r < 0)
            return r;
    }
    n = compact_discard(index_dir, data_dir);
    if (n)
        log_info("directory %s: %zu files of an interrupted compaction were removed", index_dir, n);
    return 0;
}
