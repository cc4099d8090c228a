#include "sim_topics.h"

#include <stdio.h>
#include <string.h>

#include "tickerd/wire/topic.h"

const char *const sim_channels[SIM_CHANNELS] = {"a",  "b",   "ab",  "abc",
                                                "ac", "b/x", "b/y", "\xc3\xa9"};
static const char *const channel_urls[SIM_CHANNELS] = {"a",  "b",     "ab",    "abc",
                                                       "ac", "b%2Fx", "b%2Fy", "%C3%A9"};

static const struct {
    const char *glob, *url;
} patterns[] = {{"*", "*"},
                {"a*", "a*"},
                {"ab*", "ab*"},
                {"a[bc]", "a%5Bbc%5D"},
                {"b*", "b*"},
                {"b/*", "b%2F*"},
                {"b/[xz]", "b%2F%5Bxz%5D"},
                {"?", "%3F"},
                {"*c", "*c"}};

enum { PATTERNS = sizeof patterns / sizeof patterns[0] };

size_t sim_topics(struct prng *rng, char url[SIM_URL], bool matches[SIM_CHANNELS])
{
    size_t len = (size_t)snprintf(url, SIM_URL, "/events?");
    for (size_t i = 1 + prng_below(rng, 3); i > 0; i--) {
        size_t p = prng_below(rng, PATTERNS), c = prng_below(rng, SIM_CHANNELS);
        bool pattern = prng_below(rng, 2) == 0;
        len += (size_t)snprintf(url + len, SIM_URL - len, "%s=%s&", pattern ? "pattern" : "channel",
                                pattern ? patterns[p].url : channel_urls[c]);
        for (size_t k = 0; k < SIM_CHANNELS; k++) {
            if (pattern ? glob_match(patterns[p].glob, strlen(patterns[p].glob), sim_channels[k],
                                     strlen(sim_channels[k]))
                        : k == c)
                matches[k] = true;
        }
    }
    return len;
}
