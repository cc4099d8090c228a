#include "redis_names.h"

#include <netdb.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "tickerd/base/clock.h"
#include "tickerd/base/err.h"

/* An answer that nobody waited for is of use for so long. Who answers with ever new names must not
 * make us remember ever more of them. */
#define LIFE_US ((uint64_t)60 * US_PER_S)
enum { KEPT_MAX = 16 };

struct lookup {
    struct redis_names *names; /* NULL: let go, it frees itself when it ends */
    struct lookup *next;
    struct addr addr;
    char port[8];
    uv_getaddrinfo_t request;
    bool done; /* well, and nobody has asked for it yet */
    uint64_t done_us;
};

struct redis_names {
    uv_loop_t *loop;
    redis_names_found *found;
    void *owner;
    struct lookup *first; /* newest first */
};

struct redis_names *redis_names_create(uv_loop_t *loop, redis_names_found *found, void *owner)
{
    struct redis_names *n = malloc(sizeof *n);
    if (n != NULL)
        *n = (struct redis_names){.loop = loop, .found = found, .owner = owner};
    return n;
}

static void drop(struct lookup *l)
{
    if (l->done) {
        uv_freeaddrinfo(l->request.addrinfo);
        free(l);
    } else {
        l->names = NULL;
        (void)uv_cancel((uv_req_t *)&l->request);
    }
}

void redis_names_destroy(struct redis_names *n)
{
    if (n == NULL)
        return;
    for (struct lookup *l; (l = n->first) != NULL; drop(l))
        n->first = l->next;
    free(n);
}

static void take_out(struct redis_names *n, const struct lookup *l)
{
    struct lookup **at = &n->first;
    while (*at != l)
        at = &(*at)->next;
    *at = l->next;
}

static void on_looked_up(uv_getaddrinfo_t *request, int status, struct addrinfo *found)
{
    struct lookup *l = request->data;
    struct redis_names *n = l->names;
    bool keep = false;
    if (n != NULL) {
        take_out(n, l); /* first: the owner may ask again within the call */
        keep = !n->found(n->owner, &l->addr, status, found) && status == 0;
    }
    if (!keep) {
        uv_freeaddrinfo(found);
        free(l);
        return;
    }
    l->done = true;
    l->done_us = clock_mono_us();
    l->next = n->first;
    n->first = l;
}

/* One at a time is put there. */
static void trim(struct redis_names *n)
{
    struct lookup **at = &n->first;
    for (int kept = 0; *at != NULL && kept < KEPT_MAX; kept++)
        at = &(*at)->next;
    struct lookup *l = *at;
    if (l == NULL)
        return;
    *at = NULL;
    drop(l);
}

static int start(struct redis_names *n, const struct addr *addr)
{
    struct lookup *l = calloc(1, sizeof *l);
    if (l == NULL)
        return ERR_NOMEM;
    l->names = n;
    l->addr = *addr;
    l->request.data = l;
    (void)snprintf(l->port, sizeof l->port, "%u", (unsigned)addr->port);
    struct addrinfo hints = {
        .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    int rc = uv_getaddrinfo(n->loop, &l->request, on_looked_up, l->addr.host, l->port, &hints);
    if (rc != 0) {
        free(l);
        return rc == UV_ENOMEM ? ERR_NOMEM : ERR_INVALID;
    }
    l->next = n->first;
    n->first = l;
    trim(n);
    return ERR_AGAIN;
}

int redis_names_ask(struct redis_names *n, const struct addr *addr, struct addrinfo **found)
{
    struct lookup *l = n->first;
    while (l != NULL && !addr_equal(&l->addr, addr))
        l = l->next;
    if (l == NULL)
        return start(n, addr);
    if (!l->done)
        return ERR_AGAIN;
    take_out(n, l);
    if (clock_mono_us() - l->done_us > LIFE_US) {
        drop(l);
        return start(n, addr);
    }
    *found = l->request.addrinfo;
    free(l);
    return ERR_OK;
}
