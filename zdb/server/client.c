/* client - see server/client.h.
 *
 *   state     reads   requests run   left by
 *   OPEN      yes     yes            everything below
 *   parked    64 KiB  no             resume() (its wait is over)
 *   again     64 KiB  no             its next turn
 *   full      no      no             the output was sent
 *   CLOSING   no      no             the output was sent: FIN, then LINGER
 *   LINGER    drops   no             the peer closes, or LINGER_MS
 *   DEAD      no      no             freed at the end of the round
 *
 * A connection is never freed in the middle of a round: others may hold it in their lists. */
#include "zdb/server/client.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/log.h"
#include "common/loop.h"
#include "zdb/server/batch.h"
#include "zdb/server/dispatch.h"
#include "zdb/server/spare.h"
#include "zdb/store.h"

#define READ_MIN       (16 * KIB)  /* what a connection may keep for the rest of a request */
#define READ_BIG       (256 * KIB) /* the buffer that is passed on from one to the next */
#define READ_MAX       (1 * MIB) /* room made at once for what a client announced; more as it comes */
#define PARKED_MAX     (64 * KIB) /* read ahead while a request waits: to see a disconnect */
#define HEADER_MAX     (8 * KIB)
#define REQUEST_MAX    (NS_VALUE_MAX + 1 * MIB)
#define TURN_US        4000 /* one client's share of a round, and the share of all of a kind */
#define QUANTUM_US     50   /* at least so much for each that comes in a round */
#define SEND_EARLY     (64 * KIB) /* replies that do not wait for the end of the round */
#define PASS_ON        READ_MIN   /* buffers from this size on are shared by all connections */
#define IDLE_KEEP      (4 * KIB)  /* buffer memory of a connection that says nothing */
#define IDLE_SHRINK_MS 2000
#define LINGER_MS      1000
#define CLOSING_MS     10000 /* a peer that does not take its last reply */
#define MIRROR_FACTOR  8     /* a mirror that is this many max_output behind is dropped */

enum state { OPEN, CLOSING, LINGER, DEAD };

struct client {
    TAILQ_ENTRY(client) all, touched, pushed, woken, again;
    struct client_set *cs;
    struct session s;
    struct resp_parser parser;
    struct buf in, out;
    struct loop_watch *watch;
    int fd;
    enum state state;
    bool parked, full, eof, blocked; /* eof: the peer sends no more; blocked: the socket takes no
                                        more */
    bool in_touched, in_pushed, in_woken, in_again;
    bool wrote;  /* since the last commit: its replies wait for it */
    size_t room; /* what the last requests needed at once */
    size_t held; /* its share of cs->held */
    uint64_t last_ms, state_ms;
};

static void touch(struct client *c)
{
    if (c->in_touched)
        return;
    c->in_touched = true;
    TAILQ_INSERT_TAIL(&c->cs->touched, c, touched);
    loop_defer_arm(c->cs->flush);
}

static void set_state(struct client *c, enum state state)
{
    if (state <= c->state)
        return;
    c->state = state;
    c->state_ms = base_now_ms();
    touch(c);
}

static void update_wants(struct client *c)
{
    unsigned want = 0;

    bool waits = c->parked || c->in_again; /* for its wait or its turn, with requests at hand */

    if (c->state == OPEN && !c->eof && !c->full && (!waits || c->in.len < PARKED_MAX + c->room))
        want |= LOOP_READ;
    if (c->state == LINGER)
        want |= LOOP_READ;
    if (c->blocked && c->state < LINGER)
        want |= LOOP_WRITE;
    loop_watch_want(c->watch, want);
}

/* --- replies --------------------------------------------------------------------------------- */

static void send_output(struct client *c)
{
    while (c->out.len > 0 && !c->blocked) {
        ssize_t n = send(c->fd, buf_data(&c->out), c->out.len, MSG_NOSIGNAL);
        if (n < 0) {
            if (errno == EINTR)
                continue;
            if (errno == EAGAIN)
                c->blocked = true;
            else
                set_state(c, DEAD);
            return;
        }
        c->blocked = (size_t)n < c->out.len;
        buf_consume(&c->out, (size_t)n);
        c->cs->db->tx_bytes += (uint64_t)n;
        c->last_ms = base_now_ms();
    }
    spare_return(&c->out, &c->cs->spare_out, PASS_ON, READ_MAX);
}

/* What was written goes to the kernel before its replies go out.  Who wrote something that cannot
 * be written gets no reply, and nobody else notices. */
static void commit(struct client_set *cs)
{
    uint64_t appended = cs->count ? store_appended(cs->db->store) : cs->committed;
    struct client *c;

    if (appended == cs->committed)
        return;
    cs->committed = appended;
    int r = store_commit(cs->db->store);
    TAILQ_FOREACH(c, &cs->touched, touched)
    {
        if (r < 0 && c->wrote)
            set_state(c, DEAD);
        c->wrote = false;
    }
}

/* Before its memory has left the processor's cache, and before a long pipeline has made much of it.
 */
static void send_early(struct client *c)
{
    touch(c);
    commit(c->cs);
    if (c->state == OPEN)
        send_output(c);
}

/* --- requests -------------------------------------------------------------------------------- */

static void protocol_error(struct client *c)
{
    const char *text = batch_error_text(c->parser.error);

    if (text)
        resp_put_error(&c->out, text);
    set_state(c, CLOSING);
}

static void run_again_later(struct client *c)
{
    if (c->in_again)
        return;
    c->in_again = true;
    TAILQ_INSERT_TAIL(&c->cs->again, c, again);
    loop_timer_start(c->cs->again_timer, 0, false);
}

/* true: the request was answered */
static bool run_one(struct client *c, const struct resp_req *req)
{
    if (c->out.len >= c->cs->max_output) {
        c->full = true;
        return false;
    }
    c->room = req->bytes;
    uint64_t before = store_appended(c->cs->db->store);
    enum request_result result = command_run(&c->s, req->argc, req->argv);
    c->wrote |= store_appended(c->cs->db->store) != before;
    switch (result) {
    case REQ_PARK:
        c->parked = true;
        return false;
    case REQ_LATER:
        c->full = true;
        return false;
    case REQ_DONE:
        break;
    }
    buf_consume(&c->in, req->bytes);
    if (c->s.quit)
        set_state(c, CLOSING);
    if (c->out.len >= SEND_EARLY)
        send_early(c);
    return true;
}

/* true: there may be more to do; false: it needs more bytes, time or room, or the connection is at
 * its end */
static bool run_some(struct client *c)
{
    struct batch b;
    int r = batch_gather(&b, &c->parser, &c->in, c->s.ns);

    for (unsigned i = 0; i < b.n; i++) {
        if (c->state != OPEN || !run_one(c, &b.req[i])) {
            resp_rewind(&c->parser);
            return false;
        }
    }
    if (b.n > 0)
        return true;
    if (r < 0)
        protocol_error(c);
    else if (!c->s.ns || c->eof)
        set_state(c, CLOSING); /* detached, or the rest will never come */
    return false;
}

/* For so long, at most: the rest comes in its next turn. */
static void run_for(struct client *c, uint64_t us)
{
    uint64_t start = base_now_us();

    spare_borrow(&c->out, &c->cs->spare_out);
    while (c->state == OPEN && !c->parked && !c->full && run_some(c)) {
        if (c->in.len == 0)
            continue;
        if (base_now_us() - start > us) {
            run_again_later(c);
            break;
        }
    }
    touch(c);
}

/* Those who come in one round share a turn; whoever comes when it is over still gets a quantum, so
 * that a small request does not wait behind large ones. */
static void run(struct client *c)
{
    struct client_set *cs = c->cs;
    uint64_t start = base_now_us(), left = TURN_US - MIN(cs->round_us, (uint64_t)TURN_US);

    run_for(c, MAX(left, (uint64_t)QUANTUM_US));
    cs->round_us += base_now_us() - start;
}

static void on_session_touched(struct session *s)
{
    struct client *c = container_of(s, struct client, s);

    if (s->mirror && c->out.len + s->later.len > MIRROR_FACTOR * c->cs->max_output) {
        log_warn("mirror connection: does not take its stream, dropped");
        set_state(c, DEAD);
    }
    if (c->in_pushed)
        return;
    c->in_pushed = true; /* after those who asked for something */
    TAILQ_INSERT_TAIL(&c->cs->pushed, c, pushed);
    loop_defer_arm(c->cs->flush);
}

static void on_session_resume(struct session *s)
{
    struct client *c = container_of(s, struct client, s);

    if (c->in_woken || c->state != OPEN)
        return;
    c->in_woken = true;
    TAILQ_INSERT_TAIL(&c->cs->woken, c, woken);
    loop_defer_arm(c->cs->flush);
}

/* --- bytes ----------------------------------------------------------------------------------- */

static void on_eof(struct client *c)
{
    c->eof = true;
    if (c->parked) /* nobody waits for the answer any more */
        set_state(c, DEAD);
    else if (!c->full && !c->in_again)
        run(c);
    touch(c);
}

static bool read_once(struct client *c) /* true: there may be more */
{
    size_t want = resp_want(&c->parser, c->in.len),
           room = MAX(MIN(c->room, READ_MAX), c->in.len ? READ_MIN : READ_BIG);

    if (want > 0)
        room = MIN(want, MAX(READ_MAX, c->in.len));
    spare_borrow(&c->in, &c->cs->spare_in);
    uint8_t *p = buf_reserve(&c->in, room);
    if (!p) {
        log_error("connection: out of memory for a request of %zu bytes, closed", c->in.len);
        set_state(c, DEAD);
        return false;
    }
    if (want < READ_MIN) /* else up to its end: then the next request starts at the front of the
                            buffer */
        room = MIN(buf_room(&c->in), READ_MAX);
    ssize_t n = recv(c->fd, p, room, 0);
    if (n > 0) {
        buf_commit(&c->in, (size_t)n);
        c->cs->db->rx_bytes += (uint64_t)n;
        c->last_ms = base_now_ms();
        return (size_t)n == room;
    }
    if (n == 0)
        on_eof(c);
    else if (errno != EAGAIN && errno != EINTR)
        set_state(c, DEAD);
    return false;
}

/* The large buffer goes to the next; the beginning of a request stays in one of its own size. */
static void keep_rest(struct client *c)
{
    struct buf rest = BUF_INIT;

    if (c->in.len > 0 && c->in.len <= READ_MIN && c->in.cap >= READ_BIG) {
        buf_put_slice(&rest, buf_slice(&c->in));
        buf_consume(&c->in, c->in.len);
        spare_return(&c->in, &c->cs->spare_in, PASS_ON, READ_MAX);
        c->in = rest;
        return;
    }
    spare_return(&c->in, &c->cs->spare_in, PASS_ON, READ_MAX);
}

static void drop_input(struct client *c)
{
    uint8_t trash[4096];
    ssize_t n = recv(c->fd, trash, sizeof trash, 0);

    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
        set_state(c, DEAD);
}

static void on_ready(void *arg, unsigned events)
{
    struct client *c = arg;

    if (events & LOOP_WRITE) {
        c->blocked = false;
        touch(c);
    }
    if (!(events & LOOP_READ))
        return;
    if (c->state == LINGER)
        drop_input(c);
    if (c->state != OPEN)
        return;
    /* Twice: what a big value announced in the first read comes in the second, in place. */
    for (int i = 0; i < 2 && c->state == OPEN && !c->eof && (i == 0 || c->cs->round_us < TURN_US);
         i++) {
        bool more = read_once(c);
        if (!c->parked && !c->full && !c->in_again && !c->eof)
            run(c);
        if (!more || c->parked || c->full || c->in_again)
            break;
    }
    keep_rest(c);
    touch(c);
}

/* --- end of the round ------------------------------------------------------------------------ */

static void client_free(struct client *c)
{
    struct client_set *cs = c->cs;

    if (c->in_touched)
        TAILQ_REMOVE(&cs->touched, c, touched);
    if (c->in_pushed)
        TAILQ_REMOVE(&cs->pushed, c, pushed);
    if (c->in_woken)
        TAILQ_REMOVE(&cs->woken, c, woken);
    if (c->in_again)
        TAILQ_REMOVE(&cs->again, c, again);
    TAILQ_REMOVE(&cs->all, c, all);
    cs->count--;
    cs->held -= c->held;
    request_session_fini(&c->s);
    loop_watch_free(c->watch);
    close(c->fd);
    resp_fini(&c->parser);
    buf_fini(&c->in);
    buf_fini(&c->out);
    free(c);
}

/* Replies before a SYNC go out together with its own, one packet for all; a sync that takes long
 * does not hold them back (on_tick). */
static bool goes_with_sync(const struct client *c)
{
    return c->parked && c->state == OPEN && c->out.len < SEND_EARLY &&
           ns_wait_only_sync(&c->s.wait);
}

/* Half requests and replies that nobody takes: many clients together may hold no more than one may
 * cost.  Of those that hold much the one goes that has not moved for longest. */
static void account(struct client *c)
{
    struct client_set *cs = c->cs;
    struct client *other, *victim;

    cs->held += c->in.len + c->out.len - c->held;
    c->held = c->in.len + c->out.len;
    if (cs->held <= cs->max_buffers || c->held < PARKED_MAX)
        return;
    victim = c;
    TAILQ_FOREACH(other, &cs->all, all)
    {
        if (other->held >= PARKED_MAX && other->state != DEAD && other->last_ms < victim->last_ms)
            victim = other;
    }
    log_warn("connection: closed: all of them hold %zu bytes (--max-buffers), and it is silent for "
             "longest",
             cs->held);
    cs->held -= victim->held;
    victim->held = 0;
    set_state(victim, DEAD);
}

static void settle(struct client *c)
{
    if (c->state < LINGER && !goes_with_sync(c))
        send_output(c);
    if (c->full && c->out.len < c->cs->max_output && c->state == OPEN) {
        c->full = false;
        run_again_later(c);
    }
    if (c->state == CLOSING && c->out.len == 0) {
        shutdown(c->fd, SHUT_WR);
        set_state(c, c->eof ? DEAD : LINGER);
    }
    if (c->state != DEAD)
        account(c);
    if (c->state != DEAD)
        update_wants(c);
}

/* One turn for all that a sync or a fetch has woken; the others have theirs one after the other. */
static void run_woken(struct client_set *cs)
{
    uint64_t start = base_now_us(), spent = 0;
    struct client *c;

    while ((c = TAILQ_FIRST(&cs->woken))) {
        TAILQ_REMOVE(&cs->woken, c, woken);
        c->in_woken = false;
        c->parked = false;
        if (spent < TURN_US) {
            run_for(c, TURN_US - spent);
            spent = base_now_us() - start;
        } else {
            run_again_later(c);
            touch(c);
        }
    }
}

/* Messages to many (WAIT, MIRROR) leave over several rounds. */
static void settle_pushed(struct client_set *cs)
{
    uint64_t start = base_now_us();
    struct client *c;

    while ((c = TAILQ_FIRST(&cs->pushed)) && base_now_us() - start < TURN_US) {
        TAILQ_REMOVE(&cs->pushed, c, pushed);
        c->in_pushed = false;
        settle(c);
        if (c->state == DEAD)
            touch(c); /* freed with the others */
    }
    if (c)
        loop_timer_start(cs->again_timer, 0, false);
}

static void on_flush(void *arg)
{
    struct client_set *cs = arg;
    struct client *c;
    bool closed = false;

    run_woken(cs);
    cs->round_us = 0;
    commit(cs);
    settle_pushed(cs);
    while ((c = TAILQ_FIRST(&cs->touched))) {
        TAILQ_REMOVE(&cs->touched, c, touched);
        c->in_touched = false;
        settle(c);
        if (c->state == DEAD) {
            client_free(c);
            closed = true;
        }
    }
    if (closed && cs->closed)
        cs->closed(cs->arg);
}

/* One turn for all of them together: however many there are, who has just come with a small request
 * is served in between. */
static void on_again(void *arg)
{
    struct client_set *cs = arg;
    uint64_t start = base_now_us(), spent = 0;
    struct client *c;

    while (spent < TURN_US && (c = TAILQ_FIRST(&cs->again))) {
        TAILQ_REMOVE(&cs->again, c, again);
        c->in_again = false;
        run_for(c, TURN_US - spent);
        spent = base_now_us() - start;
    }
    if (!TAILQ_EMPTY(&cs->pushed))
        loop_defer_arm(cs->flush);
    if (!TAILQ_EMPTY(&cs->again))
        loop_timer_start(cs->again_timer, 0, false);
}

static void on_tick(void *arg)
{
    struct client_set *cs = arg;
    uint64_t now = base_now_ms();
    struct client *c;

    TAILQ_FOREACH(c, &cs->all, all)
    {
        uint64_t quiet = now - MIN(now, c->last_ms);
        bool waits = c->parked || c->s.watch || c->s.mirror;
        if (c->state == OPEN && cs->idle_ms && quiet >= cs->idle_ms && !waits)
            set_state(c, DEAD);
        else if (c->state == CLOSING && now - c->state_ms >= CLOSING_MS)
            set_state(c, DEAD);
        else if (c->state == LINGER && now - c->state_ms >= LINGER_MS)
            set_state(c, DEAD);
        if (c->parked && c->state == OPEN)
            send_output(c);
        if (quiet >= IDLE_SHRINK_MS) {
            buf_shrink(&c->in, IDLE_KEEP);
            buf_shrink(&c->out, IDLE_KEEP);
            c->room = 0;
        }
    }
}

void client_set_init(struct client_set *cs)
{
    TAILQ_INIT(&cs->all);
    TAILQ_INIT(&cs->touched);
    TAILQ_INIT(&cs->pushed);
    TAILQ_INIT(&cs->woken);
    TAILQ_INIT(&cs->again);
    cs->count = 0;
    cs->flush = loop_defer_new(cs->loop, on_flush, cs);
    cs->again_timer = loop_timer_new(cs->loop, on_again, cs);
    cs->tick = loop_timer_new(cs->loop, on_tick, cs);
    loop_timer_start(cs->tick, 500, true);
}

void client_set_fini(struct client_set *cs)
{
    struct client *c;

    commit(cs);
    while ((c = TAILQ_FIRST(&cs->all))) {
        if (c->state < LINGER)
            send_output(c);
        client_free(c);
    }
    buf_fini(&cs->spare_in);
    buf_fini(&cs->spare_out);
    loop_defer_free(cs->flush);
    loop_timer_free(cs->again_timer);
    loop_timer_free(cs->tick);
}

void client_new(struct client_set *cs, int fd)
{
    static const struct resp_limits limits = {RESP_MAX_ARGS, NS_VALUE_MAX, HEADER_MAX};
    struct client *c = xcalloc(1, sizeof *c);

    c->cs = cs;
    c->fd = fd;
    c->last_ms = base_now_ms();
    request_session_init(&c->s, cs->db, &c->out);
    c->s.touched = on_session_touched;
    c->s.resume = on_session_resume;
    resp_init(&c->parser, &limits);
    resp_limit_request(&c->parser, REQUEST_MAX);
    c->watch = loop_watch_new(cs->loop, fd, on_ready, c);
    TAILQ_INSERT_TAIL(&cs->all, c, all);
    cs->count++;
    update_wants(c);
}
