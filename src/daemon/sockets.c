#include "tickerd/daemon/sockets.h"

#include <stdlib.h>
#include <unistd.h>

#include "tickerd/base/buf.h"
#include "tickerd/base/err.h"
#include "tickerd/base/log.h"
#include "tickerd/net/listener.h"

/* As open as a port on loopback, since the proxy usually runs as another user; and for orders. */
enum { SOCKET_MODE = 0666, ADMIN_SOCKET_MODE = 0600 };

static bool is_shared(const struct sockets *s, size_t address)
{
    return s->inherited || s->addrs[address].is_unix;
}

static int allocate(struct sockets *s)
{
    size_t fds = s->count * s->workers;
    s->addrs = calloc(s->count + 1, sizeof *s->addrs);
    s->fds = calloc(fds + 1, sizeof *s->fds);
    if (s->addrs == NULL || s->fds == NULL) {
        log_error("cannot start: %s", err_text(ERR_NOMEM));
        return ERR_NOMEM;
    }
    for (size_t at = 0; at < fds; at++)
        s->fds[at] = -1;
    return ERR_OK;
}

/* The one for the admin listener. */
static int find_admin(struct sockets *s, const struct inheritance *in)
{
    for (size_t i = 0; i < in->count; i++) {
        if (!in->items[i].admin)
            continue;
        if (s->admin.fd >= 0) {
            log_error("the service manager passes on two sockets named admin: there is one admin "
                      "listener; give the other no FileDescriptorName=admin");
            return ERR_INVALID;
        }
        s->admin = in->items[i];
        s->admin_inherited = true;
        s->count--;
    }
    return ERR_OK;
}

static void take_public(struct sockets *s, const struct inheritance *in)
{
    for (size_t i = 0, a = 0; i < in->count; i++) {
        if (in->items[i].admin)
            continue;
        s->addrs[a] = in->items[i].addr;
        for (uint32_t w = 0; w < s->workers; w++)
            s->fds[w * s->count + a] = in->items[i].fd;
        a++;
    }
}

static int settle(struct sockets *s, const struct config *config, const struct inheritance *in)
{
    s->count = in->count;
    if (find_admin(s, in) != ERR_OK)
        return ERR_INVALID;
    s->inherited = s->count > 0;
    if (!s->inherited)
        s->count = config->listen.count;
    int err = allocate(s);
    if (err == ERR_OK && s->inherited)
        take_public(s, in);
    return err;
}

int sockets_init(struct sockets *s, const struct config *config, uint32_t workers)
{
    struct inheritance in;
    struct buf why = BUF_INIT;
    *s = (struct sockets){.workers = workers, .admin = {.fd = -1}};
    int err = inherit_take(&in, &why);
    if (err != ERR_OK)
        log_error("%s", buf_cstr(&why));
    else
        err = settle(s, config, &in);
    if (err != ERR_OK) {
        free(s->addrs);
        free(s->fds);
    }
    inherit_finish(&in);
    buf_finish(&why);
    return err;
}

/* The socket of a worker, by which those before it are there. */
static int open_one(struct sockets *s, uint32_t worker, size_t a)
{
    struct buf why = BUF_INIT;
    int first = s->fds[a], fd;
    if (worker == 0)
        fd = listener_open(&s->addrs[a], SOCKET_MODE, &why);
    else if (is_shared(s, a))
        fd = first;
    else
        fd = listener_open_beside(first, &s->addrs[a], &why);
    if (fd < 0)
        log_error("%s", buf_cstr(&why));
    buf_finish(&why);
    return fd;
}

bool sockets_has_admin(const struct sockets *s, const struct config *config)
{
    return s->admin_inherited || config->admin != NULL;
}

static int open_admin(struct sockets *s, const char *where)
{
    const char *why_not;
    struct buf why = BUF_INIT;
    if (addr_parse(&s->admin.addr, where, &why_not) != ERR_OK)
        return ERR_INVALID;
    s->admin.fd = listener_open(&s->admin.addr, ADMIN_SOCKET_MODE, &why);
    if (s->admin.fd < 0)
        log_error("admin: %s; name another address with --admin, or turn the admin listener off "
                  "with --admin null",
                  buf_cstr(&why));
    buf_finish(&why);
    return s->admin.fd < 0 ? ERR_SYSTEM : ERR_OK;
}

int sockets_open(struct sockets *s, const struct config *config)
{
    for (size_t a = 0; a < s->count && !s->inherited; a++) {
        const char *why_not;
        if (addr_parse(&s->addrs[a], config->listen.items[a], &why_not) != ERR_OK)
            return ERR_INVALID;
        for (uint32_t w = 0; w < s->workers; w++) {
            int fd = open_one(s, w, a);
            if (fd < 0)
                return ERR_SYSTEM;
            s->fds[w * s->count + a] = fd;
        }
    }
    if (!s->admin_inherited && config->admin != NULL && open_admin(s, config->admin) != ERR_OK)
        return ERR_SYSTEM;
    sockets_set_patience(s, config->limits.write_timeout_ms);
    return ERR_OK;
}

const int *sockets_of(const struct sockets *s, uint32_t worker)
{
    return s->fds + worker * s->count;
}

void sockets_set_patience(const struct sockets *s, uint64_t ms)
{
    for (size_t at = 0; at < s->count * s->workers; at++)
        listener_set_patience(s->fds[at], ms);
    if (s->admin.fd >= 0)
        listener_set_patience(s->admin.fd, ms);
}

static void announce_admin(const struct addr *a, bool inherited)
{
    struct buf line = BUF_INIT;
    addr_print(&line, a);
    log_info("admin listening on %s%s", buf_cstr(&line), inherited ? " (inherited)" : "");
    if (!addr_is_local(a))
        log_warn("admin: whoever can reach %s can see and order everything, without a password: "
                 "let a firewall or a proxy decide who can, or use a loopback address",
                 buf_cstr(&line));
    buf_finish(&line);
}

void sockets_announce(const struct sockets *s)
{
    struct buf line = BUF_INIT;
    for (size_t a = 0; a < s->count; a++) {
        buf_reset(&line);
        addr_print(&line, &s->addrs[a]);
        log_info("listening on %s%s", buf_cstr(&line), s->inherited ? " (inherited)" : "");
    }
    if (s->inherited)
        log_info("the service manager passed on %zu socket%s: `listen` of the configuration does "
                 "not count",
                 s->count, s->count == 1 ? "" : "s");
    if (s->admin.fd >= 0)
        announce_admin(&s->admin.addr, s->admin_inherited);
    buf_finish(&line);
}

void sockets_finish(struct sockets *s)
{
    /* Before they are closed: from then on another process may take the path for its own. */
    for (size_t a = 0; a < s->count; a++) {
        if (s->fds[a] >= 0 && !s->inherited) /* not one that another process serves */
            listener_unlink(&s->addrs[a]);
    }
    if (s->admin.fd >= 0 && !s->admin_inherited)
        listener_unlink(&s->admin.addr);
    for (size_t at = 0; at < s->count * s->workers; at++) {
        bool again = at >= s->count && is_shared(s, at % s->count);
        if (s->fds[at] >= 0 && !again)
            (void)close(s->fds[at]);
    }
    if (s->admin.fd >= 0)
        (void)close(s->admin.fd);
    free(s->addrs);
    free(s->fds);
}
