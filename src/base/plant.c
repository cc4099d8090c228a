#include "tickerd/base/plant.h"

#ifdef TICKERD_PLANTS

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    unsigned every;
} plants[] = {
    [PLANT_DROP] = {"drop", 10000},
    [PLANT_TWICE] = {"twice", 10000},
    [PLANT_GAP] = {"gap", 20},
    [PLANT_TORN] = {"torn", 20},
    [PLANT_RESUME] = {"resume", 20},
    [PLANT_UPSTREAM] = {"upstream", 1},
    [PLANT_NEEDLESS] = {"needless", 1000},
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static int chosen = -1;
static atomic_uint calls;

static void choose(void)
{
    const char *name = getenv("TICKERD_PLANT");
    for (size_t i = 0; name != NULL && i < sizeof plants / sizeof plants[0]; i++) {
        if (strcmp(name, plants[i].name) == 0)
            chosen = (int)i;
    }
}

bool plant_strikes(enum plant which)
{
    (void)pthread_once(&once, choose);
    if ((int)which != chosen)
        return false;
    return (atomic_fetch_add_explicit(&calls, 1, memory_order_relaxed) + 1) % plants[which].every ==
           0;
}

#endif
