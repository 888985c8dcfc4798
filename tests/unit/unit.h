/* unit - one Check program per module:  UNIT_MAIN("buf", tcase_a, tcase_b).  Each argument is a
 * function that returns a TCase.  CK_FORK=no in the environment keeps everything in one process
 * (sanitizers, debuggers). */
#ifndef TESTS_UNIT_H
#define TESTS_UNIT_H

#include <check.h>
#include <stdlib.h>

#define UNIT_MAIN(name, ...)                                      \
    int main(void)                                                \
    {                                                             \
        TCase *(*cases[])(void) = {__VA_ARGS__};                  \
        setenv("CK_DEFAULT_TIMEOUT", "60", 0); /* s */            \
        Suite *s = suite_create(name);                            \
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) \
            suite_add_tcase(s, cases[i]());                       \
        SRunner *r = srunner_create(s);                           \
        srunner_run_all(r, CK_NORMAL);                            \
        int failed = srunner_ntests_failed(r);                    \
        srunner_free(r);                                          \
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;              \
    }

#endif
