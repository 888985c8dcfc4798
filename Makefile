# qsfs: one Makefile, no recursion.  Objects mirror the tree under build/<flavour>/.
#   make                      build/bin/zdb, build/bin/zdbfs, build/bin/zstor
#   make check                unit tests, then end-to-end tests (needs /dev/fuse)
#   make check-long           the long forms of all of it, hours: every seed and state, sanitizers, fuzzing by minutes
#   make SAN=address,undefined check      the same under sanitizers (binaries in build/address+undefined/bin)
#   make lint | bench | fuzz | coverage | format | install PREFIX= DESTDIR= | clean
.SUFFIXES:
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

PREFIX  ?= /usr/local
DESTDIR ?=
CC      := $(if $(filter default undefined,$(origin CC)),gcc,$(CC))
comma   := ,
SAN     ?=
COV     ?=
FLAVOUR := $(if $(SAN),$(subst $(comma),+,$(SAN)),$(if $(COV),coverage,plain))$(if $(filter clang%,$(notdir $(CC))),-clang)
B       := build/$(FLAVOUR)
BIN     := $(if $(filter plain,$(FLAVOUR)),build/bin,$(B)/bin)

PKGS    := fuse3 hiredis yaml-0.1 libevent libevent_pthreads libsodium libcrypto libisal
PKG_CFLAGS := $(shell pkg-config --cflags $(PKGS))
WARN    := -Wall -Wextra -Wshadow -Wvla -Wstrict-prototypes -Wmissing-prototypes -Wwrite-strings \
           -Wpointer-arith -Wformat=2 -Wundef -Werror
SANF    := $(if $(SAN),-fsanitize=$(SAN) -fno-sanitize-recover=all -fno-omit-frame-pointer)
COVF    := $(if $(COV),--coverage)
OPT     ?= $(if $(SAN)$(COV),-O1,-O2)
CFLAGS  ?=
ALL_CFLAGS := -std=gnu11 $(OPT) -g -pthread -fPIE -fstack-protector-strong -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 \
              -DFUSE_USE_VERSION=314 -I. $(WARN) $(PKG_CFLAGS) $(SANF) $(COVF) $(CFLAGS)
ALL_LDFLAGS := -pthread -pie -Wl,-z,relro,-z,now,--as-needed $(SANF) $(COVF) $(LDFLAGS)

COMMON_LIBS := $(shell pkg-config --libs yaml-0.1 libevent libevent_pthreads libsodium libcrypto libisal hiredis)
FUSE_LIBS   := $(shell pkg-config --libs fuse3)
LIBS_zdb    := $(COMMON_LIBS)
LIBS_zdbfs  := $(COMMON_LIBS) $(FUSE_LIBS)
LIBS_zstor  := $(COMMON_LIBS) -lsnappy
LIBS_common := $(COMMON_LIBS)

DAEMONS := zdb zdbfs zstor
PARTS   := common $(DAEMONS)
# objects of a part, without its main(): what the unit tests link against
objs     = $(patsubst %.c,$(B)/%.o,$(filter-out $(1)/main.c,$(wildcard $(1)/*.c $(1)/*/*.c)))

all: $(DAEMONS:%=$(BIN)/%)

define DAEMON
$(BIN)/$(1): $(call objs,$(1)) $(B)/$(1)/main.o $(B)/common.a
	@mkdir -p $$(@D)
	$$(CC) -o $$@ $$^ $$(ALL_LDFLAGS) $$(LIBS_$(1))
endef
$(foreach d,$(DAEMONS),$(eval $(call DAEMON,$(d))))

$(B)/common.a: $(call objs,common)
	@rm -f $@
	ar rcs $@ $^

$(B)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

# what tests/check-layers.sh reads
objects: $(foreach p,$(PARTS),$(call objs,$(p))) $(DAEMONS:%=$(B)/%/main.o)

# --- unit tests: tests/unit/<part>/[<room>/]test_<module>.c, one program each -------------------------------
UNIT_SRC  := $(foreach p,$(PARTS),$(wildcard tests/unit/$(p)/test_*.c tests/unit/$(p)/*/test_*.c))
UNIT_BIN  := $(UNIT_SRC:%.c=$(B)/%)
CHECK_LIBS := $(shell pkg-config --libs check 2>/dev/null)

define UNIT
$(B)/tests/unit/$(1)/%: tests/unit/$(1)/%.c $(if $(filter common,$(1)),,$(call objs,$(1))) $(B)/common.a tests/unit/unit.h
	@mkdir -p $$(@D)
	$$(CC) $$(ALL_CFLAGS) -MMD -MP -o $$@ $$< $$(filter %.o %.a,$$^) $$(ALL_LDFLAGS) $$(CHECK_LIBS) $$(LIBS_$(1))
endef
$(foreach p,$(PARTS),$(eval $(call UNIT,$(p))))

unit: $(UNIT_BIN)

check: check-unit check-e2e
check-unit: unit
	tests/run-unit.sh $(UNIT_BIN)
check-e2e: all
	QSFS_BIN=$(abspath $(BIN)) tests/run-e2e.sh

check-long:
	tests/check-long.sh

lint:
	tests/lint.sh

include $(wildcard tests/fuzz/fuzz.mk tests/bench/bench.mk tests/coverage.mk)

format:
	@clang-format -i $$(find $(PARTS) tests -name '*.[ch]')

compile_commands.json: Makefile
	tests/compile-commands.sh "$(ALL_CFLAGS)" $(wildcard $(PARTS:%=%/*.c) $(PARTS:%=%/*/*.c)) > $@

install: all
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/share/qsfs $(foreach n,1 5 7 8,$(DESTDIR)$(PREFIX)/share/man/man$(n))
	install -m 0755 $(DAEMONS:%=$(BIN)/%) hooks/zdb-hook.sh bootstrap/qsfs bootstrap/qsfs-units bootstrap/qsfs-status bootstrap/qsfs-doctor bootstrap/qsfs-kit bootstrap/qsfs-recover bootstrap/toml2yaml.py $(DESTDIR)$(PREFIX)/bin
	install -m 0644 $(wildcard bootstrap/*.yaml) $(DESTDIR)$(PREFIX)/share/qsfs
	$(foreach n,1 5 7 8,install -m 0644 $(wildcard docs/man/*.$(n)) $(DESTDIR)$(PREFIX)/share/man/man$(n) &&) :

# build/qsfs_VERSION_ARCH.deb
deb: all
	bootstrap/packaging/deb.sh $(BIN)

clean:
	rm -rf build compile_commands.json

.PHONY: all objects unit check check-unit check-e2e check-long lint bench fuzz coverage format install deb clean
-include $(shell find build -name '*.d' 2>/dev/null)
