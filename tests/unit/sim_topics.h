/* The channels and patterns of the simulations, with names that overlap in every way. */
#ifndef TICKERD_TESTS_SIM_TOPICS_H
#define TICKERD_TESTS_SIM_TOPICS_H

#include <stdbool.h>
#include <stddef.h>

#include "prng.h"

enum { SIM_CHANNELS = 8, SIM_URL = 400 };

extern const char *const sim_channels[SIM_CHANNELS];

/* Begin a client's URL with up to three topics; matches[] says which channels they are. Returns its
 * length; more parameters may be appended. */
size_t sim_topics(struct prng *rng, char url[SIM_URL], bool matches[SIM_CHANNELS]);

#endif
