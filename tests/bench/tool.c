#include "tool.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

uint64_t mono_ns(void)
{
    struct timespec ts;
    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

void die(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)fprintf(stderr, "%s: ", program_invocation_short_name);
    (void)vfprintf(stderr, format, args);
    (void)fputc('\n', stderr);
    va_end(args);
    exit(1);
}

uint64_t number(const char *option, const char *text, uint64_t min, uint64_t max)
{
    char *end;
    errno = 0;
    unsigned long long n = strtoull(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || *text == '-' || n < min || n > max)
        die("%s takes a number from %llu to %llu, not '%s'", option, (unsigned long long)min,
            (unsigned long long)max, text);
    return n;
}

struct sockaddr_in endpoint(const char *option, const char *text)
{
    struct sockaddr_in sa = {.sin_family = AF_INET};
    char host[INET_ADDRSTRLEN];
    const char *colon = strrchr(text, ':');
    size_t len = colon == NULL ? 0 : (size_t)(colon - text);
    if (len == 0 || len >= sizeof host)
        die("%s takes an IPv4 address and a port, not '%s'", option, text);
    memcpy(host, text, len);
    host[len] = '\0';
    if (inet_pton(AF_INET, host, &sa.sin_addr) != 1)
        die("%s: '%s' is no IPv4 address", option, host);
    sa.sin_port = htons((uint16_t)number(option, colon + 1, 0, TOOL_PORT_MAX));
    return sa;
}

void raise_open_files(uint64_t needed)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        die("getrlimit: %s", strerror(errno));
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur != RLIM_INFINITY && limit.rlim_cur < needed)
        die("%llu open files are needed, %llu are allowed", (unsigned long long)needed,
            (unsigned long long)limit.rlim_cur);
}

int is_name_pattern(const char *text)
{
    const char *percent = strchr(text, '%');
    return percent == NULL || (percent[1] == 'd' && strchr(percent + 1, '%') == NULL);
}

int expand(char *out, int size, const char *pattern, unsigned number)
{
    const char *percent = strstr(pattern, "%d");
    int n;
    if (percent == NULL)
        n = snprintf(out, (size_t)size, "%s", pattern);
    else
        n = snprintf(out, (size_t)size, "%.*s%u%s", (int)(percent - pattern), pattern, number,
                     percent + 2);
    if (n < 0 || n >= size)
        die("the pattern '%s' is too long", pattern);
    return n;
}
