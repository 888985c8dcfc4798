# Fuzzing with libFuzzer (clang), address and undefined sanitizers.  See tests/fuzz/fuzz.h.
#   make fuzz                       build every tests/fuzz/fuzz_*.c into build/fuzz/
#   make fuzz-run FUZZ_SECONDS=60   build and run each one so long; what is found ends the run, and is kept in build/fuzz/
#   FUZZ_ARGS=-seed=1               further arguments of libFuzzer
FUZZ_CC      ?= clang
FUZZ_SECONDS ?= 10
FUZZ_SRC     := $(wildcard tests/fuzz/fuzz_*.c)
FUZZ_BIN     := $(FUZZ_SRC:tests/fuzz/%.c=build/fuzz/%)
FUZZ_SAN     := address,undefined
FUZZ_CFLAGS   = $(filter-out -O% -fsanitize=%,$(ALL_CFLAGS)) -O1 -fno-omit-frame-pointer -fno-sanitize-recover=all
fuzz_objs     = $(patsubst %.c,build/fuzz/obj/%.o,$(filter-out $(1)/main.c,$(wildcard $(1)/*.c $(1)/*/*.c)))

build/fuzz/obj/%.o: %.c
	@mkdir -p $(@D)
	$(FUZZ_CC) $(FUZZ_CFLAGS) -fsanitize=fuzzer-no-link,$(FUZZ_SAN) -MMD -MP -c -o $@ $<

# fuzz_<part>_x with a daemon's name as part is linked with that daemon
fuzz_part = $(firstword $(filter $(DAEMONS),$(word 2,$(subst _, ,$(1)))) common)

define FUZZ
build/fuzz/$(1): build/fuzz/obj/tests/fuzz/$(1).o $(if $(filter common,$(2)),,$(call fuzz_objs,$(2))) $(call fuzz_objs,common)
	$$(FUZZ_CC) -o $$@ $$^ -pthread -fsanitize=fuzzer,$$(FUZZ_SAN) -Wl,--as-needed $$(LIBS_$(2))
endef
$(foreach f,$(FUZZ_BIN:build/fuzz/%=%),$(eval $(call FUZZ,$(f),$(call fuzz_part,$(f)))))

fuzz: $(FUZZ_BIN)

FUZZ_RUN := $(FUZZ_BIN:build/fuzz/%=fuzz-run-%)
fuzz-run: $(FUZZ_RUN)

$(FUZZ_RUN): fuzz-run-%: build/fuzz/%
	@mkdir -p build/fuzz/corpus/$*
	@build/fuzz/$* -max_total_time=$(FUZZ_SECONDS) $(FUZZ_ARGS) -timeout=20 -rss_limit_mb=2048 -malloc_limit_mb=512 -close_fd_mask=1 \
	    -artifact_prefix=build/fuzz/$*- build/fuzz/corpus/$* $(wildcard tests/fuzz/corpus/$*) >build/fuzz/$*.log 2>&1 || \
	    { tail -n 60 build/fuzz/$*.log; echo "not ok $*"; exit 1; }
	@echo "ok $*: nothing found in $(FUZZ_SECONDS) s"

.PHONY: fuzz fuzz-run $(FUZZ_RUN)
