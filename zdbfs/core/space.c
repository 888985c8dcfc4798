/* space - see core/space.h. */
#include "zdbfs/core/space.h"

#include <errno.h>
#include <stdlib.h>

enum {
    FRESH_MS = 500,     /* what was heard is good for so long */
    PATIENCE_MS = 1000, /* statfs waits so long for better numbers */
    FRAGMENT = 1024,
};

#define FILES_MAX 0xffffffffffull

struct space {
    struct fs *fs;
    pthread_t thread;
    bool stop; /* under fs.lock */
};

static void *run(void *arg)
{
    struct space *s = arg;
    struct fs *fs = s->fs;

    fs_lock(fs);
    while (!s->stop) {
        uint64_t now = base_now_ms();
        if (!fs->info_wanted) {
            pthread_cond_wait(&fs->info_work, &fs->lock);
            continue;
        }
        if (fs->info_ms && now - fs->info_ms < FRESH_MS) {
            uint64_t until = fs->info_ms + FRESH_MS;
            struct timespec ts = {(time_t)(until / 1000), (long)(until % 1000) * 1000000};
            pthread_cond_timedwait(&fs->info_work, &fs->lock, &ts);
            continue;
        }
        fs->info_wanted = false;
        uint64_t inserted = fs->inserted_bytes;
        fs_unlock(fs);
        struct kv_info meta, data;
        int r = kv_info(fs->kv, ROLE_META, kv_deadline(fs->kv), &meta);
        if (r == 0)
            r = kv_info(fs->kv, ROLE_DATA, kv_deadline(fs->kv), &data);
        fs_lock(fs);
        if (r == 0) {
            fs->info_meta = meta;
            fs->info_data = data;
            fs->inserted_bytes -= MIN(inserted, fs->inserted_bytes);
            fs->info_ms = base_now_ms();
        }
        fs_changed(fs);
    }
    fs_unlock(fs);
    return NULL;
}

int space_start(struct space **out, struct fs *fs, struct err *e)
{
    struct space *s = xcalloc(1, sizeof *s);

    s->fs = fs;
    fs->info_wanted = true;
    int code = pthread_create(&s->thread, NULL, run, s);
    if (code) {
        free(s);
        return err_sys(e, code, "thread that asks for free space");
    }
    pthread_setname_np(s->thread, "zdbfs-space");
    *out = s;
    return 0;
}

void space_stop(struct space *s)
{
    if (!s)
        return;
    fs_lock(s->fs);
    s->stop = true;
    pthread_cond_signal(&s->fs->info_work);
    fs_unlock(s->fs);
    pthread_join(s->thread, NULL);
    free(s);
}

int space_statfs(struct fs *fs, struct statvfs *out)
{
    fs_lock(fs);
    uint64_t asked = base_now_ms();
    if (!fs->info_ms || asked - fs->info_ms >= FRESH_MS) {
        fs->info_wanted = true;
        pthread_cond_signal(&fs->info_work);
        while (fs->info_ms < asked && fs_wait(fs, asked + PATIENCE_MS) == 0)
            ;
    }
    bool known = fs->info_ms != 0;
    struct kv_info meta = fs->info_meta, data = fs->info_data;
    uint64_t used = data.data_bytes + fs->inserted_bytes + fs->bc.dirty_bytes;
    fs_unlock(fs);
    if (!known)
        return -EIO;
    uint64_t size = fs->opt->size_bytes;
    uint64_t left = size > used ? size - used : 0;
    if (data.limit_bytes)
        left = MIN(left, data.limit_bytes > used ? data.limit_bytes - used : 0);
    left = MIN(left, data.free_bytes);
    *out = (struct statvfs){
        .f_bsize = INODE_BLOCK,
        .f_frsize = FRAGMENT,
        .f_blocks = size / FRAGMENT,
        .f_bfree = left / FRAGMENT,
        .f_bavail = left / FRAGMENT,
        .f_files = FILES_MAX,
        .f_ffree = FILES_MAX - MIN(meta.entries, FILES_MAX),
        .f_favail = FILES_MAX - MIN(meta.entries, FILES_MAX),
        .f_namemax = 255,
    };
    return 0;
}
