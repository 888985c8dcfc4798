/* watermark - see the header. */
#include "zdb/file/watermark.h"
#include "common/crc.h"
#include "common/io.h"
#include "common/path.h"
#include "zdb/format/data.h"
#include "zdb/format/index.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

static bool read_slot(int fd, unsigned i, struct watermark *w)
{
    uint8_t bytes[WATERMARK_SIZE];

    return io_pread_full(fd, bytes, sizeof bytes, (uint64_t)i * WATERMARK_APART) == 0 &&
           watermark_decode(slice_of(bytes, sizeof bytes), w) && w->sequence % 2 == i;
}

int watermark_read(const char *index_dir, struct watermark *out)
{
    CLEANUP(base_free) char *path = path_join(index_dir, WATERMARK_FILE);
    CLEANUP(base_close) int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct watermark w[2];
    bool have[2];

    if (fd < 0)
        return errno == ENOENT ? 0 : -errno;
    for (unsigned i = 0; i < 2; i++)
        have[i] = read_slot(fd, i, &w[i]);
    if (!have[0] && !have[1])
        return 0;
    *out = !have[1] || (have[0] && w[0].sequence > w[1].sequence) ? w[0] : w[1];
    return 1;
}

int watermark_write(const char *index_dir, const struct watermark *w)
{
    CLEANUP(base_free) char *path = path_join(index_dir, WATERMARK_FILE);
    CLEANUP(base_close) int fd = open(path, O_WRONLY | O_CLOEXEC);
    uint8_t bytes[WATERMARK_SIZE];
    bool made = fd < 0 && errno == ENOENT;
    int r;

    if (made)
        fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    watermark_encode(bytes, w);
    r = io_pwrite_full(fd, bytes, sizeof bytes, w->sequence % 2 * WATERMARK_APART);
    if (r == 0)
        r = io_fdatasync(fd);
    if (r == 0 && made)
        r = path_sync_dir(index_dir);
    return r;
}

int watermark_remove(const char *index_dir)
{
    CLEANUP(base_free) char *path = path_join(index_dir, WATERMARK_FILE);

    if (unlink(path) < 0)
        return errno == ENOENT ? 0 : -errno;
    return path_sync_dir(index_dir);
}

/* The bytes of a record at off, at most n of them; the number, or -errno. */
static ssize_t record(int fd, uint8_t *bytes, size_t n, uint32_t off)
{
    ssize_t got;

    do
        got = pread(fd, bytes, n, off);
    while (got < 0 && errno == EINTR);
    return got < 0 ? -errno : got;
}

int watermark_data_sum(int fd, uint32_t off, uint64_t end, uint32_t *sum)
{
    uint8_t bytes[DATA_REC_SIZE + DATA_KEY_MAX];
    ssize_t n = record(fd, bytes, sizeof bytes, off);
    struct data_rec rec;
    struct rd rd;

    if (n < 0)
        return (int)n;
    rd = rd_of(slice_of(bytes, (size_t)n));
    if (data_rec_decode(&rd, &rec) != 1 || off + data_rec_size(&rec) != end ||
        (size_t)n < (size_t)DATA_REC_SIZE + rec.keylen)
        return -EBADMSG;
    *sum = crc_raw(0, bytes, (size_t)DATA_REC_SIZE + rec.keylen);
    return 0;
}

int watermark_index_sum(int fd, uint32_t off, uint64_t end, uint32_t *sum)
{
    uint8_t bytes[INDEX_REC_MAX], previous[4];
    ssize_t n = record(fd, bytes, sizeof bytes, off);
    struct index_rec rec;
    struct rd rd;

    if (n < 0)
        return (int)n;
    rd = rd_of(slice_of(bytes, (size_t)n));
    if (index_rec_decode(&rd, &rec) != 1 || off + index_rec_size(&rec) != end)
        return -EBADMSG;
    le32_put(previous, rec.previous);
    *sum = crc_raw(crc_raw(0, previous, sizeof previous), rec.key.p, rec.key.len);
    return 0;
}
