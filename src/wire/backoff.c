#include "tickerd/wire/backoff.h"

/* splitmix64 (Steele, Lea, Flood): one word of state and any seed is good, also 0. */
static uint64_t draw(uint64_t *state)
{
    *state += 0x9e3779b97f4a7c15U;
    uint64_t z = *state;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
    return z ^ (z >> 31);
}

void backoff_init(struct backoff *b, uint32_t first_ms, uint32_t max_ms, uint64_t seed)
{
    *b = (struct backoff){
        .first_ms = first_ms, .max_ms = max_ms, .next_ms = first_ms, .random = seed};
}

uint32_t backoff_next(struct backoff *b)
{
    uint32_t d = b->next_ms;
    b->next_ms = d > b->max_ms / 2 ? b->max_ms : d * 2;
    /* The lower bound is rounded up, so that 1 ms never becomes no delay at all. */
    uint32_t low = d - d / 2;
    uint64_t choices = (uint64_t)d - low + 1;
    return low + (uint32_t)(((draw(&b->random) >> 32) * choices) >> 32);
}

void backoff_reset(struct backoff *b)
{
    b->next_ms = b->first_ms;
}
