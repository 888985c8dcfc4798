# make bench: every tests/bench/bench_*.{py,sh} and bench_*.c (linked with common.a), one after the other; figures, no verdict.
# make check-slow: the end-to-end tests that take too long for every day.
BENCH_SRC := $(wildcard tests/bench/bench_*.c)
BENCH_BIN := $(BENCH_SRC:%.c=$(B)/%)

$(B)/tests/bench/bench_%: tests/bench/bench_%.c $(B)/common.a
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -MMD -MP -o $@ $< $(B)/common.a $(ALL_LDFLAGS) $(LIBS_common)

bench: all $(BENCH_BIN)
	@for program in $(BENCH_BIN); do echo "# $$program"; "$$program" || exit 1; done
	@for script in $(sort $(wildcard tests/bench/bench_*.py)); do echo "# $$script"; \
	    QSFS_BIN=$(abspath $(BIN)) python3 "$$script" || exit 1; done

check-slow: all
	QSFS_BIN=$(abspath $(BIN)) tests/run-e2e.sh $(sort $(notdir $(wildcard tests/e2e/slow_*.py)))

.PHONY: check-slow
