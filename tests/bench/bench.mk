# make bench: every tests/bench/bench_*.py, then zdb beside redis and with a hung hook, then zstor without its daemon; figures, no
# verdict.
# make check-slow: the end-to-end tests that take too long for every day.
bench: all
	@for script in $(sort $(wildcard tests/bench/bench_*.py)); do echo "# $$script"; \
	    QSFS_BIN=$(abspath $(BIN)) python3 "$$script" || exit 1; done
	@echo "# tests/bench/zdb --quick"; QSFS_BIN=$(abspath $(BIN)) tests/bench/zdb --quick
	@echo "# tests/bench/zdb_hung_hook"; QSFS_BIN=$(abspath $(BIN)) tests/bench/zdb_hung_hook
	@echo "# tests/bench/zdb_ping"; QSFS_BIN=$(abspath $(BIN)) tests/bench/zdb_ping
	@echo "# tests/bench/zstor.sh"; QSFS_BIN=$(abspath $(BIN)) tests/bench/zstor.sh

check-slow: all
	QSFS_BIN=$(abspath $(BIN)) tests/run-e2e.sh $(sort $(notdir $(wildcard tests/e2e/slow_*.py)))

.PHONY: check-slow
