# make coverage: all tests with gcc's counters, then lines covered per part and the files below 70 %.
coverage:
	@find build/coverage -name '*.gcda' -delete 2>/dev/null || :
	$(MAKE) COV=1 all unit
	QSFS_FLAVOUR=coverage tests/run-unit.sh
	QSFS_BIN=$(abspath build/coverage/bin) tests/run-e2e.sh
	tests/coverage.sh build/coverage $(PARTS)
