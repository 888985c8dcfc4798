/* Commands without sockets: the order of checks, sessions, watchers and mirrors, requests that go
 * on later. */
#include "tests/unit/unit.h"
#include "zdb/server/dispatch.h"
#include "zdb/server/hooks.h"
#include "zdb/store.h"
#include "common/digest.h"
#include "common/loop.h"
#include "common/path.h"

#include <stdio.h>
#include <unistd.h>

static char dir[32], data[64], idx[64];
static struct loop *loop;
static struct hooks *hooks;
static struct store *list;
static struct zdb db;

struct conn {
    struct session s;
    struct buf out;
    bool resumed;
};
static struct conn a, b;

static void on_touched(struct session *s)
{
    (void)s;
}

static void on_resume(struct session *s)
{
    container_of(s, struct conn, s)->resumed = true;
}

static void connect_(struct conn *c)
{
    memset(c, 0, sizeof *c);
    request_session_init(&c->s, &db, &c->out);
    c->s.touched = on_touched;
    c->s.resume = on_resume;
}

static void disconnect(struct conn *c)
{
    request_session_fini(&c->s);
    buf_fini(&c->out);
}

static void open_db(const struct zdb_conf *conf, enum ns_mode mode)
{
    struct err e = {0};
    struct hook_conf hc = {.instance = "unix:///x",
                           .fast_timeout_ms = 1000,
                           .slow_timeout_ms = 1000};
    struct store_conf nc = {.data_dir = data, .index_dir = idx, .mode = mode, .datasize = 1 << 20};

    strcpy(dir, "/tmp/command.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(data, sizeof data, "%s/data", dir);
    snprintf(idx, sizeof idx, "%s/index", dir);
    ck_assert_int_eq(loop_new(&loop, &e), 0);
    ck_assert_int_eq(hooks_new(&hooks, loop, &hc, &e), 0);
    ck_assert_msg(store_new(&list, &nc, loop, &e) == 0, "%s", e.text);
    ck_assert_msg(store_load(list, &e) == 0, "%s", e.text);
    ck_assert_int_eq(request_db_init(&db, conf, loop, &e), 0);
    db.store = list;
    db.hooks = hooks;
    connect_(&a);
    connect_(&b);
}

static void close_db(void)
{
    disconnect(&a);
    disconnect(&b);
    request_db_fini(&db);
    store_close(list);
    store_free(list);
    hooks_free(hooks);
    loop_free(loop);
    path_remove_tree(dir);
}

/* What has been sent to the connection, as text; the buffer is emptied. */
static const char *taken(struct conn *c)
{
    static char text[8][70000];
    static int turn;
    char *t = text[turn++ % 8];

    ck_assert_uint_lt(c->out.len, sizeof text[0]);
    memcpy(t, buf_data(&c->out) ? (const void *)buf_data(&c->out) : "", c->out.len);
    t[c->out.len] = '\0';
    buf_clear(&c->out);
    return t;
}

static const char *run_argv(struct conn *c, unsigned argc, const struct slice *argv)
{
    enum request_result r;

    while ((r = command_run(&c->s, argc, argv)) == REQ_PARK) {
        for (int i = 0; i < 1000 && !c->resumed; i++)
            loop_once(loop, 10);
        ck_assert(c->resumed);
        c->resumed = false;
    }
    ck_assert_int_eq(r, REQ_DONE);
    return taken(c);
}

/* words end with NULL */
static const char *run_words(struct conn *c, const char *const *words)
{
    struct slice argv[16];
    unsigned argc = 0;

    while (words[argc]) {
        argv[argc] = slice_str(words[argc]);
        argc++;
    }
    return run_argv(c, argc, argv);
}

#define RUN(c, ...) run_words(c, (const char *const[]){__VA_ARGS__, NULL})
#define OK          "+OK\r\n"

static char long_key[257], key_255[256], long_name[130];

static void open_plain(void)
{
    static const struct zdb_conf conf = {.max_output = 65536};
    memset(long_key, 'x', 256);
    memset(key_255, 'x', 255);
    memset(long_name, 'n', 129);
    open_db(&conf, NS_MIXED);
}

static void open_admin(void)
{
    static const struct zdb_conf conf = {.admin = "adminpw", .max_output = 65536};
    open_plain();
    close_db();
    open_db(&conf, NS_MIXED);
}

START_TEST(words_are_exact_and_without_case)
{
    ck_assert_str_eq(RUN(&a, "PING"), "+PONG\r\n");
    ck_assert_str_eq(RUN(&a, "pInG"), "+PONG\r\n");
    ck_assert_str_eq(RUN(&a, "PIN"), "-Command not supported\r\n");
    ck_assert_str_eq(RUN(&a, "PINGX"), "-Command not supported\r\n");
    ck_assert_str_eq(RUN(&a, "a-word-that-is-longer-than-any-command"),
                     "-Command not supported\r\n");
    ck_assert_str_eq(RUN(&a, ""), "-This is not a valid command\r\n");
    ck_assert_str_eq(RUN(&a, "*"), "-This is not a valid command\r\n");
    const struct slice nul[] = {slice_of("PING\0X", 6)}, nul2[] = {slice_of("\0", 1)};
    ck_assert_str_eq(run_argv(&a, 1, nul), "-Command not supported\r\n");
    ck_assert_str_eq(run_argv(&a, 1, nul2), "-Command not supported\r\n");
    static const char *const known[] = {"AUTH",   "CHECK",   "DATA",    "DBSIZE", "DEL",   "EXISTS",
                                        "FLUSH",  "GET",     "HISTORY", "HOOKS",  "INDEX", "INFO",
                                        "KEYCUR", "KEYTIME", "KSCAN",   "LENGTH", "MGET",  "NSDEL",
                                        "NSINFO", "NSJUMP",  "NSLIST",  "NSNEW",  "NSSET", "RELOAD",
                                        "RSCAN",  "SCAN",    "SCANX",   "SELECT", "SET",   "SETX",
                                        "STOP",   "SYNC",    "TIME",    "WAIT"};
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        ck_assert_str_ne(RUN(&a, known[i]), "-Command not supported\r\n");
}
END_TEST

START_TEST(checks_of_keys_come_in_order)
{
    ck_assert_str_eq(RUN(&a, "SET", "k"), "-Unexpected arguments\r\n");
    ck_assert_str_eq(RUN(&a, "SET", "", "v"), "-Invalid argument, key needed\r\n");
    ck_assert_str_eq(RUN(&a, "SET", long_key, "v"), "-Key too large\r\n");
    ck_assert_str_eq(RUN(&a, "SET", "k", ""), "$1\r\nk\r\n");
    ck_assert_str_eq(RUN(&a, "GET", "k"), "$0\r\n\r\n");
    ck_assert_str_eq(RUN(&a, "SET", "k", ""), "$-1\r\n");
    ck_assert_str_eq(RUN(&a, "GET", long_key), "-Invalid key\r\n");
    ck_assert_str_eq(RUN(&a, "GET", ""), "-Invalid argument\r\n");
    ck_assert_str_eq(RUN(&a, "GET", "", ""), "-Unexpected arguments\r\n");
    ck_assert_str_eq(RUN(&a, "DEL", ""), "-Invalid argument\r\n");
    ck_assert_str_eq(RUN(&a, "DEL", "", "1"), "-Key not found\r\n");
    ck_assert_str_eq(RUN(&a, "DEL", long_key), "-Invalid key\r\n");
    ck_assert_str_eq(RUN(&a, "DEL", "k"), OK);
    ck_assert_str_eq(RUN(&a, "KEYCUR", long_key), "-Key not found\r\n");
    ck_assert_str_eq(RUN(&a, "MGET", "a", long_key), "-Invalid key\r\n");
    ck_assert_str_eq(RUN(&a, "MGET", "", "a"), "*2\r\n$-1\r\n$-1\r\n");
    ck_assert_int_eq(strncmp(RUN(&a, "SET", key_255, "v"), "$255\r\nxxx", 9), 0);
    ck_assert_str_eq(RUN(&a, "GET", key_255), "$1\r\nv\r\n");
}
END_TEST

START_TEST(lock_freeze_worm_and_quota_refuse_in_the_originals_words)
{
    ck_assert_str_eq(RUN(&a, "NSNEW", "n"), OK);
    ck_assert_str_eq(RUN(&b, "SELECT", "n"), OK);
    ck_assert_str_eq(RUN(&b, "SET", "a", "1"), "$1\r\na\r\n");
    ck_assert_str_eq(RUN(&a, "NSSET", "n", "lock", "1"), OK);
    ck_assert_str_eq(RUN(&b, "SET", "a", "2"), "-Namespace is temporarily locked (read-only)\r\n");
    ck_assert_str_eq(RUN(&b, "GET", "a"), "$1\r\n1\r\n");
    ck_assert_str_eq(RUN(&a, "NSSET", "n", "freeze", "1"), OK);
    ck_assert_str_eq(RUN(&b, "GET", "a"),
                     "-Namespace is temporarily frozen (read-write disabled)\r\n");
    ck_assert_str_eq(RUN(&b, "MGET", long_key), "-Invalid key\r\n"); /* keys first */
    ck_assert_str_eq(RUN(&b, "MGET", "a"),
                     "-Namespace is temporarily frozen (read-write disabled)\r\n");
    ck_assert_str_eq(RUN(&b, "SCAN", "bad"),
                     "-Namespace is temporarily frozen (read-write disabled)\r\n");
    ck_assert_str_eq(RUN(&b, "DBSIZE"), ":1\r\n");
    ck_assert_str_eq(RUN(&a, "NSSET", "n", "lock", "0"), OK);
    ck_assert_str_eq(RUN(&a, "NSSET", "n", "worm", "1"), OK);
    ck_assert_str_eq(RUN(&b, "SET", "a", "1"), "-Namespace is protected by worm mode\r\n");
    ck_assert_str_eq(RUN(&b, "DEL", "a"),
                     "-Cannot delete a key when namespace is in worm mode\r\n");
    ck_assert_str_eq(RUN(&a, "NSSET", "n", "worm", "0"), OK);
    ck_assert_str_eq(RUN(&a, "NSSET", "n", "maxsize", "5"), OK);
    ck_assert_str_eq(RUN(&b, "SET", "b", "12345"), "-No space left on this namespace\r\n");
    ck_assert_str_eq(RUN(&b, "SET", "b", "1234"), "$1\r\nb\r\n"); /* equality is accepted */
    ck_assert_str_eq(RUN(&b, "SET", "b", "12345"), "-No space left on this namespace\r\n");
    ck_assert_str_eq(RUN(&b, "DEL", "b"), OK);
}
END_TEST

START_TEST(times_are_for_admins_and_read_whole)
{
    static const struct {
        const char *text, *reply;
    } t[] = {{"abc", "-Unexpected arguments\r\n"},
             {"", "-Unexpected arguments\r\n"},
             {" 12x", "-Unexpected arguments\r\n"},
             {"-5", "-Invalid argument\r\n"},
             {"4294967296", "-Invalid argument\r\n"}};
    for (size_t i = 0; i < ARRAY_LEN(t); i++) {
        ck_assert_str_eq(RUN(&a, "SET", "x", "v", t[i].text), t[i].reply);
        ck_assert_str_eq(RUN(&a, "DEL", "x", t[i].text), t[i].reply);
        ck_assert_str_eq(RUN(&a, "EXISTS", "x"), ":0\r\n");
    }
    RUN(&a, "SET", "a", "v", "1600000000");
    ck_assert_str_eq(RUN(&a, "KEYTIME", "a"), ":1600000000\r\n");
    RUN(&a, "SET", "b", "v", "4294967295");
    ck_assert_str_eq(RUN(&a, "KEYTIME", "b"), ":4294967295\r\n");
    a.s.admin = false;
    ck_assert_str_eq(RUN(&a, "SET", "z", "v", "1"), "-Permission denied\r\n");
    ck_assert_str_eq(RUN(&a, "DEL", long_key, "1"), "-Permission denied\r\n");
    ck_assert_uint_eq(db.unauthorized, 2);
}
END_TEST

START_TEST(admin_commands_are_refused_before_their_arguments_are_looked_at)
{
    static const char *const admin[] = {"NSNEW", "NSDEL", "NSSET", "NSJUMP", "RELOAD",
                                        "HOOKS", "INDEX", "DATA",  "MIRROR", "MASTER"};
    for (size_t i = 0; i < ARRAY_LEN(admin); i++)
        ck_assert_str_eq(RUN(&a, admin[i]), "-Permission denied\r\n");
    ck_assert_uint_eq(db.unauthorized, ARRAY_LEN(admin));
    ck_assert_str_eq(RUN(&a, "AUTH", "wrong"), "-Access denied\r\n");
    ck_assert_str_eq(RUN(&a, "AUTH", "adminpw"), OK);
    ck_assert_str_eq(RUN(&a, "NSNEW"), "-Unexpected arguments\r\n");
    ck_assert_str_eq(RUN(&a, "NSNEW", ""), "-Invalid argument\r\n");
    ck_assert_str_eq(RUN(&a, "NSNEW", long_name), "-Namespace too long\r\n");
    ck_assert_str_eq(RUN(&a, "HOOKS"), "*0\r\n");
    ck_assert_str_eq(RUN(&a, "HOOKS", "pending"), ":0\r\n");
    ck_assert_str_eq(RUN(&b, "HOOKS"), "-Permission denied\r\n"); /* another connection */
}
END_TEST

static const char *hash_of(const char *challenge, const char *password)
{
    static char hash[41];
    char text[64];
    snprintf(text, sizeof text, "%.16s:%s", challenge + 1, password);
    digest_sha1_hex(slice_str(text), hash);
    return hash;
}

START_TEST(a_challenge_is_good_for_one_login)
{
    ck_assert_str_eq(RUN(&a, "AUTH", "SECURE", hash_of("+0123456789abcdef", "adminpw")),
                     "-No CHALLENGE requested, secure authentication not available\r\n");
    const char *challenge = RUN(&a, "AUTH", "secure", "CHALLENGE");
    ck_assert_str_eq(RUN(&a, "AUTH", "SECURE", "short"), "-Invalid hash length\r\n"); /* keeps it */
    ck_assert_str_eq(RUN(&a, "AUTH", "SECURE", hash_of(challenge, "adminpw")), OK);
    ck_assert_str_eq(RUN(&a, "AUTH", "SECURE", hash_of(challenge, "adminpw")),
                     "-No CHALLENGE requested, secure authentication not available\r\n");
    RUN(&a, "NSNEW", "n");
    RUN(&a, "NSSET", "n", "password", "secret");
    challenge = RUN(&b, "AUTH", "SECURE", "CHALLENGE");
    ck_assert_str_eq(RUN(&b, "SELECT", "n", "SECURE", hash_of(challenge, "wrong")),
                     "-Access denied\r\n");
    ck_assert_str_eq(RUN(&b, "SELECT", "n", "SECURE", hash_of(challenge, "secret")), OK);
    ck_assert_str_eq(RUN(&b, "SELECT", "n", "SECURE", hash_of(challenge, "secret")),
                     "-No CHALLENGE requested, secure authentication not available\r\n");
    ck_assert_str_eq(RUN(&b, "SET", "a", "b"), "$1\r\na\r\n");
}
END_TEST

START_TEST(select_keeps_the_old_namespace_when_refused)
{
    RUN(&a, "NSNEW", "n");
    RUN(&a, "NSSET", "n", "password", "secret");
    ck_assert_str_eq(RUN(&b, "SELECT", "n"), OK);
    ck_assert_str_eq(RUN(&b, "SET", "a", "b"), "-Namespace is in read-only mode\r\n");
    RUN(&a, "NSSET", "n", "public", "0");
    ck_assert_str_eq(RUN(&b, "SELECT", "default"), OK);
    ck_assert_str_eq(RUN(&b, "SELECT", "n"), "-Namespace protected and private\r\n");
    ck_assert_str_eq(RUN(&b, "SELECT", "n", "a", "b", "c"), "-Too many arguments\r\n");
    ck_assert_str_eq(RUN(&b, "SELECT", "n", "bad"), "-Access denied\r\n");
    ck_assert_str_eq(RUN(&b, "SELECT", "n", "secre"), "-Access denied\r\n");
    ck_assert_str_eq(RUN(&b, "SELECT"), "-Invalid argument\r\n");
    ck_assert_str_eq(RUN(&b, "SET", "a", "b"), "$1\r\na\r\n"); /* default is still selected */
    ck_assert_str_eq(RUN(&a, "GET", "a"), "$1\r\nb\r\n");
    ck_assert_str_eq(RUN(&b, "SELECT", "n", "secret"), OK);
    ck_assert_str_eq(RUN(&b, "GET", "a"), "$-1\r\n");
    ck_assert_str_eq(RUN(&b, "FLUSH"), OK);
}
END_TEST

START_TEST(flush_needs_a_private_namespace_and_removes_its_keys)
{
    ck_assert_str_eq(RUN(&a, "FLUSH"), "-Flushing public namespace denied\r\n");
    RUN(&a, "NSNEW", "n");
    RUN(&a, "NSSET", "n", "password", "p");
    ck_assert_str_eq(RUN(&b, "SELECT", "n", "p"), OK);
    RUN(&b, "SET", "a", "1");
    ck_assert_str_eq(RUN(&b, "FLUSH"), "-Flushing public namespace denied\r\n");
    RUN(&a, "NSSET", "n", "public", "0");
    RUN(&a, "NSSET", "n", "lock", "1");
    ck_assert_str_eq(RUN(&b, "FLUSH"), "-Namespace is temporarily locked (read-only)\r\n");
    RUN(&a, "NSSET", "n", "lock", "0");
    ck_assert_str_eq(RUN(&b, "FLUSH"), OK);
    ck_assert_str_eq(RUN(&b, "GET", "a"), "$-1\r\n");
    ck_assert_str_eq(RUN(&b, "DBSIZE"), ":0\r\n");
    ck_assert_str_eq(RUN(&b, "SET", "a", "2"), "$1\r\na\r\n");
    ck_assert_str_eq(RUN(&b, "GET", "a"), "$1\r\n2\r\n");
}
END_TEST

START_TEST(deleted_namespaces_detach_their_sessions)
{
    static const char gone[] =
        "-Your active namespace is not available anymore (probably removed).\r\n";
    RUN(&a, "NSNEW", "n");
    RUN(&b, "SELECT", "n");
    ck_assert_str_eq(RUN(&b, "NSDEL", "n"), "-Cannot remove namespace you're currently using.\r\n");
    ck_assert_str_eq(RUN(&a, "NSDEL", "default"), "-Cannot remove default namespace\r\n");
    ck_assert_str_eq(RUN(&a, "NSDEL", "n"), OK);
    ck_assert_str_eq(RUN(&b, "PING"), gone);
    ck_assert_str_eq(RUN(&b, "NOTACOMMAND"), gone);
    ck_assert_str_eq(RUN(&a, "NSLIST"), "*1\r\n$7\r\ndefault\r\n");
}
END_TEST

START_TEST(watchers_hear_of_others_in_their_namespace_once)
{
    const char *const wait_set[] = {"WAIT", "SET", NULL};
    RUN(&a, "NSNEW", "n");
    ck_assert_str_eq(run_words(&b, wait_set), "");
    RUN(&b, "SET", "own", "1"); /* its own commands do not count */
    ck_assert_str_eq(taken(&b), "");
    RUN(&a, "GET", "x");
    RUN(&a, "SETX", "x", "1"); /* another table entry */
    ck_assert_str_eq(taken(&b), "");
    RUN(&a, "SET", "x"); /* fails, and counts */
    ck_assert_str_eq(taken(&b), "+SET\r\n");
    RUN(&a, "SET", "x", "2");
    ck_assert_str_eq(taken(&b), "");
    ck_assert_str_eq(RUN(&b, "WAIT", "*"), "");
    RUN(&a, "SELECT", "n");
    RUN(&a, "PING"); /* in n */
    ck_assert_str_eq(taken(&b), "");
    RUN(&a, "SELECT", "default");
    ck_assert_str_eq(taken(&b), "+SELECT\r\n");
    ck_assert_str_eq(RUN(&b, "WAIT", "NOPE"), "-Unknown command to watch\r\n");
    ck_assert_str_eq(RUN(&b, "WAIT", "SE"), "-Unknown command to watch\r\n");
    ck_assert_str_eq(RUN(&b, "WAIT", "SET", "99"), "-Invalid timeout\r\n");
    ck_assert_str_eq(RUN(&b, "WAIT", "SET", "1800001"), "-Invalid timeout\r\n");
    ck_assert_str_eq(RUN(&b, "WAIT", "SET", "12345678901234567"), "-Invalid timeout\r\n");
    ck_assert_str_eq(RUN(&b, "WAIT"), "-Invalid arguments\r\n");
    ck_assert_str_eq(RUN(&b, "WAIT", "SET", "1800000"), "");
    ck_assert_str_eq(RUN(&b, "WAIT", "GET", "100"), ""); /* replaces it */
    uint64_t start = base_now_ms();
    while (b.out.len == 0 && base_now_ms() - start < 5000)
        loop_once(loop, 50);
    ck_assert_str_eq(taken(&b), "-Timeout\r\n");
    ck_assert_uint_ge(base_now_ms() - start, 99);
}
END_TEST

/* The stream without its time */
static const char *mirrored(struct conn *c)
{
    const char *t = taken(c), *p = strstr(t, "\r\n:");
    if (!p)
        return t;
    p = strstr(p + 3, "\r\n");
    ck_assert_ptr_nonnull(p);
    return p + 2;
}

START_TEST(mirrors_get_what_others_did_with_its_owner)
{
    ck_assert_str_eq(RUN(&b, "MIRROR"), "+Starting mirroring\r\n");
    RUN(&a, "SET", "k", "v", "5");
    ck_assert_str_eq(mirrored(&b),
                     "$7\r\ndefault\r\n:0\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n$1\r\n5\r\n");
    RUN(&a, "GET"); /* failed ones too */
    ck_assert_str_eq(mirrored(&b), "$7\r\ndefault\r\n:0\r\n$3\r\nGET\r\n");
    RUN(&a, "NOPE"); /* unknown ones not */
    ck_assert_str_eq(mirrored(&b), "");
    ck_assert_str_eq(RUN(&b, "PING"), "+PONG\r\n"); /* nor its own */
    ck_assert_str_eq(RUN(&a, "MASTER"), "+Hello, master\r\n");
    mirrored(&b);
    ck_assert_str_eq(RUN(&a, "GET", "k", "17"), "$1\r\nv\r\n");
    ck_assert_str_eq(mirrored(&b), "$7\r\ndefault\r\n:17\r\n$3\r\nGET\r\n$1\r\nk\r\n");
    RUN(&a, "GET", "k", "0");
    ck_assert_str_eq(mirrored(&b), "");
    ck_assert_str_eq(RUN(&a, "PING"), "-Missing arguments\r\n");
    ck_assert_str_eq(RUN(&a, "GET", "k", "123456789012345678901234567890123"),
                     "-Argument too long\r\n");
    RUN(&a, "NSNEW", "n", "1");
    RUN(&a, "NSSET", "n", "password", "raw", "1");
    ck_assert_ptr_nonnull(strstr(RUN(&a, "NSINFO", "n", "1"), "password_raw: raw\n"));
    ck_assert_ptr_null(strstr(RUN(&b, "NSINFO", "n"), "password_raw"));
}
END_TEST

START_TEST(a_big_mget_comes_in_parts_of_the_output_limit)
{
    static char value[30001];
    struct slice argv[11] = {slice_str("MGET")};
    size_t total = 0, parts = 1;

    memset(value, 'v', 30000);
    RUN(&a, "SET", "k", value);
    for (int i = 1; i < 11; i++)
        argv[i] = slice_str(i % 3 ? "k" : "absent");
    enum request_result r;
    while ((r = command_run(&a.s, 11, argv)) == REQ_LATER) {
        ck_assert_uint_lt(a.out.len, 65536 + 30100);
        request_session_push(&a.s, slice_str("+message\r\n")); /* comes behind the reply, not into
                                                                  it */
        total += a.out.len;
        buf_clear(&a.out);
        parts++;
    }
    ck_assert_int_eq(r, REQ_DONE);
    total += a.out.len;
    ck_assert_uint_gt(parts, 2);
    size_t array = strlen("*10\r\n"), one = strlen("$30000\r\n") + 30000 + 2,
           absent = strlen("$-1\r\n");
    ck_assert_uint_eq(total, array + 7 * one + 3 * absent + (parts - 1) * 10);
    ck_assert(slice_eq_str(slice_of(buf_data(&a.out) + a.out.len - 10, 10), "+message\r\n"));
    buf_clear(&a.out);
    ck_assert_str_eq(RUN(&a, "PING"), "+PONG\r\n");
}
END_TEST

START_TEST(info_counts)
{
    RUN(&a, "PING");
    RUN(&a, "NOPE");
    const char *t = RUN(&a, "INFO");
    ck_assert_ptr_nonnull(strstr(t, "\ncommands_executed: 1\n"));
    ck_assert_ptr_nonnull(strstr(t, "\ncommands_failed: 1\n"));
    ck_assert_ptr_nonnull(strstr(t, "\nclients_lifetime: 2\n"));
    ck_assert_ptr_nonnull(
        strstr(t, "\nsequential_key_size: 8\ndata_version: 3\nindex_version: 4\n"));
}
END_TEST

START_TEST(sequential_keys_and_modes)
{
    ck_assert_str_eq(RUN(&a, "NSNEW", "s"), OK);
    ck_assert_str_eq(RUN(&a, "NSSET", "s", "mode", "bad"),
                     "-Invalid property value (expected: user, seq)\r\n");
    ck_assert_str_eq(RUN(&a, "NSSET", "s", "mode", "seq"), OK);
    RUN(&a, "SELECT", "s");
    const struct slice empty[] = {slice_str("SET"), slice_str(""), slice_str("x")};
    run_argv(&a, 3, empty);
    ck_assert_str_eq(RUN(&a, "NSSET", "s", "mode", "user"),
                     "-Cannot change mode of used namespace\r\n");
    ck_assert_str_eq(RUN(&a, "NSSET", "s", "mode", "bad"),
                     "-Cannot change mode of used namespace\r\n");
    ck_assert_str_eq(RUN(&a, "SET", "abc", "x"), "-Invalid key, only update authorized\r\n");
    ck_assert_str_eq(RUN(&a, "NSSET", "default", "worm", "1"),
                     "-Cannot update default namespace\r\n");
    ck_assert_str_eq(RUN(&a, "NSSET", "s", "Worm", "1"), "-Invalid property\r\n");
    ck_assert_str_eq(RUN(&a, "SYNC"), OK);
}
END_TEST

START_TEST(words_are_compared_without_case)
{
    ck_assert(request_prefix(slice_str("sec"), "SECURE"));
    ck_assert(!request_prefix(slice_str("SECUREX"), "SECURE"));
    ck_assert(!request_word(slice_str("SEC"), "SECURE"));
}
END_TEST

/* What is too much is refused, never ignored. */
START_TEST(words_too_many_are_refused)
{
    static const char *const alone[] = {"DBSIZE", "FLUSH", "INFO",   "MASTER", "MIRROR",
                                        "NSJUMP", "PING",  "NSLIST", "SYNC",   "TIME"};
    static const char *const unexpected = "-Unexpected arguments\r\n";

    for (size_t i = 0; i < ARRAY_LEN(alone); i++)
        ck_assert_str_eq(RUN(&a, alone[i], "x"), unexpected);
    ck_assert_str_eq(RUN(&a, "SET", "k", "v", "NX"), unexpected);
    ck_assert_str_eq(RUN(&a, "SET", "k", "v", "EX", "10"), unexpected);
    ck_assert_str_eq(RUN(&a, "DEL", "k", "l"), unexpected);
    ck_assert_str_eq(RUN(&a, "EXISTS", "k"), ":0\r\n");
    ck_assert_str_eq(RUN(&a, "SCAN", "x", "y"), unexpected);
    ck_assert_str_eq(RUN(&a, "RSCAN", "x", "y"), unexpected);
    ck_assert_str_eq(RUN(&a, "HOOKS", "x"), unexpected);
    ck_assert_str_eq(RUN(&a, "HOOKS", "PENDING", "x"), unexpected);
    ck_assert_str_eq(RUN(&a, "INDEX", "DIRTY", "RESET", "x"), unexpected);
    ck_assert_str_eq(RUN(&a, "DATA", "RAW", "0", "28", "x"), unexpected);
    ck_assert_str_eq(RUN(&a, "SELECT", "default", "a", "b", "c"), "-Too many arguments\r\n");
}
END_TEST

START_TEST(numbers_are_whole_and_in_range)
{
    static const char *const number = "-Invalid property value (expected: a number of bytes)\r\n";
    static const char *const flag = "-Invalid property value (expected: 0, 1)\r\n";
    static const char *const sizes[] = {"100M", "abc", "-1", "1 ", "9223372036854775808", "1e3"};
    static const char *const flags[] = {"yes", "on", "2", "01", "1x", "true"};
    static const char *const waits[] = {"99", "1800001", "100x", "-100", " 100"};
    static const char *const switches[] = {"worm", "public", "lock", "freeze"};

    RUN(&a, "NSNEW", "n");
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
        ck_assert_str_eq(RUN(&a, "NSSET", "n", "maxsize", sizes[i]), number);
    ck_assert_str_eq(RUN(&a, "NSSET", "n", "maxsize", "9223372036854775807"), OK);
    for (size_t k = 0; k < ARRAY_LEN(switches); k++)
        for (size_t i = 0; i < ARRAY_LEN(flags); i++)
            ck_assert_str_eq(RUN(&a, "NSSET", "n", switches[k], flags[i]), flag);
    for (size_t i = 0; i < ARRAY_LEN(waits); i++)
        ck_assert_str_eq(RUN(&a, "WAIT", "SET", waits[i]), "-Invalid timeout\r\n");
    ck_assert_str_eq(RUN(&a, "DATA", "RAW", "0x", "28"), "-Invalid argument\r\n");
    ck_assert_str_eq(RUN(&a, "DATA", "RAW", "0", "28x"), "-Invalid argument\r\n");
    ck_assert_str_eq(RUN(&a, "DATA", "RAW", "4294967296", "28"), "-Invalid Request\r\n");
    ck_assert_str_eq(RUN(&a, "DATA", "RAW", "0", "4294967296"), "-EOF\r\n");
    RUN(&a, "MASTER");
    ck_assert_str_eq(RUN(&a, "PING", "7x"), "-Invalid argument\r\n");
}
END_TEST

/* RUN takes texts; a NUL in the middle needs its own words. */
static const char *run_nul(const char *cmd, const char *prop)
{
    struct slice argv[4] = {slice_str(cmd), slice_of("n\0x", 3), slice_str(prop ? prop : ""),
                            slice_of("p\0x", 3)};

    if (prop)
        argv[1] = slice_str("n");
    return run_argv(&a, prop ? 4 : 2, argv);
}

START_TEST(a_nul_in_a_name_or_password_is_refused)
{
    RUN(&a, "NSNEW", "n");
    ck_assert_str_eq(run_nul("NSNEW", NULL), "-This name is not allowed\r\n");
    ck_assert_str_eq(run_nul("SELECT", NULL), "-Namespace not found\r\n");
    ck_assert_str_eq(run_nul("NSINFO", NULL), "-Namespace not found\r\n");
    ck_assert_str_eq(run_nul("NSDEL", NULL), "-This namespace doesn't exists\r\n");
    ck_assert_str_eq(run_nul("NSSET", "password"), "-Invalid argument\r\n");
    ck_assert_str_eq(RUN(&b, "SELECT", "n"), OK);
}
END_TEST

START_TEST(redis_clients_find_what_they_ask_for_when_they_connect)
{
    const char *hello = RUN(&a, "HELLO", "2", "SETNAME", "x");

    ck_assert_int_eq(strncmp(hello, "*14\r\n$6\r\nserver\r\n", 17), 0);
    ck_assert_ptr_nonnull(strstr(hello, "$5\r\nproto\r\n:2\r\n"));
    ck_assert_str_eq(RUN(&a, "HELLO", "4"), "-NOPROTO unsupported protocol version\r\n");
    ck_assert_str_eq(RUN(&a, "HELLO", "2", "AUTH", "default", "x"), "-Authentication disabled\r\n");
    ck_assert_str_eq(RUN(&a, "CLIENT", "SETINFO", "LIB-NAME", "x"), OK);
    ck_assert_str_eq(RUN(&a, "client", "setname", "x"), OK);
    ck_assert_str_eq(RUN(&a, "CLIENT", "GETNAME"), "$-1\r\n");
    ck_assert_int_eq(RUN(&a, "CLIENT", "ID")[0], ':');
    ck_assert_int_eq(strncmp(RUN(&b, "HELLO", "3"), "%7\r\n$6\r\nserver\r\n", 16), 0);
    ck_assert_str_eq(RUN(&b, "GET", "none"), "_\r\n");
    ck_assert_str_eq(RUN(&b, "MGET", "none"), "*1\r\n_\r\n");
    ck_assert_str_eq(RUN(&a, "GET", "none"), "$-1\r\n");
    ck_assert_str_eq(RUN(&a, "CLIENT", "KILL", "x"), "-Unknown CLIENT subcommand\r\n");
    ck_assert_str_eq(RUN(&a, "COMMAND", "DOCS", "GET"), "*0\r\n");
    ck_assert_ptr_nonnull(strstr(RUN(&a, "COMMAND"), "*6\r\n$3\r\nget\r\n:2\r\n"));
    ck_assert_str_eq(RUN(&a, "ECHO", "x y"), "$3\r\nx y\r\n");
    ck_assert_str_eq(RUN(&a, "ECHO"), "-Unexpected arguments\r\n");
    ck_assert_str_eq(RUN(&a, "SELECT", "0"), OK);
    ck_assert_ptr_eq(a.s.ns, store_default(list));
    ck_assert_str_eq(RUN(&a, "SELECT", "1"), "-Namespace not found\r\n");
    ck_assert_str_eq(RUN(&a, "NSNEW", "0"), OK);
    ck_assert_str_eq(RUN(&a, "SELECT", "0"), OK);
    ck_assert_str_eq(ns_name(a.s.ns), "0");
    ck_assert(!a.s.quit);
    ck_assert_str_eq(RUN(&a, "QUIT"), OK);
    ck_assert(a.s.quit);
}
END_TEST

static TCase *open_cases(void)
{
    TCase *t = tcase_create("open");
    tcase_add_checked_fixture(t, open_plain, close_db);
    tcase_add_test(t, words_are_exact_and_without_case);
    tcase_add_test(t, checks_of_keys_come_in_order);
    tcase_add_test(t, lock_freeze_worm_and_quota_refuse_in_the_originals_words);
    tcase_add_test(t, times_are_for_admins_and_read_whole);
    tcase_add_test(t, select_keeps_the_old_namespace_when_refused);
    tcase_add_test(t, flush_needs_a_private_namespace_and_removes_its_keys);
    tcase_add_test(t, deleted_namespaces_detach_their_sessions);
    tcase_add_test(t, watchers_hear_of_others_in_their_namespace_once);
    tcase_add_test(t, mirrors_get_what_others_did_with_its_owner);
    tcase_add_test(t, a_big_mget_comes_in_parts_of_the_output_limit);
    tcase_add_test(t, info_counts);
    tcase_add_test(t, sequential_keys_and_modes);
    tcase_add_test(t, words_are_compared_without_case);
    tcase_add_test(t, words_too_many_are_refused);
    tcase_add_test(t, numbers_are_whole_and_in_range);
    tcase_add_test(t, a_nul_in_a_name_or_password_is_refused);
    tcase_add_test(t, redis_clients_find_what_they_ask_for_when_they_connect);
    return t;
}

static TCase *admin_cases(void)
{
    TCase *t = tcase_create("admin");
    tcase_add_checked_fixture(t, open_admin, close_db);
    tcase_add_test(t, admin_commands_are_refused_before_their_arguments_are_looked_at);
    tcase_add_test(t, a_challenge_is_good_for_one_login);
    return t;
}

UNIT_MAIN("zdb commands", open_cases, admin_cases)
