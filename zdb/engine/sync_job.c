/* sync_job - see the header. */
#include "zdb/engine/sync_job.h"
#include "common/io.h"
#include "common/path.h"
#include "zdb/engine/namespace_impl.h"
#include <fcntl.h>
#include <unistd.h>

static int sync_fs(const char *dir)
{
    CLEANUP(base_close) int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    return fd < 0 || syncfs(fd) < 0 ? -errno : 0;
}

static int write_again(struct ns_sync_job *j)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < j->n; i++) {
        const struct ns_sync_part *p = &j->parts[i];
        r = p->is_data ? ns_rescue_data(p->path, p->from, p->size)
                       : ns_rescue_index(p->path, p->size);
        j->lost |= r == -EBADMSG || r == -ENODATA;
    }
    return r;
}

static int sync_part(const struct ns_sync_part *p)
{
    CLEANUP(base_close) int fd = open(p->path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return errno == ENOENT && p->may_go ? 0 : -errno;
    return io_fdatasync(fd);
}

static int write_mark(struct ns_sync_job *j)
{
    if (j->flushing)
        return watermark_write(j->ns->index_dir, &j->mark);

    CLEANUP(base_free) char *data = xasprintf("%s/d%u", j->ns->data_dir, j->mark.segment);
    CLEANUP(base_free) char *idx = xasprintf("%s/i%u", j->ns->index_dir, j->mark.segment);

    return ns_checkpoint_write(j->ns->index_dir, &j->mark, data, idx);
}

void ns_sync_job_run(struct ns_sync_job *j)
{
    int r = j->again ? write_again(j) : 0;

    if (r == 0 && j->everything) {
        r = sync_fs(j->ns->index_dir);
        if (r == 0)
            r = sync_fs(j->ns->data_dir);
    }
    if (r == 0 && j->directories) {
        r = path_sync_dir(j->ns->index_dir);
        if (r == 0)
            r = path_sync_dir(j->ns->data_dir);
    }
    for (size_t i = 0; r == 0 && i < j->n; i++)
        r = sync_part(&j->parts[i]);
    if (r == 0 && (j->last || j->flushing))
        r = write_mark(j);
    j->result = r;
}
