# tickerd: `make` builds build/tickerd; `make help` lists the rest.
#
# Each kind of build has its own folder, so that they stand side by side:
#   KIND=release (default)  build/release/  hardened, optimised; its binary is also build/tickerd
#   KIND=debug              build/debug/    -O0 -g
#   KIND=asan               build/asan/     AddressSanitizer and UBSan
#   KIND=tsan               build/tsan/     ThreadSanitizer
#   KIND=cov                build/cov/      counts the lines that run; scripts/coverage.sh uses it
#   KIND=fuzz               build/fuzz/     clang's libFuzzer with both of asan's; for `make fuzzers`
# PLANTS=1 with any but release adds the bugs that the torture test must catch: build/<kind>-plants/.

PREFIX ?= /usr/local
DESTDIR ?=
SYSTEMDUNITDIR ?= $(PREFIX)/lib/systemd/system
KIND ?= release
CC ?= cc
PKG_CONFIG ?= pkg-config
INSTALL ?= install

VERSION := $(shell sed -n 's/^## \[\([0-9][^]]*\)\].*/\1/p' CHANGELOG.md 2>/dev/null | head -n 1)
OUT := build/$(KIND)$(if $(PLANTS),-plants)

WARNINGS := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes
ifdef WERROR
WARNINGS += -Werror
endif

MODE_release := -O2 -g -D_FORTIFY_SOURCE=2 -fstack-protector-strong -fPIE
MODE_debug := -O0 -g3
MODE_asan := -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
MODE_tsan := -O1 -g -fsanitize=thread -fno-omit-frame-pointer
MODE_cov := -O0 -g --coverage -fprofile-update=atomic
MODE_fuzz := $(MODE_asan) -fsanitize=fuzzer-no-link
LINK_release := -pie -Wl,-z,relro,-z,now -Wl,--as-needed
LINK_asan := -fsanitize=address,undefined
LINK_tsan := -fsanitize=thread
LINK_cov := --coverage
LINK_fuzz := $(LINK_asan)
ifeq ($(MODE_$(KIND)),)
$(error KIND=$(KIND) is unknown: use release, debug, asan, tsan, cov or fuzz)
endif
ifeq ($(KIND)$(origin CC),fuzzdefault)
CC := clang
endif

ifdef PLANTS
ifeq ($(KIND),release)
$(error PLANTS is for tests: use it with KIND=debug, asan or tsan)
endif
override CPPFLAGS += -DTICKERD_PLANTS
endif

# llhttp: a library where the distribution has one (Debian 13, Ubuntu 24.04), else the C sources
# that Debian 12 ships; those are loose by default, hence strict mode.
LLHTTP_SRC ?= /usr/share/llhttp
ifeq ($(shell $(PKG_CONFIG) --exists libllhttp && echo yes),yes)
LLHTTP_CFLAGS := $(shell $(PKG_CONFIG) --cflags libllhttp)
LLHTTP_LIBS := $(shell $(PKG_CONFIG) --libs libllhttp)
LLHTTP_OBJS :=
else ifneq ($(wildcard $(LLHTTP_SRC)/llhttp.c),)
LLHTTP_CFLAGS := -DLLHTTP_STRICT_MODE=1 -isystem /usr/share/include/llhttp
LLHTTP_LIBS :=
LLHTTP_OBJS := $(patsubst %,$(OUT)/llhttp/%.o,api http llhttp)
else ifeq ($(wildcard /usr/include/llhttp.h),)
$(error llhttp is missing: install libllhttp-dev, or node-llhttp on Debian 12)
else
LLHTTP_CFLAGS :=
LLHTTP_LIBS := -lllhttp
LLHTTP_OBJS :=
endif

PACKAGES := libuv hiredis jansson zlib openssl cjose
PKG_CFLAGS := $(shell $(PKG_CONFIG) --cflags $(PACKAGES))
PKG_LIBS := $(shell $(PKG_CONFIG) --libs $(PACKAGES))
ifeq ($(PKG_LIBS),)
$(error packages are missing: install libuv1-dev libhiredis-dev libjansson-dev zlib1g-dev libssl-dev libcjose-dev pkg-config)
endif

override CPPFLAGS += -D_GNU_SOURCE -DTICKERD_VERSION='"$(VERSION)"' -Iinclude $(LLHTTP_CFLAGS) $(PKG_CFLAGS)
ALL_CFLAGS := -std=c11 -pthread $(WARNINGS) $(MODE_$(KIND)) $(CFLAGS)
ALL_LDFLAGS := -pthread $(LINK_$(KIND)) $(LDFLAGS)
ALL_LIBS := $(PKG_LIBS) $(LLHTTP_LIBS) $(LDLIBS)

# tickerctl's own library; the daemon has nothing of it.
CURL_CFLAGS := $(shell $(PKG_CONFIG) --cflags libcurl)
CURL_LIBS := $(shell $(PKG_CONFIG) --libs libcurl)
ifeq ($(CURL_LIBS),)
$(error libcurl is missing: install libcurl4-openssl-dev)
endif
override CPPFLAGS += $(CURL_CFLAGS)

LAYERS := base wire broker net daemon
SRCS := $(foreach l,$(LAYERS),$(sort $(wildcard src/$(l)/*.c)))
MAIN := src/daemon/main.c
LIB_OBJS := $(patsubst src/%.c,$(OUT)/obj/%.o,$(filter-out $(MAIN),$(SRCS))) $(LLHTTP_OBJS)
MAIN_OBJ := $(patsubst src/%.c,$(OUT)/obj/%.o,$(MAIN))

CTL_MAIN_OBJ := $(OUT)/obj/ctl/main.o
CTL_OBJS := $(filter-out $(CTL_MAIN_OBJ),$(patsubst src/%.c,$(OUT)/obj/%.o,$(sort $(wildcard src/ctl/*.c))))

UNIT_SRCS := $(sort $(wildcard tests/unit/test_*.c))
UNIT_HELP := $(patsubst tests/%.c,$(OUT)/tests/%.o,$(filter-out $(UNIT_SRCS),$(wildcard tests/unit/*.c)))
UNITS := $(patsubst tests/unit/%.c,$(OUT)/unit/%,$(UNIT_SRCS))
CMOCKA_LIBS = $(shell $(PKG_CONFIG) --libs cmocka)

BINARY := $(if $(filter release,$(KIND)),build/tickerd,$(OUT)/tickerd)
CTL := $(dir $(BINARY))tickerctl

.PHONY: all help release debug asan tsan units fuzzers fuzz-seeds check coverage bench bench-tools deb install uninstall clean format lint
.DELETE_ON_ERROR:

all: $(BINARY) $(CTL)

help:
	@echo 'make                  build/tickerd and build/tickerctl (release)'
	@echo 'make debug|asan|tsan  build/<kind>/tickerd and tickerctl'
	@echo 'make KIND=asan PLANTS=1  with bugs for the torture test to catch, build/asan-plants/tickerd'
	@echo 'make units KIND=asan  the unit tests of that kind, under build/<kind>/unit/'
	@echo 'make fuzzers KIND=asan  the fuzz targets, to run files: build/<kind>/fuzz/<target> FILE...'
	@echo 'make fuzzers KIND=fuzz  the same with libFuzzer; scripts/fuzz.sh MINUTES runs them'
	@echo 'make check            every test (scripts/test.sh)'
	@echo 'make coverage         which lines the tests run (scripts/coverage.sh)'
	@echo 'make bench            CPU and memory against bare floors (BENCH_ARGS=--quick)'
	@echo 'make lint             formatting, layers, clang-tidy, cppcheck'
	@echo 'make format           clang-format in place'
	@echo 'make deb              build/deb/tickerd_VERSION_ARCH.deb (scripts/package-deb.sh)'
	@echo 'make install PREFIX=/usr/local DESTDIR= ; make uninstall'

release debug asan tsan:
	$(MAKE) KIND=$@ all

$(BINARY): $(MAIN_OBJ) $(LIB_OBJS)
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $^ $(ALL_LIBS)

# An archive, so that tickerctl gets only what it uses of the layers below it, and their libraries.
$(OUT)/libbelow.a: $(filter $(OUT)/obj/base/% $(OUT)/obj/wire/%,$(LIB_OBJS))
	@rm -f $@
	$(AR) rcs $@ $^

$(CTL): $(CTL_MAIN_OBJ) $(CTL_OBJS) $(OUT)/libbelow.a
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $^ -Wl,--as-needed $(CURL_LIBS) $(ALL_LIBS)

$(OUT)/obj/%.o: src/%.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

# The dashboard is part of this one.
$(OUT)/obj/daemon/ui.o: $(wildcard src/daemon/ui/*)

# Not our code: our warnings do not apply to it.
$(OUT)/llhttp/%.o: $(LLHTTP_SRC)/%.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) -std=c11 $(MODE_$(KIND)) $(CFLAGS) -w -c -o $@ $<

$(OUT)/tests/%.o: tests/%.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) -Itests/unit $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

LINK_UNIT = @mkdir -p $(@D) && $(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $^ $(CMOCKA_LIBS) $(ALL_LIBS)

$(OUT)/unit/%: $(OUT)/tests/unit/%.o $(UNIT_HELP) $(LIB_OBJS)
	$(LINK_UNIT)

$(OUT)/unit/test_ctl_%: $(OUT)/tests/unit/test_ctl_%.o $(patsubst %,$(OUT)/tests/unit/%.o,sse_decoder naive_utf8) $(CTL_OBJS) $(OUT)/libbelow.a
	$(LINK_UNIT) $(CURL_LIBS)

# For the test that decides what our code gets when it asks for memory, and sees what it logs.
RENAMED := malloc calloc realloc log_write
LOG_OBJ := $(OUT)/obj/base/log.o
$(OUT)/renamed/%.o: $(OUT)/obj/%.o
	@mkdir -p $(@D)
	objcopy $(foreach f,$(RENAMED),--redefine-sym $(f)=scarce_$(f)) $< $@

$(OUT)/unit/test_nomem: $(OUT)/tests/unit/test_nomem.o $(UNIT_HELP) $(LOG_OBJ) \
		$(patsubst $(OUT)/obj/%,$(OUT)/renamed/%,$(filter-out $(LOG_OBJ),$(LIB_OBJS)))
	$(LINK_UNIT)

.SECONDARY:
units: $(UNITS)

# One target for each fuzz_<target>.c. Without libFuzzer it runs the files it is given, as a test.
FUZZERS := $(patsubst tests/fuzz/fuzz_%.c,$(OUT)/fuzz/%,$(sort $(wildcard tests/fuzz/fuzz_*.c)))
ifeq ($(KIND),fuzz)
FUZZ_MAIN :=
FUZZ_LINK := -fsanitize=fuzzer
else
FUZZ_MAIN := $(OUT)/tests/fuzz/replay.o
FUZZ_LINK :=
endif

$(OUT)/fuzz/%: $(OUT)/tests/fuzz/fuzz_%.o $(FUZZ_MAIN) $(UNIT_HELP) $(LIB_OBJS)
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) $(FUZZ_LINK) -o $@ $^ $(CMOCKA_LIBS) $(ALL_LIBS)

fuzzers: $(FUZZERS)

# Seeds that nobody can type. Written anew when SAVED_VERSION changes, and committed.
$(OUT)/tests/fuzz/state_seeds: $(OUT)/tests/fuzz/state_seeds.o $(UNIT_HELP) $(LIB_OBJS)
	$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $^ $(CMOCKA_LIBS) $(ALL_LIBS)

fuzz-seeds: $(OUT)/tests/fuzz/state_seeds
	$< tests/fuzz/corpus/state

BENCH := $(patsubst %,$(OUT)/bench/%,subscribers publisher floor storm)

$(OUT)/bench/%: $(OUT)/tests/bench/%.o $(OUT)/tests/bench/tool.o
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $^ $(shell $(PKG_CONFIG) --libs hiredis)

bench-tools: $(BENCH)

# BENCH_ARGS=--quick for a smoke run; --help lists the rest.
bench: $(BINARY) $(BENCH)
	python3 tests/bench/run.py --tickerd $(BINARY) --tools $(OUT)/bench $(BENCH_ARGS)

check:
	scripts/test.sh

deb:
	scripts/package-deb.sh

coverage:
	scripts/coverage.sh

# The path of the units' commands follows PREFIX.
UNITS_DIR := $(DESTDIR)$(SYSTEMDUNITDIR)
BIN_DIR := $(DESTDIR)$(PREFIX)/bin
DOC_DIR := $(DESTDIR)$(PREFIX)/share/doc/tickerd
MAN_DIR := $(DESTDIR)$(PREFIX)/share/man
MAN_PAGES := $(wildcard man/*.[158])
man_path = $(MAN_DIR)/man$(subst .,,$(suffix $(1)))/$(notdir $(1))

install: all
	$(INSTALL) -D -m 0755 $(BINARY) $(BIN_DIR)/tickerd
	$(INSTALL) -D -m 0755 $(CTL) $(BIN_DIR)/tickerctl
	$(INSTALL) -d $(UNITS_DIR)
	for unit in service socket; do \
		sed 's|/usr/bin/tickerd|$(PREFIX)/bin/tickerd|' systemd/tickerd.$$unit >$(UNITS_DIR)/tickerd.$$unit && \
		chmod 0644 $(UNITS_DIR)/tickerd.$$unit || exit; \
	done
	$(INSTALL) -d $(DOC_DIR)/proxy
	$(INSTALL) -m 0644 conf/tickerd.json $(DOC_DIR)/tickerd.json
	$(INSTALL) -m 0644 $(wildcard conf/proxy/*) $(DOC_DIR)/proxy
	$(foreach page,$(MAN_PAGES),$(INSTALL) -D -m 0644 $(page) $(call man_path,$(page)) &&) true

uninstall:
	rm -f $(BIN_DIR)/tickerd $(BIN_DIR)/tickerctl
	rm -f $(UNITS_DIR)/tickerd.service $(UNITS_DIR)/tickerd.socket
	rm -f $(foreach page,$(MAN_PAGES),$(call man_path,$(page)))
	rm -f $(DOC_DIR)/tickerd.json $(patsubst conf/proxy/%,$(DOC_DIR)/proxy/%,$(wildcard conf/proxy/*))
	-rmdir $(DOC_DIR)/proxy $(DOC_DIR) 2>/dev/null

OURS := $(shell find src include tests -name '*.[ch]' 2>/dev/null)

format:
	clang-format -i $(OURS)

lint:
	scripts/lint.sh

clean:
	rm -rf build

-include $(shell find $(OUT) -name '*.d' 2>/dev/null)
