/* health - see backend/health.h. */
#include "zstor/backend/health.h"

#include <stdio.h>

const char *health_name(enum health_track t)
{
    static const char *const names[] = {"link", "read", "write"};

    return names[t];
}

bool health_good(struct health *h, enum health_track t, uint64_t latency_us)
{
    struct health_state *s = &h->track[t];
    bool was = s->down, any = false;
    uint64_t us = MIN(latency_us, (uint64_t)60 * 1000 * 1000);

    s->known = true;
    s->down = false;
    s->slow = 0;
    s->down_since_s = 0;
    if (us)
        s->latency_us =
            s->latency_us ? (uint32_t)((s->latency_us * (uint64_t)7 + us) / 8) : (uint32_t)us;
    if (s->good < HEALTH_SETTLE && ++s->good == HEALTH_SETTLE)
        s->backoff_ms = 0;
    for (int i = 0; i < HEALTH_TRACKS; i++)
        any = any || h->track[i].down;
    if (!any)
        h->last_error[0] = '\0';
    return was;
}

bool health_bad(struct health *h, enum health_track t, const char *text, uint64_t backoff_min_ms,
                uint64_t backoff_max_ms, uint64_t jitter)
{
    struct health_state *s = &h->track[t];
    bool was = s->down;

    s->known = true;
    s->failures++;
    s->good = 0;
    s->backoff_ms = MIN(MAX(s->backoff_ms * 2, backoff_min_ms), backoff_max_ms);
    s->retry_at_ms = base_now_ms() + s->backoff_ms - jitter % (s->backoff_ms / 4 + 1);
    if (!was)
        s->down_since_s = base_wall_s();
    s->down = true;
    snprintf(h->last_error, sizeof h->last_error, "%s", text);
    return !was;
}

bool health_slow(struct health *h, enum health_track t)
{
    return ++h->track[t].slow >= HEALTH_SLOW;
}

static bool due(struct health_state *s, uint64_t now)
{
    if (!s->down)
        return true;
    if (now < s->retry_at_ms)
        return false;
    s->retry_at_ms = now + s->backoff_ms; /* the others wait for what this one finds */
    return true;
}

bool health_allows(struct health *h, enum health_track t)
{
    uint64_t now = base_now_ms();

    if (!due(&h->track[HEALTH_LINK], now))
        return false;
    return t == HEALTH_LINK || due(&h->track[t], now);
}

bool health_down(const struct health *h, enum health_track t)
{
    return h->track[HEALTH_LINK].down || h->track[t].down;
}

uint64_t health_retry_ms(const struct health *h)
{
    uint64_t now = base_now_ms(), most = 0;

    for (int i = 0; i < HEALTH_TRACKS; i++)
        if (h->track[i].down && h->track[i].retry_at_ms > now)
            most = MAX(most, h->track[i].retry_at_ms - now);
    return most;
}
