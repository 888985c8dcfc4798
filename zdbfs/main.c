/* main - zdbfs: options, zdb, mount, threads, signals, and the way back. */
#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <inttypes.h>
#include <limits.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/daemon.h"
#include "common/io.h"
#include "common/log.h"
#include "common/version.h"
#include "zdbfs/ask.h"
#include "zdbfs/fsck/walk.h"
#include "zdbfs/txn/commit.h"
#include "zdbfs/fuse/flusher.h"
#include "zdbfs/fuse/holes.h"
#include "zdbfs/fuse/kernel_pages.h"
#include "zdbfs/fuse/session.h"
#include "zdbfs/fuse/wire.h"
#include "zdbfs/core/space.h"
#include "zdbfs/store/lease.h"
#include "zdbfs/txn/leaks.h"
#include "zdbfs/txn/point.h"
#include "zdbfs/txn/volume.h"
#include "zdbfs/core/writeback.h"

extern char **environ;

enum {
    UNMOUNT_GRACE_MS = 1500, /* after a lazy unmount: files still open then lose their connection */
    READ_AHEAD_KB = 1024,
    CHECK_FINDINGS = 4, /* exit codes of --check: fsck(8) */
    CHECK_FAILED = 8,
    MAX_WAITING = 2048, /* threads: each request that waits has one, those left over end */
};

struct app {
    struct options o;
    struct fuse_args args;
    struct fuse_session *se;
    bool mounted;
    char *mountpoint; /* absolute */
    struct kv *kv;
    struct head head;
    struct lease *lease;
    bool clean; /* nothing is left in the journal */
    struct journal *journal;
    struct points *points;
    struct ids *ids;
    struct fs *fs;
    struct commit *commit;
    struct writeback *wb;
    struct space *space;
    struct kernel_pages *pages;
    struct flusher *flusher;
    struct ops ops;
    pthread_t main_thread, ids_thread, signal_thread;
    bool ids_running, signals_running;
    atomic_bool loop_done;
};

/* ---- signals -------------------------------------------------------------------------------- */

static void print_statistics(struct app *a)
{
    struct fs *fs = a->fs;

    fs_lock(fs);
    printf("[+] cache: %zu inodes, %" PRIu64 " bytes of metadata, %zu blocks, %" PRIu64
           " of %" PRIu64 " bytes, %" PRIu64 " dirty, commit %" PRIu64 " of %" PRIu64 "\n",
           fs->ninodes, fs->meta_bytes, fs->bc.n, fs->bc.used_bytes, fs->bc.limit_bytes,
           fs->bc.dirty_bytes, fs->applied_seq, fs->snap_seq);
    fs_unlock(fs);
    fflush(stdout);
}

static void unmount_lazily(const char *path)
{
    char *argv[] = {(char[]){"fusermount3"},
                    (char[]){"-u"},
                    (char[]){"-z"},
                    (char[]){"-q"},
                    (char[]){"--"},
                    (char *)(uintptr_t)path,
                    NULL};
    pid_t pid;
    int status;

    if (umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) == 0)
        return;
    if (posix_spawnp(&pid, argv[0], NULL, NULL, argv, environ) == 0)
        waitpid(pid, &status, 0);
}

/* The kernel hands over what it has cached while requests are still served, then the mount is taken
 * away. */
static void leave(struct app *a)
{
    int r = a->pages ? kernel_pages_flush(a->pages) : 0;

    if (r < 0)
        log_warn("%s: not everything could be written: %s", a->mountpoint, strerror(-r));
    unmount_lazily(a->mountpoint);
    uint64_t until = base_now_ms() + UNMOUNT_GRACE_MS;
    while (!a->loop_done && base_now_ms() < until)
        usleep(5000);
    if (a->loop_done)
        return;
    fuse_session_exit(a->se);
    pthread_kill(a->main_thread, SIGUSR2); /* it waits for a thread of libfuse */
}

static void *handle_signals(void *arg)
{
    struct app *a = arg;
    sigset_t set;
    int sig;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGUSR1);
    for (;;) {
        if (sigwait(&set, &sig) != 0)
            continue;
        if (sig == SIGUSR1 && !a->loop_done) {
            print_statistics(a);
            continue;
        }
        if (!a->loop_done)
            leave(a);
        return NULL;
    }
}

static void nothing(int sig)
{
    (void)sig;
}

/* All signals of ours go to one thread. */
static void block_signals(void)
{
    struct sigaction ignore = {.sa_handler = SIG_IGN}, wake = {.sa_handler = nothing};
    sigset_t set;

    sigaction(SIGPIPE, &ignore, NULL);
    sigaction(SIGUSR2, &wake, NULL);
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
}

/* ---- starting ------------------------------------------------------------------------------- */

static void *run_ids(void *arg)
{
    ids_refill_loop(arg);
    return NULL;
}

static void banner(const struct options *o)
{
    printf("[+] initializing zdbfs v%s\n", QSFS_VERSION);
    printf("[+] blocks cache size: %" PRIu64 " KB\n",
           (o->memory_bytes - o->memory_bytes / 4) / KIB);
    printf("[+] virtual filesystem size: %.1f GB\n", (double)o->size_bytes / (double)GIB);
    if (o->autons)
        printf("[+] zdb: auto creating namespace\n");
    fflush(stdout);
}

static void add_option(struct fuse_args *args, const char *text)
{
    if (fuse_opt_add_arg(args, text) != 0)
        abort();
}

/* Before anything else is touched: libfuse looks at its options here. */
static int make_session(struct app *a, bool read_only, struct err *e)
{
    struct fuse_args args = FUSE_ARGS_INIT(0, NULL);

    for (int i = 0; i < a->args.argc; i++)
        add_option(&args, a->args.argv[i]);
    add_option(&args, "-odefault_permissions");
    if (read_only)
        add_option(&args, "-oro");
    a->se = fuse_session_new(&args, &ops_table, sizeof ops_table, &a->ops);
    fuse_opt_free_args(&args);
    a->ops.se = a->se;
    return a->se ? 0 : err_set(e, EINVAL, "%s", ""); /* libfuse has said what is wrong */
}

static int open_head(struct app *a, struct err *e)
{
    int r = volume_open(a->kv, &a->o, &a->head, e);

    if (r == 0)
        a->lease = lease_new(a->kv, &a->head);
    return r;
}

/* What needs writing before the volume can be used. */
static int own_volume(struct app *a, struct err *e)
{
    int r = open_head(a, e);

    if (r == 0 && !a->o.kv.read_only)
        r = lease_take(a->lease, a->mountpoint, a->o.takeover, e);
    if (r == 0)
        r = volume_fill(a->kv, &a->head, e);
    if (r == 0)
        r = journal_open(&a->journal, a->kv, a->lease, e);
    if (r == 0 && !a->o.kv.read_only)
        r = leaks_free(a->kv, a->lease,
                       lease_was_at_point(a->lease) && !journal_replayed(a->journal), e);
    if (r == 0 && !a->o.kv.read_only)
        r = points_open(&a->points, a->kv, a->lease, e);
    return r;
}

static void disown_volume(struct app *a)
{
    journal_free(a->journal);
    a->journal = NULL;
    points_free(a->points);
    a->points = NULL;
    if (a->lease && lease_give_back(a->lease, a->clean, kv_deadline(a->kv)) < 0)
        log_warn("the volume could not be given back; the next mount does not mind");
    lease_free(a->lease);
    a->lease = NULL;
}

/* zdb and what is stored there; nothing of the mount yet. */
static int open_volume(struct app *a, struct err *e)
{
    struct options *o = &a->o;

    int r = o->autons && !o->kv.read_only ? volume_autons(o, e) : 0;
    if (r == 0)
        r = kv_open(&a->kv, &o->kv, e);
    if (r == 0 && !o->kv.read_only) {
        r = volume_must_be_read_only(a->kv, o, e);
        if (r == 1) {
            log_warn("a namespace has a password that was not given: the mount is read-only");
            o->read_only = o->kv.read_only = true;
        }
    }
    if (r < 0)
        return r;
    r = own_volume(a, e);
    if (r == -ENOSPC && !o->kv.read_only) {
        log_error("%s: there is no room for a byte, so the mount is read-only; make room and mount "
                  "again",
                  e->text);
        disown_volume(a);
        o->read_only = o->kv.read_only = true;
        r = own_volume(a, e);
    }
    a->clean = r == 0;
    return r;
}

static int start_threads(struct app *a, struct err *e)
{
    int r = interrupts_start(&a->ops.interrupts, e);

    if (r == 0)
        r = readahead_start(&a->ops.ra, a->fs, e);
    if (r == 0)
        r = space_start(&a->space, a->fs, e);
    if (r < 0 || a->fs->read_only)
        return r;
    r = lease_start(a->lease, e);
    if (r < 0)
        return r;
    a->clean = false;
    r = writeback_start(&a->wb, a->fs, e);
    if (r == 0)
        r = commit_start(&a->commit, a->fs, a->journal, a->points, e);
    if (r < 0)
        return r;
    int code = pthread_create(&a->ids_thread, NULL, run_ids, a->ids);
    if (code)
        return err_sys(e, code, "thread that reserves keys");
    a->ids_running = true;
    return 0;
}

/* "major:minor" of a mount, from the table: looking at the mount itself would keep it busy.  false:
 * not found. */
static bool device_of(const char *mountpoint, char *out, size_t size)
{
    char line[4096], dev[32], where[PATH_MAX];
    FILE *f = fopen("/proc/self/mountinfo", "re");
    bool found = false;

    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "%*s %*s %31s %*s %4095s", dev, where) == 2 &&
            strcmp(where, mountpoint) == 0) {
            snprintf(out, size, "%s", dev);
            found = true; /* the last one is the one on top */
        }
    if (f)
        fclose(f);
    return found;
}

/* Larger read-ahead of the kernel for this mount, where that is allowed. */
static void set_read_ahead(const char *mountpoint)
{
    char path[64], text[16], dev[32];

    if (!device_of(mountpoint, dev, sizeof dev))
        return;
    snprintf(path, sizeof path, "/sys/class/bdi/%s/read_ahead_kb", dev);
    CLEANUP(base_close) int fd = open(path, O_WRONLY | O_CLOEXEC);
    int n = snprintf(text, sizeof text, "%d\n", READ_AHEAD_KB);
    if (fd >= 0)
        io_write_full(fd, text, (size_t)n);
}

static void become_ready(void *arg)
{
    struct app *a = arg;

    set_read_ahead(a->mountpoint);
    printf("[+] fuse: ready, waiting events: %s\n", a->mountpoint);
    fflush(stdout);
    daemon_ready();
}

/* ---- serving -------------------------------------------------------------------------------- */

static int loop(struct app *a, struct err *e)
{
    struct fuse_loop_config *conf = fuse_loop_cfg_create();

    fuse_loop_cfg_set_clone_fd(conf, a->o.clone_fd);
    fuse_loop_cfg_set_idle_threads(conf, a->o.max_threads);
    fuse_loop_cfg_set_max_threads(conf, MAX_WAITING);
    int r = a->o.max_threads == 1 ? fuse_session_loop(a->se) : fuse_session_loop_mt(a->se, conf);
    fuse_loop_cfg_destroy(conf);
    a->loop_done = 1;
    if (r == -ECONNABORTED) /* unmounted while a request was being read */
        r = 0;
    return r < 0 ? err_sys(e, -r, "reading requests of the kernel") : 0;
}

static int mount_and_loop(struct app *a, struct err *e)
{
    if (fuse_session_mount(a->se, a->mountpoint) != 0)
        return err_set(e, EIO, "%s", ""); /* libfuse has said why */
    a->mounted = true;
    int r = wire_complete(a->se);
    if (r < 0)
        return err_sys(e, -r, "talking to the kernel");
    int code = pthread_create(&a->signal_thread, NULL, handle_signals, a);
    if (code)
        return err_sys(e, code, "thread for signals");
    a->signals_running = true;
    r = a->pages ? flusher_start(&a->flusher, a->fs, a->pages, e) : 0;
    if (r == 0 && a->pages)
        r = holes_start(&a->ops.holes, a->pages, e);
    return r < 0 ? r : loop(a, e);
}

static void stop_threads(struct app *a)
{
    a->loop_done = 1;
    if (a->signals_running) {
        pthread_kill(a->signal_thread, SIGHUP);
        pthread_join(a->signal_thread, NULL);
    }
    if (a->mounted)
        fuse_session_unmount(a->se);
    if (a->fs) {
        fs_lock(a->fs);
        a->fs->stopping = true;
        fs_unlock(a->fs);
    }
    flusher_stop(a->flusher);
    holes_stop(a->ops.holes);
    interrupts_stop(a->ops.interrupts);
    kernel_pages_stop(a->pages);
    readahead_stop(a->ops.ra);
    writeback_stop(a->wb);
    if (a->ids_running) {
        ids_stop(a->ids);
        pthread_join(a->ids_thread, NULL);
    }
}

static int serve(struct app *a, struct err *e)
{
    struct inode *root = NULL;

    block_signals();
    daemon_raise_nofile(); /* each request that waits long has a connection */
    int r = a->o.kv.read_only ? 0 : kernel_pages_start(&a->pages, a->mountpoint, e);
    if (r < 0)
        return r;
    a->main_thread = pthread_self();
    a->ids = ids_new(a->kv);
    fs_new(&a->fs, &a->o, a->kv, a->ids);
    a->ops.fs = a->fs;
    a->ops.ready = become_ready;
    a->ops.ready_arg = a;
    r = inode_get(a->fs, FS_ROOT, kv_deadline(a->kv), &root); /* stays in memory */
    if (r < 0)
        err_sys(e, -r, "root directory");
    if (r == 0)
        r = start_threads(a, e);
    if (r == 0)
        r = mount_and_loop(a, e);
    stop_threads(a);
    if (a->commit) {
        int stored = commit_stop(a->commit, &a->clean);
        if (stored < 0 && r == 0)
            r = err_set(e, -stored, "not everything could be stored");
    }
    space_stop(a->space);
    if (root)
        inode_put(a->fs, root);
    return r;
}

static void close_app(struct app *a)
{
    if (a->fs)
        inode_free_all(a->fs);
    fs_free(a->fs);
    ids_free(a->ids);
    if (a->lease)
        disown_volume(a);
    kv_close(a->kv);
    if (a->se)
        fuse_session_destroy(a->se);
    oplog_close(a->ops.log);
    fuse_opt_free_args(&a->args);
    free(a->mountpoint);
    options_fini(&a->o);
}

/* ---- command line --------------------------------------------------------------------------- */

static int list_points(struct app *a, struct err *e)
{
    int r = kv_open(&a->kv, &a->o.kv, e);

    if (r == 0)
        r = open_head(a, e);
    return r < 0 ? r : ask_points(a->kv, a->head.points_key, a->o.json, e);
}

static int check_volume(struct app *a, struct err *e)
{
    struct check_result c = {0};

    int r = kv_open(&a->kv, &a->o.kv, e);
    if (r == 0)
        r = open_head(a, e);
    if (r == 0)
        r = volume_fill(a->kv, &a->head, e);
    if (r == 0)
        r = journal_open(&a->journal, a->kv, a->lease, e);
    if (r < 0)
        return r;
    if (a->o.json)
        printf("{\"found\": [");
    r = check_run(a->kv, a->head.points_key, a->o.json, &c, e);
    if (r < 0)
        return r;
    if (a->o.json)
        printf("],\n \"findings\": %" PRIu64 ", \"directories\": %" PRIu64 ", \"files\": %" PRIu64
               ", \"others\": %" PRIu64 ", \"blocks\": %" PRIu64 ", \"bytes\": %" PRIu64
               ", \"unused_meta_keys\": %" PRIu64 ", \"unused_data_keys\": %" PRIu64 "}\n",
               c.findings, c.dirs, c.files, c.others, c.blocks, c.bytes, c.unused_meta,
               c.unused_data);
    else
        printf("%" PRIu64 " directories, %" PRIu64 " files, %" PRIu64 " others, %" PRIu64
               " blocks, %" PRIu64 " bytes; unused keys: %" PRIu64 " meta, %" PRIu64
               " data; %" PRIu64 " findings\n",
               c.dirs, c.files, c.others, c.blocks, c.bytes, c.unused_meta, c.unused_data,
               c.findings);
    return c.findings ? CHECK_FINDINGS : 0;
}

/* Passwords are not left where ps shows them. */
static void wipe_passwords(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        for (char *p = argv[i]; *p; p++) {
            bool start = p == argv[i] || p[-1] == ',' || (p == argv[i] + 2 && argv[i][0] == '-');
            if (!start || !strchr("mdt", p[0]) || p[1] != 's' || p[2] != '=')
                continue;
            for (p += 3; *p && *p != ','; p++)
                *p = '*';
            if (!*p)
                break;
        }
}

static int run_mount(struct app *a, struct err *e)
{
    a->mountpoint = realpath(a->o.mountpoint, NULL);
    if (!a->mountpoint)
        return err_sys(e, errno, "mount point %s", a->o.mountpoint);
    int r = make_session(a, false, e);
    if (r == 0)
        banner(&a->o);
    if (r == 0 && a->o.logfile)
        r = oplog_open(&a->ops.log, a->o.logfile, e);
    bool asked = a->o.read_only;
    if (r == 0)
        r = open_volume(a, e);
    if (r == 0 && a->o.read_only && !asked) {
        fuse_session_destroy(a->se);
        a->se = NULL;
        r = make_session(a, true, e);
    }
    if (r == 0 && a->o.background) {
        r = daemon_background(false, e);
        if (r == 0 && chdir("/") < 0)
            r = err_sys(e, errno, "chdir /");
    }
    return r < 0 ? r : serve(a, e);
}

int main(int argc, char **argv)
{
    struct app a = {.args = FUSE_ARGS_INIT(argc, argv)};
    enum options_action action = OPTIONS_RUN;
    struct err e = {0};

    mallopt(M_ARENA_MAX, 4);
    mallopt(M_MMAP_THRESHOLD, 4 * 1024 * 1024);
    mallopt(M_TRIM_THRESHOLD, 16 * 1024 * 1024);
    int r = options_parse(&a.o, &a.args, &action, &e);
    wipe_passwords(argc, argv);
    if (r == 0 && action == OPTIONS_HELP) {
        options_help();
        r = 1;
    } else if (r == 0 && action == OPTIONS_SHOW_VERSION) {
        puts("zdbfs " QSFS_VERSION);
        fuse_lowlevel_version();
    } else if (r == 0) {
        r = a.o.check    ? check_volume(&a, &e)
            : a.o.points ? list_points(&a, &e)
            : a.o.point  ? ask_point(a.o.mountpoint, &e)
                         : run_mount(&a, &e);
    }
    bool check = a.o.check;
    close_app(&a);
    if (r < 0 && e.text[0])
        fprintf(stderr, "zdbfs: %s\n", e.text);
    if (r < 0 && check)
        return CHECK_FAILED;
    return r < 0 ? 1 : r;
}
