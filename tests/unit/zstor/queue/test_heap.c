#include "tests/unit/unit.h"

#include <stdlib.h>

#include "zstor/queue/heap.h"

struct item {
    unsigned value;
    size_t place;
};

static bool before(const void *a, const void *b)
{
    return ((const struct item *)a)->value < ((const struct item *)b)->value;
}

/* Random additions and removals from anywhere, against a plain search. */
START_TEST(the_first_is_always_the_least)
{
    enum { N = 300 };
    struct item item[N] = {0};
    struct heap h;
    unsigned seed = (unsigned)_i * 2654435761u + 1;

    heap_init(&h, before, offsetof(struct item, place));
    ck_assert_ptr_null(heap_first(&h));
    for (int round = 0; round < 3000; round++) {
        struct item *x, *least = NULL;
        seed = seed * 1103515245u + 12345u;
        x = &item[(seed >> 8) % N];
        if (x->place) {
            heap_take(&h, x);
        } else {
            x->value = seed >> 20;
            heap_add(&h, x);
        }
        for (int i = 0; i < N; i++)
            if (item[i].place && (!least || item[i].value < least->value))
                least = &item[i];
        x = heap_first(&h);
        ck_assert((x == NULL) == (least == NULL));
        ck_assert(!x || x->value == least->value);
    }
    while (h.n)
        heap_take(&h, heap_first(&h));
    heap_take(&h, &item[0]); /* not in: nothing happens */
    heap_fini(&h);
}
END_TEST

START_TEST(steps_are_logarithmic)
{
    const unsigned n = 1u << 16;
    struct item *item = calloc(n, sizeof *item);
    struct heap h;

    heap_init(&h, before, offsetof(struct item, place));
    for (unsigned i = 0; i < n; i++) {
        item[i].value = n - i;
        heap_add(&h, &item[i]);
    }
    ck_assert_uint_le(h.steps, 17 * (uint64_t)n);
    h.steps = 0;
    for (unsigned i = 1; i <= n; i++) {
        struct item *x = heap_first(&h);
        ck_assert_uint_eq(x->value, i);
        heap_take(&h, x);
    }
    ck_assert_uint_le(h.steps, 2 * 18 * (uint64_t)n);
    heap_fini(&h);
    free(item);
}
END_TEST

static TCase *all(void)
{
    TCase *t = tcase_create("heap");

    tcase_add_loop_test(t, the_first_is_always_the_least, 0, 8);
    tcase_add_test(t, steps_are_logarithmic);
    return t;
}

UNIT_MAIN("heap", all)
